# %% [markdown]
# # Lesson 15: scale
#
# **Question.** A model with more parameters can fit more. It can also memorise its few texts and fail on all others. So do
# bigger models overfit? And what helps more: more parameters, or more texts?
#
# **Time.** 40 seconds to run on two cores, 25 minutes to read and try.
#
# **Read.** Lesson 6 (overfitting) and lesson 9 (the floor). `minillm/nn/gpt.py`, whose parameters are counted here.
#
# **Exercises.** 28 `count`, 29 `my_gpt`, the last (`minillm lesson 15 --start`).

# %%
import numpy as np
from common import Lesson
from tqdm import tqdm

from minillm import GPT, AdamW, Config, DocumentBatches, Trainer, World, evaluate_documents, warmup_linear
from minillm.draw.labels import line_ends
from minillm.draw.styles import LIGHT, shades
from minillm.ground.processes import parallel_map
from minillm.tasks.world import CONTEXT

lesson = Lesson(15, "scale")
world = World(lesson.seed)

# %% [markdown]
# ## The idea
#
# Training shows a model some texts; we want it to learn the law behind them. A small model cannot even store the law. A
# large one can store the law, and also every random detail of every text it was shown. Both lower the training loss, and the
# training loss does not tell you which of the two it was.
#
# In our toy world we can tell. The programs that write the texts know the exact probability of each word, so the best
# possible loss, the floor, is known for each text (lesson 9). A model that knows only the law cannot have a loss below it on
# a large set of texts. So
#
# $$ \text{excess} = \text{loss} - \text{floor} < 0 \text{ on the training texts} $$
#
# is a proof: the model has memorised what nobody could have predicted. The amount below zero, in nats per token, is the
# least that it has memorised; it may have memorised more, since imperfect knowledge of the law hides a part. On texts it has
# not seen the excess cannot be negative (except for noise).
#
# ## The equation
#
# How many numbers does a GPT have? A linear layer n -> m has n m weights and m biases, a LayerNorm has 2 C parameters. In
# one block, attention has the layers C -> 3 C and C -> C, the MLP has C -> 4 C and 4 C -> C, and there are two norms:
#
# $$ 4C^2 + 4C \;+\; 8C^2 + 5C \;+\; 4C \;=\; 12\,C^2 + 13\,C $$
#
# The model has L of these, and once each: the table of V words, which is also the output layer, the table of T positions,
# and the last norm, 2 C. The blocks grow with the square of the width, the tables with the width itself.

# %%
WIDTHS = (8, 16, 32, 64, 128)
MODELS = {C: GPT(Config(len(world.tokenizer), CONTEXT, n_layer=2, n_head=4, n_embd=C), lesson.rng(0)) for C in WIDTHS}
PARAMETERS = {C: sum(p.size for p in model.parameters().values()) for C, model in MODELS.items()}
print(f"{'width':>8s}{'parameters':>12s}{'in the blocks':>16s}")
for C, model in MODELS.items():
    blocks = sum(p.size for block in model.blocks for p in block.parameters().values())
    print(f"{C:8d}{PARAMETERS[C]:12,d}{blocks / PARAMETERS[C]:16.0%}")

# %% [markdown]
# ## The experiment
#
# A few texts, read again and again: 120 documents, twenty of each kind, for 400 steps of 16, so that each is read about
# fifty times. The models have from 4 thousand to 435 thousand parameters. On average a document has 45 tokens, so the
# largest model has about eighty parameters for every token that it sees. We also train a model of width 64 with twice and
# four times as many texts. For each width we tried learning rates a factor of two apart, and kept the one with the lowest
# validation loss at its best step. Each model is trained twice, with different texts and weights.

# %%
RATES = {8: 2e-2, 16: 1e-2, 32: 1e-2, 64: 5e-3, 128: 5e-3}
STEPS, LOOKS, DRAWS = (20, 2, 1) if lesson.quick else (400, 16, 2)
FEW = 120
JOBS = [(C, FEW, draw) for draw in range(DRAWS) for C in reversed(WIDTHS)] + [
    (64, n, draw) for draw in range(DRAWS) for n in (2 * FEW, 4 * FEW)]


def excess(model, documents):
    return evaluate_documents(model, documents, workers=1).excess


