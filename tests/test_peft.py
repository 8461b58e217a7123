"""The same specialists in Hugging Face's peft, on a GPT-2 with the same weights. Skipped where one of its parts is missing."""

import numpy as np
import pytest

from minillm.finetune.merge import merge
from minillm.finetune.methods import recipe_of
from minillm.gradcheck import perturb
from minillm.nn import GPT, Config, CrossEntropy

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

CONFIG = Config(vocab_size=29, context=9, n_layer=2, n_head=3, n_embd=12)
L, H, C = CONFIG.n_layer, CONFIG.n_head, CONFIG.n_embd
D = C // H
THEIR_NAMES = {"wte": "wte", "wpe": "wpe", "ln_1": "ln_1", "ln_2": "ln_2", "ln_f": "ln_f", "attn.qkv": "attn.c_attn",
               "attn.proj": "attn.c_proj", "mlp.fc": "mlp.c_fc", "mlp.proj": "mlp.c_proj"}
THIRDS = {name: slice(i * C, (i + 1) * C) for i, name in enumerate("qkv")}

both_precisions = pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-5), (np.float64, 1e-10)])


def specialist(text, dtype):
    """Ours, with every number off its starting value."""
    rng = np.random.default_rng(5)
    model = GPT(CONFIG, rng, dtype)
    perturb(model, rng, 0.2)
    recipe_of(text).apply(model, rng)
    for p in model.trainable_parameters().values():
        p.data += 0.2 * rng.normal(size=p.shape).astype(dtype)
    return model


def gpt2(model, before=0):
    """Theirs, with the weights of our body. `before`: so many positions more, for what stands before the words without one."""
    config = transformers.GPT2Config(
        vocab_size=CONFIG.vocab_size, n_positions=CONFIG.context + before, n_embd=C, n_layer=L, n_head=H, resid_pdrop=0,
        embd_pdrop=0, attn_pdrop=0, activation_function="gelu_new", layer_norm_epsilon=1e-5, bos_token_id=0, eos_token_id=0)
    theirs = transformers.GPT2LMHeadModel(config)
    theirs.to(torch.float64 if model.wte.weight.data.dtype == np.float64 else torch.float32)
    parameters = dict(theirs.transformer.named_parameters())
    for name, array in model.state_dict().items():
        layer, kind = name.removeprefix("blocks.").rsplit(".", 1)
        number, _, place = layer.partition(".") if name.startswith("blocks.") else ("", "", layer)
        if place in THEIR_NAMES:
            their_name = f"h.{number}.{THEIR_NAMES[place]}" if number else place
            with torch.no_grad():
                parameters.pop(f"{their_name}.{kind}")[before if place == "wpe" else 0:] = torch.tensor(array)
    assert not parameters
    return theirs


def layer_of(theirs, i, place):
    return theirs.get_base_model().transformer.h[i].get_submodule(THEIR_NAMES[place])


def assert_close(ours, theirs, tolerance, name=""):
    """Relative to the largest entry."""
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype, name
    assert np.abs(ours - theirs).max() < tolerance * np.abs(theirs).max(), name


def compare(model, theirs, pairs, tolerance, before=0):
    """pairs: for each of our parameters that train, theirs and the view of it that has our shape."""
    theirs.to(torch.float64 if model.wte.weight.data.dtype == np.float64 else torch.float32)
    assert pairs.keys() == model.trainable_parameters().keys()
    with torch.no_grad():
        for name, (parameter, view) in pairs.items():
            view(parameter)[...] = torch.tensor(model.state_dict()[name])
    tokens, targets = np.random.default_rng(8).integers(0, CONFIG.vocab_size, (2, 3, CONFIG.context))
    logits, cache = model.forward(tokens)
    _, loss_cache = CrossEntropy().forward(logits, targets)
    model.zero_grad()
    model.backward(CrossEntropy().backward(1.0, loss_cache), cache)

    ids = torch.tensor(tokens)
    their_logits = theirs(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=None if before else False).logits
    their_logits = their_logits[:, their_logits.shape[1] - CONFIG.context:]
    torch.nn.functional.cross_entropy(their_logits.flatten(0, 1), torch.tensor(targets.reshape(-1))).backward()

    assert_close(logits, their_logits.detach().numpy(), tolerance)
    for name, (parameter, view) in pairs.items():
        assert_close(model.parameters()[name].grad, view(parameter.grad).numpy(), tolerance, name)
    plain = GPT(CONFIG, np.random.default_rng(0), logits.dtype)
    plain.load_state_dict({name: model.state_dict()[name] for name in plain.parameters()})
    assert np.abs(plain.logits(tokens) - logits).max() > 0.05 * np.abs(logits).max()      # or else nothing was compared


def compare_merged(model, theirs, tolerance):
    """Their merging into the weights and ours find the same ones."""
    merge(model)
    merged = theirs.merge_and_unload().transformer
    for i, block in enumerate(model.blocks):
        for place in ("attn.qkv", "attn.proj", "mlp.fc", "mlp.proj"):
            layer = merged.h[i].get_submodule(THEIR_NAMES[place])
            for kind in ("weight", "bias"):
                name = f"{place}.{kind}"
                assert_close(block.state_dict()[name], getattr(layer, kind).detach().numpy(), tolerance, f"{i} {name}")


