# %% [markdown]
# # Lesson 6: supervised training
#
# **Question.** The loss keeps falling. Has the network learned something, or has it only memorised its examples?
#
# **Time.** 6 seconds to run, 30 minutes to read and try.
#
# **Read.** Lessons 2 (softmax), 4 (backpropagation) and 5 (gradient descent).
#
# **Exercises.** 11 `cross_entropy`, 12 `early_stopping` (`minillm lesson 6 --start`).

# %%
import numpy as np
from common import Lesson
from matplotlib.colors import to_rgb
from tqdm import tqdm

from minillm.draw.styles import LIGHT
from minillm.nn import GELU, CrossEntropy, Linear, Module, backward_chain, forward_chain
from minillm.train.flat import FlatParameters
from minillm.train.optimizers import AdamW

lesson = Lesson(6, "supervised training")
STEPS, LOOK = (100, 20) if lesson.quick else (2000, 20)

# %% [markdown]
# ## The idea: six steps
#
# In supervised training the examples come with the right answers. It always goes like this:
#
# 1. **Split the data** in three: training, validation, test. The network learns only from the first.
# 2. **The model.**
# 3. **The loss:** squared error for numbers (regression), cross-entropy for classes (classification).
# 4. **The optimizer:** how a gradient becomes a step.
# 5. **The loop:** forward, loss, backward, step; and from time to time a look at the loss on the *validation* data.
# 6. **Judge once** on the *test* data, when there is nothing left to choose.
#
# Why three parts? The training loss says how well the network knows its examples, which it could simply have memorised. The
# validation loss says how well it does on others. But we use it to make choices, such as when to stop. What we choose is
# partly the best, and partly the luckiest on just these examples, so its validation loss is a little too good. So for the
# final verdict we keep a third part, which was not used for anything before.
#
# ## Regression
#
# Step 1. The truth is a wave; the data have noise with a standard deviation of 0.3. There are only 30 points to learn from.
# Nobody can predict noise: the least possible loss on new points is its variance, 0.09. That is the **floor** (as in lesson
# 1).

# %%
def wave(n, rng):
    x = rng.uniform(-3, 3, (n, 1))
    return x, np.sin(2 * x) + 0.3 * rng.normal(size=(n, 1))


rng = lesson.rng(1)
DATA = {"training": wave(30, rng), "validation": wave(200, rng), "test": wave(2000, rng)}

# %% [markdown]
# Step 2. Three linear layers with GELU between them, about four thousand weights: far too many for 30 points, on purpose.
#
# Step 3. The squared error of lesson 1, written like a layer. Its backward pass is where the gradient begins: d/dp of the
# mean of (p - y)² is 2 (p - y) / N.

# %%
class SquaredError:
    def forward(self, p, y):
        return np.mean((p - y) ** 2), p - y

    def backward(self, dout, cache):
        return dout * 2 * cache / cache.size


class Network(Module):
    def __init__(self, n_in, n_out, rng, width=64):
        sizes = (n_in, width), (width, width), (width, n_out)
        first, second, last = (Linear(*size, rng, std=1.5 / np.sqrt(size[0]), dtype=np.float64) for size in sizes)
        self.layers = [first, GELU(), second, GELU(), last]

    def forward(self, x):
        return forward_chain(self.layers, x)

    def backward(self, dout, cache):
        return backward_chain(self.layers, dout, cache)


# %% [markdown]
# Steps 4 and 5. AdamW is gradient descent with momentum (lesson 5) that also gives each weight its own rate, depending on
# how large its gradients usually are; `minillm/train/optimizers/` has it in a few lines. The loop keeps the losses at each
# look, and the weights of the best one.

