# %% [markdown]
# # Lesson 8: the transformer's backward pass
#
# **Question.** How does the gradient of the loss get back through a norm, through attention, through a whole block? After this
# lesson nothing in GPT is left whose gradient you have not written.
#
# **Time.** 4 seconds to run, 90 minutes to read, four hours for the exercises. Take one section and its exercise at a time.
#
# **Read.** Lessons 2 (the backward pass of softmax), 4 (the linear layer, the contract of layers) and 7 (attention). With
# each section its file in `minillm/nn/`.
#
# **Exercises.** 15 `layernorm`, 16 `attention_backward`, 17 `self_attention`, 18 `mlp`, 19 `block`, 20 `tied_head`
# (`minillm lesson 8 --start`).

# %%
import numpy as np
from common import Lesson

from minillm.draw.style import LIGHT
from minillm.nn import GELU, GPT, Block, CausalSelfAttention, Config, Embedding, LayerNorm, Softmax, backward_chain
from minillm.gradcheck import check_layer, check_model, relative_error, perturb

lesson = Lesson(8, "the transformer's backward pass")
B, T, H, D, V = 2, 5, 3, 4, 11
C = H * D

# %% [markdown]
# ## How to find any backward pass
#
# Three rules have brought us here, and no others are needed.
#
# 1. **The chain rule.** dx of a layer is the dout of the one before it.
# 2. **What is used twice collects twice.** If x reaches the loss on several ways, dx is the sum over them. What is copied in the
#    forward pass is summed in the backward pass.
# 3. **The shapes lead.** dW has the shape of W, dx that of x. In a product of matrices this hardly leaves a choice.
#
# The recipe: write the forward pass in steps so small that each has an obvious derivative, with indices. Go through the steps
# backwards. At each one ask which later numbers a number reaches, and add up what comes back from there.
#
# ## 1. LayerNorm
#
# The inputs of a layer should be of one size, whatever the layers before have done. LayerNorm takes each row of C numbers by
# itself, brings it to mean 0 and variance 1, and learns a gain and a bias for each of the C:
#
# $$ \mu = \frac1C \sum_c x_c \qquad v = \frac1C \sum_c (x_c - \mu)^2 \qquad r = \frac{1}{\sqrt{v + \epsilon}} \qquad
#    \hat x_c = (x_c - \mu)\,r \qquad y_c = g_c\,\hat x_c + b_c $$
#
# (The small epsilon, 1e-5, keeps a row of equal numbers from being divided by 0.) Backwards, the last step first. y is a product
# and a sum, number by number, and g and b are the same for all rows, so they collect from all:
#
# $$ h_c := \frac{\partial L}{\partial \hat x_c} = dout_c\,g_c \qquad dg_c = \sum_\text{rows} dout_c\,\hat x_c \qquad
#    db_c = \sum_\text{rows} dout_c $$
#
# Now x. A number x_j reaches the loss on **three ways**: through its own x_hat, through mu, and through r. First mu and v:
#
# $$ \frac{\partial \mu}{\partial x_j} = \frac1C \qquad
#    \frac{\partial v}{\partial x_j} = \frac2C \sum_c (x_c - \mu)\Big([c = j] - \frac1C\Big) = \frac2C\,(x_j - \mu) $$
#
# since the deviations x_c - mu sum to 0. Then r, a power of v:
#
# $$ \frac{\partial r}{\partial x_j} = -\tfrac12 (v + \epsilon)^{-3/2}\;\frac2C (x_j - \mu) = -\frac{r^3}{C}\,(x_j - \mu)
#    = -\frac{r^2}{C}\,\hat x_j $$
#
# x_hat is a product of (x_c - mu) and r. By the product rule, with (x_c - mu) r = x_hat_c:
#
# $$ \frac{\partial \hat x_c}{\partial x_j} = \Big([c = j] - \frac1C\Big) r - (x_c - \mu)\,\frac{r^2}{C}\,\hat x_j
#    = r\,\Big([c = j] - \frac1C - \frac{\hat x_c\,\hat x_j}{C}\Big) $$
#
# and x_j collects over all c:
#
# $$ dx_j = \sum_c h_c \frac{\partial \hat x_c}{\partial x_j} = r\,\Big(h_j - \frac1C \sum_c h_c
#    - \hat x_j\,\frac1C \sum_c h_c\,\hat x_c\Big) = r\,\big(h_j - \text{mean}(h) - \hat x_j\,\text{mean}(h\,\hat x)\big) $$
#
# Read it: straight through, times r; less its mean, for a constant added to x changes nothing; less its part along x_hat, for
# a longer x changes nothing either. What cannot matter gets no gradient. **Exercise 15** is these equations.

