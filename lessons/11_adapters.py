# %% [markdown]
# # Lesson 11: adapters
#
# **Question.** In lesson 10 old weights moved. Can a model learn something new while its old weights stay the same, bit for
# bit, and only a few new layers between them are trained? And does that protect what it knew before?
#
# **Time.** 30 seconds to run on two cores, and 20 more if no lesson has made the generalist yet (`--quick`: 5 in all);
# 60 minutes to read and try.
#
# **Read.** Lessons 4 (a layer's backward pass), 8 (the block) and 10 (what frozen means).
#
# **Exercises.** 23 `adapter` (`minillm lesson 11 --start`).

# %%
import time
from types import SimpleNamespace

import numpy as np
from common import Lesson, copy_of, generalist

from minillm import (
    GPT,
    AdamW,
    BottleneckAdapter,
    DocumentBatches,
    Frozen,
    Full,
    Trainer,
    World,
    draw,
    evaluate_documents,
    evaluate_world,
    trainable_table,
    warmup_linear,
)
from minillm.draw.curves import plain_ticks
from minillm.draw.labels import place
from minillm.draw.styles import LIGHT
from minillm.finetune.methods.bottleneck import Bottleneck, SequentialAdapter
from minillm.finetune.summary import parameter_counts
from minillm.gradcheck import check_layer, perturb
from minillm.nn import Linear
from minillm.surface.movement import movement
from minillm.surface.space import Space
from minillm.tasks.evaluate import mean_excess
from minillm.train.fit import fit

lesson = Lesson(11, "adapters")
STEPS, TEST = (8, 8) if lesson.quick else (100, 100)
world, base = World(lesson.seed), generalist(lesson)
novels = [document.ids for document in world.documents("novel", 64, "train")]

# %% [markdown]
# ## The idea
#
# An **adapter** is a small network of two layers, inserted after a sublayer of the model (Houlsby et al. 2019). It reads the
# output vectors h of this sublayer, C numbers for each position, and adds a correction to them. In between it is narrow,
# with m numbers, several times fewer than C: hence **bottleneck**.
#
# $$ \text{out} = h + \mathrm{gelu}(h\,D + b_1)\,U + b_2 \qquad D\ (C, m) \quad b_1\ (m) \quad U\ (m, C) \quad b_2\ (C) $$
#
# D projects down to the bottleneck, U up again. Only these four train; whatever computed h is frozen.
#
# ## How it must start
#
# The model works well as it is. So the new layer should change nothing at first, and then only as much as training asks for.
# With U = 0 and b2 = 0 the correction is 0 whatever D is, so out = h, not approximately but exactly.
#
# Then why not set D = 0 as well? Look at what each of them is multiplied by. With D = 0 and b1 = 0 the bottleneck holds
# gelu(0) = 0, so U gets no gradient; and since U = 0, D gets none either. They would wait for each other for ever; only b2
# could move, a constant that is added everywhere. So D starts random, with a standard deviation of 1 / sqrt(C), which makes
# h D about as large as h.
#
# Here is one adapter of each kind, trained to move h towards some targets. See which gradients are 0 in the first three
# steps.

# %%
rng = lesson.rng(2)
h, targets = rng.normal(size=(5, 8)), rng.normal(size=(5, 8))
for kind in ("D random", "D = 0"):
    adapter = Bottleneck(8, 3, 1.0, rng, np.float64)                        # U = 0, b1 = b2 = 0
    if kind == "D = 0":
        adapter.down.weight.data[...] = 0
    for step in range(3):
        correction, cache = adapter.forward(h)
        adapter.zero_grad()
        adapter.backward(h + correction - targets, cache)                   # the gradient of half the squared error
        grads = {name: np.linalg.norm(p.grad) for name, p in adapter.parameters().items()}
        print(f"{kind:9s} step {step}   length of dD {grads['down.weight']:.3f}   of dU {grads['up.weight']:.3f}   "
              f"of db2 {grads['up.bias']:.3f}")
        for p in adapter.parameters().values():
            p.data -= 0.02 * p.grad

