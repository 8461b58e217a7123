"""Today's block: what has changed since GPT-2. NumPy alone, every gradient by hand, as in whole_story.py.

    python lessons/todays_block.py --seed 1             (about ten seconds)

Almost every open language model since Llama 2 (2023) is built of nearly one block. Beside GPT-2's (2019),
which whole_story.py builds, five things are different, and this file is those five, forward and backward:

    GPT-2                                       today
    LayerNorm                                   RMSNorm: the length is divided out, but no mean taken away
    a learned vector for each position          rotary positions: queries and keys turn as the text goes on
    keys and values for each head of queries    grouped queries: several heads share them (less to remember)
    MLP with GELU                               SwiGLU: half of its hidden numbers are gates for the rest
    biases                                      none

At the end both learn the narrator's texts from the same batches. Today's block, with a ninth fewer numbers,
gets as far. What it was made for does not show in texts this short: depth, length, and a small memory.

The notation is that of whole_story.py. Besides: K heads of keys and values, each for G = H / K heads of
queries (k, g); F hidden numbers of the MLP; j counts the D / 2 pairs of numbers in a head.
"""

import argparse

import whole_story as gpt2
from whole_story import WORDS, C, H, L, T, add, cross_entropy, einsum, mean, np, softmax

K, F, BASE = 2, 128, 100.0

def matrix(x, w, name):
    """y_bto = sum_c x_btc W_co: a linear layer without a bias"""
    W = w[name + ".weight"]
    def backward(dy, dw):
        add(dw, name + ".weight", "btc,bto->co", x, dy)
        return einsum("bto,co->btc", dy, W)
    return einsum("btc,co->bto", x, W), backward

def rmsnorm(x, w, name):
    """y = gain x_hat, x_hat = x / rms, rms = sqrt(mean(x^2)): every x gets the length sqrt(C)."""
    gain = w[name + ".weight"]
    rms = np.sqrt(mean(x * x) + 1e-5)
    x_hat = x / rms
    def backward(dy, dw):
        add(dw, name + ".weight", "btc,btc->c", x_hat, dy)
        g = gain * dy                                   # dLoss/dx_hat
        # 2 rms drms/dx_c = drms^2/dx_c = 2 x_c / C, so drms/dx_c = x_hat_c / C, and dx_hat_i/dx_c
        # = [i = c] / rms - x_i / rms^2 drms/dx_c = ([i = c] - x_hat_i x_hat_c / C) / rms; times g_i, summed:
        return (g - x_hat * mean(x_hat * g)) / rms
    return gain * x_hat, backward

