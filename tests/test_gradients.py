"""Is every hand-written backward pass the derivative of its forward pass? Finite differences in float64 decide."""

import copy

import numpy as np
import pytest
from mixtures import mixtures, name_of
from parts import away_from_zero, parts

from minillm import nn
from minillm.gradcheck import STEP, check_everything, check_layer, check_model, gradcheck, perturb
from minillm.nn import (
    GELU,
    GPT,
    IGNORE,
    MLP,
    AttentionHeads,
    Block,
    CausalSelfAttention,
    Config,
    CrossEntropy,
    Embedding,
    LayerNorm,
    Linear,
    RMSNorm,
    Rotary,
    SiLUGate,
    Softmax,
    SwiGLU,
)

RIGHT = 1e-7      # relative error of a right gradient, at most
WRONG = 1e-3      # relative error of a wrong gradient, at least
B, H, T, D = 2, 3, 5, 4      # all different and above 1, so that no swapped pair of axes goes unseen
C = H * D

# Every layer with the usual contract, forward(x) and backward(dout, cache), and the shape of its input.
LAYERS = {
    "linear": (lambda rng, dtype: Linear(3, 4, rng, std=0.5, dtype=dtype), (B, T, 3)),
    "softmax": (lambda rng, dtype: Softmax(), (B, H, T, T)),
    "attention": (lambda rng, dtype: CausalSelfAttention(C, H, rng, dtype=dtype), (B, T, C)),
    "layernorm of few": (lambda rng, dtype: LayerNorm(7, dtype), (B, T, 7)),
    "mlp of few": (lambda rng, dtype: MLP(3, rng, dtype=dtype), (B, T, 3)),
    "layernorm with a large eps": (lambda rng, dtype: LayerNorm(7, dtype, 0.3), (B, T, 7)),
    "rmsnorm with a large eps": (lambda rng, dtype: RMSNorm(7, dtype, 0.3), (B, T, 7)),
    "swiglu of few": (lambda rng, dtype: SwiGLU(4, rng, dtype=dtype), (B, T, 4)),      # 8C/3 is no whole number
    "rotary": (lambda rng, dtype: Rotary(5, D, 30.0), (B, T, 7 * D)),                  # 3 heads of queries, 2 of keys, 2 values
    "heads of 2 groups": (lambda rng, dtype: AttentionHeads(6, 2), (B, T, 10 * D)),
    "attention of 2 groups, turned": (lambda rng, dtype: CausalSelfAttention(
        24, 6, rng, 0.3, 0.3, dtype, n_kv_head=2, bias=False, rope_base=30.0), (B, T, 24)),
    "attention of 3 groups": (lambda rng, dtype: CausalSelfAttention(18, 6, rng, 0.3, 0.3, dtype, n_kv_head=3), (B, T, 18)),
} | {name: (make, (B, T, C)) for name, make in parts(C, H).items()}
every_layer = pytest.mark.parametrize("name", LAYERS)


def layer_and_input(name, rng, dtype=np.float64):
    make, shape = LAYERS[name]
    layer = make(rng, dtype)
    perturb(layer, rng)
    return layer, away_from_zero(rng.normal(size=shape)).astype(dtype)


def small_gpt(rng, dtype=np.float64):
    model = GPT(Config(vocab_size=11, context=7, n_layer=2, n_head=H, n_embd=C), rng, dtype)
    perturb(model, rng)
    return model


def some_tokens(rng):
    return rng.integers(0, 11, (B, T))


def some_targets(rng):
    """Six rows of which two do not count."""
    targets = rng.integers(0, 5, (2, 3))
    targets[0, 1] = targets[1, 2] = IGNORE
    return targets


def arrays_in(cache):
    """All arrays inside a cache, however deep."""
    if isinstance(cache, np.ndarray):
        return [cache]
    if isinstance(cache, (tuple, list)):
        return [array for part in cache for array in arrays_in(part)]
    return []


# ---- gradients against finite differences