# %%
rng = lesson.rng(1)
norm, x = LayerNorm(C, np.float64), 3 + 2 * rng.normal(size=(B, T, C))
y, cache = norm.forward(x)
norm.zero_grad()
dx = norm.backward(rng.normal(size=y.shape), cache)
lesson.expect("sum of dx over a row: a constant changes nothing", np.abs(dx.sum(axis=-1)).max(), "0 ± 1e-10")
of_ones, r = norm.backward(np.ones_like(y), cache), cache.rstd.reshape(B, T, 1)
lesson.expect("dx for a dout of ones", np.abs(of_ones).max(), "0 ± 1e-9")
lesson.expect("the factor r forgotten: dx for a dout of ones", np.abs(of_ones / r).max(), "0 ± 1e-8")
lesson.expect("... and its error for a random dout", relative_error(dx / r, dx), "0.43 ± 0.15")

# %% [markdown]
# The sums over a row are 0 ± 1e-10. With gains of 1 a dout of ones gives 0 ± 1e-9 everywhere: h is 1, so h and its mean
# cancel, and the third term is 0, since the mean of x_hat is. Now forget the factor r. Of ones this wrong backward pass gives
# 0 ± 1e-8, as the right one does, and would be taken for right. A random dout finds it out, with an error of 0.43 ± 0.15.
# Softmax has the same blind spot (lesson 4). So dout is random, and the gains are shaken off 1, in every check below.
#
# ## 2. Attention
#
# For one text and one head (lesson 7), with q, k, v and o (T, D), S and P (T, T):
#
# $$ S_{ts} = \frac{1}{\sqrt D} \sum_c q_{tc}\,k_{sc} + \text{mask}_{ts} \qquad P = \text{softmax of each row of } S \qquad
#    o_{tc} = \sum_s P_{ts}\,v_{sc} $$
#
# Given do, of the shape of o. **The last step**, o = P v. Value s reaches o_t at every t that sees it, times P_ts. And P_ts
# reaches all c of o_t, times v_sc:
#
# $$ dv_{sc} = \sum_t P_{ts}\,do_{tc} \qquad dP_{ts} = \sum_c do_{tc}\,v_{sc} \qquad\qquad dv = P'\,do \qquad dP = do\,v' $$
#
# **Softmax**, row by row (lesson 2), with dP as upstream gradient:
#
# $$ dS_{ts} = P_{ts}\,\Big(dP_{ts} - \sum_r dP_{tr}\,P_{tr}\Big) $$
#
# Where the mask forbids, P is 0, so dS is 0: no gradient flows from a position to its future, and the mask needs no code of
# its own. **The first step** is a product again, of q and k', divided by the root:
#
# $$ dq_{tc} = \frac{1}{\sqrt D}\sum_s dS_{ts}\,k_{sc} \qquad dk_{sc} = \frac{1}{\sqrt D}\sum_t dS_{ts}\,q_{tc} \qquad\qquad
#    dq = \frac{dS\,k}{\sqrt D} \qquad dk = \frac{dS'\,q}{\sqrt D} $$
#
# A query collects over all keys that it sees, a key over all queries that see it. Nothing else is in attention. With leading
# axes, (B, H, T, D), all of this is done for each text and head apart: `@` multiplies the last two axes, and `swapaxes(-1,
# -2)` transposes them. **Exercise 16.**
#
# ## 3. Heads
#
# In the model one linear layer, the three of lesson 7 side by side, makes the queries, keys and values of all heads at once:
# y = x W + b, with W (C, 3 C). A row of y holds 3 C numbers: the C numbers of q, then those of k, then those of v. The C
# numbers of q are those of head 0 (the first D), of head 1 (the next D), and so on. So y (B, T, 3 C) is the same memory as
# (B, T, 3, H, D), and all that is to be done is to bring the axes into the order in which attention wants them:
#
# $$ (B, T, 3C) \;\to\; (B, T, 3, H, D) \;\to\; (3, B, H, T, D) \;\to\; q,\ k,\ v\ (B, H, T, D) $$
#
# The outputs o (B, H, T, D) go back to (B, T, H, D), then (B, T, C), and through a second linear layer, W_o. A rearrangement
# moves numbers and computes nothing: its backward pass is the rearrangement back, of the gradients. (`reshape` cuts or joins
# neighbouring axes and never reorders; `transpose` says which old axis comes first, second, ...: `a.transpose(1, 2, 0)` turns
# (2, 5, 7) into (5, 7, 2). Where a reshape stands for a transpose, the shape is right and the numbers are wrong.) Here it is
# with numbers that tell where they come from:

