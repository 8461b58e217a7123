"""Against forgetting: old texts come again, springs pull as their penalty says, and part of the way is gone back."""

from dataclasses import replace

import numpy as np
import pytest
from tables import and_all_methods

from minillm.finetune.methods import recipe_of
from minillm.finetune.methods.lora import LoRALinear, LowRank
from minillm.finetune.remedies import EWC, L2SP, REMEDIES, Interpolation, QuadraticPenalty, Remedy, Replay, fisher, interpolate
from minillm.finetune.wrapper import inserted
from minillm.gradcheck import TOLERANCE, numerical_gradient, perturb, relative_error
from minillm.nn import GPT, IGNORE, Config
from minillm.nn.config import ARCHITECTURES
from minillm.text.batches import DocumentBatches, StreamBatches
from minillm.train.flat import FlatParameters
from minillm.train.optimizers import SGD, AdamW
from minillm.train.trainer import Trainer

CONFIG = Config(vocab_size=11, context=7, n_layer=2, n_head=3, n_embd=12)
METHODS = and_all_methods("full", "frozen:train=biases", "head", "adapter:bottleneck=3", "lora:targets=q+v+fc", "dora", "ia3",
                          "prefix:tokens=2", "prefix:tokens=2,gate=no", "prompt:tokens=2")
LLAMA = replace(CONFIG, **ARCHITECTURES["llama"] | {"biases": "attention"}, n_kv_head=1, n_hidden=10, rope_base=20.0)
SPRINGS = [kind for kind in REMEDIES.values() if kind.penalty is not Remedy.penalty]


def small_gpt(dtype=np.float64, config=CONFIG):
    """The same model on every call, with every weight off its starting value."""
    rng = np.random.default_rng(5)
    model = GPT(config, rng, dtype)
    perturb(model, rng)
    return model


def prepared(text, dtype=np.float64, config=CONFIG):
    model = small_gpt(dtype, config)
    if config.mlp == "swiglu":      # whose maps are called otherwise
        text = text.replace("fc", "up").replace("proj", "down")
    recipe_of(text).apply(model, np.random.default_rng(6))
    return model


def copies(parameters):
    return {name: p.data.copy() for name, p in parameters.items()}


def batch(rng):
    return rng.integers(0, 11, (2, 4, 7))


# ---- springs

@pytest.mark.parametrize("importance", [False, True])
def test_the_pull_is_the_derivative_of_its_penalty(importance, rng):
    model = prepared("frozen:train=last")
    F = {name: rng.random(p.shape) for name, p in model.trainable_parameters().items()} if importance else None
    flat, penalty = FlatParameters(model.trainable_parameters()), QuadraticPenalty(0.7, F)
    penalty.start(flat)
    origin = copies(model.trainable_parameters())
    flat.data += rng.normal(size=flat.data.size)

    def value():
        return sum(0.7 / 2 * float(((p.data - origin[name]) ** 2 * (F[name] if F else 1)).sum())
                   for name, p in model.trainable_parameters().items())

    before = rng.normal(size=flat.data.size)
    flat.grad[:] = before
    half = flat.data.size // 2
    penalty.add(slice(0, half))
    assert np.array_equal(flat.grad[half:], before[half:])
    penalty.add(slice(half, None))
    tried = rng.permutation(flat.data.size)[:60]
    assert relative_error((flat.grad - before)[tried], numerical_gradient(value, flat.data, tried)) < TOLERANCE


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("text", ["full", "lora"])
def test_in_training_it_is_added_to_the_gradient_once(workers, text, rng):
    tokens, targets = batch(rng)
    gradients, losses = [], []
    for penalised in (False, True):
        model = prepared(text)
        F = {name: np.full(p.shape, 1.0 + i) for i, (name, p) in enumerate(model.trainable_parameters().items())}
        trainer = Trainer(model, SGD(0.0), clip=None, workers=workers, penalty=QuadraticPenalty(0.5, F) if penalised else None)
        trainer.flat.data += np.linspace(-0.1, 0.1, trainer.flat.data.size)
        losses.append(trainer.step(tokens, targets))
        gradients.append(trainer.flat.grad.copy())
    moved = dict(trainer.flat.views(np.linspace(-0.1, 0.1, trainer.flat.data.size)))
    for i, name in enumerate(model.trainable_parameters()):
        added = trainer.flat.views(gradients[1] - gradients[0])[name]
        np.testing.assert_allclose(added, 0.5 * (1 + i) * moved[name], rtol=1e-9, atol=1e-13, err_msg=name)
    assert losses[0] == losses[1]


