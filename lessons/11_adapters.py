# %% [markdown]
# # Lesson 11: adapters
#
# **Question.** In lesson 10 old weights moved. Can a model learn something new while its old weights stay as they are, bit
# for bit, and only a little new structure between them is trained? And does that protect what it knew before?
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
# An **adapter** is a small network of two layers that stands behind a part of the model (Houlsby et al. 2019). It reads the
# vectors h that come out of this part, C numbers for each position, and adds a correction to them. In between it is narrow,
# with m numbers where C is several times larger: hence **bottleneck**.
#
# $$ \text{out} = h + \mathrm{gelu}(h\,D + b_1)\,U + b_2 \qquad D\ (C, m) \quad b_1\ (m) \quad U\ (m, C) \quad b_2\ (C) $$
#
# D leads down to the bottleneck, U up again. Only these four train; whatever made h is frozen.
#
# ## How it must start
#
# The model works well as it is. So the new layer should change nothing at first, and then only as much as training asks for.
# With U = 0 and b2 = 0 the correction is 0 whatever D is, so out = h, not nearly but exactly.
#
# Then why not set D = 0 as well? Look at what each of them is multiplied by. With D = 0 and b1 = 0 the bottleneck holds
# gelu(0) = 0, so no error is ever blamed on U; and since U = 0, none is ever blamed on D. Both would wait for each other for
# ever; b2 alone could move, a constant that is added everywhere. So D starts random, with a standard deviation of
# 1 / sqrt(C), which makes h D about as large as h.
#
# Here is one adapter of each kind, asked to move h towards some targets. See which gradients are 0 in the first three steps.

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
# In the first step only U and b2 move (dD = 0, as it comes back through U = 0). From the second on U is not 0 any more, and D
# moves too. With D = 0 nothing but b2 ever does.
#
# ## The backward pass
#
# n counts positions, c the C numbers of a vector, j the m numbers in the bottleneck. Forward, one operation a line:
#
# $$ z_{nj} = \sum_c h_{nc} D_{cj} + b_{1,j} \qquad a_{nj} = \mathrm{gelu}(z_{nj}) \qquad
#    \text{out}_{nc} = h_{nc} + \sum_j a_{nj} U_{jc} + b_{2,c} $$
#
# Given is G = dout. For each number ask which outputs it reaches, and with what factor (lesson 4), from the last line
# upwards:
#
# - b2_c reaches out_nc of every n, with factor 1. U_jc reaches out_nc of every n, with factor a_nj:
#
# $$ db_{2,c} = \sum_n G_{nc} \qquad dU_{jc} = \sum_n a_{nj}\, G_{nc} $$
#
# - a_nj reaches all C outputs of its own n, with factors U_jc. Then back through gelu, number by number:
#
# $$ da_{nj} = \sum_c G_{nc}\, U_{jc} \qquad dz_{nj} = da_{nj}\; \mathrm{gelu}'(z_{nj}) $$
#
# - D_cj and b1_j reach z_nj of every n:
#
# $$ dD_{cj} = \sum_n h_{nc}\, dz_{nj} \qquad db_{1,j} = \sum_n dz_{nj} $$
#
# - h_nc reaches the output in two ways: past the adapter, with factor 1, and through it, by way of every z_nj with factor
#   D_cj. Where ways meet, gradients add:
#
# $$ dh_{nc} = G_{nc} + \sum_j dz_{nj}\, D_{cj} $$
#
# With U = 0 this says dh = G: at its start an adapter does not bend the gradient of the layers below either.
#
# Is it right? As always, finite differences are asked, here of a linear layer with an adapter behind it (`SequentialAdapter` in
# `minillm/finetune/methods/bottleneck.py`), in float64. Relative to the gradient, the largest error is 0 ± 1e-7.

# %%
layer = SequentialAdapter(Linear(8, 8, rng, dtype=np.float64), Bottleneck(8, 3, 1.0, rng, np.float64))
perturb(layer, rng)                                                           # U = 0 would hide most mistakes
lesson.expect("finite differences against the backward pass", max(check_layer(layer, h, rng).values()), "0 ± 1e-7")

# %% [markdown]
# ## Where it stands
#
# In each block behind attention and behind the MLP, before their results join the stream:
#
#     x ──┬── norm ── attention ── adapter ── (+) ──┬── norm ── MLP ── adapter ── (+) ── x of the next block
#         └────────────────────────────────────┘    └──────────────────────────────┘
#
# The four LayerNorms of the two blocks, and the last one, are trained as well, as Houlsby did: few numbers, near the adapters.
# All matrices of the body are frozen. The model's own code knows nothing of this: each sublayer is wrapped from outside
# (`minillm/finetune/wrapper.py`).

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
# 0 ± 0. That is no rounding luck: h + 0 is h.

