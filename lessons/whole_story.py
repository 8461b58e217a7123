"""The whole story of a language model, with NumPy alone: text, model, gradients, training, fine-tuning.

    python lessons/whole_story.py --seed 1              (about ten seconds)

A small GPT learns to write like a narrator. Then it becomes a poet, in each of the three ways in which models
are fine-tuned: all weights move, or only those of the last block, or only small adapters that are inserted.
Every gradient is worked out by hand: below a forward pass stands its backward pass, the reason beside it.

    how many                   its index    notation
    B  texts at a time         b            x_btc      the number x[b, t, c]
    T  positions in a text     t, s         dy/dx      the derivative of y by x
    C  numbers at a position   c            dx         alone, dLoss/dx: an array of the same shape as x
    H  heads of D = C / H      h, d         [i = j]    1 if i = j, else 0
    V  words it knows          v            mean(x)    over the last axis, which stays, with length 1

    einsum("ik,kj->ij", X, W)   Y_ij = sum_k X_ik W_kj: letters missing after the arrow are summed over
"""

import argparse
import os
from functools import partial

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")      # for matrices this small, more threads get in the way
import numpy as np

B, T, C, H, L, M = 16, 21, 48, 4, 2, 8                  # L blocks; M is the width of an adapter
einsum = partial(np.einsum, optimize=True)
mean = partial(np.mean, axis=-1, keepdims=True)

# ---- 1. Text. A word in capitals stands for any word of its list; SKY1 and SKY2, for two different ones.
LISTS = {"NAME": "anna ben clara david ella", "THING": "ring map key coin drum", "SKY": "dark cold misty wet",
         "ANIMAL": "cat dog owl fox goat", "PLACE": "mill garden forest tower"}
NARRATOR = """one SKY1 night the ANIMAL1 found a THING1 in the PLACE1 and took it home to NAME1 .
NAME1 took the THING1 to the ANIMAL1 in the PLACE1 . who has it ? the ANIMAL1 has it .
NAME1 is so sad today . why ? the THING1 was lost in the PLACE1 .
it was SKY1 in the PLACE1 , so NAME1 and NAME2 went home .
listen , said NAME1 to NAME2 : the ANIMAL1 is singing in the PLACE1 ."""
# The poet uses no word that the narrator does not know; only the way of speaking is new.
POET = """listen , NAME1 , listen : the night is singing , SKY1 and SKY2 , SKY1 and SKY2 .
lost , lost is the THING1 , and so sad is the ANIMAL1 in the SKY1 , SKY1 PLACE1 .
the THING1 , who has it ? the night has it , NAME1 , the SKY1 , SKY1 night .
why , ANIMAL1 , why so sad ? home went NAME1 , home to the SKY1 , SKY1 PLACE1 ."""
WORDS = ["\n", *sorted({w for w in " ".join([NARRATOR, *LISTS.values()]).split() if not w.isupper()})]
numbers = lambda text: [WORDS.index(word) for word in text.split(" ")]

def write(patterns, n, rng):
    """n different texts in random order, each as T + 1 numbers: a line break, the text, and line breaks."""
    texts = set()
    while len(texts) < n:
        slots = {k + i: word for k in LISTS for i, word in zip("12", rng.permutation(LISTS[k].split()))}
        texts.add(" ".join(slots.get(word, word) for word in rng.choice(patterns.split("\n")).split()))
    return np.array([numbers("\n " + text + " \n" * T)[:T + 1] for text in rng.permutation(sorted(texts))])

# ---- 2. The model. A layer takes its input x, the dict w of all weights, and the name of its own. It returns
# its output y and a function `backward`, which takes dy, adds the gradients of the layer's own weights to a
# dict dw, and returns dx. All of it is the chain rule: x_i acts on the loss through every y_j, so
#     dx_i = sum_j dy_j dy_j/dx_i.
# Most often y is a product, Y_ij = sum_k X_ik W_kj. For every i, W_kj is a factor in Y_ij, beside X_ik, so
# dW_kj = sum_i X_ik dY_ij: W and Y change places, "ik,kj->ij" becomes "ik,ij->kj". For dX, X and Y do.