@pytest.mark.parametrize("text", METHODS)
def test_at_the_start_it_does_not_pull(text, rng):
    tokens, targets = batch(rng)
    states = []
    for penalty in (None, L2SP(10.0).penalty(None, None)):
        model = prepared(text, np.float32)
        Trainer(model, AdamW(), workers=1, penalty=penalty).step(tokens, targets)
        states.append(model.state_dict())
    assert all(np.array_equal(states[0][name], states[1][name]) for name in states[0])


def test_the_stronger_it_is_the_nearer_the_weights_stay(rng):
    tokens, targets = batch(rng)
    moved = []
    for strength in (None, 0.3, 3.0, 30.0):
        trainer = Trainer(small_gpt(), SGD(0.03, momentum=0), workers=1, penalty=QuadraticPenalty(strength) if strength else None)
        start = trainer.flat.data.copy()
        for _ in range(40):
            trainer.step(tokens, targets)
        moved.append(np.linalg.norm(trainer.flat.data - start))
    assert moved[0] > 1.02 * moved[1] > 1.2 * moved[2] > 2 * moved[3] > 0


def test_what_matters_more_moves_less(rng):
    tokens, targets = batch(rng)
    model = small_gpt()
    F = {name: np.full(p.shape, 100.0 * name.startswith("blocks.0")) for name, p in model.parameters().items()}
    moved = []
    for penalty in (None, QuadraticPenalty(1.0, F)):
        model = small_gpt()
        before = copies(model.parameters())
        trainer = Trainer(model, SGD(0.003, momentum=0), workers=1, penalty=penalty)
        for _ in range(30):
            trainer.step(tokens, targets)
        after = model.state_dict()
        moved.append({start: sum(np.abs(after[name] - before[name]).sum() for name in before if name.startswith(start))
                      for start in ("blocks.0", "blocks.1")})
    assert moved[1]["blocks.0"] < 0.3 * moved[0]["blocks.0"] and moved[1]["blocks.1"] > 0.7 * moved[0]["blocks.1"]


@pytest.mark.parametrize("kind", SPRINGS, ids=lambda kind: kind.method)
def test_every_spring_pulls_back_to_the_start(kind, rng):
    """Down its gradient is nearer to the start, wherever the weights are."""
    model = small_gpt()
    penalty, flat = kind().penalty(model, lambda n: [[1, 2, 3, 4]]), FlatParameters(model.trainable_parameters())
    penalty.start(flat)
    away = rng.normal(size=flat.data.size)
    flat.data += away
    flat.grad[:] = 0
    penalty.add(slice(None))
    assert flat.grad @ away > 0 and (flat.grad * away >= 0).all()


# ---- what the old data depend on

TINY = Config(vocab_size=5, context=4, n_layer=1, n_head=2, n_embd=4)
DOCUMENTS = [[1, 3, 0, 4], [2, 0]]      # of three and of one token to be foretold
TIMES = 800


@pytest.fixture(scope="module")
def estimate():
    """The Fisher information from many random answers."""
    return fisher(small_gpt(config=TINY), DOCUMENTS * TIMES, np.random.default_rng(7))


def log_p(model, ids):
    logits = model.logits(np.array([ids[:-1]]))[0]
    top = logits.max(axis=-1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(axis=-1, keepdims=True))


