# %% [markdown]
# # Lesson 8: the transformer's backward pass
#
# **Question.** How does the gradient of the loss get back through a norm, through attention, through a whole block? After this
# lesson there is no part of a GPT whose gradient you have not written.
#
# **Time.** 4 seconds to run, 90 minutes to read, four hours for the exercises. Take one section and its exercise at a time.
#
# **Read.** Lessons 2 (the backward pass of softmax), 4 (the linear layer, the contract of layers) and 7 (attention). With each
# section, read its file in `minillm/nn/`.
#
# **Exercises.** 15 `layernorm`, 16 `attention_backward`, 17 `self_attention`, 18 `mlp`, 19 `block`, 20 `tied_head`
# (`minillm lesson 8 --start`).

# %%
import numpy as np
from common import Lesson

from minillm.draw.styles import LIGHT
from minillm.gradcheck import check_layer, check_model, perturb, relative_error
from minillm.nn import (
    GELU,
    GPT,
    AttentionHeads,
    Block,
    Config,
    Embedding,
    LayerNorm,
    backward_chain,
)

lesson = Lesson(8, "the transformer's backward pass")
B, T, H, D, V = 2, 5, 3, 4, 11
C = H * D

# %% [markdown]
# ## How to find any backward pass
#
# Three rules have brought us this far, and we need no others.
#
# 1. **The chain rule.** dx of a layer is the dout of the one before it.
# 2. **What is used twice collects twice.** If x reaches the loss along several paths, dx is the sum over them. What is copied
#    in the forward pass is summed in the backward pass.
# 3. **Follow the shapes.** dW has the shape of W, dx that of x. In a matrix product this hardly leaves a choice.
#
# The recipe: write the forward pass in steps so small that each has an obvious derivative, with indices. Go through the steps
# backwards. At each step ask which later numbers a number reaches, and add up what comes back from them.
#
# ## 1. LayerNorm
#
# The inputs of a layer should have a fixed scale, whatever the layers before it have done. LayerNorm takes each row of C
# numbers separately, brings it to mean 0 and variance 1, and learns a gain and a bias for each of the C:
#
# $$ \mu = \frac1C \sum_c x_c \qquad v = \frac1C \sum_c (x_c - \mu)^2 \qquad r = \frac{1}{\sqrt{v + \epsilon}} \qquad
#    \hat x_c = (x_c - \mu)\,r \qquad y_c = g_c\,\hat x_c + b_c $$
#
# (The small epsilon, 1e-5, prevents a division by 0 when all numbers of a row are equal.) Now backwards, the last step first.
# y is a product and a sum, number by number, and g and b are the same for all rows, so they collect from all rows:
#
# $$ h_c := \frac{\partial L}{\partial \hat x_c} = dout_c\,g_c \qquad dg_c = \sum_\text{rows} dout_c\,\hat x_c \qquad
#    db_c = \sum_\text{rows} dout_c $$
#
# Now x. A number x_j reaches the loss along **three paths**: through its own x_hat, through mu, and through r. First mu and v:
#
# $$ \frac{\partial \mu}{\partial x_j} = \frac1C \qquad
#    \frac{\partial v}{\partial x_j} = \frac2C \sum_c (x_c - \mu)\Big([c = j] - \frac1C\Big) = \frac2C\,(x_j - \mu) $$
#
# since the deviations x_c - mu sum to 0. Then r, a power of v:
#
# $$ \frac{\partial r}{\partial x_j} = -\tfrac12 (v + \epsilon)^{-3/2}\;\frac2C (x_j - \mu) = -\frac{r^3}{C}\,(x_j - \mu)
#    = -\frac{r^2}{C}\,\hat x_j $$
#
# x_hat is the product of (x_c - mu) and r. By the product rule, with (x_c - mu) r = x_hat_c:
#
# $$ \frac{\partial \hat x_c}{\partial x_j} = \Big([c = j] - \frac1C\Big) r - (x_c - \mu)\,\frac{r^2}{C}\,\hat x_j
#    = r\,\Big([c = j] - \frac1C - \frac{\hat x_c\,\hat x_j}{C}\Big) $$
#
# and x_j collects over all c:
#
# $$ dx_j = \sum_c h_c \frac{\partial \hat x_c}{\partial x_j} = r\,\Big(h_j - \frac1C \sum_c h_c
#    - \hat x_j\,\frac1C \sum_c h_c\,\hat x_c\Big) = r\,\big(h_j - \text{mean}(h) - \hat x_j\,\text{mean}(h\,\hat x)\big) $$
#
# In words: the gradient h goes straight through, times r; minus its mean, because adding a constant to x changes nothing;
# minus its part along x_hat, because making x longer changes nothing either (but for epsilon). What has no effect gets no
# gradient. **Exercise 15** is these equations.

