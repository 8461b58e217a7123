# %% [markdown]
# # Lesson 2: activations
#
# **Question.** A neuron draws straight lines. What else does it need, so that many neurons together can draw any curve, and
# say how sure they are?
#
# **Time.** 2 seconds to run, 25 minutes to read, 45 for the exercises.
#
# **Exercises.** 2 `activations`, 3 `softmax`, 4 `softmax_backward` (`minillm lesson 2 --start`).

# %%
import numpy as np
from common import Lesson

from minillm.draw.styles import LIGHT
from minillm.gradcheck import check_layer
from minillm.nn import GELU, Softmax

lesson = Lesson(2, "activations")
rng = lesson.rng()

# %% [markdown]
# ## A straight line is not enough
#
# Here are eighty points of a wave. One neuron, w x + b, can only draw a line through them. What if several neurons look at
# x, and a last one adds up their outputs, with a weight for each? But a line of a line
#
# $$ w_2\,(w_1 x + b_1) + b_2 = (w_2 w_1)\,x + (w_2 b_1 + b_2) $$
#
# is a line again. However many such neurons you put side by side or in a row, together they can do no more than one.
#
# So each neuron must **bend** its result before passing it on. The bend is called the **activation**. The simplest one
# replaces negative numbers by 0. It is called ReLU, for rectified linear unit, and it makes a corner.
#
# Below, eight neurons x - corner have their zeros at eight different points. Only the weights of the last neuron are fitted,
# by least squares as in lesson 1. (Lessons 4 and 5 show how the corners themselves are learned.)

# %%
x = rng.uniform(-3, 3, 80)
y = np.sin(2 * x) + 0.1 * rng.normal(size=80)
corners = np.linspace(-3, 3, 9)[:-1]


def linear(z):
    return z


def rectified(z):
    return np.clip(z, 0, None)


def eight(x, activation):
    """The outputs of the eight neurons for x (N,), and a 1 for the bias of the last -> (N, 9)."""
    return np.column_stack([activation(x[:, None] - corners), np.ones(len(x))])


def fitted(features):
    """The best weights of the last neuron, and its loss."""
    w = np.linalg.lstsq(features, y, rcond=None)[0]
    return w, np.mean((features @ w - y) ** 2)


line, line_loss = fitted(np.column_stack([x, np.ones(80)]))
_, straight_loss = fitted(eight(x, linear))
bent, bent_loss = fitted(eight(x, rectified))

# %% [markdown]
# The mean squared error of one line is 0.43 ± 0.09. Eight straight neurons change this by 0 ± 1e-9. With a bend in each, the
# error is 0.013 ± 0.006, not far from the variance of the noise, 0.01.

# %%
lesson.expect("loss of a line", line_loss, "0.43 ± 0.09")
lesson.expect("eight straight neurons, less that", straight_loss - line_loss, "0 ± 1e-9")
lesson.expect("loss of eight bent neurons", bent_loss, "0.013 ± 0.006")

at = np.linspace(-3, 3, 301)
with lesson.picture("bends.png", 9.6, 5.2) as fig:
    ax = fig.add_axes([0.09, 0.13, 0.64, 0.76])
    ax.plot(x, y, "o", ms=5, color=LIGHT.faint, alpha=0.6)
    ax.plot(at, line[0] * at + line[1], color=LIGHT.models["frozen"], lw=3)
    ax.plot(at, eight(at, rectified) @ bent, color=LIGHT.models["full"], lw=3)
    ax.plot(corners, eight(corners, rectified) @ bent, "o", ms=9, mfc="white", mew=2.2, color=LIGHT.models["full"])
    ax.set(xlabel="x", ylabel="y", title="Eight neurons follow the wave only if they bend", xlim=(-3.1, 3.1))
    ax.text(3.2, 0.75, "eight bent neurons:\na corner at each ring", color=LIGHT.models["full"], va="center")
    ax.text(3.2, line[0] * 3 + line[1], "eight straight neurons:\nno better than one", color=LIGHT.models["frozen"], va="center")

