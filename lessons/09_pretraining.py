# %% [markdown]
# # Lesson 9: pretraining, and what a surface can show
#
# **Question.** A model has a loss of 0.6 nats. Is that good? And where do its weights go while it learns: can we *see* that?
#
# **Time.** 25 seconds to run on two cores, 40 minutes to read and try.
#
# **Read.** Lesson 7 (what a language model does). Along with this one: `minillm/text/domains.py` (the texts of the world),
# `minillm/text/grammar.py` (how their probabilities are known), `minillm/train/trainer.py` (one step).
#
# **Exercises.** 21 `filter_normalisation` (`minillm lesson 9 --start`).

# %%
import textwrap

import numpy as np
from common import Lesson, copy_of, generalist_file, new_generalist, save_generalist, settings
from tqdm import tqdm

from minillm import World, draw, evaluate_world
from minillm.draw.maps import contours, mark, trail
from minillm.draw.styles import LIGHT, colors
from minillm.surface.directions import filter_normalised, pca_plane, random_plane, random_walk_shares
from minillm.surface.measure import measure_surface
from minillm.surface.space import Probe, Space
from minillm.tasks.evaluate import mean_excess, pooled, token_log_p
from minillm.tasks.samples import write_and_judge
from minillm.train.recorder import Recorder

lesson = Lesson(9, "pretraining, and what a surface can show")
world = World(lesson.seed)
words = world.tokenizer.tokens
TEST, GRID = (10, 7) if lesson.quick else (100, 21)

# %% [markdown]
# ## The world, and the floor
#
# There are six kinds of text, each written by a small program. Each trains a skill: copying (report), recalling a list in
# order (recipe), knowing which verb fits which thing (chat), finding a step that is never stated (count) or a mood (words),
# and a little of everything (story).

# %%
for name in world.general:
    ids = world.documents(name, 1, "test")[0].ids
    print(textwrap.fill(world.tokenizer.decode(ids[1:-1]), 110, subsequent_indent="    "))

# %% [markdown]
# A language model's loss is its mean surprise,
#
# $$ \text{loss} = -\frac1n \sum_t \log p_\text{model}(w_t \mid w_1 \dots w_{t-1}) \quad \text{nats per token.} $$
#
# The programs know the *true* probabilities. A name is one of twelve, so its surprise is log 12 = 2.5 nats for every model.
# Its second mention is certain, for a model that has learned to copy. The mean true surprise is the entropy of the text: no
# model can, on average, go below it. It is the **floor**, and the distance from it,
#
# $$ \text{excess} = \text{loss} - \text{floor}, $$
#
# is what is still left to learn. 0 is perfect. A loss of 0.6 alone says nothing: it may be perfect (if the text is that
# random) or poor.

# %%
document = world.documents("report", 1, "test")[0]
said = [f"{words[i]} {np.exp(log_p):.2g}" for i, log_p in zip(document.ids[2:], document.log_p[1:])]
print("each word of a report with its true probability:")
print(textwrap.fill("   ".join(said), 110))
print(f"floor of this document: {-document.log_p[1:].mean():.3f} nats a token, over {len(said)} tokens")

# %% [markdown]
# ## The code
#
# `trainer.step` does four of the five steps of lesson 5: forward, loss, backward, and the step itself, by a better rule than
# plain gradient descent (Muon, `minillm/train/optimizers/muon.py`). The cores share the batch. Every document is new: the
# model never reads a text twice, so it cannot memorise any.
#
# From time to time we look at texts of the validation split. A **recorder** copies all weights during training, for later.

# %%
def look(model):
    """What has been learned so far: loss, floor, and the excess of each kind of text."""
    scores = evaluate_world(model, world, "validation", 24, domains=world.general)
    return {"loss": pooled(scores), "floor": pooled(scores, "floor"), "excess": {name: s.excess for name, s in scores.items()}}


