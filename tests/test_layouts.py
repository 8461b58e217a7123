"""However an array lies in memory, a layer does the same with it; and what it hands out is its caller's, to be written into."""

import numpy as np
import pytest
from parts import parts

from minillm.finetune.methods import recipe_of
from minillm.finetune.methods.bottleneck import Bottleneck, ParallelAdapter, SequentialAdapter
from minillm.finetune.methods.dora import DoRALinear
from minillm.finetune.methods.ia3 import Scale, ScaledInputs, ScaledOutputs
from minillm.finetune.methods.lora import LoRALinear, LowRank
from minillm.finetune.methods.prefix import Prefix, PrefixedHeads
from minillm.finetune.methods.prompt import Prompt, Prompted
from minillm.gradcheck import perturb
from minillm.nn import GELU, GPT, MLP, Block, CausalSelfAttention, Config, CrossEntropy, Embedding, Linear, Softmax
from minillm.nn.module import Module

B, T, H, D, V = 3, 5, 2, 4, 7
C = H * D


class Out(Module):
    """The tied table as a layer of its own."""

    def __init__(self, rng, dtype):
        self.table = Embedding(V, C, rng, dtype=dtype)

    def forward(self, x, needs_dx=True):
        return self.table.unembed(x, needs_dx)

    def backward(self, dout, cache):
        return self.table.unembed_backward(dout, cache)


def beside(kind, rng, dtype):
    columns = {"q": slice(0, 4), "v": slice(8, 12)}
    return kind(Linear(C, 12, rng, dtype=dtype), {name: LowRank(C, 4, 2, 1.5, rng, dtype) for name in columns}, columns)


def prefixed(rng, dtype, gate):
    attn = CausalSelfAttention(C, H, rng, dtype=dtype)
    attn.heads = PrefixedHeads(attn.heads, Prefix(*rng.normal(size=(2, H, 3, D)).astype(dtype), H, gate))
    return attn


LAYERS = {
    "linear": lambda rng, dtype: Linear(C, 6, rng, dtype=dtype),
    "softmax": lambda rng, dtype: Softmax(),
    "attention": lambda rng, dtype: CausalSelfAttention(C, H, rng, dtype=dtype),
    "tied head": Out,
    "bottleneck": lambda rng, dtype: Bottleneck(C, 3, 0.7, rng, dtype),
    "adapter behind": lambda rng, dtype: SequentialAdapter(MLP(C, rng, dtype=dtype), Bottleneck(C, 3, 1, rng, dtype)),
    "adapter beside": lambda rng, dtype: ParallelAdapter(MLP(C, rng, dtype=dtype), Bottleneck(C, 3, 4, rng, dtype)),
    "low rank": lambda rng, dtype: LowRank(C, 6, 2, 1.5, rng, dtype),
    "lora": lambda rng, dtype: beside(LoRALinear, rng, dtype),
    "dora": lambda rng, dtype: beside(DoRALinear, rng, dtype),
    "scale": lambda rng, dtype: Scale(C, dtype),
    "scaled inputs": lambda rng, dtype: ScaledInputs(Linear(C, 6, rng, dtype=dtype), Scale(C, dtype)),
    "scaled outputs": lambda rng, dtype: ScaledOutputs(Linear(C, 6, rng, dtype=dtype), {"v": Scale(2, dtype)},
                                                       {"v": slice(4, 6)}),
    "prefix": lambda rng, dtype: prefixed(rng, dtype, True),
    "prefix without a gate": lambda rng, dtype: prefixed(rng, dtype, False),
    "prompt": lambda rng, dtype: Prompt(rng.normal(size=(2, C)).astype(dtype)),
    "first block with a prompt": lambda rng, dtype: Prompted(Block(C, H, rng, dtype=dtype),
                                                             Prompt(rng.normal(size=(2, C)).astype(dtype)), True, False),
    "only block with a prompt": lambda rng, dtype: Prompted(Block(C, H, rng, dtype=dtype),
                                                            Prompt(rng.normal(size=(2, C)).astype(dtype)), True, True),
} | parts(C, H)


