# %% [markdown]
# # Lesson 12: three fine-tunings on one loss surface
#
# **Question.** Full fine-tuning, training only the last block, and training an adapter all started at the same generalist
# and went downhill. Where did they go? A model is a point in a space of a quarter of a million dimensions. Can a flat
# picture show its trajectory, and what does it hide?
#
# **Time.** 25 seconds to run on two cores, and 20 more if no lesson has made the generalist yet (`--quick`: 6 in all);
# 60 minutes to read and try.
#
# **Read.** Lessons 9 (what a surface can show) and 11 (the three methods); from school maths, the dot product.
#
# **Exercises.** 24 `plane` (`minillm lesson 12 --start`).

# %%
import numpy as np
from common import Lesson, copy_of, generalist

from minillm import (
    AdamW,
    BottleneckAdapter,
    DocumentBatches,
    Frozen,
    Full,
    Trainer,
    World,
    draw,
    evaluate_world,
    warmup_linear,
)
from minillm.draw.styles import LIGHT
from minillm.surface.line import barrier
from minillm.surface.measure import measure_surface
from minillm.surface.plane import cosine, plane_through
from minillm.surface.space import Probe, Space
from minillm.tasks.evaluate import mean_excess
from minillm.train.fit import fit
from minillm.train.recorder import Recorder

lesson = Lesson(12, "three fine-tunings on one loss surface")
STEPS, GRID, FRAMES, TEST = (10, 7, 5, 4) if lesson.quick else (100, 21, 30, 40)
METHODS = {"full": (Full(), 1e-3), "adapter": (BottleneckAdapter(bottleneck=16), 1e-2), "frozen": (Frozen(), 5e-3)}
world, base = World(lesson.seed), generalist(lesson)

# %% [markdown]
# ## Record the trajectories
#
# We train the three specialists of lesson 11 once more, with one addition: every few steps a recorder copies the weights
# that train. The copies form a **trajectory** through weight space.

# %%
def start(recipe):
    model = copy_of(base)
    recipe.apply(model, lesson.rng(1))
    return model