# %%
tokens = np.array([novels[0][:-1]])
lesson.expect("identity gap, the largest difference of any logit",
              abs(start("adapter").logits(tokens) - base.logits(tokens)).max(), "0 ± 0")

# %% [markdown]
# ## A fair comparison
#
# The generalist is to learn novels from 64 of them, in four ways:
#
# - **full**: every weight moves.
# - **frozen**: the last block and the last norm move (lesson 10).
# - **adapter**: the body is frozen, but for its norms.
# - **scratch**: every weight moves, and none was pretrained. What do 64 novels give alone?
#
# All get the same documents, batches and steps. But not the same learning rate: weights that start at 0 need larger steps
# than weights that are good already. So each way tries three rates, a factor of about three apart, and is judged on 100
# **validation** novels, which neither train nor test it. Of the rates that come within 0.07 nats of the best, the gentlest is
# taken.

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
    least = min(found.validation for found in tried.values())
    best[name] = min(lr for lr, found in tried.items() if found.validation <= least + 0.07)

# %%
scores = evaluate_world(base, world, "test", TEST)
untouched = SimpleNamespace(new=scores["novel"].excess, old=mean_excess(scores, world.general))
print(f"{'':11s}{'rate':>8s}{'trained':>10s}{'share':>8s}{'seconds':>9s}{'excess on novels':>19s}{'on the old kinds':>19s}")
print(f"{'generalist':46s}{untouched.new:19.3f}{untouched.old:19.3f}")
for name, lr in best.items():
    found, sizes = runs[name][lr], parameter_counts(runs[name][lr].model)
    trained = sizes["trainable_parameters"]
    print(f"{name:11s}{lr:8g}{trained:10,d}{trained / sizes['total_parameters']:8.1%}{found.seconds:9.1f}"
          f"{found.new:19.3f}{found.old:19.3f}")

# %% [markdown]
# The generalist stands at 1.7 ± 0.2 on novels. Full fine-tuning brings it to 0.13 ± 0.08, the adapter to 0.24 ± 0.12 with a
# twentieth of the weights. Frozen has almost half of them, and is 0.07 ± 0.07 behind the adapter: *where* the weights stand
# counts too, not only how many they are. (Frozen has none in the first block.) The same novels without pretraining give
# 0.52 ± 0.05.

# %%
full, frozen, adapted, scratch = (runs[name][best[name]] for name in runs)
lesson.expect("generalist, on novels", untouched.new, "1.7 ± 0.2")
lesson.expect("full, on novels", full.new, "0.13 ± 0.08")
lesson.expect("adapter, on novels", adapted.new, "0.24 ± 0.12")
lesson.expect("frozen minus adapter, on novels", frozen.new - adapted.new, "0.07 ± 0.07")
lesson.expect("scratch, on novels", scratch.new, "0.52 ± 0.05")

# %% [markdown]
# ## Is what does not move safe?
#
# The second promise: what is frozen stays as it is, bit for bit.

# %%
before = base.state()
for name in ("full", "frozen", "adapter"):
    now = runs[name][best[name]].model.state()
    same = sum(np.array_equal(now[key], weight) for key, weight in before.items())
    print(f"{name:8s} {same:2d} of the generalist's {len(before)} arrays are bit for bit the same; "
          f"{len(now) - len(before):2d} arrays are new")

# %% [markdown]
# So the old *weights* are safe. The old *skills* are not. Compare two runs that have learned about as much: full fine-tuning
# at its gentlest rate, and the adapter at its best (on novels it is ahead by 0.05 ± 0.09). On the old kinds of text the
# generalist had an excess of 0.07 ± 0.03. After the gentle full fine-tuning it is 0.09 ± 0.03; after the adapter, 0.24 ± 0.18
# more than that, though nine tenths and more of all weights have not moved at all. And in all three ways (3 ± 0) each larger
# rate forgets more.