# %%
rng = lesson.rng(1)
norm, x = LayerNorm(C, np.float64), 3 + 2 * rng.normal(size=(B, T, C))
y, cache = norm.forward(x)
norm.zero_grad()
dx = norm.backward(rng.normal(size=y.shape), cache)
lesson.expect("sum of dx over a row: a constant changes nothing", np.abs(dx.sum(axis=-1)).max(), "0 ± 1e-10")
of_ones, r = norm.backward(np.ones_like(y), cache), cache.r.reshape(B, T, 1)
lesson.expect("dx for a dout of ones", np.abs(of_ones).max(), "0 ± 1e-9")
lesson.expect("the factor r forgotten: dx for a dout of ones", np.abs(of_ones / r).max(), "0 ± 1e-8")
lesson.expect("... and its error for a random dout", relative_error(dx / r, dx), "0.43 ± 0.15")

# %% [markdown]
# The sums over a row are 0 ± 1e-10. With gains of 1 a dout of ones gives 0 ± 1e-9 everywhere: h is 1, so h and its mean
# cancel, and the third term is 0, since the mean of x_hat is 0. Now forget the factor r. For ones, this wrong backward pass
# gives 0 ± 1e-8, as the right one does, and would pass the check. A random dout reveals it, with an error of 0.43 ± 0.15.
# Softmax has the same blind spot (lesson 4). So in every check below dout is random, and the gains are moved away from 1.
#
# ## 2. Attention
#
# For one text and one head (lesson 7), with q, k, v and o (T, D), S and P (T, T):
#
# $$ S_{ts} = \frac{1}{\sqrt D} \sum_c q_{tc}\,k_{sc} + \text{mask}_{ts} \qquad P = \text{softmax of each row of } S \qquad
#    o_{tc} = \sum_s P_{ts}\,v_{sc} $$
#
# We are given do, which has the shape of o. **The last step**, o = P v. Value s reaches o_t at every t that sees it, times
# P_ts. And P_ts reaches all c of o_t, times v_sc:
#
# $$ dv_{sc} = \sum_t P_{ts}\,do_{tc} \qquad dP_{ts} = \sum_c do_{tc}\,v_{sc} \qquad\qquad dv = P'\,do \qquad dP = do\,v' $$
#
# **Softmax**, row by row (lesson 2), with dP as upstream gradient:
#
# $$ dS_{ts} = P_{ts}\,\Big(dP_{ts} - \sum_r dP_{tr}\,P_{tr}\Big) $$
#
# Where the mask applies, P is 0, so dS is 0: no gradient flows from a position to later ones, and the mask needs no code of
# its own. **The first step** is a product again, of q and k', divided by the root:
#
# $$ dq_{tc} = \frac{1}{\sqrt D}\sum_s dS_{ts}\,k_{sc} \qquad dk_{sc} = \frac{1}{\sqrt D}\sum_t dS_{ts}\,q_{tc} \qquad\qquad
#    dq = \frac{dS\,k}{\sqrt D} \qquad dk = \frac{dS'\,q}{\sqrt D} $$
#
# A query collects from all keys that it sees, a key from all queries that see it. That is all there is in attention. With
# leading axes, (B, H, T, D), all of this is done separately for each text and head: `@` multiplies the last two axes, and
# `swapaxes(-1, -2)` transposes them. **Exercise 16.**
#
# ## 3. Heads
#
# In the model one linear layer, the three of lesson 7 side by side, computes the queries, keys and values of all heads at
# once: y = x W + b, with W (C, 3 C). A row of y holds 3 C numbers: the C numbers of q, then those of k, then those of v. Of
# the C numbers of q, the first D belong to head 0, the next D to head 1, and so on. So y (B, T, 3 C) has the same memory
# layout as (B, T, 3, H, D), and we only have to bring the axes into the order that attention needs:
#
# $$ (B, T, 3C) \;\to\; (B, T, 3, H, D) \;\to\; (3, B, H, T, D) \;\to\; q,\ k,\ v\ (B, H, T, D) $$
#
# The outputs o (B, H, T, D) go back to (B, T, H, D), then (B, T, C), and through a second linear layer, W_o. A rearrangement
# moves numbers and computes nothing: its backward pass moves the gradients back. (`reshape` splits or joins neighbouring axes
# and never reorders; `transpose` says which old axis comes first, second, ...: `a.transpose(1, 2, 0)` turns (2, 5, 7) into (5,
# 7, 2). If you use reshape instead of transpose, the shape is right and the numbers are wrong.) Here is an example with
# numbers that show where they come from:

# %%
y = 100 * np.arange(3)[:, None, None] + 10 * np.arange(H)[:, None] + np.arange(D)          # hundreds: q, k, v; tens: head
y = np.tile(y.reshape(3 * C), (1, 1, 1))                                                    # (B, T, 3 C) with B = T = 1
print("a row of y:", y[0, 0])
q, k, v = AttentionHeads(H).split(y)
print("k, head by head:", k[0, :, 0].tolist())

# %% [markdown]
# The whole layer, with m for the merged heads, and its backward pass below:
#
# $$ y = x W + b \;\to\; q, k, v \;\to\; o \;\to\; m \;\to\; out = m W_o + b_o $$
#
# $$ dout \;\to\; dm,\ dW_o,\ db_o \;\to\; do \;\to\; dq, dk, dv \;\to\; dy \;\to\; dx,\ dW,\ db $$
#
# dm is split into heads, which undoes the merging; dq, dk and dv are joined into dy, which undoes the splitting of y.
# **Exercise 17.**
#
# ## 4. GELU and the MLP
#
# $$ y = \frac{x\,(1 + t)}{2} \qquad t = \tanh u \qquad u = A\,(x + B x^3) \qquad A = \sqrt{2/\pi},\; B = 0.044715 $$
#
# (A, B and t have these meanings only in this section.)
#
# One number goes in, one comes out. Use the product rule, then the chain rule. The slope of tanh is 1 - t², and du/dx = A (1 +
# 3 B x²):
#
# $$ \frac{dy}{dx} = \frac{1 + t}{2} + \frac x2\,(1 - t^2)\,A\,(1 + 3 B x^2) $$
#
# Unlike those of sigmoid and tanh, this slope is a function of the input x. The MLP is the network of two layers of lesson 4
# with GELU between them, so there is nothing new to derive. Only the cache differs: it must hold the input a of GELU:
#
# $$ a = x W_1 + b_1 \qquad h = \text{gelu}(a) \qquad out = h W_2 + b_2 $$
#
# $$ dout \;\to\; dh,\ dW_2,\ db_2 \;\to\; da = dh\,\frac{\partial h}{\partial a} \;\to\; dx,\ dW_1,\ db_1 $$
#
# W_1 is (C, 4 C) and W_2 (4 C, C). **Exercise 18.**
#
# ## 5. The block
#
# $$ x_1 = x + \text{attention}(\text{norm}_1(x)) \qquad out = x_1 + \text{mlp}(\text{norm}_2(x_1)) $$
#
# x_1 is used twice: it goes around the MLP, and through norm and MLP. By rule 2, dx_1 is the sum of what comes back along both
# paths, and the path around the MLP gives dout itself. Then the same for x:
#
# $$ dx_1 = dout + \text{(back through mlp, then norm}_2)(dout) \qquad
#    dx = dx_1 + \text{(back through attention, then norm}_1)(dx_1) $$
#
# **Exercise 19.**
#
# ## 6. The table that is used twice
#
# The table of words W (V, C) is read at the input, out = W[index], and it is also the output layer, logits = x W'. For the
# second use, as for any linear layer with matrix W':
#
# $$ dx_{nc} = \sum_v dout_{nv}\,W_{vc} \qquad dW_{vc} = \sum_n dout_{nv}\,x_{nc} $$
#
# Rule 2 once more: dW is the sum of this and the gradient from the embedding (lesson 7). All layers *add* to `p.grad`, so this
# needs no extra code. **Exercise 20.** (The table of positions: its row t is added in all B texts. What is copied is summed,
# so its gradient is the sum of dx over the texts.)
#
# ## Run, and see: is it all right?
#
# A block in float64, with every parameter moved by a random amount, against finite differences; then a whole GPT of two
# blocks, from the logits to the tables.