# %% [markdown]
# ## Four activations, and their slopes
#
# An activation works on each number separately. Learning needs its slope, since by the chain rule
#
# $$ \frac{\partial L}{\partial x} = \frac{\partial L}{\partial\,\text{out}} \cdot \frac{d\,\text{out}}{d x}
#    \qquad\text{or, in the names of the code,}\qquad dx = dout \cdot \text{slope} $$
#
# In all lessons from here on, `dout` is dL/dout (how fast the loss grows when the output grows), and `dx` is dL/dx. The
# **backward pass** of a function takes dout and returns dx.
#
# **Linear**, out = x: slope 1. This means no activation at all, which is right for an output that may be any number.
#
# **Sigmoid** squeezes any number into 0 to 1, so it can be read as a probability p. Write e for exp(-x); the derivative of e
# is -e:
#
# $$ p = \frac{1}{1 + e} \qquad \frac{dp}{dx} = \frac{e}{(1 + e)^2} = \frac{1}{1 + e} \cdot \frac{e}{1 + e} = p\,(1 - p) $$
#
# The last step uses 1 - p = e / (1 + e). Once p is computed, its slope costs one product, and x is no longer needed.
#
# **Tanh** squeezes into -1 to 1. Call its two halves a = exp(x) - exp(-x) and b = exp(x) + exp(-x). Each is the other's
# derivative, so the quotient rule gives
#
# $$ t = \frac{a}{b} \qquad \frac{dt}{dx} = \frac{b \cdot b - a \cdot a}{b^2} = 1 - t^2 $$
#
# Sigmoid is a rescaled tanh, p = (1 + tanh(x / 2)) / 2, and the code below uses this form.
#
# **ReLU**, out = max(x, 0): slope 1 where x > 0, and 0 where x < 0. At the corner itself the slope is not defined; we take
# 0.
#
# The code writes the slopes as functions of x. Exercise 2 asks for the backward passes, with the slopes of sigmoid and tanh
# in terms of the output.

# %%
curves = {
    "linear": (linear, lambda x: 1.0 + 0 * x),
    "sigmoid": (lambda x: (1 + np.tanh(x / 2)) / 2, lambda x: np.exp(-x) / (1 + np.exp(-x)) ** 2),
    "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2),
    "ReLU": (rectified, lambda x: np.heaviside(x, 0)),
}
print("slope at           x = 0     x = 2     x = 5    x = 10")
for name, (_, slope) in curves.items():
    print(f"{name:14s}" + "".join(f"{slope(at):10.3g}" for at in (0.0, 2.0, 5.0, 10.0)))

# %% [markdown]
# Are the slopes right? Finite differences again: for random x the difference is 0 ± 1e-8.

# %%
r, h = 3 * rng.normal(size=50), 1e-5
worst = max(np.max(np.abs((f(r + h) - f(r - h)) / (2 * h) - slope(r))) for f, slope in curves.values())
lesson.expect("slopes against finite differences", worst, "0 ± 1e-8")

# %% [markdown]
# ## Saturation
#
# Look at the columns of that table. Far from 0 sigmoid and tanh are flat: they are **saturated**. A saturated neuron hardly
# learns, however wrong it is, because its slope is a factor in the derivative of every weight before it. Let a neuron that
# has only a bias, p = sigmoid(b), learn that the answer is 0. It starts at b = 2, 5 or 10, and goes downhill on (p - 0)^2
# with rate 1 until p is below 1/2. From b = 2 this takes 8 ± 1 steps, from 5 it takes 85 ± 1, and from 10, where it is most
# wrong, 11,034 ± 10.

# %%
sigmoid, slope = curves["sigmoid"]


def steps_from(b):
    steps = 0
    while sigmoid(b) > 0.5:
        b -= 2 * sigmoid(b) * slope(b)              # the square, then sigmoid: the chain rule
        steps += 1
    return steps


lesson.expect("steps to unlearn, from b = 2", steps_from(2.0), "8 ± 1")
lesson.expect("from b = 5", steps_from(5.0), "85 ± 1")
lesson.expect("from b = 10", steps_from(10.0), "11,034 ± 10")

# %% [markdown]
# In a deep network the slopes of all layers are multiplied. Sigmoid's slope is at most 1/4, so ten layers multiply the
# gradient by less than a millionth. ReLU's slope is 1 wherever x is positive, which is one reason why deep networks became
# trainable with it. The price: a neuron whose x is negative for all examples has slope 0 for all of them, and stops
# learning.
#
# GPT-2 uses **GELU**, a ReLU with a smooth corner. You will write it in lesson 8.