@every_layer
def test_gradients_of_layer(name, rng):
    layer, x = layer_and_input(name, rng)
    errors = check_layer(layer, x, rng, step=5e-5 if "relu" in name else STEP)
    assert errors.keys() == {"x", *layer.parameters()}
    assert max(errors.values()) < RIGHT, errors


def test_gradients_of_embedding(rng):
    table = Embedding(6, 3, rng, std=1.0, dtype=np.float64)
    index = np.array([[0, 2, 2, 5], [2, 0, 4, 5]])      # repeats rows, never reads 1 and 3

    def backward(dout, cache):
        table.zero_grad()
        table.backward(dout, cache)
        return {"weight": table.weight.grad}

    errors = gradcheck(lambda: table.forward(index), backward, {"weight": table.weight.data}, rng)
    assert errors["weight"] < RIGHT
    assert not table.weight.grad[[1, 3]].any()      # a row never read has no gradient


def test_gradients_of_unembedding(rng):
    table = Embedding(6, 3, rng, std=1.0, dtype=np.float64)
    x = rng.normal(size=(B, T, 3))

    def backward(dout, cache):
        table.zero_grad()
        dx = table.unembed_backward(dout, cache)
        return {"x": dx, "weight": table.weight.grad}

    errors = gradcheck(lambda: table.unembed(x), backward, {"x": x, "weight": table.weight.data}, rng)
    assert max(errors.values()) < RIGHT, errors


@pytest.mark.parametrize("total", [None, 7.5])
def test_gradients_of_cross_entropy(total, rng):
    logits, targets = rng.normal(size=(2, 3, 5)), some_targets(rng)
    loss = CrossEntropy()
    errors = gradcheck(lambda: loss.forward(logits, targets, total),
                       lambda dout, cache: {"logits": loss.backward(dout, cache)}, {"logits": logits}, rng)
    assert errors["logits"] < RIGHT


def test_gradients_of_gpt_with_tied_head(rng):
    model = small_gpt(rng)
    errors = check_model(model, some_tokens(rng), rng)
    assert errors.keys() == model.parameters().keys()
    assert max(errors.values()) < RIGHT, errors


def test_gradients_from_the_loss_to_the_embeddings(rng):
    model, tokens, loss = small_gpt(rng), some_tokens(rng), CrossEntropy()
    targets = np.where(rng.random((B, T)) < 0.3, IGNORE, some_tokens(rng))

    def forward():
        logits, cache = model.forward(tokens)
        value, loss_cache = loss.forward(logits, targets, 8.0)
        return value, (cache, loss_cache)

    def backward(dout, caches):
        model.zero_grad()
        model.backward(loss.backward(dout, caches[1]), caches[0])
        return {name: p.grad for name, p in model.parameters().items()}

    errors = gradcheck(forward, backward, model.state_dict(), rng, entries=5)
    assert max(errors.values()) < RIGHT, errors


@pytest.mark.parametrize("config", mixtures(10, seed=2), ids=name_of)
def test_gradients_of_a_gpt_of_any_mixture_of_parts(config, rng):
    model = GPT(config, rng, np.float64)
    perturb(model, rng)
    tokens = rng.integers(0, config.vocab_size, (B, config.context))
    errors = check_model(model, tokens, rng, entries=3, step=5e-5 if config.activation == "relu" else STEP)
    assert errors.keys() == model.parameters().keys()
    assert max(errors.values()) < RIGHT, errors


# ---- facts that each derivation states

def test_softmax_gradient_sums_to_zero_over_each_row(rng):
    layer, s = layer_and_input("softmax", rng)
    p, cache = layer.forward(s)
    np.testing.assert_allclose(p.sum(axis=-1), 1, rtol=1e-12)
    np.testing.assert_allclose(layer.backward(rng.normal(size=s.shape), cache).sum(axis=-1), 0, atol=1e-12)


