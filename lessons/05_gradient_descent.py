# %% [markdown]
# # Lesson 5: gradient descent
#
# **Question.** The gradient says which way is downhill. How large may a step be?
#
# **Time.** 3 seconds to run, 30 minutes to read and try.
#
# **Read.** Lesson 1 (the squared error, its gradient, the bowl). You need to know how a matrix multiplies a vector;
# eigenvectors are explained.
#
# **Exercises.** 9 `momentum`, 10 `divergence` (`minillm lesson 5 --start`).

# %%
import numpy as np
from common import Lesson

from minillm.draw.styles import LIGHT
from minillm.nn import Parameter
from minillm.train.flat import FlatParameters
from minillm.train.optimizers import SGD

lesson = Lesson(5, "gradient descent")
rng = lesson.rng()

# %% [markdown]
# ## The idea: five steps
#
# All training in this project, up to the language model, is a loop of five steps:
#
# 1. **forward:** predict, with the weights as they are;
# 2. **loss:** how wrong is that?
# 3. **backward:** the gradient of the loss with respect to each weight;
# 4. **step:** move each weight against its gradient;
# 5. **repeat.**
#
# Lessons 1 to 4 were about the first three. This one is about the fourth. Our example is small enough to draw: two weights.
# Two thermometers hang in the same room. Their readings have a common part, c, and differ by a little, d: x1 = c + d and x2 =
# c - d. We want to predict something that depends on both, y = 2.5 x1 - 0.5 x2 plus noise, by p = x w. (There is no bias. c
# and d are chosen so that over all examples the mean of c² is 1, that of d² is 0.15², and that of c d is zero.)

# %%
N = 200
c, d = np.sqrt(N) * np.linalg.qr(rng.normal(size=(N, 2)))[0].T * [[1], [0.15]]
x = np.stack([c + d, c - d], axis=1)                     # (N, 2)
y = x @ [2.5, -0.5] + 0.5 * rng.normal(size=N)           # (N,)
lowest = np.linalg.lstsq(x, y, rcond=None)[0]            # where all of them should end: least squares, as in lesson 1


def gradient(w, x=x, y=y):
    return 2 / len(x) * x.T @ (x @ w - y)


def excess(w):
    """How far the loss is above its minimum."""
    return np.mean((x @ w - y) ** 2) - np.mean((x @ lowest - y) ** 2)


def descend(rate, steps):
    """The trajectory of gradient descent from w = (0, 0): (steps + 1, 2)."""
    w = np.zeros(2)
    trajectory = [w]
    for _ in range(steps):                                # 5. repeat
        p = x @ w                                         # 1. forward    (N,)
        e = p - y                                         # 2. the loss is the mean of e²
        g = 2 / N * x.T @ e                               # 3. backward   (2,)
        w = w - rate * g                                  # 4. step
        trajectory.append(w)
    return np.array(trajectory)


