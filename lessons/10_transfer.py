# %% [markdown]
# # Lesson 10: transfer
#
# **Question.** The generalist has read 16,000 texts of six kinds, and hardly a novel. We have a few novels, and want a
# novelist. Is it worth starting from the generalist, or is a new kind of text better learned afresh?
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

from minillm import GPT, AdamW, DocumentBatches, Full, Frozen, Trainer, World, evaluate_world, warmup_linear
from minillm.draw.style import LIGHT
from minillm.nn import CrossEntropy
from minillm.ground.processes import parallel_map
from minillm.train.costs import activation_bytes
from minillm.tasks.evaluate import evaluate_documents, mean_excess

lesson = Lesson(10, "transfer")
world, base = World(lesson.seed), generalist(lesson)
SIZES, DRAWS, STEPS, TEST = ((4, 64), 1, 15, 8) if lesson.quick else ((4, 16, 64, 256), 3, 60, 40)

# %% [markdown]
# ## The idea
#
# Fine-tuning is training that does not begin at random weights, but at those of a model which has learned something else
# before. Nothing else is new: the same loss, the same gradient, the same steps. Why should it help? A novel does what a story
# does (two people, a place, things recalled in order, a verb for each thing) in a style of its own. Who knows stories need
# only learn the style.

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
# From 4, 16, 64 and 256 novels; once from the generalist, once from random weights; each three times, with other novels. All
# make 60 steps. Each start and each number of novels has the learning rate that suits it best: of a row of rates, each twice
# the one before, the best on validation texts. All are judged on novels that none has seen.

# %%
RATES = {"pretrained": {4: 5e-4, 16: 1e-3, 64: 2e-3, 256: 4e-3}, "scratch": {4: 1.5e-3, 16: 3e-3, 64: 6e-3, 256: 6e-3}}


def fine_tune(model, novels, lr, seed, recipe=None, steps=STEPS):
    """Some steps on some novels. One process for each training: several of them run side by side."""
    (recipe or Full()).apply(model, lesson.rng(2))
    batches = DocumentBatches([novel.ids for novel in novels], 16, seed)
    trainer = Trainer(model, AdamW(lr), warmup_linear(steps), total=batches.total, workers=1)
    for step in range(steps):
        trainer.step(*batches.at(step))
    return model


def novel_excess(model):
    return evaluate_world(model, world, "test", TEST, workers=1, domains=["novel"])["novel"].excess


def run(job):
    """The excess after training from one start on so many novels of one draw: on unseen novels, and on (four of) its own."""
    start, n, draw, steps = job
    model = copy_of(base) if start == "pretrained" else GPT(base.config, lesson.rng(1, draw))
    novels = world.documents("novel", n, "train", draw)
    fine_tune(model, novels, RATES[start][n], draw, steps=steps)
    return novel_excess(model), evaluate_documents(model, novels[:4], workers=1).excess


longer = ("scratch", SIZES[-1], 0, 5 * STEPS)                                       # one run more, for later
jobs = [longer] + [(start, n, draw, STEPS) for start in RATES for n in SIZES for draw in range(DRAWS)]
with tqdm(total=len(jobs), desc="trainings", disable=None) as bar:
    results = dict(zip(jobs, parallel_map(run, jobs, each=lambda _: bar.update())))
found, own = ({(start, n): [results[start, n, draw, STEPS][k] for draw in range(DRAWS)] for start in RATES for n in SIZES}
              for k in (0, 1))
untouched = novel_excess(base)
print(f"excess on novels; the generalist, untouched: {untouched:.3f}\n{'':8s}{'pretrained':>28s}{'from scratch':>34s}")
print(f"{'novels':>8s}" + f"{f'unseen (range of {DRAWS})':>24s}{'own':>10s}" * 2)
for n in SIZES:
    print(f"{n:8d}" + "".join(f"{np.mean(found[start, n]):11.3f} ({min(found[start, n]):.2f}-{max(found[start, n]):.2f})"
                              f"{np.mean(own[start, n]):10.3f}" for start in RATES))

# %% [markdown]
# ## See

# %%
with lesson.picture("transfer.png", 9.6, 5.6) as fig:
    ax = fig.add_axes([0.1, 0.13, 0.66, 0.76])
    for start, color, text in (("scratch", LIGHT.models["scratch"], "from scratch"),
                               ("pretrained", LIGHT.models["full"], "from the\ngeneralist")):
        mean = [np.mean(found[start, n]) for n in SIZES]
        low, high = ([end(found[start, n]) for n in SIZES] for end in (min, max))
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
# From four novels the generalist comes to 0.53 ± 0.12. From scratch, four novels lead to 1.55 ± 0.20, about where the
# generalist stands that has not been tuned, 1.7 ± 0.2. With 256 novels it is 0.09 ± 0.07 against 0.48 ± 0.04. So at equal
# steps 16 novels after pretraining, 0.27 ± 0.09, are worth more than 256 without it. This is **transfer**, and the reason why
# one large model is trained for everything and then adapted, instead of one for each task.
#
# Is that fair? 60 steps are few for a beginner, and from 64 to 256 novels the grey line hardly falls: there it is steps that
# lack, not novels. So here is one run more from scratch, with 256 novels and five times the steps. It comes to 0.28 ± 0.16,
# near what the generalist makes of 16 novels and a fifth of the steps. What pretraining has saved is both, texts and time.
#
# And four novels, read sixty times? On these four themselves the generalist's excess ends at -0.05 ± 0.07: at the floor, or
# even below it. On new texts nobody can be there. Whatever was drawn at random in these four is being learned by heart, and
# unseen novels gain nothing from that (lesson 6). So the fewer the novels, the smaller the best learning rate.

