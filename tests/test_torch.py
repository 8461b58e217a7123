"""The same model, gradients and optimizers in PyTorch, which derives its gradients by itself. Skipped where torch is missing."""


from dataclasses import replace

import numpy as np
import pytest

from minillm.gradcheck import perturb
from minillm.nn import GPT, IGNORE, Config, CrossEntropy
from minillm.nn.block import ACTIVATIONS, NORMS
from minillm.train.flat import FlatParameters
from minillm.train.optimizers import SGD, AdamW

torch = pytest.importorskip("torch")
F = torch.nn.functional

CONFIG = Config(vocab_size=29, context=17, n_layer=3, n_head=4, n_embd=24)
# What each part is in torch: norm(x, width, weight, bias), activation(x).
THEIR_NORMS = {"layernorm": lambda x, C, weight, bias: F.layer_norm(x, (C,), weight, bias, eps=1e-5),
               "rmsnorm": lambda x, C, weight, bias: F.rms_norm(x, (C,), weight, eps=1e-5)}
THEIR_ACTIVATIONS = {"gelu": lambda x: F.gelu(x, approximate="tanh"), "relu": F.relu, "silu": F.silu}


def or_skipped(config):
    known = config.norm in THEIR_NORMS and config.activation in THEIR_ACTIVATIONS
    reason = f"nobody has said what {config.norm} or {config.activation} is in torch"
    return pytest.param(config, id=f"{config.norm}, {config.activation}", marks=[] if known else pytest.mark.skip(reason))


CONFIGS = [or_skipped(replace(CONFIG, norm=norm, activation=activation)) for norm in NORMS for activation in ACTIVATIONS]
every_config = pytest.mark.parametrize("config", CONFIGS)
both_precisions = pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-5), (np.float64, 1e-10)])


def our_gpt(rng, dtype, config=CONFIG):
    model = GPT(config, rng, dtype)
    perturb(model, rng, scale=0.1)
    return model


def tensors(model):
    """Copies of our weights as leaves of torch's graph."""
    return {name: torch.tensor(array, requires_grad=True) for name, array in model.state_dict().items()}