# %%
def block(**layers):
    """A block and an input, always with the same numbers; `layers` replaces the classes of some of its parts."""
    rng = lesson.rng(3)
    whole = Block(C, H, rng, 0.3, 0.3, np.float64)
    perturb(whole, rng)
    for place, kind in layers.items():
        holder, _, name = place.rpartition("__")
        owner = getattr(whole, holder) if holder else whole
        (getattr(owner, name) if name != "block" else whole).__class__ = kind
    return whole, rng.normal(size=(B, T, C)), rng


right = check_layer(*block())
print(f"{'block':22s}relative error")
for name, error in right.items():
    print(f"{name:22s}{error:14.1e}")
lesson.expect("block: largest error", max(right.values()), "0 ± 1e-7")

checked, x, rng = block()
out, cache = checked.forward(x)
checked.zero_grad()
checked.backward(rng.normal(size=out.shape), cache)
lesson.expect("gradient of the keys' bias", np.abs(checked.attn.qkv.bias.grad[C:2 * C]).max(), "0 ± 1e-10")

model = GPT(Config(V, T + 1, 2, H, C), lesson.rng(4), np.float64)
perturb(model, lesson.rng(5))
tokens = lesson.rng(6).integers(0, V, (B, T))
whole = check_model(model, tokens, lesson.rng(7))
lesson.expect("GPT of two blocks, 28 arrays: largest error", max(whole.values()), "0 ± 1e-7")


class ReadOnly(Embedding):
    def backward(self, dout, cache):
        """The gradient of reading the table is left out."""


model.wte.__class__ = ReadOnly
forgotten = check_model(model, tokens, lesson.rng(7))
lesson.expect("one path to the table forgotten: its error", forgotten["wte.weight"], "0.65 ± 0.4")
lesson.expect("... and of all other arrays", max(e for name, e in forgotten.items() if name != "wte.weight"), "0 ± 1e-7")

# %% [markdown]
# All gradients of the block are right to 0 ± 1e-7, and so are those of the model. If one of the two paths to the table is
# forgotten, its error is 0.65 ± 0.4, and nothing else is wrong: reading the table is the last step of the backward pass.
#
# ## See: where a mistake shows
#
# Six common mistakes, each built into a block that is otherwise right. A row of the picture is one gradient, from the loss at
# the top to the input at the bottom; a column is one mistake. Dark is wrong.

# %%
class NoMean(LayerNorm):
    """Forgets that mu depends on x."""

    def backward(self, dout, cache):
        h = dout.reshape(-1, C) * self.weight.data
        return super().backward(dout, cache) + (cache.r * h.mean(axis=1, keepdims=True)).reshape(*dout.shape[:-1], 1)


class NoSum(AttentionHeads):
    """Forgets the sum over the row in the gradient of softmax. (Here it is added again, which cancels it.)"""

    def backward(self, dout, cache):
        do = dout.reshape(*dout.shape[:2], H, D).transpose(0, 2, 1, 3)
        return super().backward(dout, cache, dlog_z=(do * cache.o).sum(axis=-1, keepdims=True))


class NoRoot(AttentionHeads):
    """Forgets 1 / sqrt(D) in the backward pass."""

    def backward(self, dout, cache):
        dqkv = super().backward(dout, cache)
        dqkv[..., :2 * C] *= np.sqrt(D)
        return dqkv


class SlopeOfOutput(GELU):
    """Takes the slope at the output, as one would for tanh."""

    def forward(self, x, needs_dx=True):
        y, _ = super().forward(x)
        return y, super().forward(y)[1]


class NoPathAround(Block):
    """Forgets that x1 also goes around the MLP."""

    def backward(self, dout, cache):
        dx1 = backward_chain((self.ln_2, self.mlp), dout, cache.mlp)
        return backward_chain((self.ln_1, self.attn), dx1, cache.attn) + dx1


MISTAKES = {"none": {}, "GELU: slope\nof its output": {"mlp__act": SlopeOfOutput}, "norm 2:\nno mean": {"ln_2": NoMean},
            "no path around\nthe MLP": {"block": NoPathAround}, "softmax:\nno sum": {"attn__heads": NoSum},
            "attention:\nno root": {"attn__heads": NoRoot}, "norm 1:\nno mean": {"ln_1": NoMean}}
