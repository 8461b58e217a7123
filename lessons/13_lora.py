# %% [markdown]
# # Lesson 13: LoRA and merging
#
# **Question.** Full fine-tuning changes every number of every matrix. Is the change as complicated as that makes it look? And if
# it is not, can a matrix learn its change with a few per cent of the numbers, and be one plain matrix again afterwards?
#
# **Time.** About 15 seconds on two cores, and 20 more if no lesson has made the generalist yet (`--quick`: 5 in all); 60 minutes
# to read and try.
#
# **Read.** Lessons 4 (the linear layer's backward), 8 (fused q, k and v), 10 (what frozen means) and 11 (adapters).
#
# **Exercises.** 25 `lora` and 26 `merge` (`minillm lesson 13 --start`).

# %%
import tempfile
import time
from pathlib import Path

import numpy as np
from common import Lesson, copy_of, generalist, generalist_file

from minillm import GPT, AdamW, DocumentBatches, Full, LoRA, Trainer, World, evaluate_world, merge, save_specialist, warmup_linear
from minillm.draw.style import LIGHT
from minillm.nn import CrossEntropy
from minillm.text.batches import pad
from minillm.train.checkpoint import fingerprint
from minillm.train.evaluate import mean_excess
from minillm.train.fit import fit

lesson = Lesson(13, "LoRA and merging")
STEPS, TEST = (15, 8) if lesson.quick else (100, 100)
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
    """(on novels, on the old kinds of text), in nats a token above the floor; test texts that no model has seen."""
    scores = evaluate_world(model, world, "test", TEST)
    return scores["novel"].excess, mean_excess(scores, world.general)


# %% [markdown]
# ## What does fine-tuning change?
#
# All weights move, from the generalist to a novelist. Take one matrix W before and after. The difference, its **change**
#
# $$ \Delta W = W_\text{after} - W_\text{before} $$
#
# is what this matrix has learned. (Not to be taken for dW, the gradient of one step. The change is what all steps together made.)

# %%
full = fine_tune(Full(), 1e-3)
before, after = base.state(), full.state()
MATRICES = [name for name in before if name.startswith("blocks") and name.endswith("weight") and before[name].ndim == 2]


def changes(state):
    """{(matrix, part): change}, in float64. q, k and v share one array, and each counts for itself."""
    found = {}
    for name in MATRICES:
        change = state[name].astype(np.float64) - before[name]
        found |= ({(name, part): columns for part, columns in zip("qkv", np.split(change, 3, axis=1))} if "qkv" in name else
                  {(name, ""): change})
    return found


# %% [markdown]
# How complicated is a matrix? The simplest kind reads a single number from x, the product x u with some vector u, and writes it
# along some other vector v: it has the numbers u_k v_i. Call that a **direction**. Every matrix is a sum of directions,
#
# $$ \Delta W_{ki} = \sum_j \sigma_j\; u_{kj}\, v_{ij} \qquad\qquad |\Delta W|^2 = \sum_j \sigma_j^2 $$
#
# where the u have length 1 and stand at right angles to each other, and the v too. The numbers sigma, sorted so that they fall, are
# the **singular values**: how much there is of each direction. As many as are not 0, that is the matrix' **rank**. NumPy finds all
# of this with `np.linalg.svd`.
#
# To know whether a value is large we need a **null model**, as in lesson 9: what would chance show? A matrix (n, m) of independent
# random numbers of size s has unequal singular values too. Its largest is close to s (sqrt n + sqrt m), the *edge* (Marchenko and
# Pastur). What lies above the edge is more than noise of this length would show.

# %%
def singular(change):
    return np.linalg.svd(change, compute_uv=False)


def shares(change):
    """What part of the squared length the first k directions hold, k = 1, 2, ..."""
    squares = singular(change) ** 2
    return squares.cumsum() / squares.sum()


def edge(change):
    """The largest singular value of noise that is as long."""
    n, m = change.shape
    return np.linalg.norm(change) / np.sqrt(n * m) * (np.sqrt(n) + np.sqrt(m))


rng, moved = lesson.rng(2), changes(after)
noise = {name: rng.normal(size=change.shape) for name, change in moved.items()}
spectra = {"full": np.mean([shares(change) for change in moved.values()], axis=0),
           "noise": np.mean([shares(change) for change in noise.values()], axis=0)}