# %%
y = 100 * np.arange(3)[:, None, None] + 10 * np.arange(H)[:, None] + np.arange(D)          # hundreds: q, k, v; tens: head
y = np.tile(y.reshape(3 * C), (1, 1, 1))                                                    # (B, T, 3 C) with B = T = 1
print("a row of y:", y[0, 0])
q, k, v = CausalSelfAttention(C, H, lesson.rng(2)).split(y)
print("k, head by head:", k[0, :, 0].tolist())

# %% [markdown]
# The whole layer, with m for the merged heads, and below it its backward pass:
#
# $$ y = x W + b \;\to\; q, k, v \;\to\; o \;\to\; m \;\to\; out = m W_o + b_o $$
#
# $$ dout \;\to\; dm,\ dW_o,\ db_o \;\to\; do \;\to\; dq, dk, dv \;\to\; dy \;\to\; dx,\ dW,\ db $$
#
# dm is cut into heads, the way back of merging; dq, dk and dv are laid side by side to dy, the way back of cutting y.
# **Exercise 17.**
#
# ## 4. GELU and the MLP
#
# $$ y = \frac{x\,(1 + t)}{2} \qquad t = \tanh u \qquad u = A\,(x + B x^3) \qquad A = \sqrt{2/\pi},\; B = 0.044715 $$
#
# (A, B and t are those of this section alone.)
#
# One number in, one out. Product rule, then chain rule, with the slope 1 - t² of tanh and du/dx = A (1 + 3 B x²):
#
# $$ \frac{dy}{dx} = \frac{1 + t}{2} + \frac x2\,(1 - t^2)\,A\,(1 + 3 B x^2) $$
#
# Unlike those of sigmoid and tanh, this slope is written with the input x. The MLP is the network of two layers of lesson 4
# with GELU between, so there is nothing to derive. Only the cache differs, which must hold the input a of GELU:
#
# $$ a = x W_1 + b_1 \qquad h = \text{gelu}(a) \qquad out = h W_2 + b_2 $$
#
# $$ dout \;\to\; dh,\ dW_2,\ db_2 \;\to\; da = dh\,\text{gelu}'(a) \;\to\; dx,\ dW_1,\ db_1 $$
#
# W_1 is (C, 4 C) and W_2 (4 C, C). **Exercise 18.**
#
# ## 5. The block
#
# $$ x_1 = x + \text{attention}(\text{norm}_1(x)) \qquad out = x_1 + \text{mlp}(\text{norm}_2(x_1)) $$
#
# x_1 is used twice: it goes around the MLP, and through norm and MLP. Rule 2: dx_1 is the sum of what comes back on both
# ways, and around comes dout itself. Then the same for x:
#
# $$ dx_1 = dout + \text{(back through mlp, then norm}_2)(dout) \qquad
#    dx = dx_1 + \text{(back through attention, then norm}_1)(dx_1) $$
#
# **Exercise 19.**
#
# ## 6. The table that is used twice
#
# The table of words W (V, C) is read at the input, out = W[index], and it is the output layer, logits = x W'. For the second
# use, as for any linear layer whose matrix is W':
#
# $$ dx_{nc} = \sum_v dout_{nv}\,W_{vc} \qquad dW_{vc} = \sum_n dout_{nv}\,x_{nc} $$
#
# Rule 2 once more: dW is the sum of this and of what the embedding gives (lesson 7). All layers *add* to `p.grad`, so nothing
# has to be done for it. **Exercise 20.** (And the table of places: its row t is added in all B texts. What is copied is
# summed, so it gets the sum of dx over the texts.)
#
# ## Run, and see: is it all right?
#
# A block in float64, every parameter shaken, against finite differences; then a whole GPT of two blocks, from logits to tables.

