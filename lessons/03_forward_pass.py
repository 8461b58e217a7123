# %% [markdown]
# # Lesson 3: architecture and the forward pass
#
# **Question.** What can many neurons do that one cannot? And how are they put together, so that a computer can do it fast?
#
# **Time.** 10 seconds to run, 25 minutes to read, 20 for the exercises.
#
# **Exercises.** 5 `linear`, 6 `two_layers` (`minillm lesson 3 --start`).

# %%
import numpy as np
from common import Lesson
from tqdm import tqdm

from minillm.draw.styles import LIGHT
from minillm.nn import Linear, Module, forward_chain

lesson = Lesson(3, "architecture and the forward pass")
rng = lesson.rng()

# %% [markdown]
# ## A problem that no line solves
#
# A hundred points lie in a disc, and a hundred in a ring around it. Given a point (x_1, x_2), say which it is: y = -1 for
# the disc, y = 1 for the ring. One neuron with two inputs computes w_1 x_1 + w_2 x_2 + b. Where this is 0 there is a
# straight line; on one side the neuron says ring, on the other disc. Turn and move the line as you like: the best of all
# lines is right for 0.70 ± 0.05 of the points.

# %%
N = 200
y = np.where(np.arange(N) < N // 2, -1.0, 1.0)                                                  # (N,)
radius = np.sqrt(np.where(y < 0, rng.uniform(0, 1, N), rng.uniform(1.5 ** 2, 2.3 ** 2, N)))     # even over the area
angle = rng.uniform(0, 2 * np.pi, N)
x = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])                           # (N, 2)


def accuracy(out):
    """The share of points for which the output has the sign of y."""
    return np.mean(np.sign(out) == y)


def best_line():
    """(accuracy, angle, distance) of the best of many lines, each with the ring on its far side."""
    return max((accuracy(x @ [np.cos(a), np.sin(a)] - d), a, d)
               for a in np.linspace(0, 2 * np.pi, 180, endpoint=False) for d in np.linspace(-2.3, 2.3, 93))


share, line_angle, line_distance = best_line()
lesson.expect("accuracy of the best line", share, "0.70 ± 0.05")

# %% [markdown]
# ## A layer of neurons
#
# Put several neurons side by side. All of them read the same inputs x_n1, x_n2, ..., and each has its own weights and bias.
# The weights of neuron i are column i of a matrix W, so that for example number n
#
# $$ y_{ni} = \sum_k x_{nk}\,W_{ki} + b_i $$
#
# The sum over k is a matrix product: row n of x times column i of W. So the whole layer, all neurons for all examples, is
# **one matrix product** and a bias for each column. Computers are better at matrix products than at anything else. Write
# the shapes beside the arrays and follow them; most mistakes show up there:
#
# $$ x\;(N, I) \qquad W\;(I, O) \qquad b\;(O,) \qquad y\;(N, O) $$
#
# N examples, I inputs, O neurons. The layer has I O weights and O biases. N does not matter: the same neurons are used for
# all examples. Nor does it matter how the examples are arranged. With B texts of T words, x is (B, T, I) and y is (B, T,
# O). All axes but the last are **leading axes**, and pass through a layer unchanged.
#
# In minillm such a layer is `Linear(I, O, rng)`. Below, one output is computed by hand, number by number, and differs from
# the layer's by 0 ± 1e-12. (`forward` returns two things. The second, the cache, is explained at the end of this lesson.)

# %%
layer = Linear(2, 3, rng, std=1.0, dtype=np.float64)
W, b = layer.weight.data, layer.bias.data
out, cache = layer.forward(x)
n, i = 7, 2
one_sum = x[n, 0] * W[0, i] + x[n, 1] * W[1, i] + b[i]
print(f"x {x.shape}   W {W.shape}   b {b.shape}   ->   y {out.shape}")
print(f"40 rows of 5 points: x {x.reshape(40, 5, 2).shape}   ->   y {layer.forward(x.reshape(40, 5, 2))[0].shape}")
lesson.expect("one neuron, one example, by hand and by the layer", abs(out[n, i] - one_sum), "0 ± 1e-12")

