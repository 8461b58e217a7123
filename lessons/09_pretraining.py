# %% [markdown]
# # Lesson 9: pretraining
#
# **Goal.** See what a language model predicts, how good it could possibly be, and how it gets there.
#
# **Time.** About 25 seconds on two cores (`--quick`: 5). `--seed N` draws other texts and other weights.
#
# **Expect.** A table of probabilities, true beside learned, word by word; a model that starts at chance (5.3 nats a token)
# and ends less than a tenth of a nat above the best possible loss; a picture of which skill comes when.
#
# **Read beside it.** `minillm/text/domains.py` (what the world says), `text/grammar.py` (how it knows its own probabilities),
# `nn/gpt.py` (forward and backward), `train/trainer.py` (one step). Lessons 11 and 12 go on with the model made here.

# %%
import textwrap

import numpy as np
from common import CONTEXT, PLOTS, generalist_file, options, save_generalist, settings, shown

from minillm import GPT, Config, Muon, Trainer, World, WorldBatches, draw, evaluate_world, generate, warmup_linear
from minillm.nn import CrossEntropy
from minillm.train.evaluate import token_log_p

args = options("Lesson 9: pretraining")
world = World(args.seed)
words = world.tokenizer.tokens

# %% [markdown]
# ## 1. The world
#
# Six kinds of text, each a small program. Each trains a skill: to copy (report), to recall a list in order (recipe), to
# know which verb suits which thing (chat), to find a step that is nowhere said (count) or a mood (words), and a little of
# everything (story).

# %%
for name in world.general:
    ids = world.documents(name, 1, "test")[0].ids
    print(textwrap.fill(world.tokenizer.decode(ids[1:-1]), 110, subsequent_indent="    "))

# %% [markdown]
# ## 2. The floor
#
# A language model gives a probability to each next word, given all words before it. Its loss is its mean surprise,
#
# $$ \text{loss} = -\frac1n \sum_t \log p_\text{model}(w_t \mid w_1 \dots w_{t-1}) \quad \text{nats per token.} $$
#
# The programs know the *true* probabilities. A name is one of twelve, so it surprises everyone, by log 12 = 2.5 nats. Its
# second mention is certain, for who has learned to copy. The mean true surprise is the entropy of the text: no model can go
# below it.

# %%
document = world.documents("report", 1, "test")[0]
said = [f"{words[i]} {np.exp(log_p):.2g}" for i, log_p in zip(document.ids[2:], document.log_p[1:])]
print("each word of a report with its true probability:")
print(textwrap.fill("   ".join(said), 110))
print(f"floor of this document: {-document.log_p[1:].mean():.3f} nats a token, over {len(said)} tokens")

# %% [markdown]
# ## 3. A model that knows nothing
#
# Its weights are random numbers, so it holds every word for about equally likely: surprise log V.

# %%
s = settings(args)
config = Config(vocab_size=len(words), context=CONTEXT, n_layer=s.n_layer, n_head=s.n_head, n_embd=s.n_embd)
model = GPT(config, np.random.default_rng([args.seed, 0]))
[(log_p, _)] = token_log_p(model, [document.ids])                   # of one document: (log p, was it the likeliest?)
before = np.exp(log_p)
print(f"{sum(p.size for p in model.parameters().values()):,d} parameters, {len(words)} words: log V = {np.log(len(words)):.2f}")
print(f"loss on the report above: {-np.log(before[1:]).mean():.2f}")


def write(model, name, seed=0):
    """Let the model go on from the tag of a domain. Returns the words, and whether that domain's program could have said them."""
    prompt = world.documents(name, 1)[0].ids[:2]                    # <begin> <name>
    ids = generate(model, prompt, CONTEXT - 2, np.random.default_rng([args.seed, seed]), 0.8, stop=world.tokenizer.ids["<end>"])
    text = [words[i] for i in ids[2:] if words[i] != "<end>"]
    return world.tokenizer.join(text), world.domains[name].accepts(text)


print("it writes:", textwrap.shorten(write(model, "report")[0], 100))

# %% [markdown]
# ## 4. One step, by hand
#
# Forward, loss, backward, and a small move against the gradient: that is all of learning. On a copy of the model, with plain
# gradient descent, so that nothing hides the step.

# %%
batches = WorldBatches(world, s.batch)
tokens, targets = batches.at(0)                                     # (B, T) each; targets are the tokens one place further
probe, loss_of = GPT(config, np.random.default_rng([args.seed, 0])), CrossEntropy()

logits, cache = probe.forward(tokens)                               # (B, T, V)
loss, loss_cache = loss_of.forward(logits, targets)
probe.zero_grad()
probe.backward(loss_of.backward(1.0, loss_cache), cache)            # fills p.grad
for p in probe.parameters().values():
    p.data -= 0.5 * p.grad
print(f"the same batch, before the step {loss:.3f} and after it "
      f"{loss_of.forward(probe.forward(tokens)[0], targets)[0]:.3f}")

# %% [markdown]
# ## 5. Many steps
#
# `trainer.step` is those lines, with a better rule than gradient descent for the move (Muon, `train/muon.py`), and the
# batch shared among the cores. (`total`, what a batch's summed loss is divided by, is the mean count of tokens in a batch
# and so the same for all: then a token weighs as much in a short document as in a long one.) Every document is new: the
# model never reads a text twice, so it cannot learn by heart.
#
# Now and then we look at texts of the validation split. **Excess = loss - floor**, both on the same tokens. By itself a
# loss of 0.5 says nothing: it may be perfect (the text is that random) or poor. The excess says how much is still to be
# learned, and 0 is perfect.

