# %% [markdown]
# # Lesson 12: the loss surface, and what it hides
#
# **Goal.** Draw the loss over a plane of weight space, with three fine-tunings moving on it, and learn how far to believe the picture.
#
# **Time.** TIME
#
# **Expect.** Two maps of one plane, the new task and the old: downhill on one is uphill on the other. Three models that lie exactly in the
# plane, and recorded weights that do not; each lie of the picture measured.
#
# **Read beside it.** `minillm/surface/plane.py` (fifty lines, the whole geometry), `surface/measure.py`, `surface/recorder.py`.

# %%
import numpy as np
from common import PLOTS, generalist, options, shown

from minillm import GPT, AdamW, BottleneckAdapter, DocumentBatches, Full, Partial, Trainer, World, draw, warmup_linear
from minillm.draw.style import MODEL_COLORS, figure, save, style
from minillm.surface.measure import Space, fixed_batches, measure_surface
from minillm.surface.plane import Plane, cosine
from minillm.surface.recorder import Recorder
from minillm.train.fit import fit

args = options("Lesson 12: the loss surface, and what it hides")
WAYS = {"full": (Full(), 1e-3), "adapter": (BottleneckAdapter(bottleneck=16), 1e-2), "frozen": (Partial(), 5e-3)}
STEPS, GRID, FRAMES = (20, 7, 6) if args.quick else (100, 17, 30)
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
    ways[name] = recorder.steps, [recorder.flat.views(theta) for theta in recorder.thetas]

# %% [markdown]
# ## 2. One space for all
#
# A surface needs all models in one space, but the adapter's has more weights. So we take the space of the *adapted* model: points
# (theta, phi), the body and what was inserted. With phi_0, where adapters begin, the inserted layers do nothing: full fine-tuning is
# (theta', phi_0), the adapter (theta, phi'), the generalist (theta, phi_0), and every point between them is a model that works.

# %%
space = Space(start(WAYS["adapter"][0]))                            # the generalist, with adapters that do nothing yet
P = space.start
F, A, Z = (space.vector(models[name].state()) for name in ("full", "adapter", "frozen"))
print(f"{len(P):,d} dimensions; |P| = {np.linalg.norm(P):.1f}, |F - P| = {np.linalg.norm(F - P):.1f}, "
      f"|A - P| = {np.linalg.norm(A - P):.1f}, |Z - P| = {np.linalg.norm(Z - P):.1f}")
print(f"cosine of F - P and A - P: {cosine(F - P, A - P):.3f} (they share the norms' gains and biases, nothing else)")
print(f"cosine of F - P and Z - P: {cosine(F - P, Z - P):.3f}")

# %% [markdown]
# ## 3. Three points make a plane
#
# $$ \theta(a, b) = P + a\,u + b\,v, \qquad u = \frac{F-P}{|F-P|}, \qquad v = \text{what is left of } A-P \text{ without its part along } u, \text{ at length 1.} $$
#
# Coordinates are two dot products with theta - P. What they leave over is the **projection error**, as a part of the way from P:
# 0, the point lies in the plane; 1, the plane shows nothing of it. P, F and A must have error 0 and their own losses.

# %%
plane = Plane(P, F, A)
tasks = {"novel": fixed_batches([document.ids for document in world.documents("novel", 6)]),
         "general": fixed_batches([document.ids for name in world.general for document in world.documents(name, 2)])}
print(f"{'':11s}{'a':>7s}{'b':>7s}{'error':>8s}{'true loss: novel, general':>29s}{'loss in the plane':>22s}{'gap':>9s}")
for name, theta in {"pretrained": P, "full": F, "adapter": A, "frozen": Z}.items():
    (a, b), error = plane.project(theta)
    true, flat = space.losses(theta, tasks), space.losses(plane.at(a, b), tasks)
    gap = max(abs(true[task] - flat[task]) for task in tasks)
    print(f"{name:11s}{a:7.2f}{b:7.2f}{error:8.3f}{true['novel']:21.3f}{true['general']:8.3f}{flat['novel']:14.3f}{flat['general']:8.3f}{gap:9.0e}")

# %% [markdown]
# The frozen model is *not* in this plane. Its place on the map is the point nearest to it, and that is another model.
#
# ## 4. The map
#
# At each point of a grid: the loss of the model with those weights, on the same few texts. Left the new task, right the old.

# %%
found = measure_surface(
    space.model, {name: model.state() for name, model in models.items()}, ways, tasks, GRID,
    facts={"seed": args.seed, "labels": ["the body moves", "the adapters move"],
           "directions": "the plane through the pretrained, the full and the adapter model"})
pictures = [PLOTS / "lesson12_surface.png", PLOTS / "lesson12_weights_moving.gif"]
draw.surface(found, pictures[0])
draw.animate(found, pictures[1], frames=FRAMES)
for picture in pictures:
    shown(picture, args)
for line in found.checks():
    print(" ", line)

# %% [markdown]
# ## 5. What the picture hides
#
# **The way.** Only P, F and A are in the plane; the weights between were elsewhere. Below is the way of full fine-tuning: its true loss,
# the loss of the map under it, and the error.

# %%
way = found.paths["full"]
print(f"{'step':>5s}{'error':>8s}{'true loss':>11s}{'on the map':>12s}   (novels)")
for i in range(0, len(way.steps), 4):
    on_map = space.losses(plane.at(*way.ab[i]), tasks)["novel"]
    print(f"{way.steps[i]:5d}{way.residual[i]:8.2f}{way.loss['novel'][i]:11.3f}{on_map:12.3f}")

# %% [markdown]
# **All other directions.** The plane is two of many thousand. F is a step of length |F - P| from P; here are steps just as long in
# random directions. Training did not go downhill *anywhere*: it found one of the few directions that lead down.

# %%
rng = np.random.default_rng(args.seed)
for i in range(3):
    step = rng.standard_normal(len(P))
    losses = space.losses(P + np.linalg.norm(F - P) * step / np.linalg.norm(step), tasks)
    print(f"random direction {i + 1}: novel {losses['novel']:.3f}, general {losses['general']:.3f}")
here, there = space.losses(P, tasks), space.losses(F, tasks)
print(f"at P:               novel {here['novel']:.3f}, general {here['general']:.3f}")
print(f"at F:               novel {there['novel']:.3f}, general {there['general']:.3f}")

# %% [markdown]
# ## 6. The straight line from P to F
#
# (1 - t) P + t F mixes generalist and specialist, weight by weight. It costs no training.

# %%
ts = np.linspace(0, 1.5, 13)
line = [space.losses((1 - t) * P + t * F, tasks) for t in ts]
print(f"{'t':>6s}{'novel':>8s}{'general':>9s}{'sum':>8s}")
for t, losses in zip(ts, line):
    print(f"{t:6.3f}{losses['novel']:8.3f}{losses['general']:9.3f}{losses['novel'] + losses['general']:8.3f}")

with style():
    fig = figure(8, 5)
    ax = fig.add_axes([0.1, 0.14, 0.85, 0.75])
    for task, color in (("novel", MODEL_COLORS["full"]), ("general", MODEL_COLORS["pretrained"])):
        ax.plot(ts, [losses[task] for losses in line], "o-", color=color, label=task)
    ax.set(title="Both losses on the line from P (t = 0) to F (t = 1)", xlabel="t", ylabel="nats per token", ylim=(0, None))
    for t in (0, 1):
        ax.axvline(t, color="#777777", lw=1)
    ax.grid(axis="y")
    ax.legend()
    save(fig, PLOTS / "lesson12_line.png")
shown(PLOTS / "lesson12_line.png", args)
