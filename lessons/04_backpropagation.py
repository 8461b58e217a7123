# %% [markdown]
# # Lesson 4: backpropagation
#
# **Question.** A network of many layers has made an error. Which of its weights are to blame, and how much?
#
# **Time.** 3 seconds to run, 40 minutes to read and try.
#
# **Read.** Lessons 2 and 3 (tanh and its derivative; layers, shapes, the network of two layers) and the end of lesson 1, where
# a gradient is checked by finite differences.
#
# **Exercises.** 7 `linear_backward`, 8 `two_layers_backward` (`minillm lesson 4 --start`).

# %%
import numpy as np
from common import Lesson

from minillm.draw.styles import LIGHT
from minillm.gradcheck import check_layer, gradcheck, perturb
from minillm.nn import Linear, Module, Softmax, backward_chain, forward_chain

lesson = Lesson(4, "backpropagation")
DOUBLE = {"dtype": np.float64}

# %% [markdown]
# ## The idea
#
# Make everything as small as possible: two layers of one neuron each, one example, no biases.
#
# $$ a = w_1 x \qquad h = \tanh a \qquad y = w_2 h \qquad L = (y - t)^2 $$
#
# The loss depends on w1 only through a, on a only through h, and so on. The **chain rule** says that along such a chain,
# derivatives multiply:
#
# $$ \frac{dL}{dw_1} = \frac{dL}{dy}\,\frac{dy}{dh}\,\frac{dh}{da}\,\frac{da}{dw_1}
#    = 2(y - t)\;\cdot\; w_2 \;\cdot\; (1 - h^2) \;\cdot\; x $$
#
# Multiply from the left, that is, from the loss backwards. Then the intermediate results can be reused: dL/dy is needed for w2
# and for everything before it. Each quantity gets a partner, the derivative of the loss with respect to it. We write it with a
# d in front: **dh is short for dL/dh**, and it always has the shape of h.

# %%
x, w1, w2, t = 0.5, 1.6, -1.2, 0.3
a = w1 * x                                    # forward, from the input to the loss
h = np.tanh(a)
y = w2 * h
L = (y - t) ** 2

dy = 2 * (y - t)                              # backward, from the loss to the input
dw2, dh = dy * h, dy * w2
da = dh * (1 - h ** 2)
dw1, dx = da * x, da * w1
for name, value, derivative in (("y", y, dy), ("w2", w2, dw2), ("h", h, dh), ("a", a, da), ("w1", w1, dw1), ("x", x, dx)):
    print(f"{name:2s} = {value:6.3f}   d{name:2s} = {derivative:6.3f}   a little more of {name} "
          f"{'raises' if derivative > 0 else 'lowers'} the loss")

# %% [markdown]
# The picture shows both passes. Read the upper row from left to right, the lower one from right to left.

# %%
FORWARD, BACK = LIGHT.models["frozen"], LIGHT.models["full"]
with lesson.picture("graph.png", 12.8, 4.7) as fig:
    ax = fig.add_axes([0.01, 0.01, 0.98, 0.85])
    ax.set(xlim=(-0.95, 12.95), ylim=(-1.95, 2.2))
    ax.axis("off")
    fig.text(0.02, 0.9, "Values flow forward (blue), gradients flow back (orange)", size=18, weight="bold")

    def arrow(start, end, color):
        ax.annotate("", end, start, arrowprops=dict(arrowstyle="-|>", color=color, lw=3, mutation_scale=22))

    def write(x, y, text, color=LIGHT.ink, ha="center", va="center", **more):
        ax.text(x, y, text, color=color, ha=ha, va=va, size=16, **more)

    for at, node, below in ((1.5, "times w1", "dx = da w1\ndw1 = da x"), (4.5, "tanh", "da = dh (1 - h²)"),
                            (7.5, "times w2", "dh = dy w2\ndw2 = dy h"), (10.5, "(y - t)²", "dy = 2 (y - t)")):
        write(at, 0, node, bbox=dict(boxstyle="round,pad=0.5", fc="white", ec=LIGHT.ink))
        write(at, -1.1, below, va="top", linespacing=1.5)
    for at, name, value, gradient in ((0, "x", x, dx), (3, "a", a, da), (6, "h", h, dh), (9, "y", y, dy), (12, "L", L, 1)):
        arrow((at - 0.55, 0.16), (at + 0.55, 0.16), FORWARD)
        arrow((at + 0.55, -0.16), (at - 0.55, -0.16), BACK)
        write(at, 0.35, f"{name} = {value:.2f}", FORWARD, va="bottom")
        write(at, -0.35, f"d{name} = {gradient:.2f}", BACK, va="top")
    for at, name, value, gradient in ((1.5, "w1", w1, dw1), (7.5, "w2", w2, dw2)):
        arrow((at - 0.12, 1.45), (at - 0.12, 0.45), FORWARD)
        arrow((at + 0.12, 0.45), (at + 0.12, 1.45), BACK)
        write(at - 0.15, 1.55, f"{name} = {value:.2f}", FORWARD, ha="right", va="bottom")
        write(at + 0.15, 1.55, f"d{name} = {gradient:.2f}", BACK, ha="left", va="bottom")