def torch_gpt(w, tokens, config=CONFIG):
    """GPT-2 in torch, from weights by name; with other parts, if the config says so."""
    B, T = tokens.shape
    C, H = CONFIG.n_embd, CONFIG.n_head

    def norm(x, name):
        return THEIR_NORMS[config.norm](x, C, w[f"{name}.weight"], w.get(f"{name}.bias"))

    def linear(x, name):
        return x @ w[f"{name}.weight"] + w[f"{name}.bias"]

    x = w["wte.weight"][tokens] + w["wpe.weight"][:T]
    for i in range(CONFIG.n_layer):
        block = f"blocks.{i}"
        qkv = linear(norm(x, f"{block}.ln_1"), f"{block}.attn.qkv")
        q, k, v = (part.view(B, T, H, C // H).transpose(1, 2) for part in qkv.split(C, dim=2))
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + linear(o.transpose(1, 2).reshape(B, T, C), f"{block}.attn.proj")
        hidden = linear(norm(x, f"{block}.ln_2"), f"{block}.mlp.fc")
        x = x + linear(THEIR_ACTIVATIONS[config.activation](hidden), f"{block}.mlp.proj")
    return norm(x, "ln_f") @ w["wte.weight"].T


def some_batch(rng):
    tokens, targets = rng.integers(0, 29, (2, 5, 17))
    targets[0, 9:] = IGNORE
    return tokens, targets


def assert_close(ours, theirs, tolerance, name=""):
    """Relative to the largest entry."""
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype, name
    assert np.abs(ours - theirs).max() < tolerance * np.abs(theirs).max(), name


@both_precisions
@every_config
def test_logits(config, dtype, tolerance, rng):
    model, (tokens, _) = our_gpt(rng, dtype, config), some_batch(rng)
    assert_close(model.forward(tokens)[0], torch_gpt(tensors(model), torch.tensor(tokens), config), tolerance)


@both_precisions
@every_config
def test_loss_and_every_gradient(config, dtype, tolerance, rng):
    model, (tokens, targets) = our_gpt(rng, dtype, config), some_batch(rng)
    logits, cache = model.forward(tokens)
    loss, loss_cache = CrossEntropy().forward(logits, targets)
    model.zero_grad()
    model.backward(CrossEntropy().backward(1.0, loss_cache), cache)

    w = tensors(model)
    their_logits = torch_gpt(w, torch.tensor(tokens), config)
    their_loss = F.cross_entropy(their_logits.flatten(0, 1), torch.tensor(targets.reshape(-1)), ignore_index=IGNORE)
    their_loss.backward()

    assert loss == pytest.approx(their_loss.item(), rel=tolerance)
    for name, p in model.parameters().items():
        if name.endswith("attn.qkv.bias"):      # the part of the keys is exactly zero in theory: rounding on both sides
            p.grad[CONFIG.n_embd:2 * CONFIG.n_embd] = 0
            w[name].grad[CONFIG.n_embd:2 * CONFIG.n_embd] = 0
        assert_close(p.grad, w[name].grad, tolerance, name)


def flat_and_tensors(rng):
    """Our parameters in float64, and theirs, with the same values: Flat, {name: tensor}."""
    flat = FlatParameters(our_gpt(rng, np.float64).trainable_parameters())
    return flat, {name: torch.tensor(view.copy(), requires_grad=True) for name, view in flat.views(flat.data).items()}


def five_steps(ours, theirs, flat, w, rng):
    ours.start(flat)
    for factor in (0.5, 1.0, 1.0, 0.3, 0.1):
        flat.grad[:] = rng.normal(size=flat.grad.size) * 10.0 ** rng.integers(-6, 2, flat.grad.size)
        for name, view in flat.views(flat.grad).items():
            w[name].grad = torch.tensor(view.copy())
        for group in theirs.param_groups:
            group["lr"] = ours.lr * factor
        ours.step(factor)
        theirs.step()
    for name, view in flat.views(flat.data).items():
        assert_close(view, w[name], 1e-12, name)


@pytest.mark.parametrize("betas, eps", [((0.9, 0.99), 1e-8), ((0.8, 0.95), 1e-3)])
def test_adamw(betas, eps, rng):
    flat, w = flat_and_tensors(rng)
    decayed = [t for name, t in w.items() if name.startswith("blocks.") and t.ndim == 2]
    others = [t for name, t in w.items() if not (name.startswith("blocks.") and t.ndim == 2)]
    theirs = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.2}, {"params": others, "weight_decay": 0.0}],
                               lr=1e-2, betas=betas, eps=eps)
    five_steps(AdamW(lr=1e-2, betas=betas, eps=eps, weight_decay=0.2), theirs, flat, w, rng)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd(momentum, rng):
    flat, w = flat_and_tensors(rng)
    five_steps(SGD(lr=1e-2, momentum=momentum), torch.optim.SGD(w.values(), lr=1e-2, momentum=momentum), flat, w, rng)


@pytest.mark.parametrize("clip", [0.001, 1e6])
def test_clipping(clip, rng):
    """The gradient after a step, beside torch's clipping of the gradient before; torch divides by norm + 1e-6, we by the norm."""
    from minillm.train.trainer import Trainer
    tokens = rng.integers(0, CONFIG.vocab_size, (2, CONFIG.context))
    gradients = {}
    for limit in (None, clip):
        trainer = Trainer(our_gpt(np.random.default_rng(3), np.float64), SGD(), clip=limit, workers=1)
        trainer.step(tokens, tokens)
        gradients[limit] = trainer.flat.grad
    theirs = torch.zeros(gradients[None].size, dtype=torch.float64, requires_grad=True)
    theirs.grad = torch.tensor(gradients[None])
    torch.nn.utils.clip_grad_norm_([theirs], clip)
    np.testing.assert_allclose(gradients[clip], theirs.grad.numpy(), rtol=2e-6)
