# %% [markdown]
# # Lesson 7: the next token
#
# **Question.** What does a language model do, and how does it know what was said before?
#
# **Time.** 5 seconds to run, and 20 more if the model that lessons 7 to 14 share, the *generalist*, is not trained yet; 40
# minutes to read and try.
#
# **Read.** Lessons 2 (softmax), 3 (layers as products), 4 (the backward pass of the linear layer, residual connections) and
# 6 (cross-entropy).
#
# **Exercises.** 13 `embedding`, 14 `causal_attention` (`minillm lesson 7 --start`).

# %%
import textwrap

import numpy as np
from common import CONTEXT, Lesson, generalist, new_generalist
from matplotlib.colors import to_rgb

from minillm import World, evaluate_world, generate
from minillm.draw.styles import LIGHT
from minillm.nn import Softmax
from minillm.tasks.evaluate import pooled
from minillm.tasks.samples import read

lesson = Lesson(7, "the next token")
world, trained = World(lesson.seed), generalist(lesson)
untrained, _, _ = new_generalist(world, lesson)
words = world.tokenizer.tokens
TEST = 8 if lesson.quick else 60

# %% [markdown]
# ## The idea: one question, again and again
#
# A language model answers a single question: **given the words so far, what comes next?** Its answer is not a word but a
# probability for each word that it knows. To write, it draws a word from these probabilities, appends it to the text, and
# asks itself again.
#
# A **token** is what a model treats as one unit: a word here, a piece of a word or a character elsewhere. Inside the model
# it is a number. Here is a text from our toy world, in which every probability is known (lesson 9):

# %%
document = world.documents("report", 1, "test")[0]
ids = np.array(document.ids)
print(textwrap.fill(world.tokenizer.decode(document.ids), 100))
print("as numbers:", *ids[:12], "...")

# %% [markdown]
# This is the classification of lesson 6: the input is the text so far, the class is the next word. And one text gives many
# examples. In a text of T + 1 tokens the first T are the inputs; the **targets** are the same text, shifted by one position:

# %%
inputs, targets = ids[:-1], ids[1:]
for t in range(2, 8):
    print(f"after  {' '.join(words[i] for i in inputs[:t + 1]):60s} comes  {words[targets[t]]}")

# %% [markdown]
# ## The equation, part 1: words as vectors
#
# The number of a word has no meaning: 17 is not more than 16. So each of the V words gets a vector of C numbers, a row of a
# table W (V, C). To **embed** a text means to look up the rows of its words:
#
# $$ out_{nc} = W_{index(n),\,c} $$
#
# What is the gradient? Write the lookup as a product. Let O (N, V) be 1 where word v is at position n, else 0 (a "one-hot"
# row for each position): out = O W. From lesson 4 we know dW = O' dout, which is
#
# $$ dW_{vc} = \sum_n O_{nv}\,dout_{nc} = \sum_{n:\;index(n) = v} dout_{nc} $$
#
# Each row of dout is added to the row of W that was looked up there. A word that occurs twice collects twice, and one that
# does not occur gets nothing. **Exercise 13** is this. There is a trap in NumPy: indexed `+=` writes each row once, however
# often it occurs in the index. Below, row 2 should have 2. To add up repeats, NumPy has `np.add.at`.

# %%
counts = np.zeros(4)
counts[[2, 0, 2]] += 1
print("rows 2, 0 and 2, each to get 1 more:", counts)

# %% [markdown]
# A second table has a row for each position: it tells the model where in the text a word is. The two vectors are added.
#
# ## Part 2: attention
#
# All layers so far look at one position at a time. But what follows "so says" in a report? The name that it began with. The
# model must look back and fetch it. That is what **attention** does. Three linear layers turn the vector at each position
# into three others:
#
# - a **query** q: what am I looking for?
# - a **key** k: what can I be found by?
# - a **value** v: what will I hand over?
#
# Position t compares its query with the key of each position s. The dot product is large where the two point the same way;
# softmax turns these scores into weights P that sum to 1; and the output is the mean of the values, weighted by P:
#
# $$ S_{ts} = \frac{1}{\sqrt D}\sum_c q_{tc}\,k_{sc} \qquad P_{ts} = \frac{\exp S_{ts}}{\sum_r \exp S_{tr}} \qquad
#    o_{tc} = \sum_s P_{ts}\,v_{sc} $$
#
# **Why the root?** Take independent random numbers with mean 0 and variance 1. A product of two has variance 1, and a sum of
# D of them has variance D, hence a standard deviation of sqrt(D). Without the root the scores would grow with D, and softmax
# would saturate (lesson 2). With it their standard deviation stays 1:

# %%
rng = lesson.rng(1)
for D in (4, 64, 1024):
    q, k = rng.normal(size=(2, 400, D))
    S = q @ k.T
    print(f"D = {D:4d}:  scores q.k have a standard deviation of {S.std():6.2f}, divided by sqrt(D) {(S / np.sqrt(D)).std():.2f}")
lesson.expect("standard deviation of scores, D = 1024, with the root", (S / np.sqrt(D)).std(), "1.00 ± 0.02")

# %% [markdown]
# For D = 1024 it is 1.00 ± 0.02, and for smaller D about the same, a little less exactly.
#
# **The mask.** All positions of a text are computed at once. But position t must predict word t + 1, so it must not see it.
# The scores of later positions are set to minus infinity before softmax, which makes their weights exactly 0:
#
# $$ S_{ts} = -\infty \quad\text{for } s > t $$
#
# Here are the weights for four positions with equal scores: a position sees itself and what came before.

# %%
S = np.where(np.tri(4, dtype=bool), 0.0, -np.inf)
print(Softmax().forward(S)[0].round(2))

# %% [markdown]
# **Exercise 14** is these equations. A model has several such **heads** side by side, each with its own queries, keys and
# values: one can fetch a name while another counts. Their outputs are concatenated, and a last linear layer mixes them.
#
# ## The whole GPT
#
# | | | shape |
# |---|---|---|
# | 1 | words and positions become vectors, which are added | (B, T, C) |
# | 2 | in each **block**: norm (each row to mean 0, variance 1: lesson 8), then attention, added to the input | (B, T, C) |
# | 3 | then norm, then an MLP of two layers at each position, added again | (B, T, C) |
# | 4 | after the last block, a norm | (B, T, C) |
# | 5 | the score of each word: the product with its row of the table of words | (B, T, V) |
#
# "Added" means the residual connections of lesson 4. Lesson 8 goes through all of this backwards. The code is
# `minillm/nn/gpt.py`, and its forward pass has fewer than ten lines.
#
# No position sees its future. So if we replace word t + 1 by another, the scores up to t must stay exactly the same, not
# just nearly. We try it with each word of the text but the first, one at a time:

# %%
def changes(t):
    """Replace word t + 1: the largest change of a score at positions 0 to t, and at position t + 1."""
    changed = inputs.copy()
    changed[t + 1] = (changed[t + 1] + 1) % len(words)
    before, after = (trained.logits(tokens[None])[0] for tokens in (inputs, changed))       # (T, V)
    by_position = np.abs(after - before).max(axis=1)
    return by_position[:t + 1].max(), by_position[t + 1]


up_to_t, at_the_word = zip(*(changes(t) for t in range(len(inputs) - 1)))
lesson.expect("largest change of a score before the new word", max(up_to_t), "0 ± 0")
print(f"at the position of the new word itself, the scores change by at least {min(at_the_word):.2f}")

# %% [markdown]
# Before the new word the change is 0 ± 0.
#
# ## How good is it?
#
# The loss is that of lesson 6: the mean surprise, -log p of the word that came. With the natural logarithm it is in
# **nats**; divided by log 2 it is in **bits**, the number of yes-or-no questions that are left. Its exponential, the
# **perplexity**, is the number of words among which the model is, on average, undecided. We compare:
#
# - *chance*: all V words equally likely, log V;
# - *frequencies*: each word as likely as it is frequent, whatever came before;
# - *pairs*: each word as likely as it is after the previous one. (Both are counted on 4,000 training texts. A tenth is added
#   to each count, so that none is 0.)
# - the model before any training, and after it;
# - the *floor*: the true probabilities. Nobody can do better.