def train(job):
    """The excess on training texts and on validation texts, at each look: two lists."""
    C, n, draw = job
    texts = [document for name in world.general for document in world.documents(name, n // 6, "train", draw)]
    unseen = [document for name in world.general for document in world.documents(name, 20, "validation", draw)]
    model = GPT(MODELS[C].config, lesson.rng(1, C, draw))
    batches = DocumentBatches([document.ids for document in texts], 16, lesson.seed)
    trainer = Trainer(model, AdamW(RATES[C], weight_decay=0), warmup_linear(STEPS, final=0.2), total=batches.total, workers=1)
    seen, new = [], []
    for step in range(STEPS):
        trainer.step(*batches.at(step))
        if (step + 1) % (STEPS // LOOKS) == 0:
            seen.append(excess(model, texts[::max(1, n // 60)]))
            new.append(excess(model, unseen))
    return seen, new


curves_of = {}
with tqdm(total=len(JOBS), desc="models", disable=None) as bar:
    for job, curves in zip(JOBS, parallel_map(train, JOBS, each=lambda _: bar.update())):
        curves_of.setdefault(job[:2], []).append(curves)


def mean_of(C, n, measure):
    """The mean over both draws of measure(seen, new)."""
    return float(np.mean([measure(np.array(seen), np.array(new)) for seen, new in curves_of[C, n]]))


MEASURES = {"train, end": lambda seen, new: seen[-1], "validation, best": lambda seen, new: new.min(),
            "validation, end": lambda seen, new: new[-1]}
print("excess over the floor, nats per token\n")
print(f"{'width':>8s}{'parameters':>12s}{'texts':>8s}" + "".join(f"{name:>18s}" for name in MEASURES))
for C, n in [(C, FEW) for C in WIDTHS] + [(64, 2 * FEW), (64, 4 * FEW)]:
    print(f"{C:8d}{PARAMETERS[C]:12,d}{n:8d}" + "".join(f"{mean_of(C, n, measure):18.3f}" for measure in MEASURES.values()))

# %% [markdown]
# ## See
#
# Left, each model over time: solid lines for unseen texts, dashed lines for its training texts. Right, the same against
# model size: at the end, and at its best step.

# %%
color = shades(WIDTHS)
with lesson.picture("scale.png", 13.2, 5.6) as fig:
    left, right = fig.subplots(1, 2, width_ratios=(1.1, 1))
    fig.subplots_adjust(left=0.065, right=0.985, bottom=0.13, top=0.9, wspace=0.3)
    steps = STEPS // LOOKS * np.arange(1, LOOKS + 1)
    for C in WIDTHS:
        seen, new = (np.mean([curves[k] for curves in curves_of[C, FEW]], axis=0) for k in (0, 1))
        left.plot(steps, new, color=color[C])
        left.plot(steps, seen, color=color[C], ls=(0, (3, 2)), lw=1.8)
    left.axhline(0, color=LIGHT.ink, lw=1.2)
    left.text(0.02, 0.06, "below the floor: known by heart", transform=left.transAxes)
    left.set(title="New texts (solid), training texts (dashed)", xlabel="step", ylabel="nats per token above the floor",
             xlim=(0, None), ylim=(-0.8, 2.6))
    left.grid(axis="y")
    line_ends(left, {f"width {C}": (steps[-1], np.mean([new[-1] for _, new in curves_of[C, FEW]]), color[C]) for C in WIDTHS})

    x = [PARAMETERS[C] for C in WIDTHS]
    for (name, measure), model, marker in zip(MEASURES.items(), ("frozen", "adapter", "full"), "os^"):
        right.plot(x, [mean_of(C, FEW, measure) for C in WIDTHS], marker + ("--" if model == "frozen" else "-"),
                   color=LIGHT.models[model], ms=9, mec="white", label=name)
    for n, mark, side in ((2 * FEW, "twice the texts", -1), (4 * FEW, "four times", 1)):
        at = PARAMETERS[64], mean_of(64, n, MEASURES["validation, best"])
        right.plot(*at, "s", color=LIGHT.models["adapter"], mfc="white", ms=9, mew=2)
        right.annotate(mark, at, (11 * side, 0), textcoords="offset points", va="center", ha="right" if side < 0 else "left",
                       color=LIGHT.models["adapter"])
    right.axhline(0, color=LIGHT.ink, lw=1.2)
    right.set(title="Bigger models memorise more", xscale="log", xlabel="parameters", ylabel="nats per token above the floor",
              ylim=(-0.8, 2.6))
    right.set_xticks(x, [f"{n / 1000:.0f}k" for n in x])
    right.minorticks_off()
    right.legend(loc="upper left")
    right.grid(axis="y")

# %% [markdown]
# ## What to notice
#
# - **Bigger models memorise more.** On its training texts the smallest ends 0.36 ± 0.04 above the floor. The largest ends at
#   -0.44 ± 0.03, below the floor: it has memorised the random details of its 120 texts.
# - **At the end they are worse on new texts:** 0.87 ± 0.12 for the smallest, 1.7 ± 0.2 for the largest. So yes, bigger
#   models overfit, if you keep training them on few texts.
# - **At their best moment they are not:** the best validation excess is 0.79 ± 0.06 for the smallest and 0.70 ± 0.05 for the
#   largest. The larger one reaches its best step sooner. With early stopping (lesson 6), a hundred times as many parameters
#   do no harm here, but they also gain little.
# - **More texts help more than more parameters.** At width 64, four times as many texts reduce the best validation excess
#   from 0.68 ± 0.05 to 0.48 ± 0.06. That is why large models are trained on very many texts, each read about once (Hoffmann
#   et al. 2022 measured how model and text should grow together), and why it is better to learn a small task by fine-tuning
#   a model that has read a lot than by training a new one (lesson 10).

# %%
best, end, trained = (MEASURES[name] for name in ("validation, best", "validation, end", "train, end"))
texts = [document for name in world.general for document in world.documents(name, FEW // 6, "train")]
by_heart = (len(texts) * np.log(FEW // 6) + sum(document.log_p[1:].sum() for document in texts)) / sum(
    len(document.log_p) - 1 for document in texts)
lesson.expect("a model that knows all texts by heart would be at", by_heart, "-0.45 ± 0.02")
lesson.expect("smallest model, training texts, end", mean_of(8, FEW, trained), "0.36 ± 0.04")
lesson.expect("largest model, training texts, end", mean_of(128, FEW, trained), "-0.44 ± 0.03")
lesson.expect("smallest model, new texts, end", mean_of(8, FEW, end), "0.87 ± 0.12")
lesson.expect("largest model, new texts, end", mean_of(128, FEW, end), "1.7 ± 0.2")
lesson.expect("smallest model, new texts, at its best", mean_of(8, FEW, best), "0.79 ± 0.06")
lesson.expect("largest model, new texts, at its best", mean_of(128, FEW, best), "0.70 ± 0.05")
lesson.expect("width 64, new texts, at its best", mean_of(64, FEW, best), "0.68 ± 0.05")
lesson.expect("width 64, four times the texts, at its best", mean_of(64, 4 * FEW, best), "0.48 ± 0.06")

# %% [markdown]
# The limits of this lesson: weight decay was off, and there is no dropout here; both would slow down memorisation. These are
# five sizes, one small world, two draws. The best step and the rates were chosen on the same validation texts that are
# reported here, so the results look a little better than they are (lesson 6). And the rates were chosen for the best step;
# at lower rates a large model memorises later.
#
# ## Exercises
#
# Exercise 28 is the count above, as a function.
#
# **Exercise 29 is the goal of all lessons.** The functions that you wrote, from the linear layer to the block, replace the
# project's own layers, and the real GPT trains with them. The exercise imports your earlier ones (11, 13, 15, 19 and 20,
# which build on others), so they must be in the same folder. The stub explains the contract: a layer is a class with
# `forward` and `backward`, parameters have `.data` and `.grad`, and gradients are added.
#
# ```
# minillm lesson 15 --start
# minillm check 29
# python workbook/ex29_my_gpt.py        a pretraining as long as the demo's, with your layers
# ```
#
# ## Questions
#
# 1. Why can the excess on training texts not fall without limit? At what value would it end?
# 2. The count does not depend on the number of heads. Why not?
# 3. Each document is read about fifty times here, and once in lesson 9. Can a model that reads every text only once overfit?
# 4. Turn weight decay on (`weight_decay=0.1`). What changes: the best step, or the end?
#
# **Answers.** 1. The loss cannot be less than 0. But a model that has memorised all texts must still guess which of the
# twenty of its kind this one is: log 20 nats per document. That leaves -0.45 ± 0.02, and the largest model is almost there. 2.
# The heads only divide the C columns of q, k and v among themselves. 3. Not by memorising: whenever it reads a text, the text is
# new. Its training loss is a validation loss. 4. Measure it.
#
# ## Read next
#
# You have now read, and written, all of it. `minillm/README.md` is the map; `lessons/experiments/` tests eight results of
# the literature with what you know now; `minillm/finetune/methods/` has nine methods of fine-tuning, one file each. Write
# the tenth.