# %% [markdown]
# ## The equation: a whole layer
#
# Real layers have many inputs and outputs, and see many examples at once. Only one thing is new: a number may reach the loss
# along **several paths**. Then the contributions of all paths **add**, since a small change travels along all of them at once.
# Write the layer of lesson 3 with its indices, example n, input k, output i:
#
# $$ y_{ni} = \sum_k x_{nk} W_{ki} + b_i $$
#
# We are given the **upstream gradient** dout, which has the shape of y: dout_ni = dL/dy_ni. It comes from whatever follows the
# layer, and the layer need not know what that is. We want dW, db and dx. For each of them ask: which outputs does this number
# reach, and by what is it multiplied there?
#
# **A weight** W_kj reaches output j of *every* example n, where it is multiplied by x_nk. So
#
# $$ \frac{\partial y_{ni}}{\partial W_{kj}} = x_{nk}\,[i = j] \qquad\Rightarrow\qquad
#    dW_{kj} = \sum_{n,i} dout_{ni}\, x_{nk}\,[i = j] = \sum_n x_{nk}\, dout_{nj} $$
#
# ([i = j] is 1 if i = j, else 0.) **A bias** b_j reaches output j of every example, times 1:
#
# $$ db_j = \sum_n dout_{nj} $$
#
# **An input** x_nk reaches *all* outputs i, but only those of its own example n, and is multiplied by W_ki:
#
# $$ dx_{nk} = \sum_i dout_{ni}\, W_{ki} $$
#
# Now as matrix products. In a product, the sum runs over the last axis of the first factor and the first axis of the second.
# To sum over n in dW, x must be transposed so that n comes last: x' (`x.T`). To sum over i in dx, W must be transposed:
#
# $$ dW = x'\,dout \qquad db = \text{sum of the rows of } dout \qquad dx = dout\,W' $$
#
# | | shape | made of |
# |---|---|---|
# | dW | (I, O) | x' (I, N) times dout (N, O) |
# | db | (O,) | dout (N, O), summed over n |
# | dx | (N, I) | dout (N, O) times W' (O, I) |
#
# The shapes leave no other choice, which is a good check while you write. And a rule to remember: **what is copied in the
# forward pass is summed in the backward pass.** The same b is added to all N rows, so db sums over N rows.
#
# Language models have two leading axes, B texts of T words: y_bti. The sum over n becomes a sum over b and t, because each
# word of each text uses the same W. For the layer it makes no difference which word belongs to which text, so the two axes are
# merged into one: with `I, O = W.shape`, `x.reshape(-1, I)` turns (B, T, I) into (B T, I); the -1 stands for "whatever is
# left". (On an array with three axes `.T` would reverse all three.) Do the same to dout, with O. For dx nothing is summed over
# b and t, and it keeps the shape of x.
#
# ## The code: a contract
#
# Every layer in this project follows the same contract, so that layers can be combined in any order:
#
# ```
# out, cache = layer.forward(x)
# dx         = layer.backward(dout, cache)       and the gradients of its own weights, into p.grad
# ```
#
# What backward needs from the forward pass (for dW it is x) travels in the **cache**. It is not kept inside the layer, because
# the same layer may be used twice, on different inputs, before its first backward pass. `Linear` is in `minillm/nn`. Here is
# tanh. It has no weights, and each output depends on one input, so there are no sums: dx = dout times the slope.

# %%
class Activation(Module):
    """out = f(x), number by number."""

    def __init__(self, f, slope):
        self.f, self.slope = f, slope

    def forward(self, x, needs_dx=True):
        return self.f(x), x

    def backward(self, dout, cache):
        return dout * self.slope(cache)


TANH = Activation(np.tanh, lambda x: 1 / np.cosh(x) ** 2)            # = 1 - tanh(x)², which exercise 2 computed from the output