# %% [markdown]
# In the first step only U and b2 move (dD = 0, since it comes back through U = 0). After that U is no longer 0, and D moves
# too. With D = 0 only b2 ever moves.
#
# ## The backward pass
#
# n counts positions, c the C numbers of a vector, j the m numbers in the bottleneck. Forward, one operation a line:
#
# $$ z_{nj} = \sum_c h_{nc} D_{cj} + b_{1,j} \qquad a_{nj} = \mathrm{gelu}(z_{nj}) \qquad
#    \text{out}_{nc} = h_{nc} + \sum_j a_{nj} U_{jc} + b_{2,c} $$
#
# We are given G = dout. For each number ask which outputs it reaches, and with what factor (lesson 4), starting from the
# output:
#
# - b2_c reaches out_nc of every n, with factor 1. U_jc reaches out_nc of every n, with factor a_nj:
#
# $$ db_{2,c} = \sum_n G_{nc} \qquad dU_{jc} = \sum_n a_{nj}\, G_{nc} $$
#
# - a_nj reaches all C outputs of its own n, with factors U_jc. Then back through gelu, number by number:
#
# $$ da_{nj} = \sum_c G_{nc}\, U_{jc} \qquad dz_{nj} = da_{nj}\; \frac{\partial a_{nj}}{\partial z_{nj}} $$
#
# - D_cj and b1_j reach z_nj of every n:
#
# $$ dD_{cj} = \sum_n h_{nc}\, dz_{nj} \qquad db_{1,j} = \sum_n dz_{nj} $$
#
# - h_nc reaches the output along two paths: past the adapter, with factor 1, and through it, via every z_nj with factor
#   D_cj. The gradients of the two paths add:
#
# $$ dh_{nc} = G_{nc} + \sum_j dz_{nj}\, D_{cj} $$
#
# With U = 0 this gives dh = G: at first, an adapter does not change the gradient of the layers below either.
#
# Is it right? As always, we ask finite differences, here for a linear layer followed by an adapter (`SequentialAdapter` in
# `minillm/finetune/methods/bottleneck.py`), in float64. Relative to the gradient, the largest error is 0 ± 1e-7.

# %%
layer = SequentialAdapter(Linear(8, 8, rng, dtype=np.float64), Bottleneck(8, 3, 1.0, rng, np.float64))
perturb(layer, rng)                                                           # U = 0 would hide most mistakes
lesson.expect("finite differences against the backward pass", max(check_layer(layer, h, rng).values()), "0 ± 1e-7")

# %% [markdown]
# ## Where it is inserted
#
# In each block, after attention and after the MLP, before their outputs are added to the residual stream:
#
#     x ──┬── norm ── attention ── adapter ── (+) ──┬── norm ── MLP ── adapter ── (+) ── x of the next block
#         └────────────────────────────────────┘    └──────────────────────────────┘
#
# The four LayerNorms of the two blocks and the last one are trained as well, as in Houlsby's paper: they are few numbers,
# close to the adapters. All matrices of the body are frozen. The model's own code knows nothing about this: each sublayer is
# wrapped from outside (`minillm/finetune/wrapper.py`).

# %%
def start(name):
    """The model before its first step."""
    model = GPT(base.config, lesson.rng(3)) if name == "scratch" else copy_of(base)
    RECIPES[name].apply(model, lesson.rng(1))
    return model


RECIPES = {"full": Full(), "frozen": Frozen(), "adapter": BottleneckAdapter(bottleneck=16), "scratch": Full()}
print(*trainable_table(start("adapter")), sep="\n")

# %% [markdown]
# The first promise: before the first step the adapted model *is* the generalist. The largest difference of any logit is
# 0 ± 0. This is not luck with rounding: h + 0 is h.