# %%
gentle = runs["full"][min(RATES["full"])]
lesson.expect("generalist, on the old kinds of text", untouched.old, "0.07 ± 0.03")
lesson.expect("novels: gentle full minus adapter", gentle.new - adapted.new, "0.05 ± 0.09")
lesson.expect("old kinds: gentle full", gentle.old, "0.09 ± 0.03")
lesson.expect("old kinds: adapter minus gentle full", adapted.old - gentle.old, "0.24 ± 0.18")
rising = [np.all(np.diff([found.old for found in runs[name].values()]) > 0) for name in ("full", "frozen", "adapter")]
lesson.expect("ways that forget more with each larger rate", sum(rising), "3 ± 0")
with lesson.picture("rates.png", 10.6, 6.2) as fig:
    ax = fig.add_axes([0.09, 0.13, 0.87, 0.76])
    ax.set(xscale="log", yscale="log")
    labels, lines = [((untouched.new, untouched.old), "generalist", LIGHT.ink)], []
    ax.plot(untouched.new, untouched.old, "o", ms=11, color=LIGHT.ink)
    for name in ("full", "frozen", "adapter"):
        at = np.array([(found.new, found.old) for found in runs[name].values()])
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
# Each line is one way at three learning rates; the large dots are those in the table, and lower left is better. On every line
# larger steps cost more of the old. Few moving weights are no shield: an adapter stands in the path of *every* text, old or
# new, and what it has learned to add for novels it adds to recipes too. What counts is how far the function moves, not how
# many weights do. (This is one small model and one task. Others measured other sizes and methods, and not all found the same:
# `lessons/experiments/05_learns_less_forgets_less.py`.)
#
# ## How far each part moved
#
# For each part of the model, the length of its change, ||after - before||, in per cent of its length before. (The length of
# an array is that of all its numbers as one vector: the root of the sum of their squares.)

# %%
space = Space(start("adapter"))
moves = {name: movement(space, space.start, space.vector(found.model.state()), set(before))
         for name, found in (("full", full), ("frozen", frozen), ("adapter", adapted))}
draw.movement(moves, lesson.path("movement.png"))
lesson.shown(lesson.path("movement.png"))


def share(name, *part):
    way, length = moves[name][part]
    return 100 * way / length


lesson.expect("tables of words and positions, full, in %", share("full", "start", "words, positions"), "12 ± 3")
lesson.expect("MLP of block 1, full, in %", share("full", "1", "MLP"), "6 ± 2")
lesson.expect("MLP of block 1, frozen, in %", share("frozen", "1", "MLP"), "26 ± 7")
lesson.expect("inserted in block 1, adapter, in %", share("adapter", "1", "inserted"), "137 ± 35")

# %% [markdown]
# Full fine-tuning moves every part: the tables of words and places by 12 ± 3 %, the MLP of block 1 by 6 ± 2 %. Where this
# block must do all of the work, frozen, its MLP goes as far as 26 ± 7 %, at five times the learning rate. With adapters
# nothing of the body moves but its norms. What was inserted ends 137 ± 35 % of its own length away from where it began: it
# had no good place to stay near to.
#
# ## Off again
#
# Why then use adapters? Because they come off. Take the wrapper away, put the norms' old values back, and the generalist is
# there, bit for bit, with nothing forgotten. A specialist is a file of 13,696 numbers beside one base, and many can share it
# (`minillm/finetune/adapters.py`).
#
# ## What to notice
#
# - One zero is enough to start as nothing, and two would be too many: U = 0 and D random.
# - Frozen weights still pass the gradient on. An adapter in the first block needs the whole backward pass above it.
# - "Frozen" is a promise about weights, not about what the model still knows. Measure the old skills, too.
# - A comparison of ways is one of ways *and* learning rates. Give each its own, chosen on texts that are not the test.
#
# ## Exercise
#
# Exercise 23 asks for the layer: `adapter_start`, how its four arrays begin; `adapter`, the forward equation at the top of
# this lesson; and `adapter_backward`, the five gradients derived above. h may have several leading axes, (N, C) or (B, T, C);
# the sums over n then run over all of them. You have gelu from exercise 18 and the linear layer from exercises 5 and 7.
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
# 2. How many numbers has an adapter of width m? What share of a block's 12 C^2 weights are two of them, at C = 96 and m = 16,
#    and at C = 768 with the same m?
# 3. Put `Frozen(("blocks.0.*",))`, the first block alone, in the place of `Frozen()`. What does it learn, what does it
#    forget?
# 4. Put `BottleneckAdapter(bottleneck=16, norms=False)` in the place of the adapter. How many of the 28 arrays are the same
#    now?
# 5. With 16 novels instead of 64, or with 256: which way gains most?
#
# **Answers.** 1. Its lowest layers stand in the first block, so the backward pass must go all the way down. What is saved is
# dW of the body, one of three products for each of its matrices (forward, dx, dW). Frozen saves dx as well in all that lies
# below its block. 2. 2 C m + m + C. 2 (2 * 96 * 16 + 16 + 96) / (12 * 96^2) = 5.8 %; at C = 768, 0.7 %. The share falls as
# 1 / C: that is why papers on large models speak of one per cent and less. 3. Measure it, and compare it with frozen: both
# train one block. 4. All 28. Compare what it learns with the table. 5. Measure it.
#
# ## Read next
#
# `minillm/finetune/methods/bottleneck.py` (the layer, `SequentialAdapter`, and `ParallelAdapter` for a parallel adapter),
# `minillm/finetune/wrapper.py` (how a wrapper takes the place of a sublayer). Lesson 12 sees the same ways as paths over one
# loss surface.
