# %% [markdown]
# # Lesson 10: transfer
#
# **Question.** The generalist has read 16,000 texts of six kinds, and hardly any novels. We have a few novels, and want a
# novelist. Is it worth starting from the generalist, or is it better to learn a new kind of text from scratch?
#
# **Time.** 40 seconds to run on two cores, 30 minutes to read and try.
#
# **Read.** Lessons 6 (overfitting) and 9 (excess over the floor).
#
# **Exercises.** 22 `freeze` (`minillm lesson 10 --start`).

# %%
import textwrap
import time

import numpy as np
from common import Lesson, copy_of, generalist
from tqdm import tqdm

from minillm import GPT, AdamW, DocumentBatches, Frozen, Full, Trainer, World, evaluate_world, warmup_linear
from minillm.draw.styles import LIGHT
from minillm.ground.processes import parallel_map
from minillm.nn import CrossEntropy
from minillm.tasks.evaluate import evaluate_documents, mean_excess
from minillm.train.costs import activation_bytes

lesson = Lesson(10, "transfer")
world, base = World(lesson.seed), generalist(lesson)
SIZES, DRAWS, STEPS, TEST = ((4, 64), 1, 15, 8) if lesson.quick else ((4, 16, 64, 256), 3, 60, 40)

# %% [markdown]
# ## The idea
#
# Fine-tuning is training that does not start from random weights, but from those of a model that has already learned
# something else. Everything else is the same: the loss, the gradient, the steps. Why should it help? A novel does what a
# story does (two people, a place, things recalled in order, a verb for each thing) in its own style. A model that knows
# stories only needs to learn the style.

# %%
for name in ("story", "novel"):
    print(textwrap.fill(world.tokenizer.decode(world.documents(name, 1, "train")[0].ids[1:-1]), 110, subsequent_indent="    "))

# %% [markdown]
# ## The equation
#
# $$ \theta_0 = \theta_\text{pretrained} \quad\text{instead of}\quad \theta_0 \sim N(0,\,0.02^2), \qquad
#    \theta_{t+1} = \theta_t - \text{step}(\nabla L_\text{novels}(\theta_t)) $$
#
# ## The experiment
#
# We train on 4, 16, 64 and 256 novels, from the generalist and from random weights, each three times with different novels.
# All runs take 60 steps. For each start and each number of novels we use the best learning rate: of a series of rates, each
# twice the one before, the one with the lowest loss on validation texts. All models are judged on novels that none of them
# has seen.

# %%
RATES = {"pretrained": {4: 5e-4, 16: 1e-3, 64: 2e-3, 256: 4e-3}, "scratch": {4: 1.5e-3, 16: 3e-3, 64: 6e-3, 256: 6e-3}}


def fine_tune(model, novels, lr, seed, recipe=None, steps=STEPS):
    """The model after some steps on some novels. Each training has one process, since several run at the same time."""
    (recipe or Full()).apply(model, lesson.rng(2))
    batches = DocumentBatches([novel.ids for novel in novels], 16, seed)
    trainer = Trainer(model, AdamW(lr), warmup_linear(steps), total=batches.total, workers=1)
    for step in range(steps):
        trainer.step(*batches.at(step))
    return model


def novel_excess(model):
    return evaluate_world(model, world, "test", TEST, workers=1, domains=["novel"])["novel"].excess


def run(job):
    """The excess after training from one start on n novels of one draw: on unseen novels, and on (four of) its own."""
    start, n, draw, steps = job
    model = copy_of(base) if start == "pretrained" else GPT(base.config, lesson.rng(1, draw))
    novels = world.documents("novel", n, "train", draw)
    fine_tune(model, novels, RATES[start][n], draw, steps=steps)
    return novel_excess(model), evaluate_documents(model, novels[:4], workers=1).excess


longer = ("scratch", SIZES[-1], 0, 5 * STEPS)                                       # one more run, for later
jobs = [longer] + [(start, n, draw, STEPS) for start in RATES for n in SIZES for draw in range(DRAWS)]
with tqdm(total=len(jobs), desc="trainings", disable=None) as bar:
    results = dict(zip(jobs, parallel_map(run, jobs, each=lambda _: bar.update())))
unseen, own = ({(start, n): [results[start, n, draw, STEPS][k] for draw in range(DRAWS)] for start in RATES for n in SIZES}
              for k in (0, 1))
untouched = novel_excess(base)
print(f"excess on novels; the generalist, untouched: {untouched:.3f}\n{'':8s}{'pretrained':>28s}{'from scratch':>34s}")
print(f"{'novels':>8s}" + f"{f'unseen (range of {DRAWS})':>24s}{'own':>10s}" * 2)
for n in SIZES:
    print(f"{n:8d}" + "".join(f"{np.mean(unseen[start, n]):11.3f} ({min(unseen[start, n]):.2f}-{max(unseen[start, n]):.2f})"
                              f"{np.mean(own[start, n]):10.3f}" for start in RATES))

# %% [markdown]
# ## See