# %%
tokens = np.array([novels[0][:-1]])
lesson.expect("identity gap, the largest difference of any logit",
              abs(start("adapter").logits(tokens) - base.logits(tokens)).max(), "0 ± 0")

# %% [markdown]
# ## A fair comparison
#
# The generalist learns to write novels from 64 of them. We compare four methods:
#
# - **full**: every weight moves.
# - **frozen**: the last block and the last norm move (lesson 10).
# - **adapter**: the body is frozen, except for its norms.
# - **scratch**: every weight moves, and none was pretrained. How much can be learned from the 64 novels alone?
#
# All get the same documents, batches and steps. But not the same learning rate: weights that start at 0 need larger steps
# than weights that are already good. So for each method we try three rates, a factor of about three apart, and compare them
# on 100 **validation** novels, which are used neither for training nor for the test. Of the rates that come within 0.05 nats
# of the best, we take the smallest.

# %%
RATES = {"full": (3e-4, 1e-3, 3e-3), "frozen": (1.5e-3, 5e-3, 1.5e-2), "adapter": (3e-3, 1e-2, 3e-2), "scratch": (3e-3,)}


def run(name, lr):
    """Train, and judge. Excess = loss - floor, in nats a token (lesson 9), on texts that no model has seen."""
    model, began = start(name), time.perf_counter()
    batches = DocumentBatches(novels, 16, lesson.seed)
    fit(Trainer(model, AdamW(lr), warmup_linear(STEPS), total=batches.total), batches, STEPS, title=f"{name} {lr:g}")
    seconds, scores = time.perf_counter() - began, evaluate_world(model, world, "test", TEST)
    return SimpleNamespace(model=model, seconds=seconds, new=scores["novel"].excess, old=mean_excess(scores, world.general),
                           validation=evaluate_documents(model, world.documents("novel", TEST, "validation")).excess)


runs = {name: {lr: run(name, lr) for lr in rates} for name, rates in RATES.items()}
best = {}
for name, tried in runs.items():
    least = min(result.validation for result in tried.values())
    best[name] = min(lr for lr, result in tried.items() if result.validation <= least + 0.05)

# %%
scores = evaluate_world(base, world, "test", TEST)
untouched = SimpleNamespace(new=scores["novel"].excess, old=mean_excess(scores, world.general))
print(f"{'':11s}{'rate':>8s}{'trained':>10s}{'share':>8s}{'seconds':>9s}{'excess on novels':>19s}{'on the old kinds':>19s}")
print(f"{'generalist':46s}{untouched.new:19.3f}{untouched.old:19.3f}")
for name, lr in best.items():
    result, sizes = runs[name][lr], parameter_counts(runs[name][lr].model)
    trained = sizes["trainable_parameters"]
    print(f"{name:11s}{lr:8g}{trained:10,d}{trained / sizes['total_parameters']:8.1%}{result.seconds:9.1f}"
          f"{result.new:19.3f}{result.old:19.3f}")

# %% [markdown]
# The generalist has 1.3 ± 0.2 on novels. Full fine-tuning brings it to 0.08 ± 0.04, the adapter to 0.15 ± 0.04 with a
# twentieth of the weights. Frozen trains almost half of the weights and gets less far: it stays 0.05 ± 0.04 behind the
# adapter. So it also matters *where* the weights are, not only how many there are. (Frozen trains none in the first block.)
# The same novels without pretraining give 0.56 ± 0.02.

# %%
full, frozen, adapted, scratch = (runs[name][best[name]] for name in runs)
lesson.expect("generalist, on novels", untouched.new, "1.3 ± 0.2")
lesson.expect("full, on novels", full.new, "0.08 ± 0.04")
lesson.expect("adapter, on novels", adapted.new, "0.15 ± 0.04")
lesson.expect("frozen minus adapter, on novels", frozen.new - adapted.new, "0.05 ± 0.04")
lesson.expect("scratch, on novels", scratch.new, "0.56 ± 0.02")