class Network(Module):
    """Layers in a row: the out of one is the x of the next, the dx of one is the dout of the one before it."""

    def __init__(self, *layers):
        self.layers = list(layers)

    def forward(self, x, needs_dx=True):
        return forward_chain(self.layers, x, needs_dx)

    def backward(self, dout, cache):
        return backward_chain(self.layers, dout, cache)


N, I, H, O = 6, 3, 8, 8


def build(second=Linear, activation=TANH):
    """The network of lesson 3 and an input, with the same numbers each time."""
    rng = lesson.rng(1)
    network = Network(Linear(I, H, rng, 0.7, **DOUBLE), activation, second(H, O, rng, 0.7, **DOUBLE))
    perturb(network, rng)                                              # biases start at 0: move everything a little
    return network, rng.normal(size=(N, I)), rng


network, x, rng = build()
out, cache = network.forward(x)
network.zero_grad()
dx = network.backward(rng.normal(size=out.shape), cache)
print(f"x {x.shape} -> out {out.shape};   dout {out.shape} -> dx {dx.shape}, and")
print(",  ".join(f"d({name}) {p.grad.shape}" for name, p in network.parameters().items()))

# %% [markdown]
# `backward_chain` is a loop over the layers, last first. For this network, the one of lesson 3, it computes
#
# $$ dout \;\to\; \text{layer 2} \;\to\; dh = dout\,W_2' \;\to\; \tanh \;\to\; da = dh\,(1 - h^2) \;\to\; \text{layer 1}
#    \;\to\; dx = da\,W_1' $$
#
# and each layer computes its own dW and db from *its* input and *its* upstream gradient: layer 2 from h and dout, layer 1 from
# x and da. Exercise 8 is this chain, and needs only derivatives that you have already written.
#
# ## Run, and see: is it right?
#
# Finite differences do not use the chain rule: move one number, and see how the loss changes. A layer has no loss, so we give
# it one: L = sum of dout times out, with a random dout. Then dL/dout is dout. The relative error of a correct gradient is
# 0 ± 1e-8. We compare it with three mistakes, each of which runs without any complaint:
#
# - **a forgotten sum:** layer 2 overwrites db with each example instead of adding, so that only the last one remains;
# - **a transposed product:** layer 2 returns dout W2 instead of dout W2' (W2 is square here, so the shapes fit);
# - **a forgotten link:** the slope of tanh is left out.

# %%
class ForgottenSum(Linear):
    def backward(self, dout, cache):
        dx = super().backward(dout, cache)
        self.bias.grad[...] = dout[-1]
        return dx


class TransposedProduct(Linear):
    def backward(self, dout, cache):
        super().backward(dout, cache)
        return dout @ self.weight.data


ERRORS = {"right": check_layer(*build()), "forgotten sum": check_layer(*build(ForgottenSum)),
          "transposed": check_layer(*build(TransposedProduct)),
          "forgotten link": check_layer(*build(activation=Activation(np.tanh, np.ones_like)))}
NAMES = {"layers.2.bias": "db2", "layers.2.weight": "dW2", "layers.0.bias": "db1", "layers.0.weight": "dW1", "x": "dx"}
print("relative error\n" + " " * 6 + "".join(f"{name:>16s}" for name in ERRORS))
for key, name in NAMES.items():
    print(f"{name:6s}" + "".join(f"{errors[key]:16.1e}" for errors in ERRORS.values()))
print()
lesson.expect("largest error of the right gradients", max(ERRORS["right"].values()), "0 ± 1e-8")
lesson.expect("error of db2, with a forgotten sum", ERRORS["forgotten sum"]["layers.2.bias"], "0.9 ± 0.2")
lesson.expect("error of dx, with a transposed product", ERRORS["transposed"]["x"], "1.0 ± 0.1")
lesson.expect("error of dx, with a forgotten link", ERRORS["forgotten link"]["x"], "1.00 ± 0.15")

# %% [markdown]
# (The relative error of an entry is |a - n| / (|a| + |n|), where a is ours and n comes from finite differences; the table has
# the largest.) An error of 1 means that even the sign is wrong somewhere, or that one of the two is 0. The forgotten sum gives
# 0.9 ± 0.2, the transposed product 1.0 ± 0.1 and the forgotten link 1.00 ± 0.15: nobody can take these for correct. And look
# at *which* rows are wrong. The gradient comes from the loss, at the top of the table. A wrong db2 spoils nothing else, but a
# wrong product or a missing factor spoils everything farther from the loss. To find a mistake, look at the first row that is
# wrong.
#
# ## Why a random upstream gradient
#
# Why not take L = the plain sum of all outputs, a dout of ones? Because it hides some mistakes. The outputs of softmax (lesson
# 2) add up to 1, whatever the input. So the gradient of their sum is zero, and a backward pass with a missing factor is zero
# as well:

# %%
softmax, rng = Softmax(), lesson.rng(3)
s = rng.normal(size=(4, 5))
p, cache = softmax.forward(s)


def without_its_factor(dout, cache):
    return {"s": softmax.backward(dout, cache) / p}                  # as if the last factor, p, had been forgotten


of_ones = without_its_factor(np.ones_like(p), cache)["s"]
errors = gradcheck(lambda: softmax.forward(s), without_its_factor, {"s": s}, rng)
lesson.expect("wrong softmax backward, largest entry of ones", np.abs(of_ones).max(), "0 ± 1e-12")
lesson.expect("wrong softmax backward, error of a random dout", errors["s"], "0.92 ± 0.15")

# %% [markdown]
# For ones, the wrong backward pass gives 0 ± 1e-12, just as the right one does. A random dout reveals it at once: the error is
# 0.92 ± 0.15. LayerNorm (lesson 8) has the same blind spot.
#
# ## Through many layers
#
# Going back through a layer multiplies the gradient by W' and by the slope of the activation. Through thirty layers there are
# thirty such factors: if they are a little below 1, nothing arrives at the first layer, and it does not learn. Here are four
# networks of thirty layers, 64 wide, with 32 examples and random weights: sigmoid, tanh, ReLU, and tanh with a **residual
# connection** around each layer:
#
# $$ out = x + f(x) \qquad\Rightarrow\qquad dx = dout + (\text{backward of } f)(dout) $$
#
# x is used twice, so two gradients add. One of them is dout itself: it arrives no matter how small the other has become.

# %%
DEPTH, C = 30, 64
SIGMOID = Activation(lambda x: 1 / (1 + np.exp(-x)), lambda x: 0.25 / np.cosh(x / 2) ** 2)
RELU = Activation(lambda x: np.maximum(x, 0), lambda x: np.heaviside(x, 0))


class Residual(Network):
    def forward(self, x, needs_dx=True):
        out, cache = super().forward(x, needs_dx)
        return x + out, cache

    def backward(self, dout, cache):
        return dout + super().backward(dout, cache)


def gradient_sizes(kind, activation, gain):
    """The length of the gradient at the input of layer 1, 2, ..., and at the output of the last, relative to the latter."""
    rng = lesson.rng(4)
    layers = [kind(Linear(C, C, rng, gain / np.sqrt(C), **DOUBLE), activation) for _ in range(DEPTH)]
    out, caches = forward_chain(layers, rng.normal(size=(32, C)))
    dout = rng.normal(size=out.shape)
    sizes = [np.linalg.norm(dout)]
    for layer, cache in zip(reversed(layers), reversed(caches)):
        layer.zero_grad()
        dout = layer.backward(dout, cache)
        sizes.append(np.linalg.norm(dout))
    return np.array(sizes[::-1]) / sizes[0]


KINDS = {"sigmoid": (Network, SIGMOID, 1), "tanh": (Network, TANH, 1), "ReLU": (Network, RELU, np.sqrt(2)),
         "tanh, residual": (Residual, TANH, 1)}
GAINS = np.geomspace(0.25, 4, 5 if lesson.quick else 17)
flow = {name: gradient_sizes(*kind) for name, kind in KINDS.items()}
first = {name: [gradient_sizes(kind, activation, gain * factor)[0] for factor in GAINS]
         for name, (kind, activation, gain) in KINDS.items()}

# %%
color = dict(zip(KINDS, (LIGHT.ink, *(LIGHT.models[name] for name in ("frozen", "adapter", "full")))))
with lesson.picture("gradient_flow.png", 13.2, 5.8) as fig:
    left, right = fig.subplots(1, 2, width_ratios=(1.1, 1), sharey=True)
    fig.subplots_adjust(left=0.08, right=0.985, bottom=0.13, top=0.91, wspace=0.12)
    for name, sizes in flow.items():
        dashes = (0, (3, 1.5)) if name == "tanh" else "-"
        left.plot(np.arange(1, DEPTH + 2), sizes, ls=dashes, color=color[name], lw=3.2, label=name)
        right.plot(GAINS, first[name], "o", ls=dashes, color=color[name], lw=3.2, ms=6)
    left.set(title="Sigmoid loses the gradient on the way back", xlabel="at layer (read from right to left)", yscale="log",
             ylabel="length of the gradient, 1 at the end", xlim=(0.5, DEPTH + 1), ylim=(1e-20, 1e8))
    left.set_yticks([1e6, 1, 1e-6, 1e-12, 1e-18], ["1e6", "1", "1e-6", "1e-12", "1e-18"])
    left.set_xticks([1, 5, 10, 15, 20, 25, 30])
    left.legend(loc="lower right", fontsize=14)
    right.set(title="Plain networks need weights of the right size", xlabel="all weights times (gradient at layer 1)",
              xscale="log")
    right.set_xticks([0.25, 0.5, 1, 2, 4], ["1/4", "1/2", "1", "2", "4"])
    for ax in (left, right):
        ax.minorticks_off()
        ax.grid(axis="y")