def strided(array):
    """The same numbers as every second of a larger array, backwards."""
    large = np.full(tuple(2 * n for n in array.shape), 99, array.dtype)
    view = large[tuple(slice(None, None, -2) for _ in array.shape)]
    view[...] = array
    return view


def read_only(array):
    array = array.copy()
    array.setflags(write=False)
    return array


LAYOUTS = {
    "Fortran": lambda array: np.asfortranarray(array),
    "transposed": lambda array: array.swapaxes(0, -1).copy().swapaxes(0, -1),
    "axes inside out": lambda array: np.moveaxis(np.moveaxis(array, 0, 1).copy(), 1, 0) if array.ndim > 1 else array,
    "strided": strided,
    "one of a stack": lambda array: np.stack([array * 0, array], axis=-1)[..., 1],
    "read-only": read_only,
    "broadcast": lambda array: np.broadcast_to(array[:1], array.shape),
    "broadcast everywhere": lambda array: np.broadcast_to(array.flat[0], array.shape),
}
every_layout = pytest.mark.parametrize("layout", LAYOUTS)
every_layer = pytest.mark.parametrize("name", LAYERS)
every_type = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def made(name, dtype):
    """The same layer on every call, with every weight off its starting value, and an input."""
    rng = np.random.default_rng(5)
    layer = LAYERS[name](rng, dtype)
    perturb(layer, rng)
    shape = (B * T, C) if name == "low rank" else (B, T, C)
    return layer, rng.normal(size=shape).astype(dtype)


def run(layer, x, dout=None):
    """out, dx and the gradients, by name; for a dout that is drawn if there is none."""
    out, cache = layer.forward(x)
    dout = np.random.default_rng(2).normal(size=out.shape).astype(out.dtype) if dout is None else dout
    layer.zero_grad()
    results = {"out": out.copy(), "dx": layer.backward(dout, cache)}
    return dout, results | {name: p.grad for name, p in layer.parameters().items()}


def assert_close(actual, wanted, dtype, dout=0.0, slack=1):
    """Relative to the largest entry; but where terms as large as dout cancel, as in dx of a norm if all its inputs are the same,
    both are nothing but rounding."""
    rounding = 8 * np.finfo(dtype).eps * np.abs(dout).max(initial=0)
    for part, array in wanted.items():
        assert actual[part].shape == array.shape and actual[part].dtype == dtype, part
        scale = max(1e-3, np.abs(array).max(initial=0))
        tolerance = slack * max(rounding, (1e-5 if dtype == np.float32 else 1e-13) * scale)
        assert np.abs(actual[part] - array).max(initial=0) <= tolerance, part


def arrays_in(cache):
    if isinstance(cache, np.ndarray):
        yield cache
    elif isinstance(cache, (tuple, list)):
        for part in cache:
            yield from arrays_in(part)


@every_type
@every_layout
@every_layer
def test_however_x_and_dout_lie_in_memory_a_layer_does_the_same(name, layout, dtype):
    """Beside it: a contiguous copy of the same numbers."""
    layer, x = made(name, dtype)
    dout, _ = run(layer, x)
    x, dout = LAYOUTS[layout](x), LAYOUTS[layout](dout)
    kept = x.copy(), dout.copy()
    _, wanted = run(layer, np.array(x, order="C"), np.array(dout, order="C"))
    slack = 10 if layout == "broadcast everywhere" else 1       # of rows all alike, LayerNorm makes rounding as large as anything
    assert_close(run(layer, x, dout)[1], wanted, dtype, dout, slack)
    assert np.array_equal(x, kept[0]) and np.array_equal(dout, kept[1])