# %% [markdown]
# ## The equation: how large is too large?
#
# With **one weight** the loss is a parabola. Its derivative is (2/N) sum of (w x_n - y_n) x_n. It is zero at the lowest
# point w*, and grows in proportion to the distance from it:
#
# $$ \frac{dL}{dw} = H\,(w - w^*) \qquad H = \frac2N \sum_n x_n^2 $$
#
# H is the second derivative, the curvature. What does one step do to the distance w - w*?
#
# $$ w - \text{rate}\; H\,(w - w^*) - w^* \;=\; (1 - \text{rate}\; H)\,(w - w^*) $$
#
# **Each step multiplies the distance by the same factor, 1 - rate H.** If rate H is below 1, the factor is positive and the
# distance shrinks. If it is between 1 and 2, the factor is negative: each step goes past the lowest point, but ends closer to
# it on the other side. Above 2 it ends *farther away* on the other side, and so on for ever. The limit is rate = 2 / H.
#
# With **K weights** the same holds, with a matrix. The gradient is again linear in w and zero at w*:
#
# $$ \frac{\partial L}{\partial w_k} = \frac2N \sum_n (p_n - y_n)\, x_{nk} \qquad
#    H_{jk} = \frac{\partial^2 L}{\partial w_j\, \partial w_k} = \frac2N \sum_n x_{nj}\, x_{nk} \qquad H = \frac2N\, x'x $$
#
# H (K, K) is the **Hessian**. It depends on the inputs alone. For most directions u, H u points in another direction. But
# there are K special directions at right angles to each other, the **eigenvectors**, along which H only stretches: H u =
# lambda u. Split the distance along them, and a step multiplies each part by its own factor:
#
# $$ \text{part along } u \;\leftarrow\; (1 - \text{rate}\;\lambda)\;\cdot\;\text{part along } u $$
#
# All parts must shrink, and the one with the largest eigenvalue is the first to fail. So gradient descent converges if
#
# $$ 0 < \text{rate} < \frac{2}{\lambda_{max}} $$
#
# Our two thermometers: along (1, 1) only the sum x1 + x2 = 2 c matters, along (1, -1) only the difference, 2 d. That gives
# lambda = 4 (mean of c²) = 4 and lambda = 4 (mean of d²) = 0.09. (NumPy finds the eigenvalues of any H: `np.linalg.eigvalsh`
# returns them in ascending order.) At distance 1 from w* along u, the gradient must be lambda u:

# %%
STEEP, FLAT = np.array([1, 1]) / np.sqrt(2), np.array([1, -1]) / np.sqrt(2)
for name, u, curvature in (("steep", STEEP, 4), ("flat", FLAT, 0.09)):
    g = gradient(lowest + u)
    print(f"{name:6s}u ({u[0]:.3f}, {u[1]:6.3f})   gradient at w* + u ({g[0]:.3f}, {g[1]:6.3f}) = {g @ u:.3f} u, due {curvature}")
LIMIT = 2 / 4

# %% [markdown]
# ## Run, and see
#
# Six rates, compared with the limit, which is 2 / 4 = 0.5. The factors are those of the theory; the last columns show what
# happened.

# %%
STEPS = 100
print(f"{'rate':>6s}{'rate / limit':>14s}{'steep factor':>14s}{'flat factor':>13s}{'excess after ' + str(STEPS):>20s}")
for rate in (0.05, 0.25, 0.45, 0.49, 0.51, 0.55):
    last = excess(descend(rate, STEPS)[-1])
    print(f"{rate:6.2f}{rate / LIMIT:14.2f}{1 - 4 * rate:14.2f}{1 - 0.09 * rate:13.4f}{last:20.2g}   "
          f"{'diverges' if last > excess(np.zeros(2)) else 'converges'}{', from side to side' if 4 * rate > 1 else ''}")

trajectory = (descend(0.45, 10) - lowest) @ STEEP
lesson.expect("measured factor of a step along (1, 1), rate 0.45", (trajectory[-1] / trajectory[0]) ** 0.1, "0.80 ± 0.01")


def limit_by_trying(walk, steps=300):
    """By bisection: is the gradient longer at the end than at the start?"""
    low, high = 0.01, 2.0
    for _ in range(6 if lesson.quick else 20):
        rate = (low + high) / 2
        trajectory = walk(rate, steps)
        if np.linalg.norm(gradient(trajectory[-1])) < np.linalg.norm(gradient(trajectory[0])):
            low = rate
        else:
            high = rate
    return low


lesson.expect("largest rate that converges, found by trying", limit_by_trying(descend), "0.500 ± 0.003")