def low_rank_pairs(model, theirs, rank, label):
    """Where our q, k and v each have a map of their own, theirs is a single one of a higher rank, made of blocks."""
    pairs = {}
    for i in range(L):
        for place in ("attn.proj", "mlp.fc", "mlp.proj"):
            layer, name = layer_of(theirs, i, place), f"blocks.{i}.{place}.{label}"
            pairs[f"{name}.A"] = layer.lora_A["default"].weight, lambda t: t.T
            pairs[f"{name}.B"] = layer.lora_B["default"].weight, lambda t: t.T
            if label == "dora":
                pairs[f"{name}.m"] = layer.lora_magnitude_vector["default"].weight, lambda t: t
        layer = layer_of(theirs, i, "attn.qkv")
        torch.nn.init.zeros_(layer.lora_B["default"].weight)
        for j, part in enumerate(model.blocks[i].attn.qkv.parts):
            ranks, columns, name = slice(j * rank, (j + 1) * rank), THIRDS[part], f"blocks.{i}.attn.qkv.{label}.{part}"
            pairs[f"{name}.A"] = layer.lora_A["default"].weight, lambda t, ranks=ranks: t[ranks].T
            pairs[f"{name}.B"] = layer.lora_B["default"].weight, lambda t, ranks=ranks, columns=columns: t[columns, ranks].T
            if label == "dora":
                pairs[f"{name}.m"] = layer.lora_magnitude_vector["default"].weight, lambda t, columns=columns: t[columns]
    return pairs


@both_precisions
@pytest.mark.parametrize("method, targets, rank, rs", [
    ("lora", "q+v", 2, False), ("lora", "q+k+v", 3, True), ("dora", "q+k+v", 2, False), ("dora", "k+v", 3, True)])
def test_lora_and_dora(method, targets, rank, rs, dtype, tolerance):
    n = len(targets.split("+"))
    model = specialist(f"{method}:rank={rank},alpha=5,rs={'yes' if rs else 'no'},targets={targets}+o+fc+proj", dtype)
    config = peft.LoraConfig(
        r=rank, lora_alpha=5, lora_dropout=0, use_dora=method == "dora", use_rslora=rs, fan_in_fan_out=True,
        target_modules=["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"],
        rank_pattern={"attn.c_attn": n * rank}, alpha_pattern={"attn.c_attn": 5 * (n ** 0.5 if rs else n)})
    theirs = peft.get_peft_model(gpt2(model), config)
    compare(model, theirs, low_rank_pairs(model, theirs, rank, method), tolerance)
    compare_merged(model, theirs, tolerance)


@both_precisions
def test_ia3(dtype, tolerance):
    model = specialist("ia3", dtype)
    config = peft.IA3Config(target_modules=["attn.c_attn", "mlp.c_proj"], feedforward_modules=["mlp.c_proj"], fan_in_fan_out=True)
    theirs = peft.get_peft_model(gpt2(model), config)
    pairs = {}
    for i in range(L):
        for part in "kv":
            pairs[f"blocks.{i}.attn.qkv.ia3.{part}.l"] = (layer_of(theirs, i, "attn.qkv").ia3_l["default"],
                                                          lambda t, columns=THIRDS[part]: t[columns, 0])
        pairs[f"blocks.{i}.mlp.proj.ia3.l"] = layer_of(theirs, i, "mlp.proj").ia3_l["default"], lambda t: t[0]
    compare(model, theirs, pairs, tolerance)
    compare_merged(model, theirs, tolerance)


@both_precisions
def test_prefix_tuning(dtype, tolerance):
    """Without a gate. Words keep their positions here; so theirs begin behind the prefix, and their table is moved up by it."""
    n = 4
    model = specialist(f"prefix:tokens={n},gate=no", dtype)
    theirs = peft.get_peft_model(gpt2(model, n), peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=n))
    table = theirs.prompt_encoder["default"].embedding.weight
    pairs = {f"blocks.{i}.attn.heads.prefix.{part}": (table, lambda t, i=i, j=j: t.view(n, L, 2, H, D)[:, i, j].transpose(0, 1))
             for i in range(L) for j, part in enumerate(("keys", "values"))}
    compare(model, theirs, pairs, tolerance, n)


@both_precisions
def test_prompt_tuning(dtype, tolerance):
    """The prompt has no positions: where it stands, their table of positions is zero."""
    n = 4
    model = specialist(f"prompt:tokens={n}", dtype)
    base = gpt2(model, n)
    torch.nn.init.zeros_(base.transformer.wpe.weight[:n].detach())
    theirs = peft.get_peft_model(base, peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=n))
    pairs = {"blocks.0.prompt.vectors": (theirs.prompt_encoder["default"].embedding.weight, lambda t: t)}
    compare(model, theirs, pairs, tolerance, n)


@both_precisions
def test_the_body_is_gpt_2(dtype, tolerance):
    model = specialist("full", dtype)
    tokens = np.random.default_rng(8).integers(0, CONFIG.vocab_size, (3, CONFIG.context))
    assert_close(model.logits(tokens), gpt2(model)(torch.tensor(tokens)).logits.detach().numpy(), tolerance)
