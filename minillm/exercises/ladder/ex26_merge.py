"""Exercise 26: merging a LoRA into its matrix."""

import numpy as np

LESSON = 13

HINTS = (
    "x W + s (x A) B = x (W + s A B), since matrix products are associative. Which shape does A B have? For q, k and v, find out "
    "first how wide each of the three is, from W alone.",
    """`merge` is one line. `merge_qkv` begins with a copy of W, and then adds to some columns of the copy, part by part. In W

    q has the columns 0 to C - 1,    k has C to 2C - 1,    v has 2C to 3C - 1

`W[:, start:stop]` are columns; `W[start:stop]` would be rows. The name of a part says which third it is, not its position
in parts.""",
    """With C = len(W) and i = "qkv".index(name), the columns of a part are `i * C:(i + 1) * C`. To them you add

    scale * A @ B

in the copy: `W.copy()` first, since `W[...] += ...` would write into the matrix that was given.""",
)

EXPLANATION = """
The check has also compared the outputs of both forms, and they agreed up to rounding. A merged model no longer needs the code of
LoRA: it is as large and as fast as its base. What is lost is flexibility: a LoRA that is not merged can be removed, or replaced
by another one, at once.

To unmerge, keep W and put it back: subtracting s A B from the merged matrix would leave rounding errors.
`minillm/finetune/merge.py` does this for all layers of a model. `LoRALinear.merged` in `minillm/finetune/methods/lora.py` has
your lines.
"""

CLOSE = 1e-10


def check(attempt):
    rng = attempt.rng
    for sizes in attempt.trials("N I O r"):
        r = min(sizes)                                              # a low rank, as it should be
        N, n_in, n_out = (size for size in sizes if size != r)
        attempt.sizes = {"N": N, "I": n_in, "O": n_out, "r": r}
        W, s = rng.normal(size=(n_in, n_out)), float(rng.uniform(1.3, 3))
        A, B = low_rank(rng, n_in, r, n_out)
        merged = attempt.check("merge", (W, A, B, s), {"merged": W + s * A @ B}, {
            "the scale is missing": {"merged": W + A @ B},
            "the scale is there twice": {"merged": W + s * s * A @ B},
            "the scale multiplies W, too": {"merged": s * (W + A @ B)},
            "W itself is missing: this is only the change": {"merged": s * A @ B},
            "the change is subtracted": {"merged": W - s * A @ B},
        })
        x = rng.normal(size=(N, n_in))
        close(attempt, "merge", x @ merged, x @ W + s * (x @ A) @ B)
    for names in ("v", "q", "k", "qv", "vq", "kqv", ""):
        attempt.sizes = {"C": int(rng.integers(4, 8)), "r": int(rng.integers(2, 4))}
        check_qkv(attempt, names, **attempt.sizes)


def low_rank(rng, n_in, r, n_out):
    return rng.normal(size=(n_in, r)), rng.normal(size=(r, n_out))


def check_qkv(attempt, names, C, r):
    rng, s = attempt.rng, float(attempt.rng.uniform(1.3, 3))
    W, parts = rng.normal(size=(C, 3 * C)), {name: low_rank(rng, C, r, C) for name in names}

    def merged(of, scale=s, columns=lambda i: slice(i * C, (i + 1) * C)):
        """W with the change of each part added to the third with the index of(name)."""
        new = W.copy()
        for name, (A, B) in parts.items():
            new[:, columns(of(name))] += scale * A @ B
        return new

    right, order = merged("qkv".index), list(parts)
    args, note = (W, parts, s), f"with parts {', '.join(order)}" if names else "without any part"
    answer = attempt.check("merge_qkv", args, {"merged": right}, {
        "the scale is missing": {"merged": merged("qkv".index, 1)},
        "the third is chosen by the position in parts; it must be chosen by the name": {"merged": merged(order.index)},
        "the thirds are numbered from the end: q comes first, then k, then v": {"merged": merged("vkq".index)},
        "every third column is changed; the columns of a part are side by side": {
            "merged": merged("qkv".index, columns=lambda i: slice(i, None, 3))},
        "W itself is missing: these are only the changes": {"merged": right - W},
    }, note)
    for i, name in enumerate("qkv"):
        columns = slice(i * C, (i + 1) * C)
        attempt.insist(name in parts or np.array_equal(answer[:, columns], W[:, columns]),
                       f"merge_qkv {note}: the columns of {name}, which is not among them, are not the same bits as before. "
                       "Leave them unchanged; adding something and subtracting it again causes rounding errors.")
    attempt.insist(not np.shares_memory(answer, W),
                   f"merge_qkv {note} returns W itself; it must be a new array, which can be changed without changing W.")
    x = rng.normal(size=(3, C))
    beside = [s * (x @ parts[name][0]) @ parts[name][1] if name in parts else np.zeros((3, C)) for name in "qkv"]
    close(attempt, "merge_qkv", x @ answer, x @ W + np.hstack(beside))


def close(attempt, name, merged, apart):
    """Wrong unless the merged matrix has the same output as W with a LoRA beside it."""
    gap = float(np.max(np.abs(merged - apart)))
    attempt.insist(gap < CLOSE, f"{name}: the merged layer and the one with a LoRA beside it differ by {gap:.1g} for some x, "
                                f"but the difference must be below {CLOSE:g}. Is something rounded, to float32, say?")
