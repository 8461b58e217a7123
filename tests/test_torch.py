"""The same model, gradients and optimizers in PyTorch, which derives its gradients by itself. Skipped where torch is missing."""


from dataclasses import replace

import numpy as np
import pytest
from mixtures import mixtures, name_of

from minillm.gradcheck import perturb
from minillm.nn import GPT, IGNORE, Config, CrossEntropy
from minillm.nn.block import ACTIVATIONS, BIASES, MLPS, NORMS
from minillm.nn.config import ARCHITECTURES, PARTS
from minillm.train.flat import FlatParameters
from minillm.train.optimizers import SGD, AdamW

torch = pytest.importorskip("torch")
F = torch.nn.functional

CONFIG = Config(vocab_size=29, context=17, n_layer=3, n_head=4, n_embd=24)
LLAMA = replace(CONFIG, **ARCHITECTURES["llama"], n_kv_head=2, rope_base=100.0)
# What each part is in torch: norm(x, width, weight, bias, eps), activation(x).
THEIR_NORMS = {"layernorm": lambda x, C, weight, bias, eps: F.layer_norm(x, (C,), weight, bias, eps),
               "rmsnorm": lambda x, C, weight, bias, eps: F.rms_norm(x, (C,), weight, eps)}
THEIR_ACTIVATIONS = {"gelu": lambda x: F.gelu(x, approximate="tanh"), "relu": F.relu, "silu": F.silu}
IN_TORCH = {"norm": THEIR_NORMS, "activation": THEIR_ACTIVATIONS, "mlp": {"mlp", "swiglu"}, "positions": {"learned", "rotary"}}


def or_skipped(config, name):
    unknown = [getattr(config, part) for part, known in IN_TORCH.items() if getattr(config, part) not in known]
    reason = f"nobody has said what {' or '.join(unknown)} is in torch"
    return pytest.param(config, id=name, marks=pytest.mark.skip(reason) if unknown else [])


CONFIGS = [or_skipped(replace(CONFIG, norm=norm, activation=activation), f"{norm}, {activation}")
           for norm in NORMS for activation in ACTIVATIONS]
CONFIGS += [or_skipped(LLAMA, "llama"), or_skipped(replace(LLAMA, n_kv_head=None, tied=False), "llama, untied")]
CONFIGS += [or_skipped(config, f"{i} {name_of(config)}") for i, config in enumerate(mixtures(12, seed=1))]
every_config = pytest.mark.parametrize("config", CONFIGS)
both_precisions = pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-5), (np.float64, 1e-10)])


def test_each_choice_of_each_part_is_among_the_mixtures():
    configs = mixtures(12, seed=1)
    for part, choices in {"norm": NORMS, "mlp": MLPS, "activation": ACTIVATIONS, "positions": PARTS["positions"],
                          "biases": BIASES,
                          "tied": (True, False)}.items():
        assert {getattr(config, part) for config in configs} == set(choices)
    assert any(1 < config.kv_heads < config.n_head for config in configs) and any(config.kv_heads == 1 for config in configs)


def our_gpt(rng, dtype, config=CONFIG):
    model = GPT(config, rng, dtype)
    perturb(model, rng, scale=0.1)
    return model


def tensors(model):
    """Copies of our weights as leaves of torch's graph."""
    return {name: torch.tensor(array, requires_grad=True) for name, array in model.state_dict().items()}