# %% [markdown]
# At a rate of 0.45, the distance along the steep direction is multiplied by 1 - 0.45 · 4 = -0.8 each step; measured over ten
# steps, its size was 0.80 ± 0.01. And if you know nothing about eigenvalues and simply try rates, you find the limit at
# 0.500 ± 0.003.
#
# ## Momentum
#
# The steep direction limits the rate, and the flat one determines the time: along it, even a rate of 0.49 multiplies the
# distance only by 1 - 0.49 · 0.09 = 0.956. A rolling ball would do better. Give the weights, together called theta, a
# **velocity** v that remembers:
#
# $$ v \leftarrow \mu\, v + g \qquad \theta \leftarrow \theta - \text{rate}\; v $$
#
# mu (say 0.9) is the part of the velocity that remains after each step. Where the gradient g stays the same, v grows to (1 +
# mu + mu² + ...) g = g / (1 - mu), ten times g. Where g changes sign at every step, as across the valley, the contributions
# cancel.
#
# How large may the rate be now? Let e be the distance along an eigenvector. The last step was rate v = e_before - e, so
#
# $$ e_{next} = e - \text{rate}\,(\mu\, v + \lambda\, e) = e - \text{rate}\;\lambda\, e + \mu\,(e - e_{before}) $$
#
# At the limit it goes from side to side for ever: e_next = -e and e_before = -e. Substituting gives -e = e - rate lambda e + 2
# mu e, hence rate = 2 (1 + mu) / lambda: momentum also allows larger rates. For mu = 0.7 the limit is 0.85 here. Now with the
# project's own `SGD` (its learning rate is called lr; `FlatParameters` lays all parameters end to end in one vector, theta):

# %%
def roll(rate, steps, mu=0.7):
    flat = FlatParameters({"w": Parameter(np.zeros(2))})
    optimizer = SGD(rate, mu)
    optimizer.start(flat)
    trajectory = [flat.data.copy()]
    for _ in range(steps):
        flat.grad[...] = gradient(flat.data)
        optimizer.step()
        trajectory.append(flat.data.copy())
    return np.array(trajectory)


def steps_to(part, trajectory):
    """Steps until the excess stays below this part of its start."""
    return 1 + np.flatnonzero([excess(w) > part * excess(trajectory[0]) for w in trajectory])[-1]


lesson.expect("largest rate with momentum 0.7, found by trying", limit_by_trying(roll), "0.850 ± 0.005")
lesson.expect("steps to a millionth of the excess, rate 0.45", steps_to(1e-6, descend(0.45, 400)), "130 ± 15")
lesson.expect("steps with momentum 0.7, rate 0.3", steps_to(1e-6, roll(0.3, 400)), "43 ± 8")

# %% [markdown]
# Reducing the excess to a millionth takes 130 ± 15 steps at a rate of 0.45, and 43 ± 8 with momentum. The largest rate that
# works with momentum, found by trying, is 0.850 ± 0.005.
#
# ## All examples, or a few?
#
# So far each step looked at all N examples. The mean over a few random ones, a **mini-batch**, points the same way on average,
# and costs less: with ten of the 200, one pass over all examples (an **epoch**) makes twenty steps instead of one. That is
# **stochastic** gradient descent, the S in SGD. The price is noise.

# %%
PASSES, BATCH = 20, 10


def descend_stochastic(rate, passes, falling=False):
    rng, w = lesson.rng(1), np.zeros(2)
    trajectory, total = [w], passes * N // BATCH
    for _ in range(passes):
        for part in rng.permutation(N).reshape(-1, BATCH):          # each example once in each pass
            w = w - rate * (1 - len(trajectory) / total * falling) * gradient(w, x[part], y[part])
            trajectory.append(w)
    return np.array(trajectory)


means = np.mean([gradient(np.zeros(2), x[part], y[part]) for part in rng.permutation(N).reshape(-1, BATCH)], axis=0)
RUNS = {"all 200, rate 0.45": descend(0.45, PASSES), "10 at a time, rate 0.15": descend_stochastic(0.15, PASSES),
        "10 at a time, rate falling from 0.15 to 0": descend_stochastic(0.15, PASSES, falling=True)}
print(f"{'mean excess during pass':44s}{'1':>10s}{'5':>10s}{'11 to 20':>10s}{'20':>10s}")
late, last = [], []
for name, trajectory in RUNS.items():
    each = np.array([excess(w) for w in trajectory[1:]]).reshape(PASSES, -1).mean(axis=1)
    late.append(each[10:].mean())
    last.append(each[-1])
    print(f"{name:44s}{each[0]:10.5f}{each[4]:10.5f}{late[-1]:10.5f}{last[-1]:10.5f}")