def rotary(x):
    """Each pair of numbers in a head turns by an angle that grows with its position: pair j by BASE^(-2j/D).

    The score becomes (R_t q)' (R_s k) = q' R_(s-t) k, as R_t' R_s = R_(s-t): positions count only by their
    distance. So a head that has learned to look three words back does so at every position.
    """
    T, D = x.shape[1], x.shape[-1]                                      # x (B, T, heads, D)
    angle = np.outer(np.arange(T), BASE ** (-2 * np.arange(D // 2) / D))[:, None]
    cos, sin = np.cos(angle).astype(x.dtype), np.sin(angle).astype(x.dtype)         # (T, 1, D/2)
    def turn(x, sin):
        a, b = x[..., ::2], x[..., 1::2]
        return np.stack([a * cos - b * sin, a * sin + b * cos], axis=-1).reshape(x.shape)
    # y = R x with R = (cos, -sin; sin, cos), so dx = R' dy: the same, turned back.
    return turn(x, sin), lambda dy: turn(dy, -sin)

def attention(x, w, name):
    """As in GPT-2, but q and k are turned, and each key and value serves the queries of G heads."""
    B, T, C = x.shape
    D, G = C // H, H // K
    qkv, qkv_back = matrix(x, w, name + ".qkv")                         # (B, T, (H + 2K) D)
    q, k, v = np.split(qkv.reshape(B, T, H + 2 * K, D), [H, H + K], axis=2)
    q, q_back = rotary(q)
    k, k_back = rotary(k)
    q = q.reshape(B, T, K, G, D)                                        # the heads that share a key, together
    scores = einsum("btkgd,bskd->bkgts", q, k) / D ** 0.5
    P, softmax_back = softmax(np.where(np.tri(T) > 0, scores, -np.inf))
    o = einsum("bkgts,bskd->btkgd", P, v)
    y, proj_back = matrix(o.reshape(B, T, C), w, name + ".proj")
    def backward(dy, dw):
        do = proj_back(dy, dw).reshape(o.shape)
        dP = einsum("btkgd,bskd->bkgts", do, v)
        dv = einsum("bkgts,btkgd->bskd", P, do)                         # summed over g: G heads read v
        dscores = softmax_back(dP) / D ** 0.5
        dq = einsum("bkgts,bskd->btkgd", dscores, k).reshape(B, T, H, D)
        dk = einsum("bkgts,btkgd->bskd", dscores, q)                    # and k
        dqkv = np.concatenate([q_back(dq), k_back(dk), dv], axis=2)
        return qkv_back(dqkv.reshape(B, T, -1), dw)
    return y, backward

def swiglu(x, w, name):
    """y = (silu(a) b) W_down with a = x W_gate, b = x W_up; silu(a) = a s, s = 1 / (1 + e^-a): b's gate"""
    ab, gate_up_back = matrix(x, w, name + ".gate_up")
    a, b = np.split(ab, 2, axis=-1)
    s = 1 / (1 + np.exp(-a))
    y, down_back = matrix(a * s * b, w, name + ".down")
    def backward(dy, dw):
        dh = down_back(dy, dw)
        # ds/da = e^-a / (1 + e^-a)^2 = s (1 - s), so dsilu/da = s + a s (1 - s)
        da, db = dh * b * (s + a * s * (1 - s)), dh * a * s
        return gate_up_back(np.concatenate([da, db], axis=-1), dw)
    return y, backward

def sublayer(layer, x, w, norm, name):
    """y = x + layer(rmsnorm(x))"""
    n, norm_back = rmsnorm(x, w, norm)
    z, layer_back = layer(n, w, name)
    return x + z, lambda dy, dw: dy + norm_back(layer_back(dy, dw), dw)

def llama(tokens, w):
    """tokens (B, T) -> logits (B, T, V). Positions come in where they meet, in attention."""
    wte = w["wte.weight"]
    word = np.eye(len(wte), dtype=wte.dtype)[tokens]
    x, backs = einsum("btv,vc->btc", word, wte), []
    for block in (f"blocks.{i}" for i in range(L)):
        x, attn_back = sublayer(attention, x, w, block + ".ln_1", block + ".attn")
        x, mlp_back = sublayer(swiglu, x, w, block + ".ln_2", block + ".mlp")
        backs += [attn_back, mlp_back]
    x_f, norm_back = rmsnorm(x, w, "ln_f")
    def backward(dlogits, dw):
        add(dw, "wte.weight", "btc,btv->vc", x_f, dlogits)
        dx = norm_back(einsum("btv,vc->btc", dlogits, wte), dw)
        for back in reversed(backs):
            dx = back(dx, dw)
        add(dw, "wte.weight", "btv,btc->vc", word, dx)
    return einsum("btc,vc->btv", x_f, wte), backward

BLOCKS = {f"blocks.{i}.{layer}": shape for i in range(L) for layer, shape in {
    "ln_1": (C,), "attn.qkv": (C, C + 2 * K * C // H), "attn.proj": (C, C),
    "ln_2": (C,), "mlp.gate_up": (C, 2 * F), "mlp.down": (F, C)}.items()}

def race(seed=1, steps=600):
    """Both blocks on the same texts. {name: (numbers, loss on unseen texts)}"""
    rng = np.random.default_rng(seed)
    texts, results = gpt2.write(gpt2.NARRATOR, 1500, rng), {}
    for name, model, layers in (
            ("GPT-2's block", gpt2.gpt, {"wte": (len(WORDS), C), "wpe": (T, C), **gpt2.BLOCKS, "ln_f": (C,)}),
            ("today's block", llama, {"wte": (len(WORDS), C), **BLOCKS, "ln_f": (C,)})):
        w = gpt2.new_weights(layers, np.random.default_rng(seed))
        if model is llama:
            w = {key: array for key, array in w.items() if not key.endswith("bias")}
        print(f"{name}: {sum(array.size for array in w.values()):,d} numbers")
        gpt2.train(w, list(w), texts[:-100], steps, 3e-3, np.random.default_rng(seed), model)
        loss, _ = cross_entropy(model(texts[-100:, :-1], w)[0], texts[-100:, 1:])
        print(f"    on unseen texts {loss:.3f}")
        results[name] = sum(array.size for array in w.values()), loss
    return results

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    race(parser.parse_args().seed)
