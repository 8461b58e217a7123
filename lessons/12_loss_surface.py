# %% [markdown]
# # Lesson 12: the loss surface, and what it hides
#
# **Goal.** Draw the loss over a plane of weight space, with three fine-tunings moving on it, and learn how far to believe
# the picture.
#
# **Time.** About 20 seconds on two cores, and 20 more if neither lesson 9 nor 11 has made the generalist yet (`--quick`: 9
# in all).
#
# **Expect.** Two maps of one plane, the new task and the old: downhill on one is uphill on the other. Three models that lie
# exactly in the plane, and recorded weights that do not; each lie of the picture measured.
#
# **Read beside it.** `minillm/surface/plane.py` (a hundred lines, the whole geometry), `surface/measure.py`,
# `surface/recorder.py`.

# %%
import numpy as np
from common import PLOTS, generalist, options, shown

from minillm import (
    GPT,
    AdamW,
    BottleneckAdapter,
    DocumentBatches,
    Full,
    Partial,
    Trainer,
    World,
    draw,
    evaluate_world,
    warmup_linear,
)
from minillm.draw.style import LIGHT, figure, save, style
from minillm.surface.measure import measure_surface
from minillm.surface.plane import cosine, through
from minillm.surface.recorder import Recorder
from minillm.surface.space import Probe, Space
from minillm.train.evaluate import mean_excess
from minillm.train.fit import fit

args = options("Lesson 12: the loss surface, and what it hides")
WAYS = {"full": (Full(), 1e-3), "adapter": (BottleneckAdapter(bottleneck=16), 1e-2), "frozen": (Partial(), 5e-3)}
STEPS, GRID, FRAMES = (20, 7, 6) if args.quick else (100, 21, 30)
world = World(args.seed)
base = generalist(args)

# %% [markdown]
# ## 1. Fine-tune, and record the way
#
# As in lesson 11, with one thing more: a recorder copies the trainable weights every few steps.

# %%
def start(recipe):
    rng = np.random.default_rng([args.seed, 1])
    model = GPT(base.config, rng)
    model.load_state(base.state())
    recipe.apply(model, rng)
    return model


