"""The JAX contender: the same GPT, its gradient, clipping and AdamW compiled into one function."""

import warnings

import jax
import jax.numpy as jnp

# JAX warns of forks since its threads do not live on in them. Those of minillm, which is measured in the same process, do not
# touch it.
warnings.filterwarnings("ignore", r"os\.fork", RuntimeWarning)


def new_weights(size, key):
    C = size.width

    def matrix(*shape):
        nonlocal key
        key, own = jax.random.split(key)
        return 0.02 * jax.random.normal(own, shape)

    def linear(n_in, n_out):
        return {"w": matrix(n_in, n_out), "b": jnp.zeros(n_out)}

    def norm():
        return {"g": jnp.ones(C), "b": jnp.zeros(C)}

    blocks = [{"ln_1": norm(), "qkv": linear(C, 3 * C), "proj": linear(C, C), "ln_2": norm(), "fc": linear(C, 4 * C),
               "out": linear(4 * C, C)} for _ in range(size.layers)]
    return {"wte": matrix(size.vocabulary, C), "wpe": matrix(size.context, C), "blocks": blocks, "ln_f": norm()}


def linear(p, x):
    return x @ p["w"] + p["b"]


def norm(p, x):
    x = x - x.mean(-1, keepdims=True)
    return p["g"] * x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-5) + p["b"]


def attention(p, x, heads):
    B, T, C = x.shape
    q, k, v = linear(p["qkv"], x).reshape(B, T, 3, heads, C // heads).transpose(2, 0, 3, 1, 4)
    scores = q @ k.swapaxes(-1, -2) / (C // heads) ** 0.5
    weights = jax.nn.softmax(jnp.where(jnp.tril(jnp.ones((T, T), bool)), scores, -jnp.inf))
    return linear(p["proj"], (weights @ v).transpose(0, 2, 1, 3).reshape(B, T, C))


def loss_of(weights, tokens, targets, heads):
    x = weights["wte"][tokens] + weights["wpe"]
    for p in weights["blocks"]:
        x = x + attention(p, norm(p["ln_1"], x), heads)
        x = x + linear(p["out"], jax.nn.gelu(linear(p["fc"], norm(p["ln_2"], x)), approximate=True))
    log_p = jax.nn.log_softmax(norm(weights["ln_f"], x) @ weights["wte"].T)
    return -jnp.take_along_axis(log_p, targets[..., None], -1).mean()


def adamw(weights, gradient, m, v, t, lr=1e-3, b1=0.9, b2=0.999, eps=1e-8, decay=0.01):
    """One step along the gradient, clipped to 1. Returns weights, m, v."""
    each = jax.tree.map
    norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in jax.tree.leaves(gradient)))
    gradient = each(lambda g: g * jnp.minimum(1.0, 1.0 / norm), gradient)
    m = each(lambda m, g: b1 * m + (1 - b1) * g, m, gradient)
    v = each(lambda v, g: b2 * v + (1 - b2) * g * g, v, gradient)

    def moved(w, m, v):
        return (1 - lr * decay) * w - lr * (m / (1 - b1**t)) / (jnp.sqrt(v / (1 - b2**t)) + eps)

    return each(moved, weights, m, v), m, v


def training_step(size):
    """A function that makes one training step, on the same batch each time, with as many threads as JAX likes: one a core."""
    tokens, targets = jax.random.randint(jax.random.key(0), (2, size.batch, size.context), 0, size.vocabulary)
    weights = new_weights(size, jax.random.key(1))
    state = [weights, jax.tree.map(jnp.zeros_like, weights), jax.tree.map(jnp.zeros_like, weights), jnp.zeros(())]

    @jax.jit
    def update(weights, m, v, t):
        loss, gradient = jax.value_and_grad(loss_of)(weights, tokens, targets, size.heads)
        return *adamw(weights, gradient, m, v, t + 1), t + 1, loss

    def step():
        *state[:], loss = jax.block_until_ready(update(*state))
        return float(loss)

    return step
