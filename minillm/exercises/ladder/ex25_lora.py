"""Exercise 25: LoRA, a layer that learns a change of low rank."""

from ..last_checks import hold_dtype

LESSON = 13

HINTS = (
    "Give x A a name, z (..., r). Then there are three linear maps: x -> x W + b, which is frozen; x -> z; and z -> s z B. You "
    "know the backward pass of a linear map from exercise 7. Go through the last two in reverse order. And remember the first: "
    "dx passes through it, too.",
    """In index notation, with n over all leading axes:

    dB_ji = s sum_n z_nj dout_ni        dz_nj = s sum_i dout_ni B_ji
    dA_kj = sum_n x_nk dz_nj            dx_nk = sum_i dout_ni W_ki + sum_j dz_nj A_kj

dB and dz each have the scale as a factor. dA and dx contain it already, through dz.""",
    """With all leading axes merged into one, X = x.reshape(-1, I), Z = z.reshape(-1, r), G = s dout.reshape(-1, O):

    dB = Z' G        dZ = G B'        dA = X' dZ        dx = dout W' + dz A'

So the cache must hold x, z, W, A, B and the scale.""",
)

EXPLANATION = """
There is no dW, and this is what LoRA saves: of the three large products of a linear layer (y, dx, dW) one is not needed, and
neither are the gradient of W and the two numbers for each weight that AdamW would keep. W is still needed for dx.

With B = 0 at the start, the layer equals the frozen layer to the bit, dz = 0, and A gets no gradient: B changes first. If A were
0 as well, then z = 0, and neither would ever change. `LowRank` in `minillm/finetune/methods/lora.py` has your lines, and
`LoRALinear` adds up to three such maps to the one matrix of q, k and v.
"""


def check(attempt):
    for trial, sizes in enumerate(attempt.trials("M N I O r", 7)):
        r = min(sizes)                                              # a low rank, as it should be
        M, N, n_in, n_out = (size for size in sizes if size != r)
        attempt.sizes = {"M": M, "N": N, "I": n_in, "O": n_out, "r": r}
        rng, leading = attempt.rng, (N,) if trial < 3 else (M, N)
        x, W, b = rng.normal(size=(*leading, n_in)), rng.normal(size=(n_in, n_out)), rng.normal(size=n_out)
        A, B, s = rng.normal(size=(n_in, r)), rng.normal(size=(r, n_out)), float(rng.uniform(1.3, 3))
        if trial == 6:
            B[...] = 0
        note = ("", "with two leading axes", "with two leading axes, and B = 0 as at the start")[(trial >= 3) + (trial == 6)]
        cache = check_forward(attempt, (x, W, b, A, B, s), note)
        check_backward(attempt, (rng.normal(size=(*leading, n_out)), cache), x, W, A, B, s, note)


def check_forward(attempt, args, note):
    """Returns the learner's cache."""
    x, W, b, A, B, s = args
    z = x @ A
    right = x @ W + b + s * z @ B
    y, cache = attempt.call("lora", *args, returns="y cache")
    attempt.compare("lora", args, y, {"y": right}, {
        "the scale is missing": {"y": x @ W + b + z @ B},
        "the scale is there twice": {"y": x @ W + b + s * s * z @ B},
        "the scale multiplies the frozen layer, too": {"y": s * (x @ W + b + z @ B)},
        "the bias is missing": {"y": right - b},
        "the frozen layer x W + b is missing": {"y": s * z @ B},
        "the change s (x A) B is missing": {"y": x @ W + b},
    }, note)
    hold_dtype(attempt, "lora", args, {"y": right, "cache": None})
    return cache


def check_backward(attempt, args, x, W, A, B, s, note):
    dout = args[0]
    X, G = x.reshape(-1, len(A)), dout.reshape(-1, W.shape[1])
    dz = s * dout @ B.T
    dZ, through_W, through_A = dz.reshape(-1, B.shape[0]), dout @ W.T, dz @ A.T
    right = {"dx": through_W + through_A, "dA": X.T @ dZ, "dB": s * (X @ A).T @ G}
    dA, dB = right["dA"], right["dB"]
    attempt.check("lora_backward", args, right, {
        "the scale is missing in the backward pass: y changes s times as much as z B does": {
            "dx": through_W + through_A / s, "dA": dA / s, "dB": dB / s},
        "the scale is there twice, in dz and once more after it": {"dx": through_W + s * through_A, "dA": s * dA, "dB": s * dB},
        "the part through the frozen W is missing in dx; frozen means no dW, but dx still passes": {"dx": through_A},
        "the part through A is missing in dx; x goes into both W and A": {"dx": through_W},
        "the scale multiplies the part through W, too": {"dx": s * through_W + through_A},
        "dA and dB are swapped; the order is dx, dA, dB": {"dA": dB, "dB": dA},
        "it is the transpose; it must have the shape of the matrix itself": {"dA": dA.T, "dB": dB.T},
        "dB is computed from x; it must be from z = x A": {"dB": s * X.T @ G},
        "dA is computed from dout; it must be from dz = s dout B'": {"dA": s * X.T @ G},
        "the mean over the examples is taken; the gradient is their sum": {"dA": dA / len(X), "dB": dB / len(X)},
    }, note)