# %%
def train(network, loss, data, title, rate=3e-3):
    """The losses on both parts at each look; the weights at the best look and at the end; the flat parameters."""
    flat, optimizer = FlatParameters(network.parameters()), AdamW(rate, weight_decay=0)
    optimizer.start(flat)
    x, y = data["training"]
    seen = {"training": [], "validation": []}
    best = None
    for step in tqdm(range(STEPS), desc=title, disable=None):
        if step % LOOK == 0:
            for part, losses in seen.items():
                losses.append(loss.forward(network.forward(data[part][0])[0], data[part][1])[0])
            if np.argmin(seen["validation"]) == len(seen["validation"]) - 1:       # the latest is the lowest
                best = flat.data.copy()
        out, cache = network.forward(x)                         # forward
        _, loss_cache = loss.forward(out, y)                    # loss
        flat.grad[...] = 0
        network.backward(loss.backward(1.0, loss_cache), cache)  # backward
        optimizer.step()                                        # step
    return seen, {"best": best, "end": flat.data.copy()}, flat


squared = SquaredError()
network = Network(1, 1, lesson.rng(2))
seen, weights, flat = train(network, squared, DATA, "regression")


def judged(network, flat, weights, loss, data):
    """The loss on the test data with these weights."""
    flat.data[...] = weights
    return loss.forward(network.forward(data["test"][0])[0], data["test"][1])[0]


test = {when: judged(network, flat, theta, squared, DATA) for when, theta in weights.items()}
best_look = int(np.argmin(seen["validation"]))
print(f"{sum(p.size for p in network.parameters().values()):,d} weights, 30 points; best at step {best_look * LOOK}")

# %% [markdown]
# Step 6, and the result. (We test two networks, to see the difference. But we choose neither by its test loss.) At the end
# the training loss is 0.02 ± 0.03, far below the floor: that can only come from memorising, since nobody can *predict*
# noise. On the test data the network of the best look has a loss of 0.17 ± 0.07, and the one at the end 0.31 ± 0.17, which
# is 1.7 ± 0.6 times as much.

# %%
lesson.expect("training loss at the end", seen["training"][-1], "0.02 ± 0.03")
lesson.expect("test loss, stopped at the best look", test["best"], "0.17 ± 0.07")
lesson.expect("test loss, at the end", test["end"], "0.31 ± 0.17")
lesson.expect("end / best look", test["end"] / test["best"], "1.7 ± 0.6")

# %% [markdown]
# ## See: the overfit point

# %%
def curves(ax, seen, unit):
    steps, best = LOOK * np.arange(len(seen["training"])), int(np.argmin(seen["validation"]))
    ax.plot(steps, seen["training"], color=LIGHT.models["frozen"], label="training")
    ax.plot(steps, seen["validation"], color=LIGHT.models["full"], label="validation")
    ax.axvline(best * LOOK, color=LIGHT.faint, ls="--", lw=1.5)
    ax.plot(best * LOOK, seen["validation"][best], "o", ms=12, mfc="white", mew=2.5, color=LIGHT.models["full"])
    ax.annotate("from here on\nmemorised", (best * LOOK, 1), (8, -4), xycoords=("data", "axes fraction"),
                textcoords="offset points", va="top")
    ax.set(xlabel="step", ylabel=unit, ylim=(0, None))
    ax.grid(axis="y")


at = np.linspace(-3, 3, 301)[:, None]
with lesson.picture("regression.png", 13, 5.4) as fig:
    left, right = fig.subplots(1, 2)
    fig.subplots_adjust(left=0.06, right=0.985, bottom=0.13, top=0.9, wspace=0.24)
    left.plot(*DATA["training"], "o", color=LIGHT.faint, ms=6)
    left.plot(at, np.sin(2 * at), color=LIGHT.ink, lw=1.5, ls=":", label="the truth")
    for when, color, text in (("best", LIGHT.models["full"], "at the best look"), ("end", LIGHT.models["frozen"], "at the end")):
        flat.data[...] = weights[when]
        left.plot(at, network.forward(at)[0], color=color, label=text)
    left.set(title="At the end it follows the noise", xlabel="x", ylabel="y", ylim=(-2.1, 2.7))
    left.legend(loc="upper center", ncols=3)
    curves(right, seen, "mean squared error")
    right.axhline(0.09, color=LIGHT.ink, lw=1.2)
    right.annotate("floor", (1, 0.09), (-4, 3), xycoords=("axes fraction", "data"), textcoords="offset points", ha="right")
    right.set(title="Training falls on, validation turns", ylim=(0, 2.2 * max(seen["validation"][-1], 0.3)))
    right.legend(loc="upper right")