@every_type
@pytest.mark.parametrize("batch", [1, B])
@every_layer
def test_outputs_and_dx_are_fresh(name, batch, dtype):
    """Nobody else sees what is written into them: this is what Block does."""
    layer, x = made(name, dtype)
    x = x[:batch * len(x) // B]
    dout, wanted = run(layer, x)
    out, cache = layer.forward(x)
    assert not any(np.shares_memory(out, array) for array in [x, *arrays_in(cache)])
    out += 1
    layer.zero_grad()
    dx = layer.backward(dout, cache)
    assert not any(np.shares_memory(dx, array) for array in [dout, *arrays_in(cache)])
    parameters = layer.parameters()
    assert not any(np.shares_memory(dx, array) or np.shares_memory(out, array)
                   for p in parameters.values() for array in (p.data, p.grad))
    results = {"out": out - 1, "dx": dx} | {part: p.grad for part, p in parameters.items()}
    assert_close(results, wanted, dtype)


@every_type
@every_layer
def test_a_batch_of_nothing_comes_to_nothing(name, dtype):
    layer, x = made(name, dtype)
    _, results = run(layer, x[:0])
    assert results.pop("out").size == results.pop("dx").size == 0
    assert not any(gradient.any() for gradient in results.values())


@every_type
@pytest.mark.parametrize("name", ["lora", "dora", "scaled outputs", "scaled inputs"])
def test_what_is_beside_a_layer_is_added_however_the_output_of_that_layer_lies_in_memory(name, dtype):
    layer, x = made(name, dtype)
    dout, wanted = run(layer, x)
    inside = layer.inner.forward
    layer.inner.forward = lambda x, needs_dx=True: (lambda y, cache: (np.asfortranarray(y), cache))(*inside(x, needs_dx))
    assert_close(run(layer, x, dout)[1], wanted, dtype)


@every_type
@pytest.mark.parametrize("shape", [(), (0,), (1,), (0, 4), (4, 0, 2)])
def test_gelu_of_a_number_and_of_none(shape, dtype, rng):
    x = np.array(rng.normal(size=shape), dtype)
    _, results = run(GELU(), x)
    assert results["out"].shape == results["dx"].shape == shape
    flat = GELU().forward(x.reshape(-1))[0]
    np.testing.assert_array_equal(results["out"].reshape(-1), flat)


@every_type
@every_layout
def test_tables_and_losses_too(layout, dtype, rng):
    table, loss, lay = Embedding(V, C, rng, dtype=dtype), CrossEntropy(), LAYOUTS[layout]
    index, targets = rng.integers(0, V, (B, T)), lay(rng.integers(-1, V, (B, T)))
    dout, logits = lay(rng.normal(size=(B, T, C)).astype(dtype)), lay(rng.normal(size=(B, T, V)).astype(dtype))
    results, plain = [], lambda array: np.array(array, order="C")
    for i, d, s, y in ((lay(index), dout, logits, targets), (plain(lay(index)), plain(dout), plain(logits), plain(targets))):
        table.zero_grad()
        out, cache = table.forward(i)
        assert not np.shares_memory(out, table.weight.data)
        table.backward(d, cache)
        value, loss_cache = loss.forward(s, y)
        ds = loss.backward(0.7, loss_cache)
        assert not any(np.shares_memory(ds, array) for array in [s, *arrays_in(loss_cache)])
        results.append({"out": out, "dW": table.weight.grad.copy(), "loss": np.array(value, dtype), "ds": ds})
    assert_close(*results, dtype)


@every_layout
@pytest.mark.parametrize("text", ["full", "lora", "dora", "ia3", "adapter", "parallel", "prefix:tokens=3", "prompt:tokens=2",
                                  "head"])
def test_a_whole_model_with_each_method(text, layout, rng):
    model = GPT(Config(V, T, 2, H, C), rng, np.float64)
    recipe_of(text).apply(model, rng)
    perturb(model, rng, 0.1)
    tokens, dlogits = LAYOUTS[layout](rng.integers(0, V, (B, T))), LAYOUTS[layout](rng.normal(size=(B, T, V)))
    results = []
    for t, d in ((tokens, dlogits), (np.array(tokens, order="C"), np.array(dlogits, order="C"))):
        logits, cache = model.forward(t)
        model.zero_grad()
        model.backward(d, cache)
        results.append({"logits": logits} | {name: p.grad for name, p in model.trainable_parameters().items()})
    assert_close(*results, np.float64)