steps = settings(lesson).steps
model, trainer, batches = new_generalist(world, lesson)
untrained = copy_of(model)
recorder = trainer.on_step = Recorder(every=steps // 20, last=steps)
recorder(trainer)                                                   # the start
history = {"steps": steps, "loss": [], "validation": []}
print(f"{'step':>6s}{'loss':>8s}{'floor':>8s}  excess over the floor:" + "".join(f"{name:>8s}" for name in world.general))
for step in tqdm(range(steps), desc="pretraining", disable=None):
    history["loss"].append(trainer.step(*batches.at(step)))
    if trainer.steps_done % (steps // 10) == 0:
        seen = look(model)
        history["validation"].append({"step": trainer.steps_done} | seen)
        tqdm.write(f"{trainer.steps_done:6d}{seen['loss']:8.3f}{seen['floor']:8.3f}{'':24s}"
                   + "".join(f"{excess:8.3f}" for excess in seen["excess"].values()))
save_generalist(model, world, lesson)
print(f"kept for all lessons: {generalist_file(lesson)}")

# %% [markdown]
# Read the columns downwards. The first fall is over before the first row: the model already knows the *frame* of each text
# (which kind of word comes where), and guesses what it should recall. What happens next is clearest for recipe and count: they
# fall slowly until attention finds the positions to look at (lesson 7), and then faster. When this happens depends on the kind
# of text and on the seed. The last is count, whose step is never stated. (An excess slightly below 0 would be noise from a
# small number of texts.)

# %%
draw.pretraining(history, lesson.path("pretraining.png"))
lesson.shown(lesson.path("pretraining.png"))

scores = evaluate_world(model, world, "test", TEST)
print(f"\non {TEST} test documents of each kind, in nats a token:\n{'':10s}{'loss':>8s}{'floor':>8s}{'excess':>8s}{'+-':>7s}")
for name, score in scores.items():
    print(f"{name:10s}{score.loss:8.3f}{score.floor:8.3f}{score.excess:8.3f}{1.96 * score.stderr:7.3f}")
before = mean_excess(evaluate_world(untrained, world, "test", TEST, domains=world.general), world.general)
lesson.expect("excess before training, mean of the six", before, "4.7 ± 0.1")
lesson.expect("excess after, mean of the six", mean_excess(scores, world.general), "0.03 ± 0.02")
lesson.expect("excess on words", scores["words"].excess, "0.02 ± 0.02")
lesson.expect("loss on words", scores["words"].loss, "1.55 ± 0.03")
lesson.expect("excess on novels, hardly ever read", scores["novel"].excess, "1.3 ± 0.2")

# %% [markdown]
# The excess falls from 4.7 ± 0.1 nats to 0.03 ± 0.02. *words* has by far the highest loss, 1.55 ± 0.03, but there is hardly
# anything left to learn in it: 0.02 ± 0.02. Most is left in *count*, with little more than a third of the loss of *words*. The
# loss alone does not show this. Novels, of which the model has read only a few, are at 1.3 ± 0.2: they are for lessons 10 to
# 14.
#
# Here is what it knows about the report above, word by word. Where the true probability is 1 (the copied name and place, the
# number + 3) the model should be near 1; where it is 1/12, *not above that*: being surer than the truth is as wrong as being
# less sure.

# %%
[(log_p, _)] = token_log_p(model, [document.ids])                   # of one document: (log p, was it the likeliest?)
print(f"{'word':12s}{'p true':>8s}{'p model':>9s}{'excess':>8s}")
for i, true, new in list(zip(document.ids[1:], np.exp(document.log_p), np.exp(log_p)))[1:]:
    excess = np.log(true / new)
    print(f"{words[i]:12s}{true:8.3f}{new:9.3f}{excess:8.3f}{'   <-' if abs(excess) > 0.3 else ''}")
for name in world.general:
    [(text, mistake)] = write_and_judge(model, world, [name], [lesson.rng(5)], 0.8)
    remark = f"breaks a rule: {mistake}" if mistake else "without a mistake"
    print(textwrap.fill(f"<{name}> {text}   [{remark}]", 110, subsequent_indent="    "))

# %% [markdown]
# ## What a surface can show
#
# We could draw the whole loss surface of a neuron with one weight and one bias (lesson 1). This model has a quarter of a
# million parameters. A picture shows the loss on a *plane* in that space, given by a point and two directions,
#
# $$ \theta(a, b) = \theta_0 + a\,u + b\,v $$
#
# and everything depends on the choice. First choose the plane that shows **as much as possible of the recorded trajectory**.
# Put the recorded weights minus the last ones into the rows of a matrix M; its two **principal components**, the directions
# along which the rows vary most, span this plane. The trajectory is projected onto the plane, and the part of a point that
# the plane does not show,
#
# $$ \text{projection error} = \frac{|\delta - a\,u - b\,v|}{|\delta|} \qquad \delta = \theta - \theta_0, $$
#
# is always reported: 0 means that the point lies in the plane, 1 that the plane shows nothing of the movement to it. (Shares
# of the movement refer to squared lengths: a point with error e has the share 1 - e² in the plane.)

# %%
space = Space(model)
at_steps, snapshots = recorder.trajectory()
trajectory = [space.vector(arrays) for arrays in snapshots]
plane = pca_plane([trajectory], [at_steps], "end")
task = "all six kinds"
probe = Probe({task: [document.ids for name in world.general for document in world.documents(name, 2)]})
surface = measure_surface(space, plane, {"pretrained": trajectory[-1]}, {"pretraining": (at_steps, snapshots)}, probe, GRID,
                          info={"view": "pca", "seed": lesson.seed})
path = surface.trajectories["pretraining"]
with lesson.picture("surface.png", 12.8, 6) as fig:
    color = colors(["pretrained", "pretraining"])
    ax = fig.add_axes([0.075, 0.13, 0.42, 0.74])
    contours(ax, surface, task, 0)
    trail(ax, path, color["pretraining"], steps // 10)
    mark(ax, surface, color)
    ax.annotate("start", path.ab[0], (-8, 0), textcoords="offset points", ha="right", va="center", color=color["pretraining"],
                weight="bold", path_effects=LIGHT.halo)
    ax.set_title("The plane that shows most of the trajectory")
    loss, error = fig.add_axes([0.66, 0.55, 0.32, 0.32]), fig.add_axes([0.66, 0.13, 0.32, 0.27])
    loss.plot(path.steps, path.loss[task], color=color["pretraining"], label="true")
    loss.plot(path.steps, path.shown[task], color=color["pretraining"], ls=(0, (3, 2)), label="on the map")
    loss.set(title="Loss along the trajectory", ylabel="nats per token", ylim=(0, None))
    loss.legend()
    error.plot(path.steps[:-1], path.residual[:-1], color=LIGHT.models["full"])
    error.set(title="Projection error", xlabel="step", ylim=(0, 1.05))
    for each in (loss, error):
        each.grid(axis="y")
for line in surface.checks():
    print(" ", line)

shares = np.linalg.svd(np.array(trajectory) - trajectory[-1], compute_uv=False) ** 2
shares, null = 100 * shares / shares.sum(), 100 * random_walk_shares([at_steps], "end")
lesson.expect("% of the movement that the two components show", shares[:2].sum(), "88 ± 1")
lesson.expect("% of it for a random walk of as many steps", null[:2].sum(), "90.2 ± 0.1")
lesson.expect("at the start: true loss", path.loss[task][0], "5.2 ± 0.1")
lesson.expect("at the start: loss on the map under it", path.shown[task][0], "2.2 ± 0.3")
lesson.expect("at the start: projection error", path.residual[0], "0.24 ± 0.02")
lesson.expect("largest projection error of the trajectory", np.nanmax(path.residual), "1.00 ± 0.01")

# %% [markdown]
# The plane shows 88 ± 1 % of all movement. That is impressive, until you ask what such a plane would show of *pure chance*:
# for a random walk with steps of equal length, recorded at the same steps, it is 90.2 ± 0.1 %. (The early points of a walk
# are far from its end, and lie along a curve that two components capture well.) So the share alone proves nothing. The
# random walk is the **null model** of such a picture, which should never be shown without it.
#
# And the loss on the map is not the loss along the trajectory. At the start the true loss is 5.2 ± 0.1, that of chance; the
# point of the map below it has 2.2 ± 0.3, although the projection error there is only 0.24 ± 0.02. Near the end the map
# misses nearly everything, 1.00 ± 0.01: the last small steps go in other directions, and on the plane they seem to stand
# still.
#
# ## Directions at random
#
# Many papers draw the loss along two *random* directions instead. Then how long should a step be? A step of length 1 means
# something different in each model: if there is a ReLU, or nothing, between two layers, you can double the first and halve
# the second without changing the function. So Li et al. (2018) scale a random direction d by the weights themselves,
# **filter by filter**. A filter is the set of weights that computes one output number: in y = x W, with W stored as (in,
# out), column i of W:
#
# $$ \tilde d_{ki} = d_{ki}\,\frac{|W_{\cdot i}|}{|d_{\cdot i}|} \qquad |W_{\cdot i}| = \sqrt{\sum_k W_{ki}^2} $$
#
# Then every column of the new direction is as long as that column of W. (Gains and biases have no filters, and do not move.
# In a table of words a filter is a row.) If a column of W is doubled, so is the direction. Let us check. In every block we
# multiply the gain and bias of the second norm by 4 and divide the matrix after it by 4. No output changes. Both networks
# move by three tenths of the normalised direction, and then by three tenths of a direction that is normalised only as a
# whole.

# %%
def rescaled(theta):
    """The same function with other weights."""
    arrays = {name: array.copy() for name, array in space.arrays(theta).items()}
    for name, array in arrays.items():
        if ".ln_2." in name:
            array *= 4
        elif name.endswith("mlp.fc.weight"):
            array /= 4
    return space.vector(arrays)


original = trajectory[-1].astype(np.float64)
twin = rescaled(original)
REACH = 0.3
draws = lesson.rng(6).standard_normal((3, space.size))


def along(theta, d, normalise):
    """The loss after a step along a direction, minus the loss before it."""
    step = filter_normalised(d, theta, space)[0] if normalise else d * (np.linalg.norm(theta) / np.linalg.norm(d))
    return space.losses(theta + REACH * step, probe)[task] - space.losses(theta, probe)[task]


gaps = {}
for normalise in (True, False):
    rises = np.array([[along(theta, d, normalise) for theta in (original, twin)] for d in draws])
    print("filter by filter" if normalise else "as a whole      ", *(f"{a:.4f} | {b:.4f}    " for a, b in rises))
    gaps[normalise] = np.abs(rises[:, 0] - rises[:, 1]).max()
lesson.expect("same function, other weights: difference, filters", gaps[True], "0 ± 0.0005")
lesson.expect("... normalised as a whole", gaps[False], "0.23 ± 0.12")

flat = random_plane(space, original, lesson.rng(7))
error = flat.project(trajectory[0])[1]
lesson.expect("millionths of the movement that a random plane shows", 1e6 * (1 - error ** 2), "18 ± 18")

# %% [markdown]
# Filter by filter, the largest difference over three directions is 0 ± 0.0005; as a whole it is 0.23 ± 0.12, for the very
# same function. But a random plane shows only 18 ± 18 millionths (of the squared length) of the movement from start to end.
# It may show how steep the ground is around a model. It shows nothing of how the model got there.
#
# ## What to notice
#
# - Compare a loss with its floor. Compare a picture of a surface with its null model, and read its projection error.
# - Only the point P, the end of training, is certain to be shown correctly. The rest of the trajectory is a shadow.
# - Lesson 12 puts the plane through three models that we care about. Then at least these three really are where they are
#   drawn.
#
# ## Exercise
#
# ```
# minillm lesson 9 --start
# minillm check 21 --watch         a direction, filter by filter
# ```
#
# ## Questions
#
# 1. Can the excess of one *document* be negative? Of one word? Of a kind of text, over very many documents?
# 2. Suppose the model says 0.10 where the true probability is 0.083, and 0.95 where it is 1. Which costs it more?
# 3. Sometimes the training loss jumps for one step (the thin line in the picture). Why? Look at `minillm/text/batches.py`.
# 4. Set `n_head` to 1 in `settings` of `lessons/common.py` and run again. Which kinds of text suffer?
#
# **Answers.** 1. A word and a document: yes, if the model happens to bet on what comes. A kind of text: no. Over many
# documents the excess is the mean of log(p true / p model) under the truth, called the KL divergence, and is never negative.
# 2. The second: log(1 / 0.95) = 0.05 nats each time. The first even gains when that word comes and loses elsewhere, since
# the other words together get too little; on average the cost is of second order in the error. 3. Once in many batches there
# is a novel, and the model has hardly seen any. 4. Measure it, compare with the table above, and put it back to 4.
#
# ## Read next
#
# `minillm/train/trainer.py`, `minillm/tasks/evaluate.py` (what an excess is), `minillm/surface/plane.py` and
# `minillm/surface/directions.py`. Lesson 10 teaches the generalist something new.
