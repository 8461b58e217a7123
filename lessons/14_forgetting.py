# %% [markdown]
# # Lesson 14: forgetting, and how to avoid it
#
# **Question.** The novelist learned novels, and lost some of everything else. Nobody asked for that. Why does it happen, and
# what helps?
#
# **Time.** About 25 seconds on two cores, and 20 more if no lesson has made the generalist yet (`--quick`: 6 in all). 60
# minutes to read and try.
#
# **Read.** Lessons 5 (a bowl, and the gradient in it), 10 and 13 (fine-tuning), 12 (the line from P to F).
#
# **Exercises.** 27 `halfway` (`minillm lesson 14 --start`).

# %%
import textwrap

import numpy as np
from common import Lesson, copy_of, generalist

from minillm import AdamW, Full, World, evaluate_world
from minillm.draw.labels import place
from minillm.draw.styles import LIGHT
from minillm.finetune.remedies import EWC, L2SP, Remedy, Replay, interpolate
from minillm.finetune.specialist import specialise
from minillm.nn import CrossEntropy
from minillm.tasks.samples import write_and_judge
from minillm.tasks.special import SpecialTask
from minillm.tasks.world import WorldTask
from minillm.text.batches import pad
from minillm.train.fit import fit

lesson = Lesson(14, "forgetting")
STEPS, TEST, POINTS = (8, 5, 3) if lesson.quick else (100, 100, 11)
RATE = 1e-3
world, base = World(lesson.seed), generalist(lesson)
novels, old_texts = SpecialTask("novel", lesson.seed, n_documents=64), WorldTask(lesson.seed)


def fine_tune(remedy, lr=RATE, title=""):
    """The generalist P, with all weights trained on 64 novels, and a remedy against forgetting."""
    run = specialise(copy_of(base), Full(), novels, old_texts, AdamW(lr), STEPS, 16, lesson.seed, remedy)
    fit(run.trainer, run.batches, STEPS, title=f"{title or remedy.method:9s}")
    run.finish()
    return run.model


def judge(model):
    """{kind of text: excess}, in nats per token above the floor; on test texts, which no model has seen."""
    return {name: score.excess for name, score in evaluate_world(model, world, "test", TEST).items()}


def new_old(excess):
    """(excess on novels, mean excess on the six old kinds)"""
    return excess["novel"], np.mean([excess[name] for name in world.general])


# %% [markdown]
# ## What was forgotten?
#
# Train on the novels as in lesson 10, with all weights and without any precaution, and look at each kind of text before and
# after.

# %%
P, F = base, fine_tune(Remedy())
before, after = judge(P), judge(F)
print(f"{'excess on':22s}" + "".join(f"{name:>9s}" for name in world.domains))
for name, excess in (("P, the generalist", before), ("F, fine-tuned", after)):
    print(f"{name:22s}" + "".join(f"{excess[kind]:9.3f}" for kind in world.domains))
(p_new, p_old), (f_new, f_old) = new_old(before), new_old(after)
lesson.expect("novels, before", p_new, "1.3 ± 0.1")
lesson.expect("novels, after", f_new, "0.08 ± 0.04")
lesson.expect("old kinds, before", p_old, "0.03 ± 0.02")
lesson.expect("old kinds, after", f_old, "0.18 ± 0.05")

for name, model in (("P", P), ("F", F)):
    [(text, mistake)] = write_and_judge(model, world, ["story"], [lesson.rng(3)])
    remark = f"breaks a rule: {mistake}" if mistake else "without a mistake"
    print(textwrap.fill(f"{name}, asked for a story: {text}   [{remark}]", 110, subsequent_indent="    "))

# %% [markdown]
# On novels the excess falls from 1.3 ± 0.1 to 0.08 ± 0.04. On the old kinds it rises, on average from 0.03 ± 0.02 to
# 0.18 ± 0.05. No novel contradicts what a report says. Why does the novelist get worse at reports?
#
# ## Why
#
# Each step goes against the gradient of the loss on *novels*, L_new. Move the weights by d, and see how that changes the
# *old* loss, from its slope and its curvature at P:
#
# $$ L_\text{old}(P + d) \approx L_\text{old}(P) + \sum_i g_i d_i + \tfrac12 \sum_{ij} d_i H_{ij} d_j $$
#
# P was trained on the old texts until the loss hardly fell any more. So it is at the bottom of the old bowl: the slope g is
# nearly 0 in every direction. At first, moving costs nothing. But the bowl has walls (H, the curvature), and the gradient of
# L_new knows nothing about them. Let us measure both gradients, over all weights, at P and at F:

# %%
def gradient(model, documents):
    """dL/dtheta, all weights end to end, where L is the mean loss over some texts."""
    model, (tokens, targets) = copy_of(model), pad(documents)
    logits, cache = model.forward(tokens)
    _, loss_cache = CrossEntropy().forward(logits, targets)
    model.zero_grad()
    model.backward(CrossEntropy().backward(1.0, loss_cache), cache)
    return np.concatenate([p.grad.ravel() for p in model.parameters().values()]).astype(np.float64)


def cosine(x, y):
    return x @ y / np.linalg.norm(x) / np.linalg.norm(y)


def theta(model):
    return np.concatenate([array.ravel() for array in model.state_dict().values()]).astype(np.float64)


new_documents, old_sequences = [document.ids for document in world.documents("novel", 64, "train")], world.mixed_ids(256, 3)
P_to_F = theta(F) - theta(P)
at_P, at_F = ({"new": gradient(model, new_documents), "old": gradient(model, old_sequences)} for model in (P, F))
for name, of in (("P", at_P), ("F", at_F)):
    print(f"at {name}: length of the gradient " + ", ".join(f"{np.linalg.norm(g):.3f} on {kind} texts" for kind, g in of.items()))
lesson.expect("at P: old gradient's length, the new one's being 1",
              np.linalg.norm(at_P["old"]) / np.linalg.norm(at_P["new"]), "0.03 ± 0.02")
lesson.expect("at P: cosine of the two", cosine(at_P["old"], at_P["new"]), "0.00 ± 0.06")
lesson.expect("at F: cosine of the old gradient and F - P", cosine(at_F["old"], P_to_F), "0.17 ± 0.03")

# %% [markdown]
# At P the old gradient has 0.03 ± 0.02 of the length of the new one, and the cosine between them is 0.00 ± 0.06: they are
# almost at right angles. So the gradient that we follow says next to nothing about what we would like to keep. At F the old
# loss has a slope again, and its gradient points in the direction from P to F: the cosine is 0.17 ± 0.03. That looks small,
# but for two random directions in so many dimensions it is about 1 / sqrt(252,288) = 0.002. For the old texts, going on is
# uphill, and turning back is downhill.
#
# ## Halfway back
#
# This suggests the first remedy. Consider the straight line from P to F,
#
# $$ \theta(t) = P + t\,(F - P) = (1 - t)\,P + t\,F, \qquad 0 \le t \le 1 $$
#
# Suppose both losses are parabolas along it. The old one has its lowest point at t = 0, so the share t^2 of what is
# forgotten at F is forgotten at t. The new one has its lowest point at t = 1, so the share (1 - t)^2 is still to be learned,
# and the learned share is
#
# $$ 1 - (1 - t)^2 = 2t - t^2 $$
#
# At t = 1/2 that is 75 % learned and 25 % forgotten. Learning starts with a slope, forgetting without one: that is why going
# back part of the way should pay off. Does it?

# %%
def between(t):
    model = copy_of(F)
    interpolate(model, P.state_dict(), float(t))
    return model


ts = np.linspace(0, 1, POINTS)
curve = np.array([new_old(judge(between(t))) for t in ts])
learned = 100 * (p_new - curve[:, 0]) / (p_new - f_new)
forgotten = 100 * (curve[:, 1] - p_old) / (f_old - p_old)
print(f"{'t':>5s}{'learned %':>12s}{'parabola':>10s}{'forgotten %':>14s}{'parabola':>10s}")
for t, a, b in zip(ts, learned, forgotten):
    print(f"{t:5.1f}{a:12.0f}{100 * (2 * t - t * t):10.0f}{b:14.0f}{100 * t * t:10.0f}")
lesson.expect("% learned at t = 0.5", np.interp(0.5, ts, learned), "88 ± 3")
lesson.expect("% forgotten at t = 0.5", np.interp(0.5, ts, forgotten), "21 ± 4")