# %% [markdown]
# ## Is what does not move safe?
#
# The second promise: what is frozen stays as it is, bit for bit.

# %%
before = base.state_dict()
for name in ("full", "frozen", "adapter"):
    now = runs[name][best[name]].model.state_dict()
    same = sum(np.array_equal(now[key], weight) for key, weight in before.items())
    print(f"{name:8s} {same:2d} of the generalist's {len(before)} arrays are bit for bit the same; "
          f"{len(now) - len(before):2d} arrays are new")

# %% [markdown]
# So the old *weights* are safe. The old *skills* are not. Compare two runs that have learned about equally much: full
# fine-tuning at its smallest rate, and the adapter of the table (they differ by 0.00 ± 0.05 on novels). On the old kinds of
# text the generalist had an excess of 0.03 ± 0.02. After the gentle full fine-tuning it is 0.08 ± 0.02; after the adapter
# it is 0.30 ± 0.15 higher than that, although more than nine tenths of all weights have not moved at all. And for all three
# methods (3 ± 0), each larger rate forgets more.

# %%
gentle = runs["full"][min(RATES["full"])]
lesson.expect("generalist, on the old kinds of text", untouched.old, "0.03 ± 0.02")
lesson.expect("novels: gentle full minus adapter", gentle.new - adapted.new, "0.00 ± 0.05")
lesson.expect("old kinds: gentle full", gentle.old, "0.08 ± 0.02")
lesson.expect("old kinds: adapter minus gentle full", adapted.old - gentle.old, "0.30 ± 0.15")
rising = [np.all(np.diff([result.old for result in runs[name].values()]) > 0) for name in ("full", "frozen", "adapter")]
lesson.expect("methods that forget more with each larger rate", sum(rising), "3 ± 0")
with lesson.picture("rates.png", 10.6, 6.2) as fig:
    ax = fig.add_axes([0.09, 0.13, 0.87, 0.76])
    ax.set(xscale="log", yscale="log")
    labels, lines = [((untouched.new, untouched.old), "generalist", LIGHT.ink)], []
    ax.plot(untouched.new, untouched.old, "o", ms=11, color=LIGHT.ink)
    for name in ("full", "frozen", "adapter"):
        at = np.array([(result.new, result.old) for result in runs[name].values()])
        ax.plot(*at.T, "-", color=LIGHT.models[name])
        for (x, y), lr in zip(at, runs[name]):
            ax.plot(x, y, "o", ms=13 if lr == best[name] else 7, color=LIGHT.models[name])
            labels.append(((x, y), name if lr == best[name] else f"{lr:g}", LIGHT.models[name]))
        lines.append(at)
    ax.set(xlabel="excess on novels, the new task", ylabel="excess on the old kinds of text",
           title="Larger steps cost the old skills, whichever weights take them")
    ax.margins(0.2, 0.12)
    for axis in (ax.xaxis, ax.yaxis):
        plain_ticks(axis)
    ax.grid()
    place(ax, labels, lines, size=12)

# %% [markdown]
# Each line is one method at three learning rates; the large dots are those in the table, and lower left is better. On every
# line larger steps cost more of the old skills. Training few weights does not protect them: *every* text, old or new, passes
# through the adapter, and what it has learned to add for novels it also adds for recipes. What counts is how far the
# function moves, not how many weights do. (This is one small model and one task. Others studied other sizes and methods, and
# not all found the same: `lessons/experiments/05_learns_less_forgets_less.py`.)
#
# ## How far each part moved
#
# For each part of the model, this is the length of its change, ||after - before||, in per cent of its length before. (The
# length of an array is that of all its numbers as one vector: the root of the sum of their squares.)

# %%
space = Space(start("adapter"))
moves = {name: movement(space, space.start, space.vector(result.model.state_dict()), set(before))
         for name, result in (("full", full), ("frozen", frozen), ("adapter", adapted))}