def test_the_fisher_information_is_the_mean_square_of_the_score_over_all_answers(estimate):
    """Enumerated: every place of every document, every word that could stand there, with its probability."""
    model = small_gpt(config=TINY)
    exact = {name: np.zeros_like(p.data) for name, p in model.parameters().items()}
    for ids in DOCUMENTS:
        p = np.exp(log_p(model, ids))
        for t in range(len(ids) - 1):
            for word in range(5):
                logits, cache = model.forward(np.array([ids[:-1]]))
                score = np.zeros_like(logits)
                score[0, t] = (np.arange(5) == word) - p[t]
                model.zero_grad()
                model.backward(score, cache)
                for name, parameter in model.parameters().items():
                    exact[name] += p[t, word] * parameter.grad ** 2
    tokens = sum(len(ids) - 1 for ids in DOCUMENTS)
    assert estimate.keys() == exact.keys()
    for name in exact:
        assert estimate[name].shape == exact[name].shape and (estimate[name] >= 0).all()
        assert estimate[name].sum() == pytest.approx(exact[name].sum() / tokens, rel=0.12), name
        assert np.abs(estimate[name] - exact[name] / tokens).max() < 0.15 * exact[name].max() / tokens, name


def test_half_of_it_times_the_square_of_a_step_is_what_is_lost_in_nats_a_token(estimate):
    """The divergence from the model as it was: the penalty of EWC at a strength of 1."""
    model, step = small_gpt(config=TINY), 1e-3
    before = [log_p(model, ids) for ids in DOCUMENTS]
    for name, p in model.parameters().items():
        entry = np.unravel_index(estimate[name].argmax(), p.shape)
        lost = 0
        for sign in (1, -1):
            p.data[entry] += sign * step
            lost += sum((np.exp(old) * (old - log_p(model, ids))).sum() for old, ids in zip(before, DOCUMENTS)) / 2
            p.data[entry] -= sign * step
        assert lost / 4 == pytest.approx(estimate[name][entry] * step ** 2 / 2, rel=0.15), name      # of four tokens


def test_what_no_document_touches_does_not_matter():
    importance = fisher(small_gpt(config=TINY), [[1, 3, 0], [3, 1]], np.random.default_rng(0))
    assert importance["wpe.weight"][:2].all() and not importance["wpe.weight"][2:].any()


@pytest.mark.parametrize("text", METHODS)
def test_it_is_found_for_what_trains_and_leaves_no_trace(text, rng):
    model = prepared(text)
    before = copies(model.parameters())
    importance = fisher(model, [[1, 2, 3, 4], [5, 6]], rng)
    assert importance.keys() == model.trainable_parameters().keys()
    assert all(F.shape == before[name].shape for name, F in importance.items())
    assert all(np.array_equal(p.data, before[name]) and p.grad is None for name, p in model.parameters().items())


@pytest.mark.parametrize("text, blind", [
    ("full", ()), ("ia3", ()), ("head", ()), ("prompt:tokens=2", ()), ("prefix:tokens=2,gate=no", ()),
    ("lora", (".A",)), ("dora", (".A",)), ("adapter:bottleneck=3", (".down.weight", ".down.bias")),
    ("prefix:tokens=2", (".keys", ".values"))])
def test_it_does_not_see_what_has_no_effect_at_the_start(text, blind, rng):
    """As the description of EWC says. (But for the biases of keys, which never have any.)"""
    importance = fisher(prepared(text), [[1, 2, 3, 4], [5, 6, 7]], rng)
    for name, F in importance.items():
        assert F.any() != name.endswith(blind or "nothing"), name