# %%
if not lesson.quick:
    lesson.expect("the generalist, untouched", untouched, "1.7 ± 0.2")
    lesson.expect("4 novels, pretrained", np.mean(found["pretrained", 4]), "0.53 ± 0.12")
    lesson.expect("4 novels, from scratch", np.mean(found["scratch", 4]), "1.55 ± 0.20")
    lesson.expect("16 novels, pretrained", np.mean(found["pretrained", 16]), "0.27 ± 0.09")
    lesson.expect("256 novels, pretrained", np.mean(found["pretrained", 256]), "0.09 ± 0.07")
    lesson.expect("256 novels, from scratch", np.mean(found["scratch", 256]), "0.48 ± 0.04")
    lesson.expect("256 novels, from scratch, five times the steps", results[longer][0], "0.28 ± 0.16")
    lesson.expect("4 novels, pretrained: excess on these four", np.mean(own["pretrained", 4]), "-0.05 ± 0.07")

# %% [markdown]
# ## Only some of the weights: freezing
#
# Must all weights move? A weight is **frozen** if it is not changed any more. What does that save? Remember the linear
# layer's backward pass:
#
# $$ dW = x'\,dout \qquad dx = dout\,W' $$
#
# A frozen W needs no dW: one product of the two falls away, x need not be kept for it, and the optimizer needs no memory of
# it. **But dx is still needed**, if any layer before it trains: the gradient must come through. Only below the lowest layer
# that trains the backward pass can end. So freezing the *lower* layers saves most.

# %%
# with the learning rate that suits each best, found likewise; of two that are alike, the smaller
PARTS = {"all": (Full(), 2e-3), "last block": (Frozen(("last",)), 1e-2), "first block": (Frozen(("first",)), 8e-3),
         "attention": (Frozen(("attention",)), 8e-3), "norms": (Frozen(("norms",)), 0.12)}
novels = world.documents("novel", 64, "train")


def costs(model):
    """Milliseconds of one forward and backward pass, and the bytes that layers keep in between, on one process."""
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
    """Train only some of the weights: what that costs, what was learned, what was forgotten, which arrays are still the same."""
    recipe, lr = PARTS[name]
    model = fine_tune(copy_of(base), novels, lr, 0, recipe)
    scores = evaluate_world(model, world, "test", TEST, workers=1)
    now = model.state()
    same = [key for key, weight in base.state().items() if np.array_equal(now[key], weight)]
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
lesson.expect("last block: excess on novels", table["last block"][1], "0.28 ± 0.10")
lesson.expect("first block: excess on novels", table["first block"][1], "0.13 ± 0.07")
lesson.expect("norms alone: excess on novels", table["norms"][1], "0.37 ± 0.10")
lesson.expect("all: excess on the old kinds", table["all"][2], "0.20 ± 0.10")
lesson.expect("first block: excess on the old kinds", table["first block"][2], "0.62 ± 0.30")
lesson.expect("norms alone: % of the weights", table["norms"][0], "0.38 ± 0.01")

# %% [markdown]
# In all 5 ± 0 runs the frozen arrays are the same to the last bit. The last block alone takes 0.67 ± 0.10 of the time of a
# step, and keeps 0.50 ± 0.03 of the memory. The first block alone has nearly as many weights, but takes 0.86 ± 0.10 of the
# time: the gradient must go all the way down.
#
# ## What to notice
#
# - What is learned hangs on *which* weights move, not only on how many: the first block alone comes to 0.13 ± 0.07 on novels,
#   the last block, nearly as large, to 0.28 ± 0.10, and the norms with 0.38 ± 0.01 % of the weights to 0.37 ± 0.10.
# - All of them forget: the column of old kinds was, before, what lesson 9 found. And to move fewer weights is not to forget
#   less: the first block stands at 0.62 ± 0.30 there, all weights together at 0.20 ± 0.10. Lesson 14 is about this.
# - Each way has a learning rate of its own. Without that the comparison would not be fair.
# - The first novels help most. Each fourfold further helps less, from either start.
#
# ## Exercise
#
# Exercise 22 is one step of gradient descent in which only some weights move: those whose names fit a pattern, as in a shell.
# Two slips are common, and both are tested. If only the gradient of a frozen weight is set to 0, **weight decay** still
# shrinks it. And a pattern with a typo trains nothing, without a word.
#
# ```
# minillm lesson 10 --start
# minillm check 22 --watch
# ```
#
# ## Questions
#
# 1. How can one tell whether a model lacks texts or steps? (The first table has a column for the excess on its own novels.)
# 2. The frozen arrays take no part in training. Why must their layers be computed all the same?
# 3. Which frozen layers would save nothing at all of the backward pass's dx?
# 4. Give the model from scratch 600 steps with 256 novels. What is left of the difference?
# 5. Double the learning rate of the first block. What happens to the novels, and what to the old kinds?
#
# **Answers.** 1. If its excess on its own texts is far lower than on unseen ones, it lacks texts; if both are alike and high,
# it lacks steps (or weights). 2. The forward pass needs them, and dx passes through them where something before them trains.
# 3. Those with a layer that trains somewhere before them. 4. Measure it. 5. The novels hardly notice; the old kinds pay for
# it. A learning rate that is chosen by the new task alone does not know the price.
#
# ## Read next
#
# `minillm/nn/module.py` (what frozen means, and `needs_dx`), `minillm/finetune/methods/frozen.py`. Lesson 11 leaves all
# weights where they are.