draw.movement(moves, lesson.path("movement.png"))
lesson.shown(lesson.path("movement.png"))


def share(name, *part):
    distance, length = moves[name][part]
    return 100 * distance / length


lesson.expect("tables of words and positions, full, in %", share("full", "start", "words, positions"), "11 ± 2")
lesson.expect("MLP of block 1, full, in %", share("full", "1", "MLP"), "6 ± 1")
lesson.expect("MLP of block 1, frozen, in %", share("frozen", "1", "MLP"), "24 ± 2")
lesson.expect("inserted in block 1, adapter, in %", share("adapter", "1", "inserted"), "135 ± 15")

# %% [markdown]
# Full fine-tuning moves every part: the tables of words and positions by 11 ± 2 %, the MLP of block 1 by 6 ± 1 %. (With
# another rate these lengths are others.) In the frozen run this block must do all the work, and its MLP moves by 24 ± 2 %, at
# five times the learning rate. With adapters only the norms of the body move. The modules inserted in block 1 end 135 ± 15 %
# of their own length away from where they began: they had no good starting point to stay close to.
#
# ## Removing it again
#
# Then why use adapters? Because they can be removed. Take the wrapper away, restore the old values of the norms, and you
# have the generalist back, bit for bit, with nothing forgotten. A specialist is a file of 13,696 numbers in addition to the
# base, and many specialists can share one base (`minillm/finetune/adapters.py`).
#
# ## What to notice
#
# - One zero is enough to start without any effect, and two would be too many: U = 0 and D random.
# - Frozen weights still pass the gradient on. An adapter in the first block needs the whole backward pass above it.
# - "Frozen" is a promise about weights, not about what the model still knows. Measure the old skills too.
# - A comparison of methods is a comparison of methods *and* learning rates. Give each its own rate, chosen on texts that are
#   not in the test.
#
# ## Exercise
#
# Exercise 23 asks for the layer: `adapter_start`, the initial values of its four arrays; `adapter`, the forward equation at
# the top of this lesson; and `adapter_backward`, the five gradients derived above. h may have several leading axes, (N, C)
# or (B, T, C); the sums over n then run over all of them. You have gelu from exercise 18 and the linear layer from exercises
# 5 and 7.
#
# ```
# minillm lesson 11 --start
# minillm check 23 --watch
# minillm hint 23
# ```
#
# ## Questions
#
# 1. Compare the seconds in the table. The adapter trains a twentieth of the weights. Why is it not many times faster than
#    full?
# 2. How many parameters does an adapter of width m have? What share of a block's 12 C^2 weights do two of them make, at C =
#    96 and m = 16, and at C = 768 with the same m?
# 3. Put `Frozen(("blocks.0.*",))`, the first block alone, in place of `Frozen()`. What does it learn, and what does it
#    forget?
# 4. Put `BottleneckAdapter(bottleneck=16, norms=False)` in place of the adapter. How many of the 28 arrays stay the same
#    now?
# 5. With 16 novels instead of 64, or with 256: which method gains most?
#
# **Answers.** 1. Its lowest layers are in the first block, so the backward pass must go all the way down. It only saves dW
# of the body, one of three products for each matrix (forward, dx, dW). Frozen also saves dx everywhere below its block. 2. 2
# C m + m + C. 2 (2 * 96 * 16 + 16 + 96) / (12 * 96^2) = 5.8 %; at C = 768, 0.7 %. The share falls as 1 / C: that is why
# papers on large models report one per cent or less. 3. Measure it, and compare it with frozen: both train one block. 4. All
# 28. Compare what it learns with the table. 5. Measure it.
#
# ## Read next
#
# `minillm/finetune/methods/bottleneck.py` (the layer, `SequentialAdapter`, and `ParallelAdapter` for a parallel adapter),
# `minillm/finetune/wrapper.py` (how a wrapper replaces a sublayer). Lesson 12 shows the same runs as trajectories on one
# loss surface.
