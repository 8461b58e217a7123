# %% [markdown]
# # Lesson 1: one neuron
#
# **Question.** Someone has drawn a straight line, and shows you only a few points near it. How can a program recover the line,
# without being told how to find lines?
#
# **Time.** 2 seconds to run, 20 minutes to read and try. `--seed N` draws other points.
#
# **Read.** You need a little Python and NumPy, and school maths: the slope of a curve.
#
# **Exercises.** 1 `squared_error` (`minillm lesson 1 --start`).

# %%
import numpy as np
from common import Lesson

from minillm.draw.styles import LIGHT

lesson = Lesson(1, "one neuron")
rng = lesson.rng()

# %% [markdown]
# ## The idea
#
# A neuron takes a number x, multiplies it by its **weight** w, adds its **bias** b, and that is its prediction:
#
# $$ p = w\,x + b $$
#
# Everything it knows is in w and b. *Learning* means changing them so that the predictions come closer to the truth.
#
# Here are forty points. They come from the line y = 2 x - 1, with a little noise. The neuron does not know this; it sees only
# the points.

# %%
N = 40
x = rng.uniform(-1, 3, N)
y = 2 * x - 1 + 0.4 * rng.normal(size=N)
print(f"{N} points, the first three: " + ", ".join(f"({a:.2f}, {b:.2f})" for a, b in zip(x[:3], y[:3])))

# %% [markdown]
# ## The equation
#
# How wrong is a neuron? Take the square of each error, so that too high and too low both count, and large errors count more.
# The mean over the N points is the **loss**:
#
# $$ L(w, b) = \frac1N \sum_n (p_n - y_n)^2 = \frac1N \sum_n (w\,x_n + b - y_n)^2 $$
#
# The points are fixed. So the loss depends on w and b alone: it is a height above each point (w, b) of a map, a **loss
# surface**. Learning means walking downhill on it.
#
# Which way is downhill? Ask how the loss changes when w grows a little, and when b does. By the chain rule, the derivative of
# a square is twice what is squared, times the derivative of what is inside, which is x_n for w and 1 for b:
#
# (With several variables a derivative is written with a round d: the other variables are held constant. In code we call the
# two dw and db.)
#
# $$ \frac{\partial L}{\partial w} = \frac2N \sum_n (p_n - y_n)\,x_n \qquad
#    \frac{\partial L}{\partial b} = \frac2N \sum_n (p_n - y_n) $$
#
# Together they are the **gradient**. It points uphill, so we step the other way. The **learning rate** says how far:
#
# $$ w \leftarrow w - \text{rate}\;\frac{\partial L}{\partial w} \qquad
#    b \leftarrow b - \text{rate}\;\frac{\partial L}{\partial b} $$
#
# ## The code
#
# The three equations, line by line. We also record every point (w, b) that we visit: the trajectory.

# %%
w, b, rate = -1.5, 2.5, 0.1
trajectory = [(w, b)]
for step in range(80):
    p = w * x + b                             # predictions (N,)
    e = p - y                                 # errors (N,)
    loss = np.mean(e ** 2)
    dw, db = 2 * np.mean(e * x), 2 * np.mean(e)
    w, b = w - rate * dw, b - rate * db
    trajectory.append((w, b))
    if step in (0, 1, 2, 5, 10, 20, 79):
        print(f"step {step:2d}   loss {loss:7.3f}   slope dw {dw:7.3f} db {db:7.3f}   ->   w {w:6.3f}   b {b:6.3f}")

# %% [markdown]
# ## Run, and see
#
# The line was y = 2 x - 1, and the noise had a standard deviation of 0.4. So the neuron should end at w = 2.0 ± 0.2 and b =
# -1.0 ± 0.3, and its loss can hardly be less than the square of the noise: 0.16 ± 0.10 is left. What cannot be predicted sets
# a **floor** that no learner can go below. (With only forty points the floor itself depends on chance; other seeds have other
# noise. This idea comes back in lesson 9, and then stays with us.)

# %%
lesson.expect("weight w", w, "2.0 ± 0.2")
lesson.expect("bias b", b, "-1.0 ± 0.3")
lesson.expect("loss", np.mean((w * x + b - y) ** 2), "0.16 ± 0.10")

# %% [markdown]
# For a straight line you can also solve for the lowest point directly (least squares). Walking downhill must end at the same
# point; after eighty steps the two differ by 0.00 ± 0.05. For a network of several layers there is no such solution, and all
# we can do is walk.

# %%
exact = np.polyfit(x, y, 1)
lesson.expect("largest difference from least squares", max(abs(exact - (w, b))), "0.00 ± 0.05")

# %% [markdown]
# Is the gradient right? Move w by a tiny amount h, and see how the loss changes. This check (**finite differences**) does not
# use the chain rule, so if the two agree, both are right. It will check every gradient in this project. The difference
# relative to the gradient is 0 ± 1e-6.