def test_softmax_does_not_overflow():
    p, _ = Softmax().forward(np.array([[1000.0, 1000.0, -1000.0]]))
    np.testing.assert_allclose(p, [[0.5, 0.5, 0.0]])


def test_layernorm_gradient_sums_to_zero_over_each_row(rng):
    layer, x = layer_and_input("layernorm of few", rng)
    y, cache = layer.forward(x)
    layer.zero_grad()
    np.testing.assert_allclose(layer.backward(rng.normal(size=x.shape), cache).sum(axis=-1), 0, atol=1e-12)


def test_layernorm_centres_and_scales_each_row(rng):
    y, _ = LayerNorm(50, np.float64).forward(3 + 2 * rng.normal(size=(4, 50)))
    np.testing.assert_allclose(y.mean(axis=-1), 0, atol=1e-12)
    np.testing.assert_allclose(y.var(axis=-1), 1, rtol=1e-4)


def test_cross_entropy_gradient_sums_to_zero_over_each_row_and_skips_what_does_not_count(rng):
    logits, targets = rng.normal(size=(2, 3, 5)), some_targets(rng)
    _, cache = CrossEntropy().forward(logits, targets)
    ds = CrossEntropy().backward(1.0, cache)
    np.testing.assert_allclose(ds.sum(axis=-1), 0, atol=1e-12)
    assert not ds[targets == IGNORE].any()
    assert ds[targets != IGNORE].any(axis=-1).all()


def test_cross_entropy_of_a_uniform_guess_is_log_of_the_number_of_words():
    loss, _ = CrossEntropy().forward(np.zeros((2, 3, 5)), np.array([[0, 4, IGNORE], [1, 2, 3]]))
    assert loss == pytest.approx(np.log(5), rel=1e-12)


def test_cross_entropy_divides_by_the_total_it_is_given(rng):
    logits, targets = rng.normal(size=(2, 3, 5)), some_targets(rng)
    of_four, of_ten = (CrossEntropy().forward(logits, targets, total)[0] for total in (None, 10))
    assert of_four * 4 == pytest.approx(of_ten * 10, rel=1e-12)


# ---- gradients accumulate

@every_layer
def test_backward_twice_doubles_the_gradient(name, rng):
    layer, x = layer_and_input(name, rng)
    out, cache = layer.forward(x)
    dout = rng.normal(size=out.shape)
    layer.zero_grad()
    dx = layer.backward(dout, cache)
    once = {name: p.grad.copy() for name, p in layer.parameters().items()}
    assert np.array_equal(layer.backward(dout, cache), dx)      # dx is fresh each time, it does not accumulate
    for name, p in layer.parameters().items():
        np.testing.assert_allclose(p.grad, 2 * once[name], rtol=1e-12, atol=1e-14, err_msg=name)


def test_backward_twice_doubles_the_gradient_of_gpt(rng):
    model = small_gpt(rng)
    logits, cache = model.forward(some_tokens(rng))
    dlogits = rng.normal(size=logits.shape)
    model.zero_grad()
    model.backward(dlogits, cache)
    once = {name: p.grad.copy() for name, p in model.parameters().items()}
    model.backward(dlogits, cache)
    for name, p in model.parameters().items():
        np.testing.assert_allclose(p.grad, 2 * once[name], rtol=1e-12, atol=1e-12, err_msg=name)


def test_a_forward_pass_in_between_disturbs_no_backward_pass(rng):
    model = small_gpt(rng)
    logits, cache = model.forward(some_tokens(rng))
    dlogits = rng.normal(size=logits.shape)
    model.zero_grad()
    model.backward(dlogits, cache)
    alone = {name: p.grad.copy() for name, p in model.parameters().items()}
    model.zero_grad()
    model.forward(some_tokens(rng)[:, :3])
    model.backward(dlogits, cache)
    assert all(np.array_equal(p.grad, alone[name]) for name, p in model.parameters().items())


# ---- the checker itself catches mistakes