lesson.expect("full: share of the change in 4 directions", spectra["full"][RANK - 1], "0.49 ± 0.08")
lesson.expect("the same of noise", spectra["noise"][RANK - 1], "0.13 ± 0.02")
lesson.expect("full: directions above the edge", np.mean([np.sum(singular(change) > edge(change)) for change in moved.values()]),
              "8.0 ± 2.5")
lesson.expect("noise: its largest value, the edge being 1", np.mean([singular(change)[0] / edge(change)
                                                                     for change in noise.values()]), "0.98 ± 0.05")

# %% [markdown]
# Each of these changes is a sum of 96 directions. In the mean over all twelve, the first four hold a share of 0.49 ± 0.08 of the
# squared length, where of noise they would hold 0.13 ± 0.02, and 8.0 ± 2.5 directions stand above the edge. (Is the edge where the
# law has it? Noise of these very sizes reaches 0.98 ± 0.05 of it.) So the change is much simpler than it could be. Still, half of it
# lies in the other 92 directions. Is that half needed? Ask the model: keep of each change the first r directions, cut off the rest,
# and see what is left of the learning. (Tables, biases and norms keep all that they learned.)

# %%
def cut(r):
    """The fine-tuned model with only the first r directions of the change of each matrix."""
    model = copy_of(full)
    for name in MATRICES:
        kept = []
        for (whole, _), change in moved.items():
            if whole == name:
                U, sigma, V = np.linalg.svd(change, full_matrices=False)
                kept.append((U[:, :r] * sigma[:r]) @ V[:r])
        model.parameters()[name].data[...] = before[name] + np.concatenate(kept, axis=1)
    return model


excesses = {r: excess(cut(r))[0] for r in (0, 1, 2, 4, 8, 16, 96)}
print("directions kept      " + "".join(f"{r:8d}" for r in excesses))
print("excess on novels     " + "".join(f"{value:8.3f}" for value in excesses.values()))
work = (excesses[0] - excesses[RANK]) / (excesses[0] - excesses[96])
lesson.expect("share of the matrices' work that 4 directions do", work, "0.88 ± 0.08")

# %% [markdown]
# Four directions, with half of the squared length, do 0.88 ± 0.08 of the work of the matrices (what they take off the excess). The
# first directions are not only longer, they are the ones that count.
#
# ## The idea: learn the change, and only so much of it
#
# If few directions are enough, do not learn a matrix of in x out numbers and cut it afterwards. Learn few directions from the
# start. A matrix of rank r is a product of two thin ones, A (in, r) and B (r, out). So let W stand still and put beside it
#
# $$ y = x\,W + b + s\,(x A)\,B, \qquad s = \alpha / r $$
#
# This is **LoRA**, a low-rank adaptation (Hu et al. 2022). x A are r numbers, all that the change sees of x; B writes them into
# the output. The factor s is there so that another r does not ask for another learning rate: a sum over r terms grows with r, and
# alpha / r takes it back.
#
# **Count.** W has in x out numbers, A and B together r (in + out). Here, with r = 4:

# %%
for name in MATRICES[1:4]:
    n_in, n_out = before[name].shape
    print(f"{name:28s} {n_in:3d} x {n_out:3d} = {n_in * n_out:6,d} numbers;   r (in + out) = {RANK * (n_in + n_out):5,d}")

# %% [markdown]
# In and out count as a sum and no more as a product. So the wider the model, the smaller the share: at a width of 12,288, that of
# GPT-3, r = 4 is 0.065 % of a square matrix.
#
# **Start.** B = 0 and A random: then s (x A) B = 0, and the model starts as *exactly* the generalist, as with the adapters of
# lesson 11. Why not A = 0 as well? The backward pass tells.
#
# ## Its backward pass
#
# With z = x A the layer is, for each example n and output i,
#
# $$ z_{nj} = \sum_k x_{nk} A_{kj} \qquad y_{ni} = \sum_k x_{nk} W_{ki} + b_i + s \sum_j z_{nj} B_{ji} $$
#
# W and b are frozen: nobody asks for their gradients, which saves one of the three large products of a linear layer. Of the rest,
# go backwards and ask of each number what it reaches, and with what weight. B_ji reaches y_ni, of every example, with weight
# s z_nj. z_nj reaches all outputs of its example, with weights s B_ji:
#
# $$ \frac{\partial L}{\partial B_{ji}} = s \sum_n z_{nj}\, \text{dout}_{ni} \qquad
#    \text{dz}_{nj} = s \sum_i \text{dout}_{ni} B_{ji} $$
#
# A_kj reaches z_nj of every example, with weight x_nk. And x_nk goes two ways, through W and through A, so it collects from both:
#
# $$ \frac{\partial L}{\partial A_{kj}} = \sum_n x_{nk}\, \text{dz}_{nj} \qquad
#    \text{dx}_{nk} = \sum_i \text{dout}_{ni} W_{ki} + \sum_j \text{dz}_{nj} A_{kj} $$
#
# Frozen is W's gradient, not the way through W: without its part of dx the layers below would learn from a fraction of the truth.
# And see what B = 0 does: dz = 0, so A gets no gradient in the first step. B does, since z is not 0. With A = 0 as well, z would be
# 0, and *neither* would ever move. Here is the first backward pass:

# %%
model = copy_of(base)
LoRA(RANK, ALPHA).apply(model, lesson.rng(1))
tokens, targets = pad(novels[:8])
gap = np.abs(model.logits(tokens) - base.logits(tokens)).max()
lesson.expect("at the start: largest gap of a logit", gap, "0 ± 0")

loss = CrossEntropy()
logits, cache = model.forward(tokens)
_, loss_cache = loss.forward(logits, targets)
model.zero_grad()
model.backward(loss.backward(1.0, loss_cache), cache)
length = {end: np.sqrt(sum(np.sum(p.grad ** 2) for name, p in model.trainable_parameters().items() if name.endswith(end)))
          for end in (".A", ".B")}
print(f"the first gradient, its length:   of all A {length['.A']:.3f},   of all B {length['.B']:.3f};   frozen arrays that have one: "
      f"{sum(p.grad is not None for p in model.parameters().values() if not p.trainable)}")

# %% [markdown]
# The gap to the generalist is 0 ± 0: equal to the bit.
#
# ## Run, and see
#
# LoRA beside all matrices of the blocks (q, k and v each have their own), the same 64 novels, the same 100 steps. Of a few learning
# rates, tried on validation texts, LoRA gets one that is ten times that of full fine-tuning: B begins at 0 and has far to go.

# %%
lora = fine_tune(LoRA(RANK, ALPHA), 1e-2)
sizes = {}
with tempfile.TemporaryDirectory() as folder:
    for name, model, recipe in (("full", full, Full()), ("lora", lora, LoRA(RANK, ALPHA))):
        path = Path(folder) / f"{name}.npz"
        save_specialist(path, model, world.tokenizer, recipe, generalist_file(lesson), fingerprint(base))
        sizes[name] = path.stat().st_size / 1000

print(f"\n{'':22s}{'trains':>9s}{'file':>10s}{'excess on novels':>20s}{'on the old kinds':>20s}")
for name, model in {"the generalist": base, "full": full, "lora": lora}.items():
    new, old = excess(model)
    n = sum(p.size for p in model.trainable_parameters().values())
    print(f"{name:22s}" + (f"{n:9,d}{sizes[name]:7.0f} KB" if name in sizes else " " * 19) + f"{new:20.3f}{old:20.3f}")
    if name in sizes:
        found = {"full": ("0.13 ± 0.08", "0.14 ± 0.07"), "lora": ("0.15 ± 0.09", "0.38 ± 0.18")}[name]
        lesson.expect(f"{name}: excess on novels", new, found[0])
        lesson.expect(f"{name}: excess on the old kinds", old, found[1])
total = sum(p.size for p in lora.parameters().values())
lesson.expect("LoRA: share of all numbers that trains, %", 100 * n / total, "5.2 ± 0.1")