lesson.expect("mean of all mini-batches' gradients, off by", np.abs(means - gradient(np.zeros(2))).max(), "0 ± 1e-12")
lesson.expect("excess in passes 11 to 20, all examples", late[0], "0.067 ± 0.025")
lesson.expect("excess in passes 11 to 20, mini-batches", late[1], "0.012 ± 0.007")
lesson.expect("excess in pass 20, mini-batches, rate falling", last[2], "0.001 ± 0.001")

# %% [markdown]
# The mean of the twenty gradients is the gradient over all examples (off by 0 ± 1e-12). In the second half, steps that look at
# all examples still have an excess of 0.067 ± 0.025, mini-batches 0.012 ± 0.007: they make more steps for the same work. But
# there they stay, in a cloud around the lowest point; the smaller the rate, the smaller the cloud. So we start with a large
# rate and let it fall, which leads to 0.001 ± 0.001. All models in this project are trained with a rate that falls to zero
# (`minillm/train/schedule.py`).
#
# Now watch them walk. The lines are lines of equal loss: the bowl of lesson 1 from above.

# %%
PANELS = {"rate 0.05: it creeps": descend(0.05, 40), "rate 0.25: down, then along": descend(0.25, 40),
          "rate 0.48: from side to side": descend(0.48, 40), "rate 0.52: it diverges": descend(0.52, 24),
          "momentum 0.7, rate 0.3: it rolls": roll(0.3, 40), "10 examples a step, rate 0.2": descend_stochastic(0.2, 5)}
right, up = lowest[0] + np.linspace(-3.7, 2, 121), lowest[1] + np.linspace(-2.4, 3.3, 121)
bowl = np.array([[excess((w1, w2)) for w1 in right] for w2 in up])
levels = np.geomspace(0.02, 60, 13)
with lesson.picture("contours.png", 13.2, 9.2) as fig:
    axes = fig.subplots(2, 3, sharex=True, sharey=True)
    fig.subplots_adjust(left=0.055, right=0.99, bottom=0.065, top=0.96, wspace=0.07, hspace=0.14)
    for ax, (title, trajectory) in zip(axes.flat, PANELS.items()):
        ax.contourf(right, up, bowl, levels, cmap=LIGHT.ground, extend="both")
        ax.contour(right, up, bowl, levels, colors=LIGHT.faint, linewidths=0.5)
        ax.plot(*trajectory.T, "o-", color=LIGHT.models["full" if "diverges" in title else "frozen"], lw=1.8, ms=4)
        ax.plot(*lowest, "*", color=LIGHT.models["adapter"], ms=18, mec="white", zorder=5)
        ax.annotate("start", trajectory[0], (-8, 0), textcoords="offset points", ha="right", va="center", size=13)
        ax.set(title=title, xlim=right[[0, -1]], ylim=up[[0, -1]], aspect="equal")
    for ax in axes[1]:
        ax.set_xlabel("weight w1")
    for ax in axes[:, 0]:
        ax.set_ylabel("weight w2")

# %% [markdown]
# And the reason. Left, the factor by which each step multiplies the distance, along the steep and along the flat direction;
# right, what that leads to.