class BiasOfOneRow(Linear):
    def backward(self, dout, cache):
        kept = self.bias.grad.copy()
        dx = super().backward(dout, cache)
        self.bias.grad[...] = kept + dout[0, 0]                             # forgot the sum over the batch
        return dx


class WeightNotTransposed(Linear):
    def backward(self, dout, cache):
        super().backward(dout, cache)
        return dout @ self.weight.data                                      # forgot the transpose


class NoFactorThree(GELU):
    def forward(self, x, needs_dx=True):
        return super().forward(x, needs_dx)[0], x

    def backward(self, dout, cache):
        x = cache
        t = np.tanh(0.7978845608 * (x + 0.044715 * x ** 3))
        slope = (1 + t) / 2 + x / 2 * (1 - t * t) * 0.7978845608 * (1 + 0.044715 * x * x)      # (x^3)' is 3 x^2
        return dout * slope


class NoGain(LayerNorm):
    def backward(self, dout, cache):
        super().backward(dout, cache)
        h = dout.reshape(cache.x_hat.shape)                                 # should be dout * gain
        x_hat = cache.x_hat
        dx = cache.r * (h - h.mean(-1, keepdims=True) - x_hat * (h * x_hat).mean(-1, keepdims=True))
        return dx.reshape(dout.shape)


class MeanAsConstant(LayerNorm):
    def backward(self, dout, cache):
        super().backward(dout, cache)
        h = (dout * self.weight.data).reshape(cache.x_hat.shape)
        dx = cache.r * (h - cache.x_hat * (h * cache.x_hat).mean(-1, keepdims=True))        # the mean moves, too
        return dx.reshape(dout.shape)


class DiagonalOnly(Softmax):
    def backward(self, dout, cache):
        return dout * cache * (1 - cache)                                   # a sigmoid's derivative, not a softmax's


class NoSqrtD(CausalSelfAttention):
    def backward(self, dout, cache):
        scaled = cache.heads.qkv.copy()
        scaled[..., :2 * C] *= 2                                            # as if sqrt(D) = 2 had been forgotten
        return super().backward(dout, cache._replace(heads=cache.heads._replace(qkv=scaled)))


class OneOfTheGroup(AttentionHeads):
    def backward(self, dout, cache):
        dqkv, others = super().backward(dout, cache), dout.copy()
        others[..., D:] = 0                                                 # only the first head of queries reaches k and v
        self.split(dqkv)[1][...] = self.split(super().backward(others, cache))[1]
        return dqkv


class TurnedOn(Rotary):
    def backward(self, dout, cache):
        return self.turned(dout)                                            # should be turned back


class SigmoidAsConstant(SiLUGate):
    def forward(self, ab, needs_dx=True):
        return super().forward(ab)[0], ab

    def backward(self, dout, cache):
        a, b = np.split(cache, 2, axis=-1)
        s = 1 / (1 + np.exp(-a))
        return np.concatenate([dout * b * s, dout * a * s], axis=-1)        # the sigmoid moves, too


class NoWayAround(Block):
    def backward(self, dout, cache):
        return super().backward(dout, cache) - dout                         # forgot the residual connection