novels = [document.ids for document in world.documents("novel", 64, "train")]
models, trajectories = {}, {}
for name, (recipe, lr) in METHODS.items():
    models[name], recorder = start(recipe), Recorder(every=max(1, STEPS // 20))
    batches = DocumentBatches(novels, 16, lesson.seed)
    trainer = Trainer(models[name], AdamW(lr), warmup_linear(STEPS), total=batches.total, on_step=recorder)
    recorder(trainer)                                               # the start
    fit(trainer, batches, STEPS, title=name)
    trajectories[name] = recorder.trajectory()

# %% [markdown]
# ## One space for all
#
# To draw models on one map they must be points of one space, but the adapter's model has weights that the others lack. So
# take the space of the *adapted* model. A point of it is (theta, phi): the body and the inserted modules. At phi_0, where
# adapters start, they do nothing (lesson 11). So
#
# - the generalist is P = (theta, phi_0),
# - full fine-tuning is F = (theta_F, phi_0), the frozen model with its trained last block is Z = (theta_Z, phi_0),
# - the adapter is A = (theta, phi_A), except that it trains the norms too,
#
# and every point between them is a model too, whose loss we can measure. The difference of two points is a vector: F - P has a
# length |F - P| and a direction. The **cosine** of two vectors says whether they point in the same direction (1), at right
# angles (0) or in opposite directions (-1).

# %%
origin = start(METHODS["adapter"][0])                               # the generalist, with adapters that do nothing yet
space = Space(origin)
P = space.start
F, A, Z = (space.vector(models[name].state_dict()) for name in ("full", "adapter", "frozen"))
print(f"{len(P):,d} dimensions, |P| = {np.linalg.norm(P):.1f}")

# %% [markdown]
# F is 6.7 ± 0.4 away from P, A is 10.5 ± 0.4 away, and Z goes farthest, 18.8 ± 0.7. The cosine of F - P and A - P is
# 0.013 ± 0.003: the two share only the norms, and are almost at right angles. That of F - P and Z - P is 0.47 ± 0.03.

# %%
lesson.expect("|F - P|", np.linalg.norm(F - P), "6.7 ± 0.4")
lesson.expect("|A - P|", np.linalg.norm(A - P), "10.5 ± 0.4")
lesson.expect("|Z - P|", np.linalg.norm(Z - P), "18.8 ± 0.7")
lesson.expect("cosine of F - P and A - P", cosine(F - P, A - P), "0.013 ± 0.003")
lesson.expect("cosine of F - P and Z - P", cosine(F - P, Z - P), "0.47 ± 0.03")

# %% [markdown]
# ## Three points make a plane
#
# Through three points that are not on one line there is exactly one plane (Garipov et al. 2018). To draw on it we need two
# directions u and v of length 1 at right angles, so that its points are
#
# $$ \theta(a, b) = P + a\,u + b\,v $$
#
# u is F - P, divided by its length. v must lie in the plane too, so we start from w = A - P. It is not at right angles to u.
# Some part of it, c u, points along u; the rest, w - c u, should not. So its dot product with u must be 0:
#
# $$ 0 = (w - c\,u)\cdot u = w\cdot u - c\,(u\cdot u) = w\cdot u - c \qquad\Rightarrow\qquad c = w\cdot u $$
#
# (u . u is the square of its length, 1.) So, in two steps called **Gram-Schmidt**:
#
# $$ u = \frac{F-P}{|F-P|} \qquad\qquad v = \frac{w - (w\cdot u)\,u}{|w - (w\cdot u)\,u|}, \quad w = A - P $$
#
# ## Where on the plane is a point?
#
# Weights recorded during training do not lie in the plane. Which point of the plane is nearest to theta? Write delta for
# theta - P. We look for the a and b that minimise the square of the distance:
#
# $$ E(a, b) = |\delta - a\,u - b\,v|^2 = \sum_i (\delta_i - a\,u_i - b\,v_i)^2 $$
#
# At the minimum, both slopes are 0:
#
# $$ 0 = \frac{\partial E}{\partial a} = -2\sum_i (\delta_i - a\,u_i - b\,v_i)\,u_i
#      = -2\,(\delta\cdot u - a\;u\cdot u - b\;v\cdot u) = -2\,(\delta\cdot u - a) $$
#
# because u . u = 1 and v . u = 0. The same holds for v, so each coordinate is one dot product:
#
# $$ a = \delta\cdot u \qquad b = \delta\cdot v $$
#
# (Of delta, not of theta: the plane goes through P, not through 0.) The rest is what the map cannot show. As a fraction of
# the distance from P it is the **projection error**,
#
# $$ \text{error} = \frac{|\delta - a\,u - b\,v|}{|\delta|} $$
#
# 0 means that the point lies in the plane, 1 that the plane shows nothing of the movement from P to it. In three dimensions
# we can see all of this:

# %%
toy = plane_through([0, 0, 0], [3.2, 0, 0], [1.0, 2.0, 0])
theta = np.array([2.3, 1.5, 1.5])
(a, b), error = toy.project(theta)
foot = toy.at(a, b)
with lesson.picture("projection.png", 8.6, 5.2) as fig:
    ax = fig.add_axes([-0.2, -0.3, 1.4, 1.45], projection="3d", computed_zorder=False)
    blue, sheet = LIGHT.models["frozen"], np.array([[toy.at(s, t) for s in (-0.5, 3.7)] for t in (-0.5, 2.4)])
    ax.plot_surface(*sheet.transpose(2, 0, 1), color="#CAD2DA", alpha=0.6, shade=False)
    ax.plot(*zip(toy.origin, toy.at(a, 0), foot, toy.at(0, b), toy.origin), "--", color=LIGHT.faint, lw=1.8)
    for direction, name, beside in ((toy.u, "u", (0.4, -0.36, 0)), (toy.v, "v", (-0.33, 0.55, 0))):
        ax.quiver(*toy.origin, *direction, color=LIGHT.ink, lw=3, arrow_length_ratio=0.14)
        ax.text(*(toy.origin + beside), name, size=16, weight="bold", ha="center")
    for point, name, model, to in (((0, 0, 0), "P", "pretrained", -0.22), ((3.2, 0, 0), "F", "full", -0.22),
                                   ((1, 2, 0), "A", "adapter", 0.25)):
        color = LIGHT.models[model]
        ax.plot(*np.reshape(point, (3, 1)), "o", ms=12, color=color)
        ax.text(*(np.array(point) + (to, -0.2, 0)), name, size=16, weight="bold", color=color, ha="center")
    ax.plot(*zip(toy.origin, theta), "-", color=blue, lw=2.5)
    ax.plot(*zip(foot, theta), ":", color=blue, lw=3.5)
    ax.plot(*theta[:, None], "o", ms=11, color=blue)
    ax.plot(*foot[:, None], "o", ms=11, mfc="white", mec=blue, mew=2.5)
    ax.text(*(theta + (0.14, 0, 0)), "theta", size=15, color=blue, weight="bold")
    ax.text(*(0.5 * theta + (-0.1, 0, 0.1)), "delta", size=15, color=blue, ha="right")
    ax.text(*(0.5 * (foot + theta) + (0.12, 0, 0)), f"not on the map:\n{error:.0%} of delta", size=14, color=blue, va="center")
    ax.text(*(foot + (0.14, 0, 0)), f"a = {a:.1f}, b = {b:.1f}", size=14, va="center")
    ax.set_axis_off()
    ax.view_init(30, -72)
    ax.set_box_aspect((4.4, 3.1, 1.5), zoom=0.98)
    fig.text(0.03, 0.93, "The map shows of theta the nearest point of the plane", size=14.5, weight="bold")

# %% [markdown]
# ## The plane of our three models
#
# P, F and A must lie in it: their error is 0 ± 1e-9, and the loss of the plane at these points differs from their own by
# 0 ± 1e-4.

# %%
plane = plane_through(P, F, A, labels=("the body moves", "the adapters move"),
                directions="the plane through the pretrained, the full and the adapter model")
probe = Probe({"novel": [document.ids for document in world.documents("novel", 6)],
               "general": [document.ids for name in world.general for document in world.documents(name, 2)]})
errors, gaps, true = {}, {}, {}
print(f"{'':11s}{'a':>7s}{'b':>7s}{'error':>8s}{'true loss: novel, general':>29s}{'loss in the plane':>22s}")
for name, theta in {"pretrained": P, "full": F, "adapter": A, "frozen": Z}.items():
    (a, b), errors[name] = plane.project(theta)
    true[name], flat = space.losses(theta, probe), space.losses(plane.at(a, b), probe)
    gaps[name] = max(abs(true[name][task] - flat[task]) for task in probe.tasks)
    print(f"{name:11s}{a:7.2f}{b:7.2f}{errors[name]:8.3f}{true[name]['novel']:21.3f}{true[name]['general']:8.3f}"
          f"{flat['novel']:14.3f}{flat['general']:8.3f}")
lesson.expect("largest error of P, F and A", max(errors[name] for name in ("pretrained", "full", "adapter")), "0 ± 1e-9")
lesson.expect("and largest gap of their losses", max(gaps[name] for name in ("pretrained", "full", "adapter")), "0 ± 1e-4")

# %% [markdown]
# The frozen model is *not* in this plane: its error is 0.88 ± 0.02. The point below it on the map is another model, whose
# losses differ by up to 0.14 ± 0.06 nats: lower on novels, higher on the old kinds. A dot on a map proves nothing by itself.

# %%
lesson.expect("error of the frozen model", errors["frozen"], "0.88 ± 0.02")
lesson.expect("its loss against that of the map below it", gaps["frozen"], "0.14 ± 0.06")

# %% [markdown]
# ## The maps
#
# At each point of a grid we measure the loss of the model with those weights, always on the same few texts. Left is the new
# task, right are the old ones. (The longer of the two axes is horizontal.)

# %%
surface = measure_surface(space, plane, {"pretrained": P, "full": F, "adapter": A, "frozen": Z}, trajectories, probe, GRID,
                          info={"view": "three", "seed": lesson.seed})
draw.surface(surface, lesson.path("surface.png"))
lesson.shown(lesson.path("surface.png"))
draw.animate(surface, lesson.path("weights_moving.gif"), frames=FRAMES)
lesson.shown(lesson.path("weights_moving.gif"))
print("Is the picture right?", *surface.checks(), sep="\n  ")

# %% [markdown]
# Left, P lies on a slope, and both trajectories lead down into the same valley. Right, at the same weights, P lies in a wide
# hollow, and both lead up: by 0.22 ± 0.05 nats to F, by 0.43 ± 0.25 to A. This is what forgetting looks like.

# %%
lesson.expect("old kinds: from P up to F", true["full"]["general"] - true["pretrained"]["general"], "0.22 ± 0.05")
lesson.expect("old kinds: from P up to A", true["adapter"]["general"] - true["pretrained"]["general"], "0.43 ± 0.25")

# %% [markdown]
# ## What the picture hides: the trajectory itself
#
# The trajectories look straight because the axes go through their ends. In between, the weights were elsewhere. Here is the
# trajectory of full fine-tuning: its error, its true loss, and the loss of the map below it.

# %%
full_run = surface.trajectories["full"]
print(f"{'step':>5s}{'error':>8s}{'true loss':>11s}{'on the map':>12s}   (novels)")
for i in [0, 1, 2, 3, *range(4, len(full_run.steps), 4)]:
    print(f"{full_run.steps[i]:5d}{full_run.residual[i]:8.2f}{full_run.loss['novel'][i]:11.3f}{full_run.shown['novel'][i]:12.3f}")

# %% [markdown]
# After five steps the plane misses 0.83 ± 0.03 of the movement, and the map is 0.33 ± 0.07 nats too high: much of what had
# improved the model by then lies in directions that the map does not show. At step 20 the error is still 0.54 ± 0.05. At the
# end it is 0, but only because we put the plane there. The dashed lines under the maps show this for all trajectories.

# %%
lesson.expect("error after five steps", full_run.residual[1], "0.83 ± 0.03")
lesson.expect("on the map minus true loss there", full_run.shown["novel"][1] - full_run.loss["novel"][1], "0.33 ± 0.07")
lesson.expect("error at a fifth of the steps", full_run.residual[len(full_run.steps) // 5], "0.54 ± 0.05")

# %% [markdown]
# ## What the picture hides: all other directions
#
# F is a step of length |F - P| from P, and lowers the loss on novels by 1.2 ± 0.2 nats. Take five steps of the same length
# in random directions. The largest change is 0.07 ± 0.03. In nearly all directions the ground is almost flat; the map has a
# slope because we put the plane where training went.

# %%
rng, changes = lesson.rng(5), []
for _ in range(5):
    step = rng.normal(size=len(P))
    losses = space.losses(P + np.linalg.norm(F - P) * step / np.linalg.norm(step), probe)
    changes.append(losses["novel"] - true["pretrained"]["novel"])
print("loss on novels, changed by random steps:", *(f"{change:+.3f}" for change in changes))
lesson.expect("novels: from P down to F", true["pretrained"]["novel"] - true["full"]["novel"], "1.2 ± 0.2")
lesson.expect("the largest change of five random steps", max(map(abs, changes)), "0.07 ± 0.03")

# %% [markdown]
# ## The straight line from P to F
#
# A line needs no projection. (1 - t) P + t F mixes generalist and specialist, weight by weight, without any training. Here
# we measure the excess over the floor (lesson 9), on more texts.

# %%
mixed, ts = copy_of(base), np.linspace(0, 1.5, 13)
before, after, new, old = base.state_dict(), models["full"].state_dict(), [], []
for t in ts:
    mixed.load_state_dict({key: (1 - t) * before[key] + t * after[key] for key in before})
    scores = evaluate_world(mixed, world, "test", TEST)
    new.append(scores["novel"].excess)
    old.append(mean_excess(scores, world.general))
    print(f"t = {t:5.3f}   excess on novels {new[-1]:6.3f}   on the old kinds {old[-1]:6.3f}")


def part(values, t=ts):
    """The change from t = 0 to t, in per cent of the change from t = 0 to 1."""
    return 100 * (np.interp(t, ts, values) - values[0]) / (np.interp(1, ts, values) - values[0])


with lesson.picture("line.png", 12.8, 5.2) as fig:
    left, right = fig.add_axes([0.07, 0.14, 0.4, 0.73]), fig.add_axes([0.56, 0.14, 0.4, 0.73])
    for values, name, change, color in ((new, "novels", "gained on novels", LIGHT.models["full"]),
                                        (old, "the old kinds", "lost on the old kinds", LIGHT.ink)):
        left.plot(ts, values, "o-", color=color, label=name)
        right.plot(ts, part(values), "o-", color=color, label=change)
    left.set(title="From P straight to F, and beyond", ylabel="nats per token above the floor", ylim=(0, None))
    right.set(title="The last steps gain little and cost much", ylabel="per cent of the change from P to F", xlim=(-0.04, 1.16),
              ylim=(-5, 150))
    for ax in (left, right):
        ax.set_xlabel("t: P at 0, F at 1")
        ax.axvline(1, color=LIGHT.faint, lw=1, ls="--")
        ax.grid(axis="y")
        ax.legend(loc="upper right" if ax is left else "upper left")

# %% [markdown]
# There is no barrier in between: neither curve rises above the straight chord between its ends, 0 ± 0.005 nats. Halfway
# gives 88 ± 3 % of the gain on novels for 21 ± 4 % of what is lost on the old kinds, three quarters 99 ± 1 % for 51 ± 8 %.
# The two curves show why. At P the old loss is flat, since pretraining has brought it near a minimum, and it rises slowly at
# first. The new one falls steeply at P and is flat at F. So the first steps back from F cost the new task almost nothing,
# and help the old ones. (Wortsman et al. 2022 build on this. Lesson 14 asks how far back to go.)

# %%
lesson.expect("barrier on the line, in nats", max(barrier(ts, values) for values in (new, old)), "0 ± 0.005")
lesson.expect("gained on novels at t = 0.5, in %", part(new, 0.5), "88 ± 3")
lesson.expect("lost on the old kinds at t = 0.5, in %", part(old, 0.5), "21 ± 4")
lesson.expect("gained on novels at t = 0.75, in %", part(new, 0.75), "99 ± 1")
lesson.expect("lost on the old kinds at t = 0.75, in %", part(old, 0.75), "51 ± 8")

# %% [markdown]
# ## What to notice
#
# - A surface depends on a choice of two directions, a few texts, and a centre. Ask for all three before you believe one.
# - The same plane looks different for every task. Draw at least two.
# - Report the projection error with every dot, and the true loss beside the loss of the map.
#
# ## Exercise
#
# Exercise 24 asks for the geometry: `directions(P, F, A)`, the two unit vectors, and `coordinates(theta, P, u, v)`, a, b and
# the error. At theta = P there is no movement that the plane could miss, so the error is 0.
#
# ```
# minillm lesson 12 --start
# minillm check 24 --watch
# minillm hint 24
# ```
#
# ## Questions
#
# 1. Why can the map show a *lower* loss below a recorded point than the recorded weights really had?
# 2. A plane through P, F and the frozen model contains all three. What is hidden then?
# 3. These maps were measured on 6 novels and 12 old texts. What would change with other texts: the shape of the valley, or
#    its position?
# 4. Set the learning rate of full fine-tuning (in `METHODS`) to 8e-3. Before you look: on which side of the valley will F
#    be? Which point on the line from P to F will be best for novels?
#
# **Answers.** 1. Training jitters across the valley, and a projection removes the part that lies across: what is left can be
# better. 2. The adapter. Every such picture hides all dimensions but two, so know which two are shown. 3. Measure it, with
# other numbers in `world.documents`. 4. If the lowest point of the line lies before t = 1, then F is beyond the valley: the
# direction was good, but the step was too long.
#
# ## Read next
#
# `minillm/surface/plane.py` (your exercise, in a hundred lines), `minillm/surface/measure.py` (the grid), and
# `minillm/train/recorder.py`. `minillm gallery` draws more kinds of planes. Lesson 13 asks in how many directions a matrix
# moves.
