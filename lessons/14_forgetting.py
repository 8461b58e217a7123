# %% [markdown]
# # Lesson 14: forgetting, and how to avoid it
#
# **Question.** The novelist learned novels, and lost something of all else. Nobody asked for that. Why does it happen, and what helps?
#
# **Time.** About 25 seconds on two cores, and 20 more if no lesson has made the generalist yet (`--quick`: 6 in all). 60 minutes to read and try.
#
# **Read.** Lessons 5 (a bowl, and the gradient in it), 10 and 13 (fine-tuning), 12 (the way from P to F).
#
# **Exercises.** 27 `halfway` (`minillm lesson 14 --start`).

# %%
import textwrap

import numpy as np
from common import CONTEXT, Lesson, copy_of, generalist

from minillm import AdamW, Full, World, evaluate_world
from minillm.draw.labels import place
from minillm.draw.style import LIGHT
from minillm.finetune.remedies import EWC, L2SP, Interpolation, Remedy, Replay, interpolate
from minillm.finetune.specialist import specialise
from minillm.nn import CrossEntropy
from minillm.text.batches import pad
from minillm.text.generate import tell
from minillm.train.evaluate import mean_excess
from minillm.train.fit import fit
from minillm.train.tasks import SpecialTask, WorldTask

lesson = Lesson(14, "forgetting")
STEPS, TEST, PLACES = (12, 8, 6) if lesson.quick else (100, 100, 11)
RATE = 1e-3
world, base = World(lesson.seed), generalist(lesson)
novels, old_texts = SpecialTask("novel", lesson.seed, documents=64), WorldTask(lesson.seed)


def fine_tune(remedy, lr=RATE, title=""):
    """The generalist P, with all weights trained on 64 novels, and a remedy against forgetting."""
    run = specialise(copy_of(base), Full(), novels, old_texts, AdamW(lr), STEPS, 16, lesson.seed, remedy)
    fit(run.trainer, run.batches, STEPS, title=f"{title or remedy.method:9s}")
    run.finish()
    return run.model


def judge(model):
    """{kind of text: excess}, in nats a token above the floor; on test texts, which no model has seen."""
    return {name: score.excess for name, score in evaluate_world(model, world, "test", TEST).items()}


def new_old(excess):
    """(excess on novels, mean excess on the six old kinds)"""
    return excess["novel"], np.mean([excess[name] for name in world.general])


# %% [markdown]
# ## What was forgotten?
#
# Train on the novels as in lesson 10, all weights and no precaution, and look at each kind of text before and after.

# %%
P, F = base, fine_tune(Remedy())
before, after = judge(P), judge(F)
print(f"{'excess on':22s}" + "".join(f"{name:>9s}" for name in world.domains))
for name, found in (("P, the generalist", before), ("F, fine-tuned", after)):
    print(f"{name:22s}" + "".join(f"{found[kind]:9.3f}" for kind in world.domains))
(p_new, p_old), (f_new, f_old) = new_old(before), new_old(after)
lesson.expect("novels, before", p_new, "1.7 ± 0.3")
lesson.expect("novels, after", f_new, "0.13 ± 0.08")
lesson.expect("old kinds, before", p_old, "0.07 ± 0.03")
lesson.expect("old kinds, after", f_old, "0.15 ± 0.07")

beginning = world.documents("story", 1)[0].ids[:2]                     # <begin> <story>
for name, model in (("P", P), ("F", F)):
    text = tell(model, world.tokenizer, beginning, CONTEXT, lesson.rng(3))
    print(textwrap.fill(f"{name}, asked for a story: {text}", 110, subsequent_indent="    "))

# %% [markdown]
# On novels the excess falls from 1.7 ± 0.3 to 0.13 ± 0.08. On the old kinds it rises from 0.07 ± 0.03 to 0.15 ± 0.07: about as good as
# the best possible before, and half of the way back to where it was in the middle of pretraining. No old text was shown, none was
# contradicted. Why did it get worse?
#
# ## Why
#
# Each step goes against the gradient of the loss on *novels*, L_new. Move the weights by d, and see what that does to the *old* loss, by
# its slope and its curvature at P:
#
# $$ L_\text{old}(P + d) \approx L_\text{old}(P) + \sum_i g_i d_i + \tfrac12 \sum_{ij} d_i H_{ij} d_j $$
#
# P has been trained on the old texts until the loss would fall no more. So it stands at the bottom of the old bowl: the slope
# g is nearly 0, whichever way one goes. At first forgetting costs nothing. But the bowl has walls (H, the curvature), and the gradient of
# L_new knows nothing of them. Let us measure both gradients, over all weights, at P and at F:

# %%
def gradient(model, documents):
    """dL/dtheta over all weights end to end, of the mean loss of some texts."""
    model, (tokens, targets) = copy_of(model), pad(documents)
    logits, cache = model.forward(tokens)
    _, loss_cache = CrossEntropy().forward(logits, targets)
    model.zero_grad()
    model.backward(CrossEntropy().backward(1.0, loss_cache), cache)
    return np.concatenate([p.grad.ravel() for p in model.parameters().values()]).astype(np.float64)


def cosine(x, y):
    return x @ y / np.linalg.norm(x) / np.linalg.norm(y)


def theta(model):
    return np.concatenate([array.ravel() for array in model.state().values()]).astype(np.float64)


new_documents, old_documents = [document.ids for document in world.documents("novel", 64, "train")], world.mixed_ids(256, 3)
way = theta(F) - theta(P)
at_P, at_F = ({"new": gradient(model, new_documents), "old": gradient(model, old_documents)} for model in (P, F))
for name, g in (("P", at_P), ("F", at_F)):
    print(f"at {name}: the gradient's length is {np.linalg.norm(g['new']):.3f} on novels, {np.linalg.norm(g['old']):.3f} on old texts")
lesson.expect("at P: old gradient's length, the new one's being 1",
              np.linalg.norm(at_P["old"]) / np.linalg.norm(at_P["new"]), "0.03 ± 0.02")
lesson.expect("at P: cosine of the two", cosine(at_P["old"], at_P["new"]), "0.00 ± 0.10")
lesson.expect("at F: cosine of the old gradient and the way from P", cosine(at_F["old"], way), "0.12 ± 0.06")

# %% [markdown]
# At P the old gradient has 0.03 ± 0.02 of the new one's length, and the cosine between them is 0.00 ± 0.10: they stand at right angles.
# So what we follow says nothing about what we would like to keep. At F the old loss has a slope again, and its gradient points along the
# way that we came: cosine 0.12 ± 0.06. That looks small, but two random directions in so many dimensions have 1 / sqrt(253,728) = 0.002. To
# go on is uphill for the old texts, to turn back is downhill.
#
# ## Halfway back
#
# This suggests the first remedy. Consider the straight line from P to F,
#
# $$ \theta(t) = P + t\,(F - P) = (1 - t)\,P + t\,F, \qquad 0 \le t \le 1 $$
#
# Say both losses are parabolas along it. The old one has its lowest point at t = 0, so t^2 is forgotten, as a share of all that is
# forgotten at F. The new one has its lowest point at t = 1, so (1 - t)^2 of its excess is left, and learned are
#
# $$ 1 - (1 - t)^2 = 2t - t^2 $$
#
# At t = 1/2 that is 75 % learned and 25 % forgotten. Learning begins with a slope, forgetting without one: that is why going back part
# of the way should pay. Is it so?

# %%
def on_the_way(t):
    model = copy_of(F)
    interpolate(model, P.state(), float(t))
    return model


places = np.linspace(0, 1, PLACES)
curve = np.array([new_old(judge(on_the_way(t))) for t in places])
learned = 100 * (p_new - curve[:, 0]) / (p_new - f_new)
forgotten = 100 * (curve[:, 1] - p_old) / (f_old - p_old)
print(f"{'t':>5s}{'learned %':>12s}{'parabola':>10s}{'forgotten %':>14s}{'parabola':>10s}")
for t, a, b in zip(places, learned, forgotten):
    print(f"{t:5.1f}{a:12.0f}{100 * (2 * t - t * t):10.0f}{b:14.0f}{100 * t * t:10.0f}")
lesson.expect("% learned at t = 0.5", np.interp(0.5, places, learned), "85 ± 6")
lesson.expect("% forgotten at t = 0.5", np.interp(0.5, places, forgotten), "19 ± 9")