# %%
at = np.linspace(-5, 5, 501)
curves["GELU"] = (lambda x: GELU().forward(x)[0], lambda x: GELU().forward(x)[1])      # its cache is the slope
color = dict(zip(curves, (LIGHT.faint, *(LIGHT.models[name] for name in ("lora", "frozen", "full", "adapter")))))
with lesson.picture("curves.png", 12.8, 5.4) as fig:
    panels = ("Five activations", (-1.4, 3.2)), ("Their slopes: no slope, no learning", (-0.2, 1.25))
    for k, (title, limits) in enumerate(panels):
        ax = fig.add_axes([0.06 + 0.49 * k, 0.13, 0.42, 0.76])
        ax.axhline(0, color=LIGHT.rule, zorder=0)
        ax.axvline(0, color=LIGHT.rule, zorder=0)
        for name, functions in curves.items():
            ax.plot(at, functions[k](at), color=color[name], label=name, lw=3, ls="--" if name == "GELU" else "-")
        ax.set(xlabel="x", ylabel=("out", "slope")[k], ylim=limits, xlim=(-5, 5), title=title)
        if k == 0:
            ax.legend(loc="upper left")

# %% [markdown]
# ## Softmax: any scores become probabilities
#
# A classifier has several outputs, a **score** s_i for each class, and a language model one for each word. Scores may be any
# numbers. Probabilities must be positive and sum to 1. Softmax makes the scores positive, then divides by their sum:
#
# $$ p_i = \frac{e_i}{z} \qquad e_i = \exp(s_i) \qquad z = \sum_j e_j $$
#
# Add the same number c to all scores. Each e_i is multiplied by exp(c), and so is z, so exp(c) cancels:
#
# $$ \frac{\exp(s_i + c)}{\sum_j \exp(s_j + c)} = \frac{\exp(c)\,\exp(s_i)}{\exp(c)\,\sum_j \exp(s_j)} = p_i $$
#
# **Softmax is shift-invariant**: only differences of scores count. This is useful at once, because a computer's exp has
# limits: exp(1000) is infinite, exp(-1000) is 0. A row of scores near 1000 has harmless differences, but the plain equation
# gives infinity / infinity. So first shift each row, by its own c, to where exp is harmless. Exercise 3 asks you to choose
# c.

# %%
def plain(s):
    """For one row, as the equation stands."""
    e = np.exp(s)
    return e / sum(e)


row = np.array([2.0, 1.0, 0.0])
with np.errstate(over="ignore", invalid="ignore"):
    for c in (0, 100, 998):
        shifted, _ = Softmax().forward(row + c)
        print("scores", row + c, "  plainly", plain(row + c).round(4), "  by minillm.nn, which shifts", shifted.round(4))
lesson.expect("softmax of s and of s + 998 differ by", np.max(np.abs(shifted - plain(row))), "0 ± 1e-12")

# %% [markdown]
# The shifted form gives the same probabilities, to 0 ± 1e-12.
#
# ## The backward pass of softmax
#
# Unlike the four above, softmax does not work on each number separately: z contains all scores, so each score changes all
# probabilities. Let [i = j] be 1 if i = j, else 0. Step by step:
#
# $$ \frac{\partial e_i}{\partial s_j} = e_i\,[i = j] \qquad \frac{\partial z}{\partial s_j} = e_j $$
#
# $$ \frac{\partial p_i}{\partial s_j}
#    = \frac{1}{z}\,\frac{\partial e_i}{\partial s_j} - \frac{e_i}{z^2}\,\frac{\partial z}{\partial s_j}
#    = \frac{e_i}{z}\,[i = j] - \frac{e_i}{z}\,\frac{e_j}{z} = p_i\,([i = j] - p_j) $$
#
# This table of all derivatives is a **Jacobian**, here T by T for T scores. s_j reaches the loss through every p_i, so its
# derivative is a sum over them. In the first part of the sum only i = j remains:
#
# $$ ds_j = \sum_i dout_i\,\frac{\partial p_i}{\partial s_j} = \sum_i dout_i\,p_i\,[i = j] - p_j \sum_i dout_i\,p_i
#    = p_j\,\Big(dout_j - \sum_i dout_i\,p_i\Big) $$
#
# The sum in the bracket is one number for the whole row: the average of dout, weighted by p. Exercise 4 asks you to write
# this line.
#
# Below, the Jacobian for the scores 2, 1, 0, by finite differences. The diagonal is positive, everything else negative, and
# each row and column sums to 0: what one probability gains, the others lose.