novels = [document.ids for document in world.documents("novel", 64, "train")]
models, ways = {}, {}
for name, (recipe, lr) in WAYS.items():
    model, recorder = start(recipe), Recorder(every=STEPS // 20)
    batches = DocumentBatches(novels, 16, args.seed)
    trainer = Trainer(model, AdamW(lr), warmup_linear(STEPS), total=batches.total, on_step=recorder)
    recorder(trainer)                                               # the start
    fit(trainer, batches, STEPS, title=f"{name:8s}")
    models[name] = model
    ways[name] = recorder.way()

# %% [markdown]
# ## 2. One space for all
#
# A surface needs all models in one space, but the adapter's has more weights. So we take the space of the *adapted* model:
# points (theta, phi), the body and what was inserted. With phi_0, where adapters begin, the inserted layers do nothing:
# full fine-tuning is (theta', phi_0), the adapter (theta, phi'), the generalist (theta, phi_0), and every point between
# them is a model that works.

# %%
origin = start(WAYS["adapter"][0])                                  # the generalist, with adapters that do nothing yet
space = Space(origin)
P = space.start
F, A, Z = (space.vector(models[name].state()) for name in ("full", "adapter", "frozen"))
print(f"{len(P):,d} dimensions; |P| = {np.linalg.norm(P):.1f}, |F - P| = {np.linalg.norm(F - P):.1f}, "
      f"|A - P| = {np.linalg.norm(A - P):.1f}, |Z - P| = {np.linalg.norm(Z - P):.1f}")
print(f"cosine of F - P and A - P: {cosine(F - P, A - P):.3f} (they share the norms' gains and biases, nothing else)")
print(f"cosine of F - P and Z - P: {cosine(F - P, Z - P):.3f}")

# %% [markdown]
# ## 3. Three points make a plane
#
# $$ \theta(a, b) = P + a\,u + b\,v, \quad u = \frac{F-P}{|F-P|}, \quad v = \frac{w}{|w|}, \quad w = (A-P) - ((A-P) \cdot u)\,u $$
#
# Coordinates are two dot products with theta - P. What they leave over is the **projection error**, as a part of the way
# from P: 0, the point lies in the plane; 1, the plane shows nothing of it. P, F and A must have error 0 and their own
# losses.

# %%
plane = through(P, F, A, labels=("the body moves", "the adapters move"),
                directions="the plane through the pretrained, the full and the adapter model")
probe = Probe({"novel": [document.ids for document in world.documents("novel", 6)],
               "general": [document.ids for name in world.general for document in world.documents(name, 2)]})
print(f"{'':11s}{'a':>7s}{'b':>7s}{'error':>8s}{'true loss: novel, general':>29s}{'loss in the plane':>22s}{'gap':>9s}")
for name, theta in {"pretrained": P, "full": F, "adapter": A, "frozen": Z}.items():
    (a, b), error = plane.project(theta)
    true, flat = space.losses(theta, probe), space.losses(plane.at(a, b), probe)
    gap = max(abs(true[task] - flat[task]) for task in probe.tasks)
    print(f"{name:11s}{a:7.2f}{b:7.2f}{error:8.3f}{true['novel']:21.3f}{true['general']:8.3f}"
          f"{flat['novel']:14.3f}{flat['general']:8.3f}{gap:9.0e}")

# %% [markdown]
# The frozen model is *not* in this plane: nine tenths of its way are missing. Its place on the map is the point nearest to
# it, and that is another model, here one that knows novels better (seeds 1 and 2: .63 and .64, where the frozen one has .80
# and .88).
#
# ## 4. The map
#
# At each point of a grid: the loss of the model with those weights, on the same few texts. Left the new task, right the old.

# %%
found = measure_surface(space, plane, {"pretrained": P, "full": F, "adapter": A, "frozen": Z}, ways, probe, GRID,
                        facts={"view": "three", "seed": args.seed})
pictures = [PLOTS / "lesson12_surface.png", PLOTS / "lesson12_weights_moving.gif"]
draw.surface(found, pictures[0])
draw.animate(found, pictures[1], frames=FRAMES)
for picture in pictures:
    shown(picture, args)
for line in found.checks():
    print(" ", line)

# %% [markdown]
# Left, P stands on a slope: with the body or with the adapters, both lead down into one valley. Right, P stands in the
# hollow, and both lead up, gently to F, steeply to A: forgetting, seen. (The longer of the two axes is drawn across.)
#
# ## 5. What the picture hides
#
# **The way.** It looks straight because we laid the axis through its end. Only P, F and A are in the plane; the weights
# between were elsewhere. Below is the way of full fine-tuning: its true loss, the loss of the map under it, and the error.

# %%
way = found.paths["full"]
print(f"{'step':>5s}{'error':>8s}{'true loss':>11s}{'on the map':>12s}   (novels)")
for i in range(0, len(way.steps), 4):
    print(f"{way.steps[i]:5d}{way.residual[i]:8.2f}{way.loss['novel'][i]:11.3f}{way.shown['novel'][i]:12.3f}")

# %% [markdown]
# The error is largest early on (0.84 at its worst with seed 1, and still 0.54 at step 20): the weights first went elsewhere
# too, and much of that was undone later. The dashed lines under the maps are this table for all models.
#
# **All other directions.** The plane has two, of a quarter of a million. F is a step of length |F - P| from P; here are
# steps just as long in random directions. Seen with seeds 1 and 2, all six: they change the loss on novels by -.05 to +.10,
# where F changes it by -1.3 to -2.1. All around, the ground is nearly flat. The slope on the map is there because the plane was
# laid where training went.

# %%
rng = np.random.default_rng(args.seed)
for i in range(3):
    step = rng.standard_normal(len(P))
    losses = space.losses(P + np.linalg.norm(F - P) * step / np.linalg.norm(step), probe)
    print(f"random direction {i + 1}: novel {losses['novel']:.3f}, general {losses['general']:.3f}")
here, there = space.losses(P, probe), space.losses(F, probe)
print(f"at P:               novel {here['novel']:.3f}, general {here['general']:.3f}")
print(f"at F:               novel {there['novel']:.3f}, general {there['general']:.3f}")

# %% [markdown]
# ## 6. The straight line from P to F
#
# (1 - t) P + t F mixes generalist and specialist, weight by weight. It costs no training. This time with the excess over
# the floor, on more texts: what is learned and what is forgotten on the way.

# %%
mixed, ts = GPT(base.config, np.random.default_rng(0)), np.linspace(0, 1.5, 13)
new, old = [], []
for t in ts:
    mixed.load_state({key: (1 - t) * weight + t * models["full"].state()[key] for key, weight in base.state().items()})
    scores = evaluate_world(mixed, world, "test", 5 if args.quick else 40)
    new.append(scores["novel"].excess)
    old.append(mean_excess(scores, world.general))
    print(f"t = {t:5.3f}   excess on novels {new[-1]:6.3f}   on old domains {old[-1]:6.3f}")

with style():
    fig = figure(8, 5)
    ax = fig.add_axes([0.11, 0.14, 0.85, 0.75])
    ax.plot(ts, new, "o-", color=LIGHT.models["full"], label="novels, the new task")
    ax.plot(ts, old, "o-", color=LIGHT.models["pretrained"], label="old domains, mean")
    ax.set(title="From the generalist (t = 0) straight to full fine-tuning (t = 1)", xlabel="t",
           ylabel="nats per token above the floor", ylim=(0, None))
    ax.axvline(1, color="#777777", lw=1)
    ax.grid(axis="y")
    ax.legend()
    save(fig, PLOTS / "lesson12_line.png")
shown(PLOTS / "lesson12_line.png", args)

# %% [markdown]
# With seeds 1 and 2, three quarters of the way bring 98 % of what is gained on novels, for 40-50 % of what is lost on the
# old domains. At P the old loss is flat, since pretraining has brought it near a minimum, and rises roughly with the square
# of the distance; the new one falls steeply at P and is flat at F. So the first steps back from F are nearly free for the
# new task, and they pay off for the old. That no barrier stands between is no law; it is common for models with most of
# their training in common (Wortsman et al. 2022 build on it).
#
# ## An experiment
#
# Set the learning rate of full fine-tuning (in `WAYS`) to 8e-3 and run again. Before you look: where will F be, on which
# side of the valley? Which point of the line from P to F will be best for novels?
#
# ## Questions
#
# 1. Why may the map show a *lower* loss under a recorded point than the weights there really had?
# 2. A plane through P, F and the frozen model has all of those in it. What is then hidden?
# 3. These losses are of 6 novels and 12 old texts. What would others change: the shape of the valley, or its place?
#
# **Answers.** The experiment, with seed 1: F lies 25 from P instead of 7, *beyond* the valley; there novels cost .79 nats
# instead of .60, and the old domains 3.5 instead of .65. Half-way back, at t = 0.5, the excess on novels is a third of that
# at F (.11 for .33), and on the old domains an eighth (.37 for 2.9). The direction was good; the step was too long. 1.
# Training jitters across the valley, and a projection drops what lies across: what is left can be the better part. 2. The
# adapter. Every such picture hides all dimensions but two; know which. 3. Try other numbers in `world.documents`.