# %% [markdown]
# LoRA trains 5.2 ± 0.1 % of all numbers. (Its file is smaller by as much: only what trained is saved, four bytes a number.) On novels
# it comes to an excess of 0.15 ± 0.09, full fine-tuning to 0.13 ± 0.08. On the old kinds of text LoRA has 0.38 ± 0.18, full
# fine-tuning 0.14 ± 0.07. So here LoRA forgets *more*. That few numbers train is no shield. Lesson 14 is about this.
#
# ## Merging
#
# Is the model slower now? Beside each matrix there are two more products. But look at the equation again. Products may be
# bracketed as one likes:
#
# $$ x\,W + s\,(x A)\,B = x\,(W + s\,A B) $$
#
# So when all is trained, W' = W + s A B is a plain matrix that does the same: no more structure and no more work than the base has.
# (An adapter of lesson 11 cannot do that: between its two matrices there is a GELU.) Both sides are equal in exact arithmetic. A
# computer rounds after each operation, to some seven digits in float32 and sixteen in float64, so both sides differ by rounding and
# by nothing else. In float64 nothing can hide behind it: a gap above 1e-10 would be a mistake in the formula.
#
# One thing is particular. In attention the matrices of q, k and v stand side by side in one array (C, 3C): columns 0 to C - 1 make
# q, the next C make k, the last C make v. A LoRA of v has its own A (C, r) and B (r, C), and only v's columns change:
#
# $$ W'_{k,\,2C + i} = W_{k,\,2C + i} + s \sum_j A_{kj} B_{ji}, \qquad i = 0 \dots C - 1 $$

# %%
double = GPT(base.config, rng, np.float64)
LoRA(RANK, ALPHA).apply(double, rng)
double.load_state(lora.state())
merged = copy_of(base)
LoRA(RANK, ALPHA).apply(merged, rng)
merged.load_state(lora.state())                                # a second one, to be merged; the first stays as it is

apart = lora.logits(tokens), double.logits(tokens)
merge(merged)
merge(double)
lesson.expect("merged: largest gap of a logit, float32", np.abs(merged.logits(tokens) - apart[0]).max(), "0 ± 1e-3")
lesson.expect("merged: largest gap of a logit, float64", np.abs(double.logits(tokens) - apart[1]).max(), "0 ± 1e-10")
print("the merged model has the same parameters as the base:", merged.state().keys() == before.keys())

# %% [markdown]
# The gaps are 0 ± 1e-3 in float32 and 0 ± 1e-10 in float64. And the time? All three read the same texts, taking turns, and the best
# of some tries counts for each.

# %%
best = {}
for _ in range(5 if lesson.quick else 40):
    for name, model in {"base": base, "merged": merged, "LoRA beside it": lora}.items():
        began = time.perf_counter()
        model.logits(tokens)
        best[name] = min(best.get(name, np.inf), time.perf_counter() - began)
print("milliseconds for 8 novels: " + ",   ".join(f"{name} {1000 * seconds:.1f}" for name, seconds in best.items()))
lesson.expect("time of the merged model, the base's being 1", best["merged"] / best["base"], "1.0 ± 0.2")

# %% [markdown]
# The merged model takes 1.0 ± 0.2 of the base's time: it *is* a model like the base. Not merged, there is a little more to do; but
# then one base can serve many specialists, each of them a small file.
#
# ## The picture: the spectrum of the change

# %%
ours = changes(merged.state())
spectra["lora"] = np.mean([shares(change) for change in ours.values()], axis=0)
shown = ("blocks.1.mlp.fc.weight", "")
values = {"lora": singular(ours[shown]), "full": singular(moved[shown]),
          "noise": singular(noise[shown]) * np.linalg.norm(moved[shown]) / np.linalg.norm(noise[shown])}
lesson.expect("LoRA: rank of its change", np.sum(values["lora"] > 1e-5 * values["lora"][0]), "4 ± 0")
lesson.expect("LoRA: share of the change in 4 directions", spectra["lora"][RANK - 1], "1 ± 1e-6")
lesson.expect("LoRA: length of its change, that of full being 1",
              np.mean([np.linalg.norm(ours[name]) / np.linalg.norm(moved[name]) for name in ours]), "4.6 ± 1.5")