def turned(x, base):
    """x (B, heads, T, D): features 2j and 2j + 1 of each row turned by t base^(-2j/D), as a matrix of cosines and sines does."""
    T, D = x.shape[2:]
    angle = torch.arange(T, dtype=torch.float64)[:, None] / base ** (torch.arange(0, D, 2, dtype=torch.float64) / D)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    even, odd = x[..., ::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


def torch_gpt(w, tokens, config=CONFIG):
    """GPT-2 in torch, from weights by name; with other parts, if the config says so."""
    B, T = tokens.shape
    C, H, K = config.n_embd, config.n_head, config.n_kv_head or config.n_head
    D = C // H

    def norm(x, name):
        return THEIR_NORMS[config.norm](x, C, w[f"{name}.weight"], w.get(f"{name}.bias"), config.norm_eps)

    def linear(x, name, bias):
        y = x @ w[f"{name}.weight"]
        return y + w[f"{name}.bias"] if bias else y

    def attention(x, name):
        bias = config.biases in ("all", "attention")
        q, k, v = (part.view(B, T, -1, D).transpose(1, 2) for part in linear(x, f"{name}.qkv", bias).split([C, K * D, K * D], 2))
        if config.positions == "rotary":
            q, k = turned(q, config.rope_base), turned(k, config.rope_base)
        k, v = (part.repeat_interleave(H // K, dim=1) for part in (k, v))
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return linear(o.transpose(1, 2).reshape(B, T, C), f"{name}.proj", bias)

    def mlp(x, name):
        bias = config.biases in ("all", "mlp")
        if config.mlp == "swiglu":
            gate, up = linear(x, f"{name}.gate_up", bias).chunk(2, dim=-1)
            return linear(F.silu(gate) * up, f"{name}.down", bias)
        return linear(THEIR_ACTIVATIONS[config.activation](linear(x, f"{name}.fc", bias)), f"{name}.proj", bias)

    x = w["wte.weight"][tokens]
    if config.positions == "learned":
        x = x + w["wpe.weight"][:T]
    for i in range(config.n_layer):
        x = x + attention(norm(x, f"blocks.{i}.ln_1"), f"blocks.{i}.attn")
        x = x + mlp(norm(x, f"blocks.{i}.ln_2"), f"blocks.{i}.mlp")
    return norm(x, "ln_f") @ w["wte.weight" if config.tied else "lm_head.weight"].T


def some_batch(rng, config=CONFIG):
    tokens, targets = rng.integers(0, config.vocab_size, (2, 5, config.context))
    targets[0, config.context // 2:] = IGNORE
    return tokens, targets


def assert_close(ours, theirs, tolerance, name=""):
    """Relative to the largest entry."""
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype, name
    assert np.abs(ours - theirs).max() < tolerance * np.abs(theirs).max(), name


@both_precisions
@every_config
def test_logits(config, dtype, tolerance, rng):
    model, (tokens, _) = our_gpt(rng, dtype, config), some_batch(rng, config)
    assert_close(model.forward(tokens)[0], torch_gpt(tensors(model), torch.tensor(tokens), config), tolerance)


def loss_and_gradients(model, tokens, targets):
    """Our loss; the gradients are in the model then."""
    logits, cache = model.forward(tokens)
    loss, loss_cache = CrossEntropy().forward(logits, targets)
    model.zero_grad()
    model.backward(CrossEntropy().backward(1.0, loss_cache), cache)
    return loss


@both_precisions
@every_config
def test_loss_and_every_gradient(config, dtype, tolerance, rng):
    model, (tokens, targets) = our_gpt(rng, dtype, config), some_batch(rng, config)
    loss = loss_and_gradients(model, tokens, targets)

    w = tensors(model)
    their_logits = torch_gpt(w, torch.tensor(tokens), config)
    their_loss = F.cross_entropy(their_logits.flatten(0, 1), torch.tensor(targets.reshape(-1)), ignore_index=IGNORE)
    their_loss.backward()

    assert loss == pytest.approx(their_loss.item(), rel=tolerance)
    assert w.keys() == model.parameters().keys()
    for name, p in model.parameters().items():
        if name.endswith("attn.qkv.bias") and config.positions == "learned":
            # The part of the keys is exactly zero in theory: it adds the same to all scores of a query. Rounding on both sides.
            keys = slice(config.n_embd, config.n_embd + config.kv_heads * config.head_dim)
            p.grad[keys] = 0
            w[name].grad[keys] = 0
        assert_close(p.grad, w[name].grad, tolerance, name)


@pytest.mark.parametrize("config", [LLAMA, replace(LLAMA, n_kv_head=None, n_hidden=30, tied=False, norm_eps=1e-2)],
                         ids=["llama", "untied"])
def test_it_is_llama_as_others_have_it(config, rng):
    """Hugging Face's, which turns features j and j + D/2 of a head together: the columns of q and k in another order."""
    transformers = pytest.importorskip("transformers")
    C, H, K, D = config.n_embd, config.n_head, config.kv_heads, config.head_dim
    model, (tokens, targets) = our_gpt(rng, np.float32, config), some_batch(rng, config)
    loss = loss_and_gradients(model, tokens, targets)
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=config.vocab_size, hidden_size=C, intermediate_size=model.blocks[0].mlp.down.weight.shape[0],
        num_hidden_layers=config.n_layer, num_attention_heads=H, num_key_value_heads=K, rms_norm_eps=config.norm_eps,
        max_position_embeddings=config.context, tie_word_embeddings=config.tied, bos_token_id=0, eos_token_id=0,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_base}))
    halves = np.concatenate([np.arange(0, D, 2), np.arange(1, D, 2)])

    def in_halves(W, heads):
        return W.reshape(C, heads, D)[:, :, halves].reshape(C, heads * D)

    def by_their_names(arrays):
        named = {"model.embed_tokens": arrays["wte.weight"], "model.norm": arrays["ln_f.weight"]}
        if not config.tied:
            named["lm_head"] = arrays["lm_head.weight"]
        for i in range(config.n_layer):
            ours, layer = {name: arrays[f"blocks.{i}.{name}.weight"] for name in (
                "ln_1", "attn.qkv", "attn.proj", "ln_2", "mlp.gate_up", "mlp.down")}, f"model.layers.{i}"
            q, k, v = np.split(ours["attn.qkv"], [C, C + K * D], axis=1)
            gate, up = np.split(ours["mlp.gate_up"], 2, axis=1)
            named |= {f"{layer}.input_layernorm": ours["ln_1"], f"{layer}.post_attention_layernorm": ours["ln_2"],
                      f"{layer}.self_attn.q_proj": in_halves(q, H).T, f"{layer}.self_attn.k_proj": in_halves(k, K).T,
                      f"{layer}.self_attn.v_proj": v.T, f"{layer}.self_attn.o_proj": ours["attn.proj"].T,
                      f"{layer}.mlp.gate_proj": gate.T, f"{layer}.mlp.up_proj": up.T,
                      f"{layer}.mlp.down_proj": ours["mlp.down"].T}
        return {f"{name}.weight": array for name, array in named.items()}

    parameters = dict(theirs.named_parameters())
    weights = by_their_names(model.state_dict())
    assert weights.keys() == parameters.keys()
    with torch.no_grad():
        for name, array in weights.items():
            parameters[name][...] = torch.tensor(array)
    logits = theirs(input_ids=torch.tensor(tokens)).logits
    their_loss = F.cross_entropy(logits.flatten(0, 1), torch.tensor(targets.reshape(-1)), ignore_index=IGNORE)
    their_loss.backward()
    assert_close(model.logits(tokens), logits, 1e-5)
    assert loss == pytest.approx(their_loss.item(), rel=1e-5)
    for name, gradient in by_their_names({name: p.grad for name, p in model.parameters().items()}).items():
        assert_close(gradient, parameters[name].grad, 1e-5, name)


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