# %%
texts = world.mixed_ids(200 if lesson.quick else 4000, 1, 0)
tests = [document for name in world.general for document in world.documents(name, TEST, "test")]
counts = np.zeros((len(words), len(words)))                          # of word v after word u: [u, v]
for text in texts:
    np.add.at(counts, (text[:-1], text[1:]), 1)
single, pairs = counts.sum(axis=0) + 0.1, counts + 0.1
single, pairs = single / single.sum(), pairs / pairs.sum(axis=1, keepdims=True)


def surprise(p_next):
    """Mean of -log p over all test texts; the first two tokens, which say what kind of text it is, are given."""
    return -np.mean(np.concatenate([np.log(p_next(np.array(text.ids))) for text in tests]))


start, scores = (evaluate_world(model, world, "test", TEST, domains=world.general) for model in (untrained, trained))
losses = {"chance": np.log(len(words)), "untrained": pooled(start), "frequencies": surprise(lambda ids: single[ids[2:]]),
          "pairs": surprise(lambda ids: pairs[ids[1:-1], ids[2:]]), "trained": pooled(scores), "floor": pooled(scores, "floor")}
print(f"{'':14s}{'nats':>8s}{'bits':>8s}{'perplexity':>12s}")
for name, loss in losses.items():
    print(f"{name:14s}{loss:8.3f}{loss / np.log(2):8.3f}{np.exp(loss):12.2f}")
lesson.expect("bits per token, chance", losses["chance"] / np.log(2), "7.5 ± 0.1")
lesson.expect("untrained", losses["untrained"] / np.log(2), "7.6 ± 0.1")
lesson.expect("frequencies", losses["frequencies"] / np.log(2), "6.1 ± 0.1")
lesson.expect("pairs", losses["pairs"] / np.log(2), "2.8 ± 0.1")
lesson.expect("trained", losses["trained"] / np.log(2), "0.79 ± 0.03")
lesson.expect("floor", losses["floor"] / np.log(2), "0.75 ± 0.02")

# %% [markdown]
# Chance is 7.5 ± 0.1 bits per token, and the untrained model is no better: 7.6 ± 0.1. Frequencies give 6.1 ± 0.1, the
# previous word 2.8 ± 0.1. The trained model, which sees all previous words, has 0.79 ± 0.03, near the floor of 0.75 ± 0.02.
#
# ## It writes
#
# The temperature divides the scores before softmax. Below 1, likely words become likelier; above 1, all words become more
# alike; at 0 nothing is drawn, and the likeliest word is taken. The program that writes reports can also read them, and
# names the first word that it could not have written.

# %%
prompt = world.documents("report", 1)[0].ids[:2]
for temperature in (0.0, 0.8, 2.0):
    out = generate(trained, prompt, CONTEXT - 2, lesson.rng(3), temperature, stop=world.tokenizer.ids["<end>"])
    text, mistake = read(world, "report", out[2:])
    remark = f"breaks a rule: {mistake}" if mistake else "without a mistake"
    print(textwrap.fill(f"temperature {temperature}: {text}   [{remark}]", 110, subsequent_indent="    "))

# %% [markdown]
# ## See: where does it look?
#
# Near its end a report has "so says", and then the name from its beginning. After "says" the model must look back. Which of
# the heads does this? On 40 validation texts, we choose the head that puts most weight on that name when it is at "says".
# Then we look at other texts.

# %%
def attention_maps(model, tokens):
    """P (T, T) of every head: {(block, head): P}."""
    maps = {}
    x, _, _ = model.embed(np.array([tokens]))
    for i, block in enumerate(model.blocks):
        _, cache = block.attn.forward(block.ln_1.forward(x)[0])
        maps |= {(i, h): P for h, P in enumerate(cache.heads.P[0][0])}           # of its only tile, of the only text
        x, _ = block.forward(x)
    return maps


def weight_on_the_name(model, split, n):
    """{head: mean of P from "says" to the first mention of the word that comes next}"""
    weights = {}
    for text in world.documents("report", n, split):
        says = text.ids.index(world.tokenizer.ids["says"])
        name = text.ids.index(text.ids[says + 1])
        for head, P in attention_maps(model, text.ids[:-1]).items():
            weights.setdefault(head, []).append(P[says, name])
    return {head: float(np.mean(values)) for head, values in weights.items()}