# %% [markdown]
# ## Two layers
#
# Now a second layer reads the outputs of the first. Between them each number is bent, or the two would be no more than one
# layer (lesson 2):
#
# $$ h_{nj} = \tanh\Big(\sum_k x_{nk}\,W^{(1)}_{kj} + b^{(1)}_j\Big) \qquad
#    out_{ni} = \sum_j h_{nj}\,W^{(2)}_{ji} + b^{(2)}_i $$
#
# or shorter, h = tanh(x W1 + b1) and out = h W2 + b2. The first is called the **hidden layer**, since its values are
# neither inputs nor outputs. Here we can set its neurons by hand. Put the lines of four neurons around the disc: right,
# left, above and below, each at a distance of 1.1 from the centre. The one on the right asks: is x_1 > 1.1?
#
# $$ h_1 = \tanh(5\,(x_1 - 1.1)) $$
#
# which is near 1 for yes and near -1 for no. The 5 makes the answer sharp. Inside the disc all four say no, and even at its
# rim the sum of their answers is below -3.4. In the ring at least one says yes, or two are undecided, and the sum is above
# -2.4. So the output neuron only has to add them up and compare the sum with -3:
#
# $$ out = h_1 + h_2 + h_3 + h_4 + 3 $$
#
# Here is the network as a chain of layers: `forward_chain` gives each layer the output of the one before it.

# %%
class Tanh(Module):
    def forward(self, x, needs_dx=True):
        t = np.tanh(x)
        return t, t                                  # the output, and the cache


def network(n_hidden, rng):
    """2 inputs, tanh neurons, 1 output; random weights."""
    return Linear(2, n_hidden, rng, 1.0, np.float64), Tanh(), Linear(n_hidden, 1, rng, 1.0, np.float64)


def output(layers, x):
    """(..., 2) -> (...)"""
    return forward_chain(layers, x)[0][..., 0]


def arrays(layers):
    """W1, b1, W2, b2: writing into them changes the network."""
    return [p.data for layer in layers for p in layer.parameters().values()]


by_hand = network(4, rng)
W1, b1, W2, b2 = arrays(by_hand)
W1[:] = 5 * np.array([[1, -1, 0, 0],                 # right, left, above, below: the weights of x_1
                      [0, 0, 1, -1]])                # and of x_2
b1[:], W2[:], b2[:] = -5 * 1.1, 1, 3
for point in ([0, 0], [2, 0], [1.3, -1.3]):
    h, _ = forward_chain(by_hand[:2], np.array(point, float))
    print(f"at {point!s:12s} hidden {h.round(2)}   out {output(by_hand, np.array(point, float)):6.2f}")

# %% [markdown]
# Each of the five neurons only draws a line. Together they are right for 1.000 ± 0.001 of the points.

# %%
lesson.expect("accuracy of two layers, set by hand", accuracy(output(by_hand, x)), "1.000 ± 0.001")

side = np.linspace(-2.6, 2.6, 201)
grid = np.stack(np.meshgrid(side, side), axis=-1)                    # (201, 201, 2): two leading axes
DISC, RING = LIGHT.models["frozen"], LIGHT.models["full"]


def draw(ax, title, out=None, lines=()):
    """The points, the regions where out (201, 201) says disc or ring, and the lines where each of `lines` is 0."""
    if out is not None:
        ax.contourf(side, side, out, [-99, 0, 99], colors=[DISC, RING], alpha=0.22)
        ax.contour(side, side, out, [0], colors=[LIGHT.ink], linewidths=2.5)
    for line in lines:
        ax.contour(side, side, line, [0], colors=[LIGHT.ink], linewidths=1.3, linestyles="--")
    for color, mask in ((DISC, y < 0), (RING, y > 0)):
        ax.plot(*x[mask].T, "o", ms=3.5, color=color)
    ax.set(title=title, xlabel="x1", xticks=[-2, 0, 2], yticks=[-2, 0, 2], aspect="equal")
    ax.set_ylabel("x2", labelpad=-7)