def test_elastic_weights_are_held_by_it():
    model, asked = small_gpt(config=TINY), []

    def old_sequences(n):
        asked.append(n)
        return (DOCUMENTS * n)[:n]

    penalty = EWC(3.0, 6).penalty(model, old_sequences)
    expected = fisher(model, DOCUMENTS * 3, np.random.default_rng(0))
    flat = FlatParameters(model.trainable_parameters())
    penalty.start(flat)
    assert asked == [6]
    for name, F in flat.views(penalty.F).items():
        np.testing.assert_allclose(F, 3 * expected[name], rtol=1e-12, err_msg=name)


# ---- old texts again

def documents(first, n, rng):
    return [[first, *rng.integers(2, 11, rng.integers(1, 6))] for _ in range(n)]


@pytest.mark.parametrize("size, share, old_rows", [(8, 0.25, 2), (8, 1.0, 8), (4, 0.01, 1), (6, 0.5, 3), (3, 2.0, 6)])
def test_in_every_batch_there_are_new_texts_and_old(size, share, old_rows, rng):
    new, old = documents(0, 20, rng), documents(1, 20, rng)
    sources = []

    def make_old(n):
        sources.append(DocumentBatches(old, n, seed=3))
        return sources[0]

    mixed = Replay(share).batches(DocumentBatches(new, size, seed=2), make_old)
    assert sources[0].batch == old_rows
    assert mixed.total == pytest.approx(DocumentBatches(new, size, seed=2).total + sources[0].total)
    for step in range(6):
        tokens, targets = mixed.at(step)
        assert tokens[:, 0].tolist() == [0] * size + [1] * old_rows
        alone = [source.at(step) for source in (DocumentBatches(new, size, seed=2), sources[0])]
        assert tokens.shape == targets.shape and tokens.shape[1] == max(part.shape[1] for part, _ in alone)
        for rows, (part, part_targets) in zip((slice(0, size), slice(size, None)), alone):
            T = part.shape[1]
            assert np.array_equal(tokens[rows, :T], part) and np.array_equal(targets[rows, :T], part_targets)
            assert (targets[rows, T:] == IGNORE).all()
        assert all(np.array_equal(x, y) for x, y in zip(mixed.at(step), (tokens, targets)))


def test_windows_of_long_texts_can_be_mixed_too(rng):
    new, old = StreamBatches(rng.integers(0, 5, 100), 7, 8), lambda n: StreamBatches(rng.integers(5, 11, 100), 7, n)
    tokens, targets = Replay(0.5).batches(new, old).at(3)
    assert tokens.shape == targets.shape == (12, 7) and (tokens[:8] < 5).all() and (tokens[8:] >= 5).all()
    assert Replay(0.5).batches(new, old).total is None


@pytest.mark.parametrize("remedy", [Remedy(), L2SP(), EWC(), Interpolation()], ids=lambda remedy: remedy.method)
def test_the_others_leave_the_batches_alone(remedy):
    source = object()
    assert remedy.batches(source, None) is source


def test_only_springs_pull_and_only_interpolation_has_a_last_word():
    model = prepared("lora")
    perturb(model, np.random.default_rng(0))
    before = copies(model.parameters())
    for kind in REMEDIES.values():
        assert (kind().penalty(model, lambda n: [[1, 2, 3]]) is not None) == (kind in SPRINGS)
    for kind in [Remedy, Replay, *SPRINGS]:
        kind().finish(model, {})
    assert all(np.array_equal(array, before[name]) for name, array in model.state_dict().items())


# ---- part of the way back

both_kinds_of_blocks = pytest.mark.parametrize("config", [CONFIG, LLAMA], ids=["gpt2", "llama"])


def trained(text, rng, dtype=np.float64, config=CONFIG):
    """A specialist that has moved, and where it started."""
    model = prepared(text, dtype, config)
    start = copies(model.trainable_parameters())
    for p in model.trainable_parameters().values():
        p.data += (0.1 * rng.normal(size=p.shape)).astype(dtype)
    return model, start