# %%
def look(model):
    """The state of learning: mean loss and floor over all tokens, and the excess of each domain."""
    scores = evaluate_world(model, world, "validation", 24, domains=world.general)
    tokens = sum(score.tokens for score in scores.values())
    return {"loss": sum(score.loss * score.tokens for score in scores.values()) / tokens,
            "floor": sum(score.floor * score.tokens for score in scores.values()) / tokens,
            "excess": {name: score.excess for name, score in scores.items()}}


trainer = Trainer(model, Muon(s.lr, momentum=0.95, adamw_lr=s.adamw_lr), warmup_linear(s.steps), total=batches.total)
history = {"steps": s.steps, "loss": [], "validation": []}
print("excess over the floor:\n  step    loss   floor  " + "".join(f"{name:>9s}" for name in world.general))
for step in range(s.steps):
    history["loss"].append(trainer.step(*batches.at(step)))
    if trainer.steps_done % (s.steps // 10) == 0:
        seen = look(model)
        history["validation"].append({"step": trainer.steps_done} | seen)
        print(f"{trainer.steps_done:6d} {seen['loss']:7.3f} {seen['floor']:7.3f}  "
              + "".join(f"{excess:9.3f}" for excess in seen["excess"].values()), flush=True)
save_generalist(model, world, args)
print(f"kept for lessons 11 and 12: {generalist_file(args)}")

# %% [markdown]
# Read the columns downwards. Each falls first to a plateau: the model knows the *frame* of the text (which kind of word
# stands where), and guesses what it should recall. Then attention finds the place to look at, and the column drops again,
# each domain in its own time. (An excess a little below 0 is noise of few texts. The picture draws it as 0.001, since its
# axis is logarithmic.)

# %%
picture = PLOTS / "lesson09_pretraining.png"
draw.pretraining(history, picture)
shown(picture, args)

# %% [markdown]
# ## 6. What it knows now
#
# The report of part 2 again. Where the truth is 1 (the copied name and place, the number + 3) the model should be near 1;
# where the truth is 1/12 or 1/32 it should be *no better than that*: to be surer than the truth is as wrong as to be less
# sure. A single marked line can be the whole excess of a text: with seed 1 the place at the end has 0.095, about 1/12. The
# model knows that a place must come, and has not learned to look up which.

# %%
[(log_p, _)] = token_log_p(model, [document.ids])
after = np.exp(log_p)
print(f"{'word':12s}{'p true':>8s}{'before':>9s}{'after':>8s}{'excess':>8s}")
for i, true, old, new in list(zip(document.ids[1:], np.exp(document.log_p), before, after))[1:]:
    excess = np.log(true / new)
    print(f"{words[i]:12s}{true:8.3f}{old:9.3f}{new:8.3f}{excess:8.3f}{'   <-' if abs(excess) > 0.3 else ''}")

print("\non 100 test documents of each domain, in nats a token:")
print(f"{'':10s}{'loss':>8s}{'floor':>8s}{'excess':>8s}{'+-':>7s}")
scores = evaluate_world(model, world, "test", 100)
for name, score in scores.items():
    print(f"{name:10s}{score.loss:8.3f}{score.floor:8.3f}{score.excess:8.3f}{1.96 * score.stderr:7.3f}")
print("seen in some runs: chat .01, report .01-.07, words .02-.04, story .06, recipe .07-.14, count .13-.26; novel 1.3-2.3")

# %% [markdown]
# *words* has by far the highest loss, and hardly anything is left to learn in it; *count*, of half that loss, is the worst
# learned. The loss alone says neither. Novels it has hardly ever seen: that is for lesson 11.
#
# ## 7. What it writes

# %%
for name in world.general:
    text, accepted = write(model, name)
    print(textwrap.fill(f"<{name}> {text}   [{'right' if accepted else 'wrong somewhere'}]", 110, subsequent_indent="    "))

# %% [markdown]
# ## Questions
#
# 1. A text in part 7 is marked *wrong somewhere*. Find the place. What would the model have had to look at?
# 2. Now and then the training loss jumps for one step (the thin line in the picture). Why? Look at `text/batches.py`.
# 3. Could the excess of one *document* be negative? Of one word? Of a domain, on very many documents?
# 4. Say the model gives 0.10 where the truth is 0.083, and 0.95 where it is 1. Which costs it more?
# 5. Change `n_head` to 1 in `common.settings` and run again. Which domains suffer?
#
# **Answers.** 1. Usually at something to be recalled: a place, a number, a thing that was named already (chat never asks
# twice for the same thing). 2. One batch in many holds a novel, and the model has hardly seen any. 3. A word and a
# document: yes, whenever the model happens to bet on what comes. A domain: no. Over many documents the excess is the KL
# divergence of the true distribution from the model's, which is never negative. 4. The second: log(1 / 0.95) = 0.05 nats
# are lost each time. The first even wins when that word comes, log(0.10 / 0.083) = 0.19, and loses elsewhere, since the
# other eleven words together get less than their due; on average over what truly comes the loss is small, of second order
# in the error. 5. Measure it, and compare with the table above.