# %%
def block(**layers):
    """A block and an input, always with the same numbers; `layers` puts other classes into some of its places."""
    rng = lesson.rng(3)
    made = Block(C, H, rng, 0.3, 0.3, np.float64)
    perturb(made, rng)
    for place, kind in layers.items():
        holder, _, name = place.rpartition("__")
        owner = getattr(made, holder) if holder else made
        (getattr(owner, name) if name != "block" else made).__class__ = kind
    return made, rng.normal(size=(B, T, C)), rng


right = check_layer(*block())
print(f"{'block':22s}relative error")
for name, error in right.items():
    print(f"{name:22s}{error:14.1e}")
lesson.expect("block: largest error", max(right.values()), "0 ± 1e-7")

made, x, rng = block()
out, cache = made.forward(x)
made.zero_grad()
made.backward(rng.normal(size=out.shape), cache)
lesson.expect("gradient of the keys' bias", np.abs(made.attn.qkv.bias.grad[C:2 * C]).max(), "0 ± 1e-10")

model = GPT(Config(V, T + 1, 2, H, C), lesson.rng(4), np.float64)
perturb(model, lesson.rng(5))
tokens = lesson.rng(6).integers(0, V, (B, T))
whole = check_model(model, tokens, lesson.rng(7))
lesson.expect("GPT of two blocks, 28 arrays: largest error", max(whole.values()), "0 ± 1e-7")


class ReadOnly(Embedding):
    def backward(self, dout, cache):
        """The table forgets that it was read."""


model.wte.__class__ = ReadOnly
forgotten = check_model(model, tokens, lesson.rng(7))
lesson.expect("one way of the table forgotten: its error", forgotten["wte.weight"], "0.65 ± 0.4")
lesson.expect("... and of all other arrays", max(e for name, e in forgotten.items() if name != "wte.weight"), "0 ± 1e-7")

# %% [markdown]
# All gradients of the block are right to 0 ± 1e-7, and so are those of the model. With one of the table's two ways forgotten
# its error is 0.65 ± 0.4, and nothing else is wrong: the reading of the table is the last step on the way back.
#
# ## See: where a mistake shows
#
# Six mistakes that people make, each built into a block that is otherwise right. A row of the picture is one gradient, from the
# loss at the top to the input at the bottom; a column is one mistake. Dark is wrong.

# %%
class NoMean(LayerNorm):
    """mu depends on x: forgotten."""

    def backward(self, dout, cache):
        h = dout.reshape(-1, C) * self.weight.data
        return super().backward(dout, cache) + (cache.rstd * h.mean(axis=1, keepdims=True)).reshape(*dout.shape[:-1], 1)


class NoSum(Softmax):
    """The sum over the row: forgotten."""

    def backward(self, dout, cache, dout_dot_p=None):
        return dout * cache