def sums(layers):
    """The inputs of the hidden neurons' tanh, one map each."""
    return np.moveaxis(layers[0].forward(grid)[0], -1, 0)


with lesson.picture("by_hand.png", 13.2, 5) as fig:
    left, middle, right = (fig.add_axes([0.045 + 0.33 * k, 0.12, 0.28, 0.76]) for k in range(3))
    draw(left, f"The best line: {share:.2f} right", grid @ [np.cos(line_angle), np.sin(line_angle)] - line_distance)
    draw(middle, "Four hidden neurons, a line each", lines=sums(by_hand))
    draw(right, f"Two layers: {accuracy(output(by_hand, x)):.2f} right", output(by_hand, grid), sums(by_hand))

# %% [markdown]
# ## Learned, not set
#
# Nobody sets the weights of a language model by hand. Let us start from random ones and walk downhill, as in lesson 1, on
# the mean of (out - y)^2. We have no derivatives for two layers yet, so we use the definition: change one weight a little,
# run the network again, and see how the loss changes. This takes one forward pass for each weight, in each step. It is
# slow, but it is all we have so far.
#
# How many hidden neurons does the ring need? Each width gets four random starts of 1,000 steps, and the one with the lowest
# loss is kept, since not all get equally far.

# %%
def slopes(loss, weights, h=1e-6):
    """d loss / d weight, by finite differences, in arrays like `weights`."""
    now, gradients = loss(), [np.empty_like(w) for w in weights]
    for w, slope in zip(weights, gradients):
        for at in np.ndindex(w.shape):
            before = w[at]
            w[at] = before + h
            slope[at] = (loss() - now) / h
            w[at] = before
    return gradients


def loss_of(layers):
    return np.mean((output(layers, x) - y) ** 2)


def learned(n_hidden, start, steps=50 if lesson.quick else 1000, rate=0.3):
    layers = network(n_hidden, lesson.rng(n_hidden, start))
    for _ in range(steps):
        for w, slope in zip(arrays(layers), slopes(lambda: loss_of(layers), arrays(layers))):
            w -= rate * slope
    return layers


best = {}
for n_hidden in tqdm((1, 2, 3, 8), desc="learning", unit="width", disable=None):
    tries = [learned(n_hidden, start) for start in range(4)]
    best[n_hidden] = min(tries, key=loss_of)
    tqdm.write(f"{n_hidden} hidden: accuracy of the four " + " ".join(f"{accuracy(output(layers, x)):.3f}" for layers in tries))

# %% [markdown]
# One hidden neuron is right for 0.68 ± 0.05 of the points: it has a single line. Two reach 0.86 ± 0.06, with a strip
# between two lines. Three reach 0.99 ± 0.02, since three lines can close a fence around the disc. Eight reach
# 0.995 ± 0.010; the ring does not need them. In the picture the lines of the hidden neurons are dashed, and the border that
# the network draws is solid.

# %%
lesson.expect("accuracy with 1 hidden neuron", accuracy(output(best[1], x)), "0.68 ± 0.05")
lesson.expect("with 2", accuracy(output(best[2], x)), "0.86 ± 0.06")
lesson.expect("with 3", accuracy(output(best[3], x)), "0.99 ± 0.02")
lesson.expect("with 8", accuracy(output(best[8], x)), "0.995 ± 0.010")

with lesson.picture("learned.png", 13.2, 4.2) as fig:
    for k, (n_hidden, layers) in enumerate(best.items()):
        ax = fig.add_axes([0.045 + 0.245 * k, 0.13, 0.205, 0.74])
        draw(ax, f"{n_hidden} hidden: {accuracy(output(layers, x)):.2f} right", output(layers, grid), sums(layers))

# %% [markdown]
# ## How many weights?
#
# A layer from I to O has I O weights and O biases, so a network with H hidden neurons, 2 inputs and 1 output has
#
# $$ 2 H + H + H + 1 = 4 H + 1 $$
#
# numbers to learn. Each block of a GPT also contains a network of two layers, called its MLP. Its activation is GELU, and
# in minillm's demo it has I = O = 128 and H = 512. The code counts all three.