ORDER = ["mlp.proj.bias", "mlp.proj.weight", "mlp.fc.bias", "mlp.fc.weight", "ln_2.bias", "ln_2.weight", "attn.proj.bias",
         "attn.proj.weight", "attn.qkv.bias", "attn.qkv.weight", "ln_1.bias", "ln_1.weight", "x"]
errors = {}
for name, layers in MISTAKES.items():
    relative = check_layer(*block(**layers))
    errors[name] = np.log10(np.maximum([relative[key] for key in ORDER], 1e-12))

with lesson.picture("errors.png", 12.8, 6.6) as fig:
    ax = fig.add_axes([0.15, 0.14, 0.74, 0.76])
    table = np.array(list(errors.values())).T
    seen = ax.imshow(table, cmap=LIGHT.ground, vmin=-12, vmax=0, aspect="auto")
    ax.set(title="The first wrong row, from above, tells where the mistake is")
    ax.set_xticks(range(len(errors)), errors)
    ax.set_yticks(range(len(ORDER)), [f"d({key})" for key in ORDER])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(table):
        ax.text(column, row, "right" if value < -7 else f"{10 ** value:.1g}", ha="center", va="center", size=11,
                color="white" if value > -4 else LIGHT.faint)
    bar = fig.colorbar(seen, cax=fig.add_axes([0.91, 0.14, 0.018, 0.76]), ticks=[0, -4, -8, -12])
    bar.ax.set_yticklabels(["1", "1e-4", "1e-8", "1e-12"])
    bar.ax.set_title("relative\nerror", size=12, weight="normal", loc="left")
    bar.outline.set_visible(False)

wrong = {name: (column > -6).sum() for name, column in errors.items()}
lesson.expect("wrong gradients with GELU's mistake", wrong["GELU: slope\nof its output"], "11 ± 0")
lesson.expect("wrong gradients with softmax's", wrong["softmax:\nno sum"], "5 ± 0")
lesson.expect("wrong gradients with norm 1's", wrong["norm 1:\nno mean"], "1 ± 0")

# %% [markdown]
# ## What to notice
#
# - A mistake spoils what comes *after* it in the backward pass, and nothing else. One in GELU spoils 11 ± 0 of the 13
#   gradients, one in softmax 5 ± 0, and one in the first norm only 1 ± 0, the gradient of the input. So start searching at the
#   first wrong row.
# - The bias of the keys has a gradient of 0 ± 1e-10: it adds the same number, q_t times b, to every score of row t, and
#   softmax does not see that.
# - None of the mistakes raises an error: all shapes fit, and all numbers are finite. That is why you should check a gradient,
#   not trust it.
# - The only new thing here was LayerNorm with its three paths. The rest is the softmax of lesson 2, the products of lesson 4,
#   and sums.
#
# ## Exercises
#
# ```
# minillm lesson 8 --start
# minillm check 15 --watch
# ```
#
# They build on each other and on earlier ones (3, 4, 5, 7, 13, 14), which they import from the same folder. Two things that
# help: `x.mean(axis=-1, keepdims=True)` broadcasts against x; and to sum over all axes but the last, merge them into one first
# (lesson 4).
#
# ## Questions
#
# 1. Why does dx of LayerNorm have no part along x_hat? Compare y for x and for 2 x.
# 2. In attention, which of dq, dk and dv is 0 at the first position, and why?
# 3. Suppose that in every row one score is far above all others, so that P is 1 there. What are dS, dq and dk?
# 4. How many matrix products are in the backward pass of a block, and how many in the forward pass? (Count the linear layers,
#    and P v and q k'.)
#
# **Answers.** 1. The two y are equal but for epsilon: r becomes half as large. A change without any effect has no gradient. 2.
# dq: the first row of P is always (1, 0, 0, ...), whatever q is. 3. All nearly 0: dS_ts is P_ts times a difference, and where
# P_ts is 1 the difference is 0. Only dv is left. 4. Forward 4 and 2, backward twice as many: each product has two factors, and
# each of them needs a gradient.
#
# ## Read next
#
# `minillm/nn/layernorm.py`, `minillm/nn/attention.py`, `minillm/nn/gelu.py`, `minillm/nn/block.py`, `minillm/nn/embedding.py`
# and `minillm/nn/gpt.py`, in this order: each backward is below its forward. Then you have read the whole model. Lesson 9
# trains it.