# %% [markdown]
# The validation curve has a lowest point, and the training curve does not show it. From there on the network **overfits**:
# it gets better on its examples and worse on others. **Early stopping** ends training there. But we cannot see the future: a
# loss that has risen may fall again. So we wait for a while. The rule, with a number called **patience**:
#
# *Training ends as soon as `patience` looks in a row have brought no new lowest validation loss. Then we go back to the
# weights of the lowest.* (A loss that only equals the lowest is not a new lowest.) For the losses 5, 3, 4, 2, 2.5, 2.2, 1 at
# looks 0 to 6: with patience 2, looks 4 and 5 bring no improvement, so training stops at look 5 and goes back to look 3. It
# never sees the 1. With patience 3 it does. **Exercise 12** is this rule.
#
# ## Classification
#
# The answer is now one of V classes. The network's last layer gives a **score** s for each (called a *logit*), softmax turns
# them into probabilities. Which loss? The **surprise** at the right class y:
#
# $$ L = \frac1N \sum_n -\log p_n[y_n] \qquad p_{nj} = \frac{\exp s_{nj}}{\sum_i \exp s_{ni}} $$
#
# (With the natural logarithm its unit is called *nat*.) Being sure and right costs nothing, being undecided costs log V, and
# the cost of being sure and wrong has no bound. This is **cross-entropy**. For its gradient, take one example. The logarithm
# of a quotient is a difference,
#
# $$ -\log p_y = -s_y + \log \sum_i \exp s_i $$
#
# The derivative of the first term with respect to s_j is -1 for j = y and 0 otherwise, that is -[j = y]. In the second, the
# logarithm gives one over the sum, times the derivative of the sum, exp(s_j):
#
# $$ \frac{\partial(-\log p_y)}{\partial s_j} = -[j = y] + \frac{\exp s_j}{\sum_i \exp s_i} = p_j - [j = y] $$
#
# and, as the loss is a mean, dL/ds_nj = (p_nj - [j = y_n]) / N. **Exercise 11.** All that remains is the difference between
# the answer and the truth, as for the squared error. Softmax alone saturates: its derivative, p_i ([i = j] - p_j), is nearly
# 0 when one p is nearly 1 (lesson 2). With the logarithm the small factor cancels: a network that is sure and wrong has a
# gradient of nearly -1 at the right class and 1 at its own, each divided by N.
#
# With large scores exp overflows. So subtract the row's largest score m first. For the logarithm this gives log p_j = (s_j -
# m) - log sum_i exp(s_i - m), and no probability is rounded to 0 before its logarithm is taken.
#
# Three classes in the plane, each a cloud, and the clouds overlap. 60 points to learn from:

# %%
def clouds(n, rng):
    y = rng.integers(0, 3, n)
    centre = np.array([[0.0, 1.0], [-0.9, -0.5], [0.9, -0.5]])
    return centre[y] + 0.75 * rng.normal(size=(n, 2)), y


rng = lesson.rng(3)
CLOUDS = {"training": clouds(60, rng), "validation": clouds(300, rng), "test": clouds(3000, rng)}
cross = CrossEntropy()
classifier = Network(2, 3, lesson.rng(4))
seen2, weights2, flat2 = train(classifier, cross, CLOUDS, "classification", rate=4e-4)


def right_share(weights, part):
    flat2.data[...] = weights
    x, y = CLOUDS[part]
    return 100 * np.mean(classifier.forward(x)[0].argmax(axis=1) == y)


test2 = {when: judged(classifier, flat2, theta, cross, CLOUDS) for when, theta in weights2.items()}
share = {(when, part): right_share(theta, part) for when, theta in weights2.items() for part in CLOUDS}
print(f"{'':12s}{'test loss':>11s}{'right, %: training':>20s}{'validation':>12s}{'test':>8s}")
for when in weights2:
    shares = "".join(f"{share[when, part]:{width}.1f}" for part, width in zip(CLOUDS, (20, 12, 8)))
    print(f"{when:12s}{test2[when]:11.3f}{shares}")