MISTAKES = {
    "missing sum over the batch": (lambda rng: BiasOfOneRow(3, 4, rng, 0.5, np.float64), (B, T, 3)),
    "missing transpose": (lambda rng: WeightNotTransposed(4, 4, rng, 0.5, np.float64), (B, T, 4)),
    "missing factor in GELU": (lambda rng: NoFactorThree(), (B, T, 3)),
    "missing gain": (lambda rng: NoGain(7, np.float64), (B, T, 7)),
    "mean taken as constant": (lambda rng: MeanAsConstant(7, np.float64), (B, T, 7)),
    "softmax without its off-diagonal": (lambda rng: DiagonalOnly(), (B, H, T, T)),
    "scores not scaled": (lambda rng: NoSqrtD(C, H, rng, 0.5, dtype=np.float64), (B, T, C)),
    "one head of a group forgotten": (lambda rng: OneOfTheGroup(2, 1), (B, T, 4 * D)),
    "turned on instead of back": (lambda rng: TurnedOn(2, D, 30.0), (B, T, 3 * D)),
    "sigmoid taken as constant": (lambda rng: SigmoidAsConstant(), (B, T, 6)),
    "missing residual": (lambda rng: NoWayAround(C, H, rng, 0.5, dtype=np.float64), (B, T, C)),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_checker_catches(mistake, rng):
    make, shape = MISTAKES[mistake]
    layer = make(rng)
    perturb(layer, rng)
    assert max(check_layer(layer, rng.normal(size=shape), rng).values()) > WRONG


def test_checker_catches_a_loss_that_forgets_to_divide(rng):
    logits, targets, loss = rng.normal(size=(2, 3, 5)), some_targets(rng), CrossEntropy()
    errors = gradcheck(lambda: loss.forward(logits, targets),
                       lambda dout, cache: {"logits": loss.backward(dout, cache._replace(total=1.0))}, {"logits": logits}, rng)
    assert errors["logits"] > WRONG


def test_checker_catches_a_tied_table_that_is_assigned_instead_of_added_to(rng):
    class Assigns(Embedding):
        def backward(self, dout, cache):
            self.weight.grad[...] = 0                                       # = instead of +=: the head's part is lost
            super().backward(dout, cache)

    model = small_gpt(rng)
    model.wte.__class__ = Assigns
    errors = check_model(model, some_tokens(rng), rng)
    assert errors.pop("wte.weight") > WRONG
    assert max(errors.values()) < RIGHT


def test_checker_catches_one_wrong_entry(rng):
    x = rng.normal(size=20)

    def backward(dout, cache):
        gradient = 2 * x * dout
        gradient[13] *= 1.01
        return {"x": gradient}

    assert gradcheck(lambda: (x * x, None), backward, {"x": x}, rng)["x"] > WRONG


def test_checker_refuses_float32(rng):
    with pytest.raises(TypeError, match="weight is float32"):
        check_layer(Linear(3, 4, rng), rng.normal(size=(2, 3)), rng)


def test_the_command_checks_the_backward_pass_of_every_layer(monkeypatch, rng):
    layers, called = {kind for kind in vars(nn).values() if isinstance(kind, type) and "backward" in vars(kind)}, set()

    def watched(kind):
        right = kind.backward

        def backward(*args, **kwargs):
            called.add(kind)
            return right(*args, **kwargs)
        return backward

    for kind in layers:
        monkeypatch.setattr(kind, "backward", watched(kind))
    assert max(check_everything(rng).values()) < RIGHT
    assert called == layers


# ---- float32 stays float32

def assert_float32(arrays):
    floats = [array.dtype for array in arrays if np.issubdtype(array.dtype, np.floating)]
    assert floats and set(floats) == {np.dtype(np.float32)}


@every_layer
def test_layer_upcasts_nowhere(name, rng):
    make, shape = LAYERS[name]
    layer, x = make(rng, np.float32), rng.normal(size=shape).astype(np.float32)
    out, cache = layer.forward(x)
    layer.zero_grad()
    dx = layer.backward(np.ones_like(out), cache)
    assert_float32([out, *arrays_in(cache), dx, *(p.grad for p in layer.parameters().values())])


def test_gpt_and_loss_upcast_nowhere(rng):
    model, tokens = GPT(Config(11, 7, 2, H, C), rng), some_tokens(rng)
    logits, cache = model.forward(tokens)
    loss, loss_cache = CrossEntropy().forward(logits, tokens, total=9)
    dlogits = CrossEntropy().backward(1.0, loss_cache)
    model.zero_grad()
    model.backward(dlogits, cache)
    assert type(loss) is float
    assert_float32([logits, dlogits, model.logits(tokens), *arrays_in(cache), *arrays_in(loss_cache)])
    assert_float32([p.grad for p in model.parameters().values()])
    assert_float32([p.data for p in model.parameters().values()])


# ---- nobody else's array is written to

@every_layer
def test_backward_writes_into_no_array_of_others(name, rng):
    layer, x = layer_and_input(name, rng)
    x_before = x.copy()
    out, cache = layer.forward(x)
    dout = rng.normal(size=out.shape)
    read = [out, dout, *arrays_in(cache)]
    before = copy.deepcopy(read)
    layer.zero_grad()
    dx = layer.backward(dout, cache)
    assert np.array_equal(x, x_before)
    assert all(np.array_equal(now, then) for now, then in zip(read, before))
    assert not any(np.shares_memory(dx, array) for array in [x, *read])


def test_backward_of_gpt_writes_into_no_array_of_others(rng):
    model, tokens = small_gpt(rng), some_tokens(rng)
    logits, cache = model.forward(tokens)
    dlogits = rng.normal(size=logits.shape)
    read = [tokens, logits, dlogits, *arrays_in(cache), *model.state_dict().values()]
    before = copy.deepcopy(read)
    model.zero_grad()
    model.backward(dlogits, cache)
    assert all(np.array_equal(now, then) for now, then in zip(read, before))


def test_backward_of_loss_writes_into_no_array_of_others(rng):
    logits, targets = rng.normal(size=(2, 3, 5)), some_targets(rng)
    read = [logits, targets]
    before = copy.deepcopy(read)
    _, cache = CrossEntropy().forward(logits, targets)
    read += arrays_in(cache)
    before += copy.deepcopy(arrays_in(cache))
    CrossEntropy().backward(1.0, cache)
    assert all(np.array_equal(now, then) for now, then in zip(read, before))


# ---- the model as a whole

@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_future_changes_nothing_in_the_past(dtype, rng):
    model, tokens = small_gpt(rng, dtype), some_tokens(rng)
    logits, _ = model.forward(tokens)
    for t in range(T - 1):
        changed = tokens.copy()
        changed[:, t + 1] = (changed[:, t + 1] + 1) % 11
        new, _ = model.forward(changed)
        assert np.array_equal(new[:, :t + 1], logits[:, :t + 1])
        assert not np.array_equal(new[:, t + 1:], logits[:, t + 1:])


def test_the_past_changes_the_future(rng):
    model, tokens = small_gpt(rng), some_tokens(rng)
    changed = tokens.copy()
    changed[:, 0] = (changed[:, 0] + 1) % 11
    moved = np.abs(model.forward(changed)[0] - model.forward(tokens)[0]).max(axis=-1)
    assert (moved > 1e-6).all()


def test_logits_are_those_of_the_forward_pass(rng):
    model, tokens = small_gpt(rng), some_tokens(rng)
    assert np.array_equal(model.logits(tokens), model.forward(tokens)[0])


@pytest.mark.parametrize("method", ["forward", "logits"])
def test_a_text_longer_than_the_context_is_refused(method, rng):
    with pytest.raises(ValueError, match="context of 7"):
        getattr(small_gpt(rng), method)(np.zeros((1, 8), int))


def test_load_state_refuses_weights_of_another_shape_or_name(rng):
    model = small_gpt(rng)
    state = {name: array.copy() for name, array in model.state_dict().items()}
    with pytest.raises(ValueError, match="ln_f.bias"):
        model.load_state_dict({name: array for name, array in state.items() if name != "ln_f.bias"})
    with pytest.raises(ValueError, match="wpe.weight"):
        model.load_state_dict(state | {"wpe.weight": np.zeros((3, C))})


@pytest.mark.parametrize("sizes, message", [({"n_head": 5}, "5 heads"), ({"n_layer": 0}, "n_layer is 0")])
def test_config_refuses_sizes_that_do_not_fit(sizes, message):
    with pytest.raises(ValueError, match=message):
        Config(**{"vocab_size": 11, "context": 7, "n_embd": 12} | sizes)