lesson.expect("sigmoid: power of ten that reaches layer 1", np.log10(flow["sigmoid"][0]), "-18.9 ± 0.6")
lesson.expect("tanh: part that reaches layer 1", flow["tanh"][0], "0.15 ± 0.08")
lesson.expect("ReLU: part that reaches layer 1", flow["ReLU"][0], "1.2 ± 1.1")
lesson.expect("tanh, residual: times as much at layer 1", flow["tanh, residual"][0], "15 ± 5")
lesson.expect("tanh, half the weights: power of ten", np.log10(gradient_sizes(Network, TANH, 0.5)[0]), "-9.2 ± 0.6")
lesson.expect("tanh, residual, half the weights: times as much", gradient_sizes(Residual, TANH, 0.5)[0], "5 ± 2")

# %% [markdown]
# ## What to notice
#
# - **Sigmoid stops the gradient.** Its slope is at most 1/4, and 1/4 to the power 30 is about 10 to the power -18. What
#   reaches layer 1 is 10 to the power -18.9 ± 0.6 of the gradient at the end. That is one reason why deep networks once failed
#   to learn.
# - Tanh has slope 1 in the middle, ReLU slope 1 or 0. With weights of the right size 0.15 ± 0.08 and 1.2 ± 1.1 of the gradient
#   arrive.
# - *Of the right size*: with all weights halved, only 10 to the power -9.2 ± 0.6 of it is left in the tanh network. The right
#   panel shows how narrow the range is: the curves of tanh and ReLU rise steeply to 1, and that of ReLU goes on to explode.
# - **With residual connections it matters far less.** Layer 1 receives 15 ± 5 times the gradient at the end, and with weights
#   of half the size 5 ± 2 times. The transformer has such a connection around every sublayer (lesson 7).
# - The cost: the backward pass of a linear layer has two products of the same size as its one forward product. So all
#   gradients together cost about two forward passes, however many weights there are. Finite differences need two forward
#   passes *for each weight*. That is why everybody uses the chain rule, and finite differences only to check it.
#
# ## Exercises
#
# Exercise 7 is the three equations of the layer, with any number of leading axes: dW and db from arrays reshaped to two
# dimensions, dx in the shape of x. Exercise 8 is the chain: your layer, your tanh and your layer again, in reverse order. You
# decide what `two_layers` (exercise 6) puts into its cache: everything the backward pass needs, and nothing else.
#
# ```
# minillm lesson 4 --start
# minillm check 7 --watch
# minillm hint 7
# ```
#
# ## Questions
#
# 1. In the first example, dw2 < 0. In which direction should w2 move, and does y then come closer to t?
# 2. Why is db a sum over the examples, and not the mean? Lesson 1 had the mean.
# 3. What are dW, db and dx if dout is zero for all examples but one?
# 4. Suppose W1 should not change any more. Which products in the backward pass can be left out? And what if W2 should not
#    change?
# 5. Set all weights and biases of this network to 0. What is the gradient of W1, of W2, and of b2?
#
# **Answers.** 1. Upwards, against the gradient; y = w2 h with h > 0 rises, from below t towards it. 2. The mean belongs to the
# loss: its 1/N is already in dout. The layer adds up what it is given. 3. Those of that one example alone. 4. dW1 = x' da; dx
# is not needed either, if nothing before it learns. If W2 is frozen, dW2 can be left out; but dh = dout W2' is needed, or W1
# would learn nothing. Frozen means no dW; it does not mean no dx (lesson 10). 5. h = 0, so dW2 = h' dout = 0; dh = dout W2' =
# 0, so dW1 = 0. Only b2 has a nonzero gradient. That is why weights start at random values.
#
# ## Read next
#
# You can now understand all of `minillm/nn/linear.py`, which has the same derivation. `minillm/nn/module.py` has `Parameter`,
# `forward_chain` and `backward_chain`; `minillm/gradcheck.py` the check. `minillm gradcheck` runs it on every layer of the
# project.