# %%
with lesson.picture("transfer.png", 9.6, 5.6) as fig:
    ax = fig.add_axes([0.1, 0.13, 0.66, 0.76])
    for start, color, text in (("scratch", LIGHT.models["scratch"], "from scratch"),
                               ("pretrained", LIGHT.models["full"], "from the\ngeneralist")):
        mean = [np.mean(unseen[start, n]) for n in SIZES]
        low, high = ([end(unseen[start, n]) for n in SIZES] for end in (min, max))
        ax.fill_between(SIZES, low, high, color=color, alpha=0.25, lw=0)
        ax.plot(SIZES, mean, "o-", color=color, ms=9, mec="white")
        ax.annotate(text, (1, mean[-1]), (8, 0), ("axes fraction", "data"), "offset points", va="center", color=color)
    ax.axhline(untouched, color=LIGHT.models["pretrained"], ls="--", lw=1.5)
    ax.annotate("the generalist,\nuntouched", (1, untouched), (8, 0), ("axes fraction", "data"), "offset points", va="center")
    ax.annotate("shaded: from the lowest to\nthe highest of three draws", (0.97, 0.62), xycoords="axes fraction", ha="right")
    ax.set(title="A few novels are enough, after many other texts", xscale="log", xlabel="novels to learn from",
           ylabel="nats per token above the floor", ylim=(0, None))
    ax.set_xticks(SIZES, SIZES)
    ax.minorticks_off()
    ax.grid(axis="y")

# %% [markdown]
# With four novels the generalist reaches 0.39 ± 0.06, with 16 novels 0.20 ± 0.04. From scratch, four novels lead to
# 1.54 ± 0.08, which is worse than the untouched generalist, 1.3 ± 0.2. With 256 novels it is 0.04 ± 0.03 against 0.52 ± 0.03.
# So for the same number of steps, four novels after pretraining are worth more than 256 without it. This is **transfer**. It
# is the reason why people train one large model for everything and then adapt it, instead of training one for each task.
#
# Is that fair? 60 steps are few for a beginner, and from 64 to 256 novels the grey line hardly falls: there it lacks steps,
# not novels. So here is one more run from scratch, with 256 novels and five times the steps. It reaches 0.28 ± 0.14, about
# what the generalist achieves with 4 to 16 novels and a fifth of the steps. So pretraining saves both texts and time.
#
# And what about four novels, read sixty times? On these four novels the generalist's excess ends at -0.12 ± 0.04: below
# the floor. No model can do that on new texts. It is memorising the random choices in these four, and that does not help
# with unseen novels (lesson 6). So the fewer the novels, the smaller the best learning rate.

# %%
if not lesson.quick:
    lesson.expect("the generalist, untouched", untouched, "1.3 ± 0.2")
    lesson.expect("4 novels, pretrained", np.mean(unseen["pretrained", 4]), "0.39 ± 0.06")
    lesson.expect("4 novels, from scratch", np.mean(unseen["scratch", 4]), "1.54 ± 0.08")
    lesson.expect("16 novels, pretrained", np.mean(unseen["pretrained", 16]), "0.20 ± 0.04")
    lesson.expect("256 novels, pretrained", np.mean(unseen["pretrained", 256]), "0.04 ± 0.03")
    lesson.expect("256 novels, from scratch", np.mean(unseen["scratch", 256]), "0.52 ± 0.03")
    lesson.expect("256 novels, from scratch, five times the steps", results[longer][0], "0.28 ± 0.14")
    lesson.expect("4 novels, pretrained: excess on these four", np.mean(own["pretrained", 4]), "-0.12 ± 0.04")

# %% [markdown]
# ## Only some of the weights: freezing
#
# Do all weights have to move? A weight is **frozen** if it no longer changes. What does that save? Remember the backward
# pass of the linear layer:
#
# $$ dW = x'\,dout \qquad dx = dout\,W' $$
#
# A frozen W needs no dW: one of the two products is saved, x need not be kept for it, and the optimizer needs no memory for
# it. **But dx is still needed** if any layer before it trains: the gradient must pass through. The backward pass can only
# stop below the lowest layer that trains. So freezing the *lower* layers saves most.

# %%
# each with its best learning rate, found in the same way; of two that are equally good, the smaller
PARTS = {"all": (Full(), 2e-3), "last block": (Frozen(("last",)), 2e-2), "first block": (Frozen(("first",)), 8e-3),
         "attention": (Frozen(("attention",)), 1.6e-2), "norms": (Frozen(("norms",)), 0.12)}
novels = world.documents("novel", 64, "train")


def costs(model):
    """Milliseconds of a forward and backward pass in one process, and the bytes that layers keep in between."""
    tokens, targets = DocumentBatches([novel.ids for novel in novels], 16).at(0)
    loss, times = CrossEntropy(), []
    for _ in range(2 if lesson.quick else 9):
        began = time.process_time()                         # of this process alone, whatever else the machine does
        logits, cache = model.forward(tokens)
        _, loss_cache = loss.forward(logits, targets)
        model.zero_grad()
        model.backward(loss.backward(1.0, loss_cache), cache)
        times.append(1000 * (time.process_time() - began))
    return min(times), activation_bytes(model, tokens)