# %% [markdown]
# At t = 0.5 we keep 88 ± 3 % of the learning, for 21 ± 4 % of the forgetting. Both are better than the parabolas predict.
# And going back costs nothing: it needs no old texts and no training, and t can be chosen afterwards (Wortsman et al. 2022
# call it WiSE-FT).
#
# ## Four more remedies
#
# - **A smaller learning rate:** do not go so far in the first place. Here we halve it.
# - **Replay:** show old texts again. Each batch gets as many old texts as new ones, and the loss is the mean over both. Then
#   the gradient includes the old texts. This needs old texts, and time to train on them.
# - **L2-SP:** a spring pulls each weight back to its value in P. This needs only P.
#
# $$ L = L_\text{new} + \frac\lambda2 \sum_i (\theta_i - P_i)^2 \qquad \frac{\partial L}{\partial\theta_i} =
#    \frac{\partial L_\text{new}}{\partial\theta_i} + \lambda\,(\theta_i - P_i) $$
#
# - **EWC**, elastic weight consolidation (Kirkpatrick et al. 2017): springs of different strength, strong where the old
#   texts depend on a weight. The best springs would have the curvature H from above. EWC takes its diagonal, estimated by
#   the Fisher information: the mean square of the gradient of log p, for words drawn from the model itself, at the positions
#   of old texts.
#
# $$ L = L_\text{new} + \frac\lambda2 \sum_i f_i\,(\theta_i - P_i)^2 \qquad\quad
#    f_i = \text{mean}\left[\left(\frac{\partial \log p}{\partial \theta_i}\right)^2\right] $$
#
# Of a few strengths (a factor of about three apart) we take the largest that still keeps 98 % of the learning, on validation
# texts and averaged over three seeds.

# %%
points = {name: new_old(judge(model)) for name, model in {
    "back to t = 0.7": between(0.7), "half the learning rate": fine_tune(Remedy(), RATE / 2, "half rate"),
    "L2-SP, 0.03": fine_tune(L2SP(0.03)), "EWC, 300": fine_tune(EWC(300.0)), "replay, 1 to 1": fine_tune(Replay(1.0))}.items()}
print(f"{'':26s}{'novels':>8s}{'the old':>9s}")
for name, (new, old) in ({"P": (p_new, p_old), "F, nothing done": (f_new, f_old)} | points).items():
    print(f"{name:26s}{new:8.3f}{old:9.3f}")


def kept(name):
    return 100 * (p_new - points[name][0]) / (p_new - f_new)


def left(name):
    return 100 * (points[name][1] - p_old) / (f_old - p_old)


lesson.expect("back to t = 0.7: % of the learning kept", kept("back to t = 0.7"), "98 ± 1")
lesson.expect("back to t = 0.7: % of the forgetting left", left("back to t = 0.7"), "44 ± 7")
lesson.expect("half the learning rate: % of the learning kept", kept("half the learning rate"), "98 ± 2")
lesson.expect("half the learning rate: % of the forgetting left", left("half the learning rate"), "56 ± 6")
lesson.expect("L2-SP: % of the learning kept", kept("L2-SP, 0.03"), "99 ± 1")
lesson.expect("L2-SP: % of the forgetting left", left("L2-SP, 0.03"), "39 ± 8")
lesson.expect("EWC: % of the learning kept", kept("EWC, 300"), "99 ± 1")
lesson.expect("EWC: % of the forgetting left", left("EWC, 300"), "27 ± 8")
lesson.expect("replay: % of the learning kept", kept("replay, 1 to 1"), "100 ± 1")
lesson.expect("replay: % of the forgetting left", left("replay, 1 to 1"), "10 ± 5")

# %% [markdown]
# | remedy | needs | learning kept, % | forgetting left, % |
# |---|---|---|---|
# | back to t = 0.7 | P | 98 ± 1 | 44 ± 7 |
# | half the learning rate | nothing | 98 ± 2 | 56 ± 6 |
# | L2-SP | P | 99 ± 1 | 39 ± 8 |
# | EWC | P, and some old texts once | 99 ± 1 | 27 ± 8 |
# | replay | old texts, and more time | 100 ± 1 | 10 ± 5 |
#
# ## The picture: learned and forgotten
#
# The line shows the models between P and F, with a dot for each tenth. A remedy below the line is better than going back.