# %%
def count(n_in, n_hidden, n_out):
    return n_in * n_hidden + n_hidden + n_hidden * n_out + n_out


print(f"by hand {count(2, 4, 1)},  8 hidden {count(2, 8, 1)} = {sum(w.size for w in arrays(best[8]))},  "
      f"MLP of the demo {count(128, 512, 128):,}")

# %% [markdown]
# ## The cache: what forward passes to backward
#
# Lesson 4 goes through the network a second time, from the output to the input, and needs the slopes of each layer. Some
# slopes depend on what the layer has just computed. In lesson 2, the slope of tanh was 1 - t^2, so it needs the output t.
# So in the forward pass each layer keeps what its backward pass will need. This is its **cache**. What does it contain for
# our two kinds of layer?
#
# - **tanh** needs its output t.
# - **A linear layer**, y = x W + b: change the weight W_ki by a little, and y_ni changes in proportion to x_nk. Change
#   x_nk, and y_ni changes in proportion to W_ki. So the slopes for W need x, and the slopes for x need W. Nothing needs b.
#
# In minillm every layer returns two things, `out, cache`, and gets the cache back in its backward pass. A layer of minillm
# knows its own weights, so only x is in its cache. A plain function does not, so your `two_layers` in exercise 6 must put
# the weights into its cache as well. Note that the output of tanh and the input of the second layer are the same array.

# %%
layers = best[8]
out, caches = forward_chain(layers, x)
for layer, cache in zip(layers, caches):
    array = cache if isinstance(cache, np.ndarray) else cache.x
    print(f"{type(layer).__name__:8s} keeps {array.shape}")
print("the two of shape (200, 8) are the same array:", np.shares_memory(caches[1], caches[2].x))

# %% [markdown]
# A cache grows with the number of examples; the weights do not. This is one reason why training a model takes more memory
# than using it.
#
# ## What to notice
#
# - A layer is a matrix product and a bias. Examples do not interact: each row goes through on its own.
# - Hidden neurons ask simple questions; the output weighs the answers. The three learned neurons found their questions by
#   themselves.
# - A fence around a disc takes three lines. Two layers with enough hidden neurons can follow any continuous function on a
#   bounded region as closely as you like (Cybenko 1989). But just because such weights exist, walking downhill need not
#   find them: look at the four starts of each width above.
# - These accuracies are for the points that the network was trained on. Lesson 6 asks about new ones.
# - With 33 weights each step took 34 forward passes. The demo's GPT has 816,896 weights. Lesson 4 computes all slopes at
#   once.
#
# ## Exercises
#
# ```
# minillm lesson 3 --start        copies the exercises into workbook/
# minillm check 5 --watch         a layer, with any leading axes
# minillm check 6 --watch         two layers, and their cache
# ```
#
# `x @ W` is the matrix product; it sums over the last axis of x and the first of W, and keeps all leading axes of x.
#
# ## Questions
#
# 1. A layer has W of shape (2, 3) and x of shape (7, 5, 2). What is the shape of the output, and of b?
# 2. Could the network set by hand use ReLU instead of tanh?
# 3. Swap two hidden neurons: their columns of W1, their entries of b1, and their rows of W2. What changes?
#
# **Answers.** 1. (7, 5, 3), and (3,). 2. Yes. A ReLU neuron is 0 on this side of its line and grows beyond it. With the
# four lines at 1.03 the sum is 0 everywhere in the square between them, and positive in the ring; the output neuron
# subtracts 0.01. 3. The output does not change. So there are many minima on the loss surface: with 8 hidden neurons,
# swapping alone makes 8! = 40,320 copies of each. (The bowl of lesson 1 had only one minimum.)
#
# ## Read next
#
# `minillm/nn/mlp.py`, a network of two layers, and `forward_chain` in `minillm/nn/module.py`. Lesson 4 goes backwards.