def part(name):
    """Train only some weights: their share, what was learned and forgotten, whether exactly the frozen arrays stayed the same."""
    recipe, lr = PARTS[name]
    model = fine_tune(copy_of(base), novels, lr, 0, recipe)
    scores = evaluate_world(model, world, "test", TEST, workers=1)
    now = model.state_dict()
    same = [key for key, weight in base.state_dict().items() if np.array_equal(now[key], weight)]
    frozen = [key for key, p in model.parameters().items() if not p.trainable]
    share = sum(p.size for p in model.trainable_parameters().values()) / sum(p.size for p in model.parameters().values())
    return 100 * share, scores["novel"].excess, mean_excess(scores, world.general), sorted(same) == sorted(frozen), len(frozen)


table = dict(zip(PARTS, parallel_map(part, PARTS)))
spent = {}
for name, (recipe, _) in PARTS.items():                                             # one after the other: they are timed
    model = copy_of(base)
    recipe.apply(model)
    spent[name] = costs(model)
print(f"{'what trains':12s}{'share, %':>10s}{'ms a step':>11s}{'MB kept':>9s}{'novels':>9s}{'old kinds':>11s}   frozen arrays")
for name, (share, new, old, same, n) in table.items():
    print(f"{name:12s}{share:10.2f}{spent[name][0]:11.1f}{spent[name][1] / 1e6:9.1f}{new:9.3f}{old:11.3f}   "
          f"{n}, {'all the same to the last bit, and all others moved' if same else 'NOT as they should be'}")

lesson.expect("every frozen array is the same, every other moved", sum(row[3] for row in table.values()), "5 ± 0")
lesson.expect("last block: time of a step, all being 1", spent["last block"][0] / spent["all"][0], "0.67 ± 0.10")
lesson.expect("first block: time of a step, all being 1", spent["first block"][0] / spent["all"][0], "0.86 ± 0.10")
lesson.expect("last block: memory kept, all being 1", spent["last block"][1] / spent["all"][1], "0.50 ± 0.03")
lesson.expect("last block: excess on novels", table["last block"][1], "0.20 ± 0.08")
lesson.expect("first block: excess on novels", table["first block"][1], "0.09 ± 0.05")
lesson.expect("norms alone: excess on novels", table["norms"][1], "0.24 ± 0.04")
lesson.expect("all: excess on the old kinds", table["all"][2], "0.26 ± 0.08")
lesson.expect("first block: excess on the old kinds", table["first block"][2], "0.7 ± 0.2")
lesson.expect("norms alone: % of the weights", table["norms"][0], "0.38 ± 0.01")

# %% [markdown]
# In all 5 ± 0 runs the frozen arrays are the same to the last bit. Training only the last block takes 0.67 ± 0.10 of the
# time of a step, and 0.50 ± 0.03 of the memory. The first block alone has nearly as many weights, but takes 0.86 ± 0.10 of
# the time: the gradient must go all the way down.
#
# ## What to notice
#
# - What is learned depends on *which* weights move, not only on how many: the first block alone reaches 0.09 ± 0.05 on
#   novels, the last block, which is about as large, 0.20 ± 0.08. The norms, with 0.38 ± 0.01 % of the weights, are not far
#   behind the last block: 0.24 ± 0.04.
# - All of them forget: compare the column of old kinds with the excess in lesson 9. And moving fewer weights does not mean
#   forgetting less: there the first block has 0.7 ± 0.2, all weights together 0.26 ± 0.08. Lesson 14 is about this.
# - Each method has its own learning rate. Otherwise the comparison would not be fair.
# - The first novels help most. Each further factor of four helps less, from either start.
#
# ## Exercise
#
# Exercise 22 is one step of gradient descent in which only some weights move: those whose names match a pattern, as in a
# shell. Two mistakes are common, and both are tested. If only the gradient of a frozen weight is set to 0, **weight decay**
# still shrinks it. And a pattern with a typo silently trains nothing.
#
# ```
# minillm lesson 10 --start
# minillm check 22 --watch
# ```
#
# ## Questions
#
# 1. How can you tell whether a model lacks texts or steps? (The first table has a column for the excess on its own novels.)
# 2. The frozen arrays do not change in training. Why must their layers still be computed?
# 3. Which frozen layers save no dx at all in the backward pass?
# 4. Give the model from scratch 600 steps with 256 novels. What is left of the difference?
# 5. Double the learning rate of the first block. What happens to the novels, and what to the old kinds?
#
# **Answers.** 1. If its excess on its own texts is far lower than on unseen ones, it lacks texts; if both are equally high,
# it lacks steps (or weights). 2. The forward pass needs them, and dx passes through them where something before them trains.
# 3. Those with a layer that trains somewhere before them. 4. Measure it. 5. The novels hardly change; the old kinds pay for
# it. A learning rate that is chosen for the new task alone ignores this price.
#
# ## Read next
#
# `minillm/nn/module.py` (what frozen means, and `needs_dx`), `minillm/finetune/methods/frozen.py`. Lesson 11 leaves all old
# weights unchanged.