# %%
with lesson.picture("limit.png", 13.2, 5.6) as fig:
    left, right = fig.subplots(1, 2)
    fig.subplots_adjust(left=0.065, right=0.985, bottom=0.13, top=0.91, wspace=0.2)
    rates = np.linspace(0, 0.65, 200)
    left.axhspan(1, 1.7, color=LIGHT.rule, zorder=0)
    left.text(0.015, 1.58, "above 1 the distance grows", size=14)
    for name, curvature, model in (("steep: lambda = 4", 4, "full"), ("flat: lambda = 0.09", 0.09, "frozen")):
        left.plot(rates, np.abs(1 - rates * curvature), color=LIGHT.models[model], lw=3.2, label=name)
    left.axvline(LIMIT, color=LIGHT.ink, ls=(0, (3, 2)), lw=1.6)
    left.text(LIMIT + 0.01, 0.04, "2 / 4", size=15)
    left.legend(loc=(0.005, 0.69), fontsize=14)
    left.set(title="The steep direction sets the limit ...", xlabel="learning rate", ylabel="a step multiplies the distance by",
             ylim=(0, 1.7), xlim=(0, 0.65))
    for name, trajectory, model in (("rate 0.52", descend(0.52, 60), "full"), ("rate 0.05", descend(0.05, 60), "pretrained"),
                                    ("rate 0.25", descend(0.25, 60), "lora"), ("rate 0.48", descend(0.48, 60), "frozen"),
                                    ("momentum 0.7, rate 0.3", roll(0.3, 60), "adapter")):
        right.plot([excess(w) for w in trajectory], color=LIGHT.models[model], lw=3.2, label=name)
    right.set(title="... and the flat one sets the time", xlabel="step", ylabel="loss above its lowest value", yscale="log",
              ylim=(1e-6, 1e3), xlim=(0, 60))
    right.set_yticks([1e3, 1, 1e-3, 1e-6], ["1000", "1", "0.001", "1e-6"])
    right.minorticks_off()
    right.legend(loc="lower left", fontsize=14)

# %% [markdown]
# ## What to notice
#
# - At 0.25 the steep part is gone after one step (its factor is 0), and all the remaining steps go into the flat part.
# - Just below the limit the flat part shrinks fastest, but the steep one goes from side to side. Just above, only the steep
#   part explodes: the flat one still shrinks, though you cannot see it.
# - A bowl is hard not because it is steep, but because it is steep in one direction and flat in another. The ratio of the
#   largest to the smallest eigenvalue, here 4 / 0.09 = 44, is the **condition number**.
# - Momentum goes past the lowest point and comes back: its loss does not fall at every step, yet it arrives first.
# - The loss of a deep network is not a bowl: far from a minimum, lambda changes from point to point. Near a minimum it is like
#   a bowl, and the limit holds for the steepest direction. `minillm sharpness` measures it.
#
# ## Exercises
#
# Exercise 9 is one step with momentum, on arrays of any shape. It must return new arrays and leave its inputs unchanged (`SGD`
# above works in place, to save memory; a function without side effects is better to learn with). Exercise 10 is the limit, for
# any x. The check does what we did: it runs gradient descent at 0.9 and at 1.1 times your rate.
#
# ```
# minillm lesson 5 --start
# minillm check 9 --watch
# minillm hint 10
# ```
#
# ## Questions
#
# 1. Lesson 1 diverged at a rate of 0.5, and at 0.35 it could do either. Its bias is a weight whose input is always 1, so a row
#    of the array x is (x_n, 1), and x was drawn uniformly between -1 and 3, with mean 1 and mean square 7/3. Where is the
#    limit?
# 2. All inputs are doubled. How does the limit change? And if all targets are doubled?
# 3. Instead of two thermometers, the inputs are c and d / 0.15. What are the eigenvalues, what is the best rate, and how many
#    steps does it take?
# 4. At rate 0.25 the loss falls at every step. At 0.48 it does too, although w goes from side to side. Why?
#
# **Answers.** 1. H = 2 times the matrix ((7/3, 1), (1, 1)), its largest eigenvalue is 5.74, and the limit is 0.349; forty
# random points have a slightly different mean and mean square. 2. lambda is four times as large, the limit a quarter. The
# targets do not matter. 3. Both are 2, since each has mean square 1 and their product mean 0. At rate 1/2 both factors are 0:
# one step. That is why data are standardised before training. 4. Both factors are smaller than 1 in absolute value, and the
# loss depends on squares.
#
# ## Read next
#
# `minillm/train/optimizers/`: `SGD`, then `AdamW`, which gives each weight its own rate, an answer to bowls that are flat in
# one direction and steep in another. `minillm/train/trainer.py` has the five steps for a language model.