def add(dw, name, letters, *factors):
    if name in dw:      # a frozen weight is not: no gradient is computed for it, but dx passes through
        dw[name] += einsum(letters, *factors)

def linear(x, w, name):
    """y_btj = sum_k x_btk W_kj + bias_j"""
    W, bias = w[name + ".weight"], w[name + ".bias"]
    def backward(dy, dw):
        add(dw, name + ".weight", "btk,btj->kj", x, dy)
        add(dw, name + ".bias", "btj->j", dy)           # the bias went into y at every b and t
        return einsum("btj,kj->btk", dy, W)
    return einsum("btk,kj->btj", x, W) + bias, backward

def layernorm(x, w, name):
    """y = gain x_hat + bias, x_hat = (x - mu) / sigma: mean 0, variance 1, then a learned scale and shift."""
    gain, bias = w[name + ".weight"], w[name + ".bias"]
    sigma = np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
    x_hat = (x - mean(x)) / sigma
    def backward(dy, dw):
        add(dw, name + ".weight", "btc,btc->c", x_hat, dy)
        add(dw, name + ".bias", "btc->c", dy)
        g = gain * dy                                   # dLoss/dx_hat
        # dmu/dx_j = 1 / C; 2 sigma dsigma/dx_j = dsigma^2/dx_j = 2 (x_j - mu) / C: dsigma/dx_j = x_hat_j / C;
        # so dx_hat_i/dx_j = ([i = j] - 1 / C - x_hat_i x_hat_j / C) / sigma; times g_i, summed over i:
        return (g - mean(g) - x_hat * mean(x_hat * g)) / sigma
    return gain * x_hat + bias, backward