lesson.expect("best: test loss", test2["best"], "0.55 ± 0.08")
lesson.expect("end: test loss", test2["end"], "8 ± 6")
lesson.expect("best: % right of the test points", share["best", "test"], "78 ± 4")
lesson.expect("end: % right of the test points", share["end", "test"], "69 ± 6")
lesson.expect("end: % right of the training points", share["end", "training"], "99 ± 2")

# %%
grid = np.linspace(-3, 3, 121)
points = np.stack(np.meshgrid(grid, grid), axis=-1)                     # (121, 121, 2)
three = np.array([to_rgb(LIGHT.others[k]) for k in (0, 1, 3)])         # other colours than those of the curves
with lesson.picture("classes.png", 14, 5) as fig:
    axes = [fig.add_axes([left, 0.14, width, 0.74]) for left, width in ((0.05, 0.264), (0.355, 0.264), (0.69, 0.295))]
    for ax, (when, title) in zip(axes, {"best": "At the best look", "end": "At the end: sure everywhere"}.items()):
        flat2.data[...] = weights2[when]
        p = cross.forward(classifier.forward(points)[0], np.zeros(points.shape[:2], int))[1].p
        ax.imshow(1 - 0.5 * p @ (1 - three), origin="lower", extent=(-3, 3, -3, 3), aspect="auto")
        x, y = CLOUDS["training"]
        ax.scatter(*x.T, c=three[y], s=34, edgecolors="white", linewidths=0.8)
        ax.set(title=title, xlabel="x1")
    axes[0].set_ylabel("x2")
    curves(axes[2], seen2, "cross-entropy (nats)")
    axes[2].set(title="Training falls on, validation turns", ylim=(0, 2.5))
    axes[2].legend(loc="upper right")

# %% [markdown]
# ## What to notice
#
# - At its best look the classifier is right about 78 ± 4 % of the test points, with a loss of 0.55 ± 0.08. (Where clouds
#   overlap nobody can always be right.) At the end it is right about 99 ± 2 % of the training points, but of the test points
#   about 69 ± 6 %.
# - **The loss grows far more than the number of mistakes:** to 8 ± 6 nats. The network has become sure of its answers even
#   when they are wrong, and that is what the surprise punishes. In a language model, whose answer *is* a distribution, this
#   matters more than the share of right answers.
# - Overfitting is not an accident. Each step did what it was asked to do: lower the training loss.
# - Remedies: more data (lesson 15), early stopping, keeping weights small (weight decay). Fine-tuning (lesson 10) is
#   another: it starts where little has to be learned.
#
# ## Exercises
#
# ```
# minillm lesson 6 --start
# minillm check 11 --watch         cross-entropy and its gradient
# minillm check 12 --watch         when to stop
# ```
#
# For exercise 11: `log_p[np.arange(N), targets]` picks from each row n the entry of its target, and gives (N,).
#
# ## Questions
#
# 1. In `DATA`, replace the 30 training points by 1000 and run again. Where is the overfit point now?
# 2. Why is the test loss of the best look still above the floor?
# 3. Someone tries a hundred networks and keeps the one with the lowest *test* loss. What is wrong with the loss they report?
# 4. What is the cross-entropy of a network that gives every class the same probability, and what is its gradient for the
#    score of the right class?
#
# **Answers.** 1. Much later, or not within these steps at all; and overfitting does less harm. 2. From 30 noisy points the
# wave cannot be known exactly. 3. It is the luckiest of a hundred; on new data it would be worse. The test data has become
# validation data. 4. log V; (1/V - 1) / N.
#
# ## Read next
#
# `minillm/nn/cross_entropy.py`, `minillm/train/optimizers/` (AdamW) and `minillm/train/fit.py`, the training loop of the
# whole project. In lesson 7 the classes are words.
