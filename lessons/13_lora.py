# %% [markdown]
# # Lesson 13: LoRA and merging
#
# **Question.** Full fine-tuning changes every number of every matrix. Is the change really as complicated as that sounds? If
# not, can a matrix learn it with a few per cent of the numbers, and be one plain matrix again afterwards?
#
# **Time.** About 15 seconds on two cores, and 20 more if no lesson has made the generalist yet (`--quick`: 5 in all). 60
# minutes to read and try.
#
# **Read.** Lessons 4 (the backward pass of the linear layer), 8 (q, k and v in one array), 10 (what frozen means) and 11
# (adapters).
#
# **Exercises.** 25 `lora` and 26 `merge` (`minillm lesson 13 --start`).

# %%
import tempfile
import time
from pathlib import Path

import numpy as np
from common import Lesson, copy_of, generalist, generalist_file

from minillm import (
    GPT,
    AdamW,
    DocumentBatches,
    Full,
    LoRA,
    Trainer,
    World,
    draw,
    evaluate_world,
    merge,
    save_specialist,
    warmup_linear,
)
from minillm.nn import CrossEntropy
from minillm.tasks.evaluate import mean_excess
from minillm.text.batches import pad
from minillm.train.checkpoint import fingerprint
from minillm.train.fit import fit

lesson = Lesson(13, "LoRA and merging")
STEPS, TEST, TRIES = (15, 8, 5) if lesson.quick else (100, 100, 40)
RANK, ALPHA = 4, 8
world, base = World(lesson.seed), generalist(lesson)
novels = [document.ids for document in world.documents("novel", 64, "train")]


def fine_tune(recipe, lr):
    """A copy of the generalist with a recipe applied, trained on the 64 novels."""
    model = copy_of(base)
    recipe.apply(model, lesson.rng(1))
    batches = DocumentBatches(novels, 16, lesson.seed)
    trainer = Trainer(model, AdamW(lr), warmup_linear(STEPS), total=batches.total)
    fit(trainer, batches, STEPS, title=recipe.method)
    return model


def excess(model):
    """Excess (on novels, on the old kinds of text), in nats a token; on test texts, which no model has seen."""
    scores = evaluate_world(model, world, "test", TEST)
    return scores["novel"].excess, mean_excess(scores, world.general)


# %% [markdown]
# ## What does fine-tuning change?
#
# All weights move, from the generalist to the novelist. Take one matrix W before and after. Its **change**
#
# $$ \Delta W = W_\text{after} - W_\text{before} $$
#
# is what this matrix has learned. (Do not confuse it with dW, the gradient of one step: the change is the result of all
# steps together.)

# %%
full = fine_tune(Full(), 1e-3)
before = base.state_dict()
MATRICES = [name for name, W in before.items() if name.startswith("blocks") and W.ndim == 2]


def changes(model):
    """{(matrix, part): change}, in float64. q, k and v share one array, and are counted separately."""
    by_part = {}
    for name in MATRICES:
        change = model.state_dict()[name].astype(np.float64) - before[name]
        by_part |= ({(name, part): columns for part, columns in zip("qkv", np.split(change, 3, axis=1))} if "qkv" in name else
                    {(name, ""): change})
    return by_part


# %% [markdown]
# How complicated is a matrix? The simplest kind reads a single number from x, the product x u with a vector u, and writes it
# along another vector v: its entries are u_k v_i. Call that a **direction**. Every matrix is a sum of directions,
#
# $$ \Delta W_{ki} = \sum_j \sigma_j\; u_{kj}\, v_{ij} \qquad\qquad |\Delta W|^2 = \sum_j \sigma_j^2 $$
#
# where the u have length 1 and are at right angles to each other, and the same holds for the v. The numbers sigma, sorted
# from the largest, are the **singular values**: how much there is of each direction. The number of nonzero ones is the
# **rank** of the matrix. NumPy computes all of this with `np.linalg.svd`.
#
# To know whether a value is large we need a **null model**: what would chance give? A matrix (n, m) of independent random
# numbers of standard deviation s has unequal singular values too. The largest is close to s (sqrt n + sqrt m), the **edge**
# (Marchenko and Pastur). A singular value above the edge is larger than noise of the same length would give.

# %%
def singular(change):
    return np.linalg.svd(change, compute_uv=False)


def shares(changes):
    """The share of the squared length in the first k directions, k = 1, 2, ...; the mean over matrices."""
    squares = [singular(change) ** 2 for change in changes.values()]
    return np.mean([square.cumsum() / square.sum() for square in squares], axis=0)


def edge(change):
    """About the largest singular value of noise that is as long as the change."""
    n, m = change.shape
    return np.linalg.norm(change) / np.sqrt(n * m) * (np.sqrt(n) + np.sqrt(m))