COLOR = {"lora": LIGHT.models["lora"], "full": LIGHT.models["full"], "noise": LIGHT.faint}
with lesson.picture("spectrum.png", 12.8, 5.4) as fig:
    left, right = fig.subplots(1, 2)
    fig.subplots_adjust(left=0.065, right=0.985, bottom=0.13, top=0.9, wspace=0.17)
    k = np.arange(1, 97)
    for name, line in (("noise", "--"), ("full", "-"), ("lora", "-")):
        n = RANK if name == "lora" else 96
        left.plot(k[:n], values[name][:n], line, color=COLOR[name])
        right.plot(k, 100 * spectra[name], line, color=COLOR[name])
    left.vlines(RANK, 0, values["lora"][RANK - 1], color=COLOR["lora"], ls=":")
    left.plot(RANK, values["lora"][RANK - 1], "o", color=COLOR["lora"], ms=8)
    left.annotate("LoRA: rank 4, it ends here", (RANK, values["lora"][RANK - 1]), (12, 6), textcoords="offset points",
                  color=COLOR["lora"], weight="bold")
    left.axhline(edge(moved[shown]), color=LIGHT.faint, lw=1)
    left.annotate("edge of noise", (96, edge(moved[shown])), (0, 5), textcoords="offset points", color=LIGHT.faint, ha="right")
    left.set(xscale="log", yscale="log", xlabel="direction k", ylabel="singular value", title="The change of one matrix")
    right.axvline(RANK, color=LIGHT.faint, lw=1)
    right.set(xscale="log", xlabel="the first k directions", ylabel="their share of the squared length, %",
              title="Mean over the changes of all matrices", ylim=(0, 103))
    for name, text, at, where in (("lora", "LoRA", 3, (-12, 4)), ("full", "full fine-tuning", 8, (10, -14)),
                                  ("noise", "noise", 16, (10, -14))):
        right.annotate(text, (at, 100 * spectra[name][at - 1]), where, textcoords="offset points", color=COLOR[name], weight="bold",
                       ha="right" if name == "lora" else "left")
    for ax in (left, right):
        ax.set_xticks([1, 2, 4, 8, 16, 32, 64, 96], ["1", "2", "4", "8", "16", "32", "64", "96"])
        ax.minorticks_off()
        ax.grid()

# %% [markdown]
# ## What to notice
#
# - Full fine-tuning (left) has a few directions above the edge of noise, and then falls off slowly. LoRA's change has rank 4 ± 0 by
#   construction; its first four directions hold all there is, 1 ± 1e-6.
# - LoRA goes along its few directions much farther: its change is 4.6 ± 1.5 times as long as that of full fine-tuning. Low rank does
#   not mean a small change.
# - What LoRA saves is gradients, the optimizer's memory and the file. It does not save activations: to compute A's gradient each
#   layer keeps its x, as it would for W.
#
# ## Exercises
#
# Exercise 25 is the layer with its backward pass: `lora(x, W, b, A, B, scale)` and `lora_backward(dout, cache)`. What goes into the
# cache is your choice: whatever the equations of the backward pass read. x may have several leading axes, as in exercise 7; the sums
# over n then run over all of them.
#
# Exercise 26 is the merging: `merge(W, A, B, scale)` of one matrix, and `merge_qkv(W, parts, scale)` where q, k and v share one
# array and only some of them have a LoRA. All columns of the others must stay as they are, bit for bit, and W itself untouched, or
# you could never take the LoRA off again.
#
# ## Questions
#
# 1. Take a LoRA off again: one could subtract s A B from W'. Why does minillm keep a copy of W instead?
# 2. A -> A T and B -> T^-1 B, with any invertible T (r, r): what changes?
# 3. Give LoRA twice its learning rate, or half. What happens to novels, and what to the old kinds?
# 4. Set RANK = 1, then 16. Does a rank that is four times as high learn four times as well?
# 5. May one merge two LoRAs of one base, for two tasks, by adding both products to W?
#
# **Answers.** 1. The sum was rounded, so that (W + s A B) - s A B is not W to the bit. 2. Nothing that the model does: A T T^-1 B =
# A B. The product has fewer degrees of freedom than r (in + out), and a picture over A and B shows movement where the model stands
# still. 3. Measure it: the two columns of the table do not move together. 4. No; `lessons/experiments/05_learns_less_forgets_less.py`
# has measured several ranks with care. 5. One may, and gets a model of rank 2 r at most. Whether it knows both tasks is another
# question, since neither has learned in the presence of the other. Measure it.
#
# ## Read next
#
# `minillm/finetune/methods/lora.py`: `LowRank` is exercise 25 without W, `LoRALinear` puts it beside a linear layer and `merged` is
# exercise 26. `minillm/finetune/merge.py` can also undo. `dora.py` beside it learns the length of each column apart.
# `minillm/surface/movement.py` has the spectrum for any run of `minillm gallery`. Lesson 14: what was forgotten, and what helps.