# %%
def loss_at(w, b):
    return np.mean((w * x + b - y) ** 2)


W, B, h = -1.5, 2.5, 1e-5
numeric = (loss_at(W + h, B) - loss_at(W - h, B)) / (2 * h)
analytic = 2 * np.mean((W * x + B - y) * x)
lesson.expect("finite differences against the chain rule", abs(numeric / analytic - 1), "0 ± 1e-6")

# %% [markdown]
# Now the picture that the whole project leads up to: the loss surface, with the weights moving over it. This neuron has only
# two parameters, so its surface can be drawn without hiding anything. (A language model has a million; lesson 12 is about what
# a picture then hides.)

# %%
ws, bs = np.linspace(-2.5, 5, 101), np.linspace(-5, 4, 101)
bowl = np.array([[loss_at(W, B) for W in ws] for B in bs])
start, end = trajectory[0], trajectory[-1]
with lesson.picture("bowl.png", 12.8, 5.6) as fig:
    left = fig.add_axes([0.03, 0.03, 0.43, 0.87], projection="3d", computed_zorder=False)
    left.plot_surface(*np.meshgrid(ws, bs), np.where(bowl < 25, bowl, np.nan), cmap=LIGHT.ground, rcount=101, ccount=101)
    left.plot(*zip(*trajectory), [loss_at(*at) + 0.3 for at in trajectory], "o-", ms=3, color=LIGHT.models["full"], zorder=9)
    left.set(xlabel="weight w", ylabel="bias b", zlabel="loss", title="The loss is a bowl", zlim=(0, 25))
    left.view_init(48, -60)
    left.set_box_aspect(None, zoom=0.9)

    right = fig.add_axes([0.54, 0.12, 0.43, 0.77])
    right.contourf(ws, bs, bowl, bowl.min() + np.geomspace(0.1, bowl.max(), 14), cmap=LIGHT.ground, extend="both")
    right.plot(*zip(*trajectory), "o-", color=LIGHT.models["full"], ms=4)
    right.plot(*exact, "*", color=LIGHT.ink, ms=14)
    right.annotate("start", start, (8, 6), textcoords="offset points")
    right.annotate("lowest point", exact, (10, -16), textcoords="offset points")
    right.set(xlabel="weight w", ylabel="bias b", title="Eighty steps downhill, seen from above")

# %% [markdown]
# ## What to notice
#
# - The steps get shorter by themselves: the gradient is the slope, and near the bottom the ground is flat.
# - The trajectory does not go straight to the goal. The bowl is longer in one direction than in the other, and steepest
#   descent first goes down the steep side and then along the valley. This is what makes learning rates difficult in lesson 5.
# - The loss does not go to 0, although the learner did everything right.
#
# ## Exercise
#
# Exercise 1 asks for a neuron with K inputs, and so K weights: `squared_error(x, y, w, b)`. With K = 1 it is what you saw
# above. The only new thing is that w and x_n now have K components, so that w x becomes a sum over them. `x @ w` computes this
# sum for all examples at once: (N, K) times (K,) gives (N,), and the sum runs over K, the last axis of x. In the gradient each
# weight has its own component, and the sum runs over the examples:
#
# $$ \frac{\partial L}{\partial w_k} = \frac2N \sum_n (p_n - y_n)\,x_{nk} $$
#
# For a product `@` to sum over n, n must be the last axis of its first factor: `x.T` is x transposed, (K, N).
#
# In the text of an exercise, lines with >>> are an example: what you type, and what Python should answer. The check calls your
# function with its own numbers. It uses Python's usual float64 numbers, and at the end once float32, the type in which
# networks are trained; a function should return the type that it is given (so use `np.zeros_like(x)` rather than
# `np.zeros(shape)`).
#
# ```
# minillm lesson 1 --start        copies the exercise into workbook/
# minillm check 1 --watch         checks it whenever you save
# minillm hint 1
# ```
#
# ## Questions
#
# 1. What happens with `rate = 0.5`? And with 0.35? Change it in this file, run it again, and watch the loss.
# 2. Add one point far off the line, say x = 3, y = -20. How far does the line move, and why so far?
# 3. Suppose all x are 0. What is dw? What can the neuron still learn?
#
# **Answers.** 1. At 0.5 every step lands higher up on the other side: the loss grows without bound. At 0.35 either can happen,
# depending on the points: lesson 5 finds the exact limit. 2. Far: squares make one large error count as much as many small
# ones. 3. 0: an input of 0 has no part in any error, so its weight gets no blame. The bias can still learn the mean of y.
#
# ## Read next
#
# Lesson 2, which gives a neuron what a straight line lacks. (The layers of the project are in `minillm/nn/`. From lesson 4 on
# you will read them one by one, each after you have written your own.)