rng, moved = lesson.rng(2), changes(full)
noise = {name: rng.normal(size=change.shape) for name, change in moved.items()}
above = [np.sum(singular(change) > edge(change)) for change in moved.values()]
lesson.expect("full: share of the change in 4 directions", shares(moved)[RANK - 1], "0.51 ± 0.03")
lesson.expect("noise: the same", shares(noise)[RANK - 1], "0.13 ± 0.01")
lesson.expect("full: directions above the edge", np.mean(above), "8 ± 1")

# %% [markdown]
# Each of these changes is a sum of 96 directions. On average over all twelve, the first four have a share of 0.51 ± 0.03 of
# the squared length; for noise it would be 0.13 ± 0.01. And 8 ± 1 directions are above the edge. So the change is simpler
# than it could be. Still, half of it lies in the other 92 directions. Is that half needed? Ask the model: keep only the
# first r directions of each change, cut off the rest, and see how much of the learning is left. (Tables, biases and norms
# keep everything they learned.)

# %%
def cut(r):
    """The fine-tuned model with only the first r directions of each change."""
    model, parts = copy_of(full), {name: [] for name in MATRICES}
    for (name, _), change in moved.items():
        U, sigma, V = np.linalg.svd(change, full_matrices=False)
        parts[name].append((U[:, :r] * sigma[:r]) @ V[:r])
    for name, columns in parts.items():
        model.parameters()[name].data[...] = before[name] + np.concatenate(columns, axis=1)
    return model


left = {r: excess(cut(r))[0] for r in (0, 1, 2, 4, 8, 16, 96)}
print("directions kept      " + "".join(f"{r:8d}" for r in left))
print("excess on novels     " + "".join(f"{value:8.3f}" for value in left.values()))
lesson.expect("share of the matrices' work that 4 directions do", (left[0] - left[RANK]) / (left[0] - left[96]), "0.90 ± 0.05")

# %% [markdown]
# Four directions do 0.90 ± 0.05 of the work of the matrices, measured by how much they reduce the excess. The first
# directions are not only longer than the rest, they are also the ones that matter.
#
# ## The idea: learn the change, and only a few directions of it
#
# If a few directions are enough, why learn a matrix of in x out numbers and cut it afterwards? Learn only a few from the
# start. A matrix of rank r is a product of two thin ones, A (in, r) and B (r, out). Freeze W, and add this product:
#
# $$ y = x\,W + b + s\,(x A)\,B \qquad\qquad s = \alpha / r $$
#
# This is **LoRA**, low-rank adaptation (Hu et al. 2022). x A consists of r numbers, which are all that the change can see of
# x; B writes them into the output. (The scale s: with a higher r more terms are summed, and alpha / r compensates for this,
# so that the same learning rate works for several r.)
#
# **Count.** W has in x out numbers, A and B together r (in + out). For a 96 x 384 matrix and r = 4 that is 1,920 instead of
# 36,864. The count has the sum of in and out instead of their product, so the share falls with the width: at GPT-3's width
# of 12,288, r = 4 is 0.065 % of a square matrix.
#
# **Start.** B = 0 and A random. Then s (x A) B = 0, and at first the model is *exactly* the generalist, as with the adapters
# of lesson 11. Why not A = 0 as well? The backward pass shows why.
#
# ## Its backward pass
#
# With z = x A the layer is, for each example n and output i,
#
# $$ z_{nj} = \sum_k x_{nk} A_{kj} \qquad\qquad y_{ni} = \sum_k x_{nk} W_{ki} + b_i + s \sum_j z_{nj} B_{ji} $$
#
# W and b are frozen: their gradients are not needed, which saves one of the three large products of a linear layer. For the
# other arrays, ask what each number reaches, and with what weight. B_ji reaches y_ni of every example, with weight s z_nj.
# z_nj reaches all outputs of its example, with weights s B_ji:
#
# $$ \text{dB}_{ji} = s \sum_n z_{nj}\, \text{dout}_{ni} \qquad\qquad \text{dz}_{nj} = s \sum_i \text{dout}_{ni} B_{ji} $$
#
# A_kj reaches z_nj of every example, with weight x_nk. And x_nk takes two paths, through W and through A, so it collects
# from both:
#
# $$ \text{dA}_{kj} = \sum_n x_{nk}\, \text{dz}_{nj} \qquad\qquad
#    \text{dx}_{nk} = \sum_i \text{dout}_{ni} W_{ki} + \sum_j \text{dz}_{nj} A_{kj} $$
#
# Frozen means no dW. It does not close the path through W: without this part of dx the layers below would get a wrong
# gradient. And see what B = 0 does: dz = 0, so A gets no gradient in the first step. B gets one, since z is not 0. With A =
# 0 as well, z would be 0, and *neither* would ever move. The first backward pass, in numbers:

# %%
model = copy_of(base)
LoRA(RANK, ALPHA).apply(model, lesson.rng(1))
tokens, targets = pad(novels[:8])
logits, cache = model.forward(tokens)
lesson.expect("LoRA at its start: largest gap of a logit", np.abs(logits - base.logits(tokens)).max(), "0 ± 0")

_, loss_cache = CrossEntropy().forward(logits, targets)
model.zero_grad()
model.backward(CrossEntropy().backward(1.0, loss_cache), cache)
squares = {name: float(np.sum(p.grad ** 2)) for name, p in model.trainable_parameters().items()}
for end in ("A", "B"):
    print(f"first gradient of all {end}: length {np.sqrt(sum(x for name, x in squares.items() if name.endswith(end))):.4f}")

# %% [markdown]
# The gap to the generalist is 0 ± 0: equal bit for bit.
#
# ## Run, and see
#
# LoRA for all matrices of the blocks (q, k and v each have their own), the same 64 novels, the same 100 steps. Of a few
# learning rates tried on validation texts, the best for LoRA is ten times that of full fine-tuning: B starts at 0 and has
# far to go.

# %%
lora = fine_tune(LoRA(RANK, ALPHA), 1e-2)
print("the generalist: {:.3f} on novels, {:.3f} on the old kinds".format(*excess(base)))
with tempfile.TemporaryDirectory() as folder:
    for name, model, recipe in (("full", full, Full()), ("lora", lora, LoRA(RANK, ALPHA))):
        path = Path(folder) / f"{name}.npz"
        save_specialist(path, model, world.tokenizer, recipe, generalist_file(lesson), fingerprint(base))
        n = sum(p.size for p in model.trainable_parameters().values())
        print(f"{name}: {n:,d} numbers train, the file has {path.stat().st_size / 1000:,.0f} KB")
(full_new, full_old), (lora_new, lora_old) = excess(full), excess(lora)
lesson.expect("full: excess on novels", full_new, "0.08 ± 0.04")
lesson.expect("full: excess on the old kinds", full_old, "0.18 ± 0.05")
lesson.expect("LoRA: excess on novels", lora_new, "0.08 ± 0.04")
lesson.expect("LoRA: excess on the old kinds", lora_old, "0.38 ± 0.20")
lesson.expect("LoRA: % of all numbers that trains", 100 * n / sum(p.size for p in lora.parameters().values()), "5.2 ± 0.1")

# %% [markdown]
# LoRA trains 5.2 ± 0.1 % of all parameters, and its file is smaller by the same factor: only what trained is saved, four
# bytes a number. On novels it is as good as full fine-tuning: both reach an excess of 0.08 ± 0.04. On the old kinds of text
# LoRA has 0.38 ± 0.20, full fine-tuning 0.18 ± 0.05. So at these rates LoRA forgets *more*, with each of the seeds tried.
# Training few parameters does not protect old skills. Lesson 14 is about this.
#
# ## Merging
#
# Is the model slower now? Each matrix comes with two more products. But matrix products are associative:
#
# $$ x\,W + s\,(x A)\,B = x\,(W + s\,A B) $$
#
# So after training, the plain matrix W + s A B does the same, with no more work than the base. (An adapter of lesson 11
# cannot be merged: there is a GELU between its two matrices.) The two sides are equal in exact arithmetic. A computer rounds
# after each operation, to about seven digits in float32 and sixteen in float64, so they differ only by rounding. In float64
# this is too small to hide a mistake: a gap above 1e-10 would be one.
#
# One detail: in attention the matrices of q, k and v are side by side in one array (C, 3C). Columns 0 to C - 1 compute q,
# the next C compute k, the last C compute v. A LoRA for v has its own A (C, r) and B (r, C), and changes only the columns of
# v:
#
# $$ W_{k,\,2C + i} \;\leftarrow\; W_{k,\,2C + i} + s \sum_j A_{kj} B_{ji} \qquad i = 0 \dots C - 1 $$

# %%
def merged_and_gap(dtype):
    """The LoRA model in this type, merged; and the largest gap between its logits before and after."""
    model = GPT(base.config, rng, dtype)
    LoRA(RANK, ALPHA).apply(model, rng)
    model.load_state_dict(lora.state_dict())
    apart = model.logits(tokens)
    merge(model)
    return model, np.abs(model.logits(tokens) - apart).max()