# %%
h = 1e-5
jacobian = np.array([(plain(row + h * e) - plain(row - h * e)) / (2 * h) for e in np.eye(3)])      # [j, i] = dp_i/ds_j
print("p   ", plain(row).round(4))
print("dp_i/ds_j, a row for each j:", *jacobian.round(4), sep="\n    ")

# %% [markdown]
# The layer of minillm is checked with a *random* dout, and its relative error is 0 ± 1e-7. Why not with a dout of ones? The
# probabilities always sum to 1, so their sum cannot be changed: ds is 0 ± 1e-13, and a backward pass that returned zeros
# would pass the check.

# %%
s = rng.normal(size=(4, 6))
softmax = Softmax()
lesson.expect("softmax backward, relative error", check_layer(softmax, s, rng)["x"], "0 ± 1e-7")
p, cache = softmax.forward(s)
lesson.expect("largest ds for a dout of ones", np.max(np.abs(softmax.backward(np.ones_like(p), cache))), "0 ± 1e-13")

with lesson.picture("softmax.png", 9.6, 5) as fig:
    ax = fig.add_axes([0.09, 0.14, 0.76, 0.75])
    first = np.linspace(-6, 8, 281)
    p = Softmax().forward(np.column_stack([first, 0 * first + 1, 0 * first]))[0]
    names = "first class", "second class, score 1", "third class, score 0"
    for i, (name, color) in enumerate(zip(names, LIGHT.models.values())):
        ax.plot(first, p[:, i], lw=3, color=color)
        ax.text(*((8.2, p[-1, i] - 0.01) if i == 0 else (-5.8, p[0, i] + 0.03)), name, color=color)
    ax.set(xlabel="score of the first class", ylabel="probability", title="One score rises, and takes from all others",
           ylim=(-0.02, 1.02), xlim=(-6, 8))

# %% [markdown]
# ## What to notice
#
# - Without a bend, depth is useless. With one, a few neurons can follow a wave.
# - The slopes of sigmoid, tanh and softmax are written in terms of their own outputs. So the output is what is kept for the
#   backward pass.
# - Flat ends stop learning just where it is needed most. (Lesson 6 has a loss for which this cancels.)
# - Softmax depends only on differences. In the picture the second and third class keep their ratio wherever the first one
#   goes.
#
# ## Exercises
#
# ```
# minillm lesson 2 --start        copies the exercises into workbook/
# minillm check 2 --watch         sigmoid, tanh, ReLU, and their backward passes
# minillm check 3 --watch         softmax, stable
# minillm check 4 --watch         its backward pass
# ```
#
# Some NumPy that helps: `a.sum(axis=-1, keepdims=True)` sums along the last axis and keeps it with length 1, so that (N, T)
# and (N, 1) can be divided row by row; `a.max` has the same options. `x > 0` is an array of True and False, which count as 1
# and 0 in a product.
#
# ## Questions
#
# 1. Softmax of two scores a and b: what function of a - b is the first probability?
# 2. Multiply all scores by 10. What happens to the probabilities? And by 0.1?
# 3. Can you make |x| from two ReLUs? And x itself?
#
# **Answers.** 1. Divide by exp(a): 1 / (1 + exp(-(a - b))), sigmoid of the difference. 2. The largest gets nearly
# everything; they become nearly equal. (This factor, 1 / temperature, makes a language model more or less adventurous:
# lesson 7.) 3. Yes, relu(x) + relu(-x); and relu(x) - relu(-x).
#
# ## Read next
#
# After the exercises, `minillm/nn/softmax.py`: its derivation is the one above, and the code around it makes it fast.
# `minillm/nn/gelu.py` has a slope that is less pretty. Lesson 3 puts the bent neurons side by side and in layers.
