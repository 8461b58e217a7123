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

from minillm import GPT, AdamW, DocumentBatches, Full, Partial, Trainer, World, evaluate_world, warmup_linear
from minillm.draw.style import LIGHT
from minillm.nn import CrossEntropy
from minillm.processes import parallel_map
from minillm.train.costs import activation_bytes
from minillm.train.evaluate import mean_excess

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
# make 60 steps, each at the learning rate that suits its start best (found on validation texts; with up to 16 novels it is
# half of that). All are judged on novels that none has seen.

# %%
RATES = {"pretrained": 2e-3, "scratch": 6e-3}


def fine_tune(model, novels, lr, seed, recipe=None):
    """60 steps on some novels. One process for each training: several of them run side by side."""
    (recipe or Full()).apply(model, lesson.rng(2))
    batches = DocumentBatches(novels, 16, seed)
    trainer = Trainer(model, AdamW(lr), warmup_linear(STEPS), total=batches.total, workers=1)
    for step in range(STEPS):
        trainer.step(*batches.at(step))
    return model


def novel_excess(model):
    return evaluate_world(model, world, "test", TEST, workers=1, domains=["novel"])["novel"].excess


def run(job):
    """The excess on novels after training from one start, on so many novels, of one draw."""
    start, n, draw = job
    model = copy_of(base) if start == "pretrained" else GPT(base.config, lesson.rng(1, draw))
    novels = [document.ids for document in world.documents("novel", n, "train", draw)]
    return novel_excess(fine_tune(model, novels, RATES[start] / (2 if n <= 16 else 1), draw))


jobs = [(start, n, draw) for start in RATES for n in SIZES for draw in range(DRAWS)]
found = {}
for (start, n, _), result in zip(jobs, tqdm(parallel_map(run, jobs), total=len(jobs), desc="trainings", disable=None)):
    found.setdefault((start, n), []).append(result)
untouched = novel_excess(base)
print(f"excess on novels; the generalist, untouched: {untouched:.3f}\n{'novels':>8s}{'pretrained':>26s}{'from scratch':>26s}")
for n in SIZES:
    print(f"{n:8d}" + "".join(f"{np.mean(found[start, n]):12.3f} ({min(found[start, n]):.2f}-{max(found[start, n]):.2f})"
                              for start in RATES))

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
        ax.annotate(text, (SIZES[-1], mean[-1]), (14, 0), textcoords="offset points", va="center", color=color)
    ax.axhline(untouched, color=LIGHT.models["pretrained"], ls="--", lw=1.5)
    ax.annotate("the generalist,\nno novels", (SIZES[-1], untouched), (14, 0), textcoords="offset points", va="center")
    ax.set(title="A few novels are enough, after many other texts", xscale="log", xlabel="novels to learn from",
           ylabel="nats per token above the floor", ylim=(0, None))
    ax.set_xticks(SIZES, SIZES)
    ax.minorticks_off()
    ax.grid(axis="y")

# %% [markdown]
# From four novels the generalist comes to 0.65 ± 0.12; from scratch, four novels lead to 1.6 ± 0.2, no better than the
# generalist that has read none, 1.7 ± 0.2. With 256 novels it is 0.10 ± 0.07 against 0.48 ± 0.04. So 16 novels after
# pretraining (0.27 ± 0.09) are worth more than 256 without it. This is **transfer**, and the reason why one large model is
# trained for everything and then adapted, instead of one for each task.

# %%
if not lesson.quick:
    lesson.expect("the generalist, no novels", untouched, "1.7 ± 0.2")
    lesson.expect("4 novels, pretrained", np.mean(found["pretrained", 4]), "0.65 ± 0.12")
    lesson.expect("4 novels, from scratch", np.mean(found["scratch", 4]), "1.6 ± 0.2")
    lesson.expect("16 novels, pretrained", np.mean(found["pretrained", 16]), "0.27 ± 0.09")
    lesson.expect("256 novels, pretrained", np.mean(found["pretrained", 256]), "0.10 ± 0.07")
    lesson.expect("256 novels, from scratch", np.mean(found["scratch", 256]), "0.48 ± 0.04")

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
PARTS = {"all": (Full(), 2e-3), "last block": (Partial(("last",)), 1e-2), "first block": (Partial(("first",)), 8e-3),
         "attention": (Partial(("attention",)), 8e-3), "norms": (Partial(("norms",)), 0.12)}
novels = [document.ids for document in world.documents("novel", 64, "train")]


def costs(model):
    """Milliseconds of one forward and backward pass, and the bytes that layers keep in between, on one process."""
    tokens, targets = DocumentBatches(novels, 16, 0).at(0)
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
lesson.expect("norms alone: excess on novels", table["norms"][1], "0.35 ± 0.08")
lesson.expect("norms alone: % of the weights", table["norms"][0], "0.40 ± 0.05")

# %% [markdown]
# In all 5 ± 0 runs the frozen arrays are the same to the last bit. The last block alone takes 0.67 ± 0.10 of the time of a
# step, and keeps 0.50 ± 0.03 of the memory. The first block alone has as many weights, but takes 0.86 ± 0.10 of the time: the
# gradient must go all the way down.
#
# ## What to notice
#
# - What is learned hangs on *which* weights move, not only on how many: the first block alone comes to 0.13 ± 0.07 on novels,
#   the last block, as large, to 0.28 ± 0.10, and the norms with 0.40 ± 0.05 % of the weights to 0.35 ± 0.08.
# - All of them forget (the column of old kinds): lesson 14. And each has a learning rate of its own; without that the
#   comparison would not be fair.
# - More novels help both, but the pretrained model needs far fewer of them.
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
# 1. With 4 novels and 60 steps each novel is read 60 times. What does the loss on *these* novels look like? What would help?
# 2. The frozen arrays take no part in training. Why must their layers be computed all the same?
# 3. Which frozen layers would save nothing at all of the backward pass's dx?
#
# **Answers.** 1. Near 0: known by heart (lesson 6). To stop early, or fewer weights that move. 2. The forward pass needs
# them, and dx passes through. 3. Those with a layer that trains somewhere before them.
#
# ## Read next
#
# `minillm/nn/module.py` (what frozen means, and `needs_dx`), `minillm/finetune/methods/partial.py`. Lesson 11 leaves all
# weights where they are.