@pytest.mark.parametrize("text", METHODS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@both_kinds_of_blocks
def test_all_the_way_back_is_the_start_to_the_last_bit_of_the_logits(text, dtype, config, rng):
    model, start = trained(text, rng, dtype, config)
    tokens = rng.integers(0, 11, (2, 6))
    assert not np.array_equal(model.logits(tokens), prepared(text, dtype, config).logits(tokens))
    Interpolation(0.0).finish(model, start)
    assert np.array_equal(model.logits(tokens), prepared(text, dtype, config).logits(tokens))


@pytest.mark.parametrize("text", METHODS)
@both_kinds_of_blocks
def test_no_way_back_is_the_end(text, config, rng):
    model, start = trained(text, rng, np.float32, config)
    end = copies(model.parameters())
    Interpolation(1.0).finish(model, start)
    assert all(np.abs(array - end[name]).max() < 1e-6 for name, array in model.state_dict().items())


@pytest.mark.parametrize("text", ["full", "frozen:train=biases", "ia3", "head", "prompt:tokens=2", "prefix:tokens=2,gate=no"])
def test_part_of_the_way_is_a_point_on_the_line_between(text, rng):
    model, start = trained(text, rng)
    end, base = copies(model.parameters()), copies(prepared(text).parameters())
    Interpolation(0.3).finish(model, start)
    for name, array in model.state_dict().items():
        np.testing.assert_allclose(array, base[name] + 0.3 * (end[name] - base[name]), rtol=0, atol=1e-14, err_msg=name)


every_share = pytest.mark.parametrize("keep", [0.0, 0.25, 0.7, 1.0])


@pytest.mark.parametrize("text", ["lora", "lora:targets=q+v+fc", "lora:rank=1,rs=yes", "dora", "dora:targets=k+proj,rank=2",
                                  "ia3", "ia3:targets=v+mlp"])
@every_share
@both_kinds_of_blocks
def test_of_what_can_be_merged_it_is_the_merged_matrix_that_goes_back(text, keep, config, rng):
    """W_0 + keep (W - W_0), and of the bias the same, if there is one."""
    def numbers(W, b):
        return W.copy(), np.copy(b)

    def inner(module):
        return numbers(module.inner.weight.data, module.inner.bias_or_zero())

    model, start = trained(text, rng, config=config)
    places = [slot.module for slot in inserted(model)]
    before, after = [inner(module) for module in places], [numbers(*module.merged()) for module in places]
    interpolate(model, start, keep)
    for module, old, new in zip(places, before, after):
        for merged, first, last in zip(numbers(*module.merged()), old, new, strict=True):
            np.testing.assert_allclose(merged, first + keep * (last - first), rtol=0, atol=1e-10)
        assert not np.allclose(new[0], old[0], rtol=0, atol=1e-3)
        assert all(np.array_equal(*pair) for pair in zip(inner(module), old, strict=True))


@pytest.mark.parametrize("m", [-3.0, -1.0, -0.3, -1e-3, 0.0, 1e-3, 0.5, 7.0])
@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_dora_goes_back_from_lengths_of_every_sign(m, keep, rng):
    model, start = trained("dora:targets=k+proj", rng)
    places = [slot.module for slot in inserted(model)]
    for module in places:
        for name, part in module.parts.items():
            part.m.data[...] = m * module.norms(name)       # so that c_j = m
    W = [(module.inner.weight.data.copy(), module.merged()[0]) for module in places]
    interpolate(model, start, keep)
    vanishes = 1 - keep + keep * m == 0                     # then W_j would have to, which a finite B can only come near
    for module, (first, last) in zip(places, W):
        wanted = first + keep * (last - first)
        np.testing.assert_allclose(module.merged()[0], wanted, rtol=0, atol=1e-5 if vanishes else 1e-10)
        assert all(np.isfinite(p.data).all() for p in module.parameters().values())


@pytest.mark.parametrize("text", ["adapter:bottleneck=3,norms=no", "adapter:form=parallel,bottleneck=3,norms=no",
                                  "prefix:tokens=2"])
@every_share
def test_of_what_cannot_be_merged_it_is_what_it_adds_that_goes_back(text, keep, rng):
    """At each place, for the same input: f(x) + keep (what was added)."""
    model, start = trained(text, rng)
    places, x = [slot.module for slot in inserted(model)], rng.normal(size=(2, 5, 36 if "prefix" in text else 12))
    before, after = ([layer.forward(x)[0] for layer in layers] for layers in ([module.inner for module in places], places))
    interpolate(model, start, keep)
    for module, old, new in zip(places, before, after):
        np.testing.assert_allclose(module.forward(x)[0], old + keep * (new - old), rtol=0, atol=1e-12)
        assert not np.allclose(old, new, rtol=0, atol=1e-3)


def test_the_norms_beside_an_adapter_go_back_on_a_line(rng):
    model, start = trained("adapter:bottleneck=3", rng)
    end, base = copies(model.parameters()), copies(prepared("adapter:bottleneck=3").parameters())
    interpolate(model, start, 0.3)
    for name, array in model.state_dict().items():
        wanted = end[name] if ".down." in name else base[name] + 0.3 * (end[name] - base[name])
        np.testing.assert_allclose(array, wanted, rtol=0, atol=1e-14, err_msg=name)


def test_two_things_in_one_place_go_back_each_in_its_own_way(rng):
    model = prepared("adapter:bottleneck=3,norms=no")
    for block in model.blocks:                              # LoRA inside the sublayer that has the adapter
        block.mlp.inner.fc = LoRALinear(block.mlp.inner.fc, {"": LowRank(12, 48, 2, 1.5, rng, np.float64)}, {"": slice(None)})
    start = copies(model.trainable_parameters())
    perturb(model, rng, 0.1)
    end = copies(model.parameters())
    interpolate(model, start, 0.3)
    for name, p in model.trainable_parameters().items():
        wanted = end[name] if ".down." in name or name.endswith("lora.A") else start[name] + 0.3 * (end[name] - start[name])
        np.testing.assert_allclose(p.data, wanted, rtol=0, atol=1e-14)


@pytest.mark.parametrize("text", ["lora:targets=q+v+fc", "lora:rank=1,rs=yes"])
@every_share
def test_of_a_product_of_two_matrices_it_is_the_product_that_is_scaled(text, keep, rng):
    model, start = trained(text, rng)
    parts = [part for block in model.blocks for layer in (block.attn.qkv, block.attn.proj, block.mlp.fc, block.mlp.proj)
             for part in getattr(layer, "parts", {}).values()]
    before = [(part.product(), part.A.data.copy()) for part in parts]
    interpolate(model, start, keep)
    for part, (product, A) in zip(parts, before):
        np.testing.assert_allclose(part.product(), keep * product, rtol=1e-12, atol=0)
        assert np.array_equal(part.A.data, A) and product.any()


# ---- what cannot be

@pytest.mark.parametrize("strength", [0.0, -1.0, float("nan")])
@pytest.mark.parametrize("kind", [L2SP, EWC, QuadraticPenalty])
def test_a_spring_that_does_not_pull_is_refused(kind, strength):
    with pytest.raises(ValueError, match="the strength is .*, but must be above 0"):
        kind(strength)


@pytest.mark.parametrize("share", [0.0, -0.5, float("nan")])
def test_no_old_documents_at_all_are_refused(share):
    with pytest.raises(ValueError, match="the share of old documents is .*, but must be above 0"):
        Replay(share).batches(StreamBatches(np.arange(9), 3, 2), None)
    with pytest.raises(ValueError, match="number of documents is 0, but must be at least 1"):
        EWC(documents=0).penalty(small_gpt(), lambda n: [])


@pytest.mark.parametrize("keep", [-0.1, 1.1, float("nan")])
def test_a_point_beyond_the_ends_is_refused_before_any_work_is_done(keep):
    with pytest.raises(ValueError, match="keep is .*, but must be from 0 to 1"):
        Interpolation(keep)