by_head = weight_on_the_name(trained, "validation", 40)
best = max(by_head, key=by_head.get)
looked = weight_on_the_name(trained, "test", 40)[best]
print(f"the head is number {best[1]} of block {best[0]}")
lesson.expect("its weight on the name", looked, "0.96 ± 0.04")
lesson.expect("the same before training", weight_on_the_name(untrained, "test", 40)[best], "0.03 ± 0.01")

# %%
tokens = document.ids[:-1]
labels = [words[i] for i in tokens]
says = labels.index("says")
panels = {'Before training, "says" looks everywhere': attention_maps(untrained, tokens)[best],
          'After training, it looks back for the name': attention_maps(trained, tokens)[best]}


def written(ax, title, weights):
    """The text up to "says"; the more weight a word has, the darker its background."""
    ax.set(xlim=(0, 44), ylim=(5, -0.3))
    ax.axis("off")
    ax.set_title(title)
    x, line = 0, 0
    for word, weight in zip(labels[:says + 1], weights):
        if x + len(word) > 43:
            x, line = 0, line + 1
        asking = word == "says"
        ax.text(x, line + 0.4, word, family="monospace", size=17, va="center", bbox=dict(
            boxstyle="square,pad=0.18", fc=(*to_rgb(LIGHT.models["full"]), min(1, weight)), lw=2,
            ec=LIGHT.ink if asking else "none"))
        x += len(word) + 1


with lesson.picture("attention.png", 14, 7) as fig:
    ax = fig.add_axes([0.075, 0.03, 0.4, 0.79])
    ax.imshow(list(panels.values())[1], cmap=LIGHT.ground, vmin=0, vmax=1, aspect="auto")
    ax.set_title(f"Block {best[0]}, head {best[1]}: each row looks back", pad=10)
    ax.set_xticks(range(len(labels)), labels, rotation=90, fontsize=10)
    ax.set_yticks(range(len(labels)), labels, fontsize=10)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.axhspan(says - 0.5, says + 0.5, fc="none", ec=LIGHT.models["full"], lw=2.5)
    ax.spines[:].set_visible(False)
    for bottom, (title, P) in zip((0.5, 0.02), panels.items()):
        written(fig.add_axes([0.53, bottom, 0.46, 0.36]), title, P[says])

# %% [markdown]
# Left, each row is a word, and shows where it looks: the darker, the more weight. The row of "says" is framed. Right, the
# same row as text, before and after training: the more orange a word, the more weight it has.
#
# ## What to notice
#
# - Nobody told the model to look for names. The head learned it because it lowers the loss: on new reports it puts
#   0.96 ± 0.04 of its weight on the word that comes next. Before training it was 0.03 ± 0.01, about the same as for any
#   other word.
# - The upper right half of the map is empty: the mask.
# - The row of "says" and the rows around it look different. A head may do something else at another word.
# - The only teacher was the next word. Whatever the model learned, it learned because it helps to predict the next word.
#
# ## Exercises
#
# ```
# minillm lesson 7 --start
# minillm check 13 --watch         the embedding, forward and backward
# minillm check 14 --watch         attention that does not look ahead
# ```
#
# For exercise 14: `x.swapaxes(-1, -2)` transposes the last two axes and keeps all others, so that the same lines work for
# one head (T, D) and for many (B, H, T, D). `np.tri(T)` has ones on and below the diagonal.
#
# ## Questions
#
# 1. How many examples does a text of 40 tokens give? How many of them have the same input?
# 2. Remove the mask and train. What will the loss be, and what will the model write?
# 3. If all scores of a head are equal, what is its output?
# 4. At temperature 0 the model writes the same text each time. Why is that not the most probable text?
#
# **Answers.** 1. 39; none. 2. It becomes very small: each position but the last sees its answer, one position further on.
# When writing there is no answer to see, and it writes nonsense. 3. The mean of the values at all positions up to its own.
# 4. It takes the most probable word at each step; a less probable one may lead to better ones later.
#
# ## Read next
#
# `minillm/nn/embedding.py`, `minillm/nn/attention.py` (the forward pass) and `minillm/nn/gpt.py`;
# `minillm/inference/generate.py` for how it writes. Lesson 8 is the backward pass.