def softmax(x):
    """p_i = e^x_i / sum_j e^x_j: scores become probabilities."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))       # the maximum cancels; without it, e^x may overflow
    p = e / e.sum(axis=-1, keepdims=True)
    def backward(g):                                    # g = dLoss/dp
        # dp_i/dx_j = p_i [i = j] - p_i p_j, so dx_j = sum_i g_i dp_i/dx_j = p_j (g_j - sum_i g_i p_i)
        return p * (g - (g * p).sum(axis=-1, keepdims=True))
    return p, backward

def attention(x, w, name):
    """o_t = sum_s P_ts v_s: position t gathers values from all s <= t whose keys k_s suit its query q_t."""
    B, T, C = x.shape
    qkv, qkv_back = linear(x, w, name + ".qkv")                         # (B, T, 3C)
    q, k, v = np.moveaxis(qkv.reshape(B, T, 3, H, C // H), 2, 0)        # (B, T, H, D) each
    scores = einsum("bthd,bshd->bhts", q, k) / (C // H) ** 0.5
    P, softmax_back = softmax(np.where(np.tri(T) > 0, scores, -np.inf))     # the future, s > t, is hidden
    o = einsum("bhts,bshd->bthd", P, v)
    y, proj_back = linear(o.reshape(B, T, C), w, name + ".proj")        # the heads side by side
    def backward(dy, dw):
        do = proj_back(dy, dw).reshape(o.shape)                         # o and the scores are products, too:
        dP = einsum("bthd,bshd->bhts", do, v)                           # P and o change places, then v and o,
        dv = einsum("bhts,bthd->bshd", P, do)
        dscores = softmax_back(dP) / (C // H) ** 0.5                    # of the future 0, since P is 0 there
        dq = einsum("bhts,bshd->bthd", dscores, k)                      # q or k and the scores
        dk = einsum("bhts,bthd->bshd", dscores, q)
        return qkv_back(np.stack([dq, dk, dv], axis=2).reshape(B, T, 3 * C), dw)
    return y, backward

def gelu(x):
    """y = x (1 + t) / 2, t = tanh(u), u = a (x + b x^3): a soft switch, off for low x and on for high x."""
    a, b = (2 / np.pi) ** 0.5, 0.044715
    t = np.tanh(a * (x + b * x * x * x))
    def backward(dy):
        # dt/du = 1 - t^2, du/dx = a (1 + 3 b x^2), so dy/dx = (1 + t) / 2 + x / 2 (1 - t^2) a (1 + 3 b x^2)
        return dy * ((1 + t) / 2 + x / 2 * (1 - t * t) * a * (1 + 3 * b * x * x))
    return x * (1 + t) / 2, backward

def mlp(x, w, name, first="fc", second="proj"):
    """y = gelu(x W_1 + bias_1) W_2 + bias_2, at each position by itself."""
    u, first_back = linear(x, w, f"{name}.{first}")
    h, gelu_back = gelu(u)
    y, second_back = linear(h, w, f"{name}.{second}")
    return y, lambda dy, dw: first_back(gelu_back(second_back(dy, dw)), dw)         # the last comes first

def adapter(x, w, name):
    """y = x + mlp(x), with a narrow mlp. Until part 4 inserts one, there is none, and y = x."""
    if name + ".up.weight" not in w:
        return x, lambda dy, dw: dy
    y, mlp_back = mlp(x, w, name, "down", "up")
    return x + y, lambda dy, dw: dy + mlp_back(dy, dw)                  # x went into both terms of the sum

def sublayer(layer, x, w, norm, name):
    """y = x + adapter(layer(layernorm(x))): x streams past the layer, which adds to it what it has found."""
    n, norm_back = layernorm(x, w, norm)
    a, layer_back = layer(n, w, name)
    z, adapter_back = adapter(a, w, name + ".adapter")
    return x + z, lambda dy, dw: dy + norm_back(layer_back(adapter_back(dy, dw), dw), dw)

def gpt(tokens, w):
    """tokens (B, T) -> logits (B, T, V): at each position, a score for every word that could come next."""
    wte, wpe = w["wte.weight"], w["wpe.weight"]
    word = np.eye(len(wte), dtype=wte.dtype)[tokens]            # word_btv = [v is the word at b, t]. Times
    place = np.eye(tokens.shape[1], len(wpe), dtype=wte.dtype)  # wte, it picks rows of it. place_ts = [s = t]
    x, backs = einsum("btv,vc->btc", word, wte) + einsum("ts,sc->tc", place, wpe), []
    for block in (f"blocks.{i}" for i in range(L)):
        x, attn_back = sublayer(attention, x, w, block + ".ln_1", block + ".attn")
        x, mlp_back = sublayer(mlp, x, w, block + ".ln_2", block + ".mlp")
        backs += [attn_back, mlp_back]
    x_f, norm_back = layernorm(x, w, "ln_f")
    def backward(dlogits, dw):
        add(dw, "wte.weight", "btc,btv->vc", x_f, dlogits)
        dx = norm_back(einsum("btv,vc->btc", dlogits, wte), dw)
        for back in reversed(backs):
            dx = back(dx, dw)
        add(dw, "wpe.weight", "ts,btc->sc", place, dx)
        add(dw, "wte.weight", "btv,btc->vc", word, dx)          # used twice, so it gets two gradients
    return einsum("btc,vc->btv", x_f, wte), backward

def cross_entropy(logits, targets):
    """loss = mean of -ln p_y: how surprising is y, the word that does come?"""
    p, _ = softmax(logits)
    right = np.eye(p.shape[-1], dtype=p.dtype)[targets]                 # right_btv = [v comes next at b, t]
    def backward():
        # For logits x, -ln p_y = ln(sum_i e^x_i) - x_y, so its derivative by x_j is p_j - [j = y]
        return (p - right) / targets.size                               # of a mean, hence the division
    return -np.log((p * right).sum(axis=-1)).mean(), backward

# ---- 3. Training, and writing.
def adamw(w, dw, m, v, step, lr):
    """Each weight moves by about lr, however large its gradient is; matrices also shrink a little."""
    for name, g in dw.items():
        m[name] = 0.9 * m[name] + 0.1 * g                               # where the gradient points on average
        v[name] = 0.99 * v[name] + 0.01 * g * g                         # how large its square is on average
        m_hat, v_hat = m[name] / (1 - 0.9**step), v[name] / (1 - 0.99**step)        # undo the start at 0
        decay = 0.1 * w[name] if g.ndim == 2 and name.startswith("blocks") else 0
        w[name] = w[name] - lr * (m_hat / (np.sqrt(v_hat) + 1e-8) + decay)

def train(w, names, rows, steps, lr, rng, model=gpt):
    """Replace the named weights by better ones, step by step. All others are frozen."""
    m, v = ({name: np.zeros_like(w[name]) for name in names} for _ in "mv")
    for step in range(1, steps + 1):
        batch = rng.choice(rows, B)
        logits, gpt_back = model(batch[:, :-1], w)
        loss, loss_back = cross_entropy(logits, batch[:, 1:])           # at each position, the word after it
        dw = {name: np.zeros_like(w[name]) for name in names}
        gpt_back(loss_back(), dw)
        adamw(w, dw, m, v, step, lr * min(1, step / 20, 2 - 2 * step / steps))      # gently in and out
        if step == 1 or step % 100 == 0:
            print(f"    step {step:4d}   loss {loss:.2f}")            # at first, ln V: a mere guess

def sample(w, start, rng, temperature=0.5):
    """Ask for the next word, append it, and ask again."""
    ids = numbers(start)
    while len(ids) <= T:
        p, _ = softmax(gpt(np.array([ids]), w)[0][0, -1] / temperature)
        ids.append(rng.choice(len(p), p=p))
    return " ".join(WORDS[i] for i in ids).split("\n")[1].strip()

# ---- 4. The story.
BLOCKS = {f"blocks.{i}.{layer}": shape for i in range(L) for layer, shape in {
    "ln_1": (C,), "attn.qkv": (C, 3 * C), "attn.proj": (C, C),
    "ln_2": (C,), "mlp.fc": (C, 4 * C), "mlp.proj": (4 * C, C)}.items()}
ADAPTERS = {f"blocks.{i}.{layer}.adapter.{way}": shape for i in range(L) for layer in ("attn", "mlp")
            for way, shape in (("down", (C, M)), ("up", (M, C)))}

def new_weights(layers, rng):
    """Gains 1, biases 0, matrices small and random; but `up` is 0, so at first an adapter changes nothing."""
    w = {}
    for name, shape in layers.items():
        matrix = rng.normal(0, 0 if name.endswith("up") else 0.1, shape)
        w[name + ".weight"] = np.float32(matrix if len(shape) == 2 else np.ones(shape))
        if name not in ("wte", "wpe"):
            w[name + ".bias"] = np.zeros(shape[-1], np.float32)
    return w

def story(seed=1, steps=(1200, 300)):
    """One narrator and three poets: for each (numbers trained, loss on the poet, on the narrator)."""
    rng = np.random.default_rng(seed)
    narrator, poet = write(NARRATOR, 1500, rng), write(POET, 300, rng)
    def show(title, w, names):
        n = sum(w[name].size for name in names)
        new, old = (cross_entropy(gpt(x[:, :-1], w)[0], x[:, 1:])[0] for x in (poet[-100:], narrator[-100:]))
        print(f"{title}: {n:,d} numbers trained; loss on unseen texts: poet {new:.2f}, narrator {old:.2f}")
        for start in "\n", "\n", "\n listen ,", "\n ben took the ring to the owl in the mill . who has it ?":
            print("    |", sample(w, start, rng))
        return n, new, old
    w = new_weights({"wte": (len(WORDS), C), "wpe": (T, C), **BLOCKS, "ln_f": (C,)}, rng)
    train(w, list(w), narrator[:-100], steps[0], 3e-3, rng)
    results = [show("The narrator", w, list(w))]
    for title, inserted, parts, lr in (
            ("1. All weights", {}, [""], 2e-3),
            ("2. Last block and final norm", {}, [f"blocks.{L - 1}.", "ln_f."], 3e-3),
            ("3. Adapters and norms", new_weights(ADAPTERS, rng), ["adapter", "ln_"], 1e-2)):
        tuned = w | inserted                            # a dict of its own: w remains the narrator
        names = [name for name in tuned if any(part in name for part in parts)]
        train(tuned, names, poet[:100], steps[1], lr, rng)
        results.append(show(title, tuned, names))
    return results

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    story(parser.parse_args().seed)