class NoRoot(CausalSelfAttention):
    """1 / sqrt(D): forgotten on the way back."""

    def attend_backward(self, *args):
        dqkv = super().attend_backward(*args)
        dqkv[..., :2 * C] *= np.sqrt(D)
        return dqkv


class SlopeOfOutput(GELU):
    """The slope is taken at the output, as it would be for tanh."""

    def forward(self, x, needs_dx=True):
        y, _ = super().forward(x)
        return y, super().forward(y)[1]


class NoWayAround(Block):
    """x1 goes around the MLP: forgotten."""

    def backward(self, dout, cache):
        dx1 = backward_chain((self.ln_2, self.mlp), dout, cache.mlp)
        return backward_chain((self.ln_1, self.attn), dx1, cache.attn) + dx1


MISTAKES = {"none": {}, "GELU: slope\nof its output": {"mlp__gelu": SlopeOfOutput}, "norm 2:\nno mean": {"ln_2": NoMean},
            "no way around\nthe MLP": {"block": NoWayAround}, "softmax:\nno sum": {"attn__softmax": NoSum},
            "attention:\nno root": {"attn": NoRoot}, "norm 1:\nno mean": {"ln_1": NoMean}}
ORDER = ["mlp.proj.bias", "mlp.proj.weight", "mlp.fc.bias", "mlp.fc.weight", "ln_2.bias", "ln_2.weight", "attn.proj.bias",
         "attn.proj.weight", "attn.qkv.bias", "attn.qkv.weight", "ln_1.bias", "ln_1.weight", "x"]
errors = {}
for name, layers in MISTAKES.items():
    found = check_layer(*block(**layers))
    errors[name] = np.log10(np.maximum([found[key] for key in ORDER], 1e-12))

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
# - A mistake spoils what lies *behind* it on the way back, and nothing else. One in GELU spoils 11 ± 0 of the 13 gradients,
#   one in softmax 5 ± 0, and one in the first norm only 1 ± 0, the gradient of the input. So search at the first wrong row.
# - The bias of the keys has a gradient of 0 ± 1e-10: it adds q_t times b to every score of row t, and softmax does not see
#   what all have in common.
# - None of the mistakes raises an error: all shapes fit, and all numbers are finite. That is why a gradient is checked and not
#   trusted.
# - Nothing here was new but LayerNorm's three ways. The rest is lesson 2's softmax, lesson 4's products, and sums.
#
# ## Exercises
#
# ```
# minillm lesson 8 --start
# minillm check 15 --watch
# ```
#
# They build on each other and on earlier ones (3, 4, 5, 7, 13, 14), which they import from the same folder. Two things that help:
# `x.mean(axis=-1, keepdims=True)` fits beside x; and to sum over all axes but the last, make them one first (lesson 4).
#
# ## Questions
#
# 1. Why does dx of LayerNorm have no part along x_hat? Try y for x and for 2 x.
# 2. In attention, which of dq, dk and dv is 0 at the first position, and why?
# 3. Suppose that in every row one score lies far above all others, so that P is 1 there. What are dS, dq and dk?
# 4. How many matrix products has the backward pass of a block, and how many the forward pass? (Count the linear layers, and P
#    v and q k'.)
#
# **Answers.** 1. They are equal but for epsilon: r becomes half as large. A change that does nothing has no gradient. 2. dq:
# the first row of P is always (1, 0, 0, ...), whatever q is. 3. All nearly 0: dS_ts is P_ts times a difference, and where
# P_ts is 1 the difference is 0. Only dv is left. 4. Forward 4 and 2, backward twice as many: each product has two factors,
# and each of them wants a gradient.
#
# ## Read next
#
# `minillm/nn/layernorm.py`, `minillm/nn/attention.py`, `minillm/nn/gelu.py`, `minillm/nn/block.py`, `minillm/nn/embedding.py`
# and `minillm/nn/gpt.py`, in this order: each backward stands below its forward. Then you have read the whole model. Lesson 9
# trains it.