# %%
points = {"P, t = 0": (p_new, p_old), "F, t = 1": (f_new, f_old)} | points
color = (LIGHT.ink, LIGHT.models["full"], LIGHT.ink, *LIGHT.others[:2], *LIGHT.others[3:5])
with lesson.picture("trade_off.png", 10.7, 6.2) as fig:
    ax = fig.add_axes([0.09, 0.12, 0.88, 0.79])
    ax.plot(*curve.T, "-", color=LIGHT.faint, lw=2)
    ax.plot(*curve.T, "o", color=LIGHT.faint, ms=6)
    ax.set(xscale="log", xlabel="excess on novels (to the left: more learned)", xlim=(0.65 * f_new, 1.3 * p_new),
           ylabel="excess on the old kinds (down: less forgotten)", ylim=(0.8 * p_old, 1.08 * f_old),
           title="Below the line from P to F: better than going back")
    for point, shade in zip(points.values(), color):
        ax.plot(*point, "o", ms=13, color=shade, mec=LIGHT.paper, mew=1.5, zorder=5)
    ax.set_xticks([0.1, 0.2, 0.5, 1, 2], ["0.1", "0.2", "0.5", "1", "2"])
    ax.minorticks_off()
    ax.grid()
    place(ax, [(point, name, shade) for (name, point), shade in zip(points.items(), color)], [curve], distance=12, size=13)

# %% [markdown]
# ## What to notice
#
# - The curve sags: from F, the first steps back gain much and cost little. If both losses were straight lines between P and
#   F, there would be nothing to gain.
# - Replay, which shows old texts again, does best here, and EWC, which looks at them once, comes second. L2-SP, which needs
#   none, is at best a little better than going back.
# - Half the learning rate is another way of not going so far. See on which side of the line it lies: not every seed agrees.
# - The learning rate was chosen for novels alone. It is a remedy like any other, so a method that "forgets less" must be
#   compared at the same learning.
#
# The limits of this lesson: it is one small model, one task, and six old kinds that resemble each other. And we can measure
# forgetting only with old texts at hand. In practice you may not even know everything that the model knew before.
#
# ## Exercise
#
# Exercise 27: `interpolate(before, after, t)` for weights as `model.state_dict()` gives them, {name: array}; and
# `halfway(before, after, excess_new, share)`, which tries t = 0, 0.05, 0.1, ... and returns the smallest at which a `share`
# of what was learned is kept. As above, the learned share at t is how far the excess on the new task has fallen, in units of
# its fall from t = 0 to t = 1:
#
# $$ \text{learned}(t) = \frac{e(0) - e(t)}{e(0) - e(1)} $$
#
# The check uses bowls, for which the right t can be computed, and then a small network that has learned one task after
# another.
#
# ## Questions
#
# 1. Why does going back need no old texts, but choosing t does?
# 2. With the two parabolas, keep 90 % of the learning. At what t, and how much of the forgetting is left?
# 3. Let t go beyond 1, to 1.5. What do the parabolas predict, and what do the models do?
# 4. Do L2-SP and weight decay differ?
# 5. Use LoRA in place of `Full()` (lesson 13), with learning rate 1e-2. Which remedy gains most?
#
# **Answers.** 1. The line is given by P and F. But how much of the old is recovered at t must be measured on old texts. (You
# can also fix the share of the learning to keep, as the exercise does.) 2. 2t - t^2 = 0.9 gives t = 1 - sqrt(0.1) = 0.68,
# and t^2 = 0.47. 3. 75 % learned, and 2.25 times the forgetting; measure it with `between(1.5)`. 4. Weight decay pulls to 0,
# where there is no knowledge at all; L2-SP pulls to P. 5. Measure it. There is more forgetting to undo.
#
# ## Read next
#
# `minillm/finetune/remedies.py`: each remedy in about ten lines, the Fisher information at the end.
# `minillm finetune --remedy ewc:strength=300` uses them from the command line. `lessons/experiments/07_halfway_back.py` goes
# back with full fine-tuning, LoRA and adapters. Lesson 15 asks what changes when the model gets larger.