merged, gap = merged_and_gap(np.float32)
lesson.expect("merged: largest gap of a logit, float32", gap, "0 ± 1e-3")
lesson.expect("merged: largest gap of a logit, float64", merged_and_gap(np.float64)[1], "0 ± 1e-10")
print("the merged model has the parameters of the base and no others:", merged.state_dict().keys() == before.keys())

# %% [markdown]
# The gaps are 0 ± 1e-3 in float32 and 0 ± 1e-10 in float64. And the time? All three models read the same texts, taking
# turns, and the best of several tries counts for each.

# %%
best = dict.fromkeys(("base", "merged", "LoRA beside it"), np.inf)
for _ in range(TRIES):
    for name, model in zip(best, (base, merged, lora)):
        began = time.perf_counter()
        model.logits(tokens)
        best[name] = min(best[name], time.perf_counter() - began)
print("milliseconds for 8 novels: " + ",   ".join(f"{name} {1000 * seconds:.1f}" for name, seconds in best.items()))
lesson.expect("time of the merged model, the base's being 1", best["merged"] / best["base"], "1.0 ± 0.2")

# %% [markdown]
# The merged model takes 1.0 ± 0.2 of the base's time. Without merging there is a little more work; but then one base in
# memory can serve many specialists, each of which is a small file.
#
# ## The picture: the spectrum of the change

# %%
ours = changes(merged)
longer = [np.linalg.norm(ours[name]) / np.linalg.norm(moved[name]) for name in ours]
ranks = [np.sum(singular(change) > 1e-5 * singular(change)[0]) for change in ours.values()]
lesson.expect("LoRA: rank of its changes", np.mean(ranks), "4 ± 0")
lesson.expect("LoRA: length of its changes, those of full being 1", np.mean(longer), "4.2 ± 0.3")


def three(name):
    """The spectrum of the change of a matrix in both models, and that of noise as long as full fine-tuning's."""
    length = np.linalg.norm(moved[name]) / np.linalg.norm(noise[name])
    return {"lora": singular(ours[name]), "full": singular(moved[name]), "chance": length * singular(noise[name])}


draw.spectrum({"the MLP's first matrix, block 0": three(("blocks.0.mlp.fc.weight", "")),
               "the MLP's second matrix, block 1": three(("blocks.1.mlp.proj.weight", ""))}, lesson.path("spectrum.png"))
lesson.shown(lesson.path("spectrum.png"))

# %% [markdown]
# ## What to notice
#
# - In both matrices some singular values of full fine-tuning are above the noise; the rest fall off slowly, below it. LoRA's
#   change has rank 4 ± 0 by construction.
# - LoRA goes much farther along its few directions: its change is 4.2 ± 0.3 times as long as that of full fine-tuning. Low
#   rank does not mean a small change.
# - LoRA saves gradients, optimizer memory and file size. It does not save activations: to compute dA each layer keeps its x,
#   as it would for dW.
#
# ## Exercises
#
# Exercise 25 is the layer with its backward pass: `lora(x, W, b, A, B, scale)` and `lora_backward(dout, cache)`. What goes
# into the cache is your choice: whatever the equations of the backward pass need. x may have several leading axes, as in
# exercise 7; the sums over n then run over all of them.
#
# Exercise 26 is merging: `merge(W, A, B, scale)` for one matrix, and `merge_qkv(W, parts, scale)` where q, k and v share one
# array and only some of them have a LoRA. The columns of the others must stay the same, bit for bit, and W itself must not
# change: you need it to remove the LoRA again.
#
# ## Questions
#
# 1. To remove a merged LoRA you could subtract s A B again. Why does minillm keep a copy of W instead?
# 2. Replace A by A T, and B by T^-1 B, with any invertible T (r, r). What changes?
# 3. Give LoRA twice or half its learning rate. What happens to the novels, and what to the old kinds?
# 4. Can you merge two LoRAs of the same base, for two tasks, by adding both products to W?
#
# **Answers.** 1. W + s A B was rounded, so subtracting s A B does not give back W to the bit. 2. Nothing in what the model
# does: A T T^-1 B = A B. So a picture over A and B would show movement where the model does not change. 3. Measure it. The
# two numbers do not move together. 4. Yes, and you get a change of rank at most 2 r. Whether the model then knows both tasks
# is another question: neither LoRA was trained together with the other. Measure it.
#
# ## Read next
#
# `minillm/finetune/methods/lora.py`: `LowRank` is exercise 25 without W, `LoRALinear` adds it to a linear layer, and its
# `merged` is exercise 26. `minillm/finetune/merge.py` merges a whole model, and undoes the merge.
# `lessons/experiments/05_learns_less_forgets_less.py` compares ranks with care, each at its best learning rate. Lesson 14:
# what was forgotten, and what helps.
