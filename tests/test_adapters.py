"""Several specialists on one base: each comes back as it was left, and without them the base is there to the last bit."""

import numpy as np
import pytest
from tables import and_all_methods

from minillm.finetune.adapter_file import pack, save_specialist, unpack
from minillm.finetune.adapters import Adapters
from minillm.finetune.merge import merge
from minillm.finetune.methods import LoRA, recipe_of
from minillm.finetune.wrapper import Slot, inserted, slots
from minillm.gradcheck import perturb
from minillm.ground.arrays import read_arrays, write_arrays
from minillm.ground.files import CheckpointError
from minillm.inference.decoder import is_plain
from minillm.inference.generate import generate
from minillm.nn import GPT, Config, Parameter
from minillm.runs.saved import load
from minillm.text.tokenizer import CharTokenizer
from minillm.train.checkpoint import fingerprint, save_model
from minillm.train.old_names import current_name
from minillm.train.optimizers import AdamW
from minillm.train.recorder import Recorder, read_trajectory
from minillm.train.trainer import Trainer

TEXT = CharTokenizer.of("abcdefghi,\n")
CONFIG = Config(vocab_size=len(TEXT), context=7, n_layer=2, n_head=3, n_embd=12)
TOKENS = np.random.default_rng(3).integers(0, len(TEXT), (2, 6))
ALL = and_all_methods(
    "lora", "dora:rank=2,targets=q+fc", "ia3", "adapter:bottleneck=3", "adapter:form=parallel,norms=no,blocks=1",
    "prefix:tokens=3", "prefix:tokens=3,gate=no,blocks=0", "prompt:tokens=3", "head", "head:norm=no", "frozen", "bitfit",
    "frozen:train=tables+norms")
KINDS = [text for text in ALL if not recipe_of(text).stands_alone]

every_kind = pytest.mark.parametrize("text", KINDS)
every_method = pytest.mark.parametrize("text", ALL)


def small_gpt(seed=5, config=CONFIG):
    """The same model on every call, with every weight off its starting value."""
    rng = np.random.default_rng(seed)
    model = GPT(config, rng)
    perturb(model, rng)
    return model


def move(model, seed=7):
    """What a little training would do."""
    rng = np.random.default_rng(seed)
    for p in model.trainable_parameters().values():
        p.data += 0.1 * rng.normal(size=p.shape).astype(np.float32)


def specialist(text, model=None):
    model = model or small_gpt()
    recipe_of(text).apply(model, np.random.default_rng(6))
    move(model)
    return model


def assert_is_base(model):
    base = small_gpt()
    assert list(model.parameters()) == list(base.parameters()) and is_plain(model)
    assert all(np.array_equal(model.state_dict()[name], array) for name, array in base.state_dict().items())
    assert np.array_equal(model.logits(TOKENS), base.logits(TOKENS))


@pytest.fixture
def shelf():
    """A base with an adapter of each kind: Adapters, {name: logits}"""
    adapters, logits = Adapters(small_gpt()), {}
    for seed, text in enumerate(KINDS):
        adapters.add(text, recipe_of(text), np.random.default_rng(6))
        move(adapters.model, seed)
        logits[text] = adapters.model.logits(TOKENS)
    return adapters, logits


def files(tmp_path, *texts, base=None):
    """A base and specialists on disk: their paths, the base first."""
    paths = [tmp_path / "base.npz"]
    base = base or small_gpt()
    save_model(paths[0], base, TEXT, task={"kind": "text"})
    for i, text in enumerate(texts):
        paths.append(tmp_path / f"{i}.npz")
        model = GPT(CONFIG, np.random.default_rng(0))
        model.load_state_dict(base.state_dict())
        save_specialist(paths[-1], specialist(text, model), TEXT, recipe_of(text), paths[0], fingerprint(base))
    return paths


# ---- one for another

def test_each_comes_back_as_it_was_left(shelf):
    adapters, logits = shelf
    assert not any(np.array_equal(x, y) for i, x in enumerate(logits.values()) for y in list(logits.values())[:i])
    for name in [*reversed(KINDS), *KINDS[::2], *KINDS[1::3], KINDS[0], KINDS[0]]:
        adapters.use(name)
        assert adapters.active == name and np.array_equal(adapters.model.logits(TOKENS), logits[name]), name


def test_between_any_two_the_base_is_there_to_the_last_bit(shelf):
    adapters, _ = shelf
    for name in KINDS:
        adapters.use(name)
        adapters.use(None)
        assert adapters.active is None and not adapters.model.trainable
        assert_is_base(adapters.model)


def test_what_trains_is_what_its_recipe_says_whatever_was_on_before(shelf):
    adapters, _ = shelf
    for name in [*KINDS, *reversed(KINDS)]:
        adapters.use(name)
        assert adapters.model.trainable_parameters().keys() == specialist(name).trainable_parameters().keys(), name


def test_only_weights_of_the_body_that_train_are_kept_twice(shelf):
    adapters, _ = shelf
    body = small_gpt().parameters().keys()
    for name in KINDS:
        assert adapters.known[name].values.keys() == specialist(name).trainable_parameters().keys() & body, name


def test_disabled_it_is_the_base_and_then_again_what_it_was(shelf):
    adapters, logits = shelf
    for name in KINDS:
        adapters.use(name)
        with adapters.disabled() as model:
            assert model is adapters.model and adapters.active is None
            assert_is_base(model)
        assert adapters.active == name and np.array_equal(adapters.model.logits(TOKENS), logits[name]), name


def test_disabled_twice_or_with_an_error_inside_or_with_nothing_on(shelf):
    adapters, logits = shelf
    adapters.use("lora")
    with adapters.disabled(), adapters.disabled():
        assert_is_base(adapters.model)
    assert adapters.active == "lora"
    with pytest.raises(ZeroDivisionError), adapters.disabled():
        adapters.use("bitfit")
        raise ZeroDivisionError
    assert adapters.active == "lora" and np.array_equal(adapters.model.logits(TOKENS), logits["lora"])
    adapters.use(None)
    with adapters.disabled():
        assert_is_base(adapters.model)
    assert adapters.active is None


@every_kind
@pytest.mark.parametrize("workers", [1, 2])
def test_what_was_learned_is_kept_when_it_is_taken_off(text, workers):
    adapters = Adapters(small_gpt())
    adapters.add("pupil", recipe_of(text), np.random.default_rng(6))
    trainer = Trainer(adapters.model, AdamW(1e-2), workers=workers)
    losses = [trainer.step(TOKENS, np.roll(TOKENS, -1, axis=1)) for _ in range(4)]
    assert losses[-1] < losses[0]
    learned, logits = {name: a.copy() for name, a in adapters.model.state_dict().items()}, adapters.model.logits(TOKENS)
    adapters.use(None)
    assert_is_base(adapters.model)
    adapters.add("other", recipe_of("frozen:train=*"))
    move(adapters.model)
    adapters.use("pupil")
    assert np.array_equal(adapters.model.logits(TOKENS), logits)
    assert all(np.array_equal(adapters.model.state_dict()[name], array) for name, array in learned.items())


def test_two_are_trained_in_turns(shelf):
    """Each with a trainer of its own, made when it is put on; neither disturbs the other, nor the base."""
    adapters, _ = shelf
    losses = {"lora": [], "adapter:bottleneck=3": []}
    for _ in range(3):
        for name in losses:
            adapters.use(name)
            trainer = Trainer(adapters.model, AdamW(1e-2), workers=1)
            losses[name] += [trainer.step(TOKENS, np.roll(TOKENS, -1, axis=1)) for _ in range(3)]
    assert all(each[-1] < each[0] for each in losses.values())
    adapters.use(None)
    assert_is_base(adapters.model)


def test_a_look_at_the_base_in_the_midst_of_training_changes_nothing():
    states = []
    for look in (False, True):
        adapters = Adapters(small_gpt())
        adapters.add("a", recipe_of("adapter:bottleneck=3"), np.random.default_rng(6))
        trainer = Trainer(adapters.model, AdamW(1e-2), workers=1)
        for _ in range(3):
            trainer.step(TOKENS, np.roll(TOKENS, -1, axis=1))
            if look:
                with adapters.disabled():
                    assert_is_base(adapters.model)
        states.append(adapters.model.state_dict())
    assert all(np.array_equal(states[0][name], states[1][name]) for name in states[0])


def test_each_writes_its_own_text(shelf, rng):
    adapters, _ = shelf
    written = {}
    for name in (*KINDS, *KINDS):
        adapters.use(name)
        text = generate(adapters.model, [1, 2], 9, rng, temperature=0)
        assert written.setdefault(name, text) == text


def test_one_that_is_removed_is_gone(shelf):
    adapters, logits = shelf
    adapters.use("ia3")
    adapters.remove("lora")
    assert np.array_equal(adapters.model.logits(TOKENS), logits["ia3"])
    adapters.remove("ia3")
    assert adapters.active is None
    assert_is_base(adapters.model)
    with pytest.raises(ValueError, match="no adapter 'ia3'"):
        adapters.use("ia3")
    adapters.add("ia3", recipe_of("ia3"))


# ---- refusals

def test_a_name_that_is_unknown_is_answered_with_those_that_are_known(shelf):
    adapters, logits = shelf
    adapters.use("lora")
    with pytest.raises(ValueError, match="there is no adapter 'poet'; there are lora, dora:rank=2,targets=q.fc, ia3"):
        adapters.use("poet")
    assert adapters.active == "lora" and np.array_equal(adapters.model.logits(TOKENS), logits["lora"])
    with pytest.raises(ValueError, match="there is no adapter 'poet'; there are none yet"):
        Adapters(small_gpt()).use("poet")


def test_a_name_that_is_taken_is_refused(shelf, tmp_path):
    adapters, logits = shelf
    adapters.use("head")
    with pytest.raises(ValueError, match="there is an adapter 'lora' already"):
        adapters.add("lora", recipe_of("ia3"))
    with pytest.raises(ValueError, match="there is an adapter 'lora' already"):
        adapters.load("lora", files(tmp_path, "ia3")[1])
    assert adapters.active == "head" and np.array_equal(adapters.model.logits(TOKENS), logits["head"])


def test_one_that_is_merged_must_be_taken_out_of_the_weights_before_it_is_taken_off(shelf):
    adapters, logits = shelf
    adapters.use("lora")
    merged = merge(adapters.model)
    for leave in (lambda: adapters.use(None), lambda: adapters.use("ia3"), adapters.disabled().__enter__):
        with pytest.raises(ValueError, match="the adapter 'lora' is merged into the weights; undo that first"):
            leave()
    merged.undo()
    assert np.array_equal(adapters.model.logits(TOKENS), logits["lora"])
    adapters.use(None)
    assert_is_base(adapters.model)


def test_a_recipe_that_cannot_be_applied_leaves_the_base():
    adapters = Adapters(small_gpt())
    with pytest.raises(ValueError, match="rank"):
        adapters.add("large", recipe_of("lora:rank=99"), np.random.default_rng(0))
    assert adapters.known == {} and adapters.active is None
    assert_is_base(adapters.model)


@pytest.mark.parametrize("text", [*KINDS, "full"])
def test_without_random_numbers_it_begins_the_same_each_time(text):
    adapters, plain, seeded = Adapters(small_gpt()), small_gpt(), small_gpt()
    adapters.add("a", recipe_of(text))
    recipe_of(text).apply(plain)
    recipe_of(text).apply(seeded, np.random.default_rng(0))
    for model in (plain, seeded):
        assert all(np.array_equal(model.state_dict()[name], array) for name, array in adapters.model.state_dict().items())


# ---- an error leaves everything as it was

def everything(adapters):
    """All that must be as before: bits, structure, what trains, what is known; and that it can still be trained on."""
    model = adapters.model
    return {"state": {name: array.copy() for name, array in model.state_dict().items()},
            "places": [(slot.path, id(slot.module)) for slot in slots(model)],
            "arrays": [id(p.data) for p in model.parameters().values()], "trains": list(model.trainable_parameters()),
            "known": list(adapters.known), "active": adapters.active, "logits": model.logits(TOKENS)}


def assert_same(adapters, before):
    for part, value in everything(adapters).items():
        if part == "state":
            assert value.keys() == before[part].keys()
            assert all(np.array_equal(array, before[part][name]) for name, array in value.items())
        else:
            assert np.array_equal(value, before[part]), part


def failing(call, n, error):
    """The same function, but that the n-th call ends in an error."""
    count = iter(range(1_000_000))

    def maybe(*args):
        if next(count) == n:
            raise error
        return call(*args)
    return maybe


DATA, TRAINABLE = vars(Parameter)["data"], vars(Parameter)["trainable"]
POINTS = {"put": (Slot, "put", lambda n, error, put=Slot.put: failing(put, n, error)),
          "data": (Parameter, "data", lambda n, error: property(DATA.__get__, failing(DATA.__set__, n, error))),
          "trainable": (Parameter, "trainable", lambda n, error: property(TRAINABLE.fget, failing(TRAINABLE.fset, n, error)))}
ACTIONS = {"use": lambda adapters, path: adapters.use("b"), "none": lambda adapters, path: adapters.use(None),
           "add": lambda adapters, path: adapters.add("c", recipe_of("adapter:bottleneck=2")),
           "load": lambda adapters, path: adapters.load("c", path), "remove": lambda adapters, path: adapters.remove("a")}


@pytest.mark.parametrize("a, b", [("adapter:bottleneck=3", "lora"), ("frozen", "frozen:train=tables+norms"),
                                  ("prompt:tokens=2", "head")])
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("action", ACTIONS)
def test_wherever_an_error_strikes_all_is_as_before(action, point, a, b, tmp_path, monkeypatch):
    """The first time that a module is put, a flag is set, an array exchanged; the second; and so on, until it succeeds."""
    adapters = Adapters(small_gpt())
    path = files(tmp_path, "adapter:bottleneck=3", base=adapters.model)[1]
    for name, text in (("b", b), ("a", a)):
        adapters.add(name, recipe_of(text))
        move(adapters.model)
    trainer = Trainer(adapters.model, AdamW(1e-3), workers=1)
    before, (owner, attribute, spoilt) = everything(adapters), POINTS[point]
    for n in [*range(6), *range(6, 1000, 9)]:
        error = KeyboardInterrupt() if n % 2 else OSError("the disk is full")
        with monkeypatch.context() as patch:
            patch.setattr(owner, attribute, spoilt(n, error))
            try:
                ACTIONS[action](adapters, path)
                break
            except (KeyboardInterrupt, OSError) as raised:
                assert raised is error
        assert_same(adapters, before)
        trainer.check()                                     # its trainer does not even notice
    assert adapters.active == {"use": "b", "add": "c", "load": "c"}.get(action)
    adapters.use(None)
    assert_is_base(adapters.model)


def test_a_recipe_that_breaks_off_leaves_the_adapter_that_was_on(shelf):
    adapters, logits = shelf

    class Broken(LoRA):
        def apply(self, model, rng=None):
            super().apply(model, rng)
            model.trainable = True
            raise ZeroDivisionError

    for name in ("lora", "frozen", None):
        adapters.use(name)
        before = everything(adapters)
        with pytest.raises(ZeroDivisionError):
            adapters.add("broken", Broken())
        assert_same(adapters, before)
    adapters.use("lora")
    for wrong in ("lora:rank=99", "adapter:bottleneck=0", "lora:blocks=7", "prompt:tokens=0", "prefix:tokens=99",
                  "full:decay=0.5", "frozen:train=nothing"):
        before = everything(adapters)
        with pytest.raises(ValueError):
            adapters.add("wrong", recipe_of(wrong))
        assert_same(adapters, before)
    assert np.array_equal(adapters.model.logits(TOKENS), logits["lora"])


SHAPES = {"no dict": [1, 2], "null": None, "a number": 7, "a text": "lora", "a number for a shape": lambda shape: 3,
          "null for a shape": lambda shape: None, "a text for a shape": lambda shape: "12",
          "a dict for a shape": lambda shape: {}, "texts in a shape": lambda shape: [str(n) for n in shape],
          "nested": lambda shape: [list(shape)]}


@pytest.mark.parametrize("spoil", SHAPES)
@pytest.mark.parametrize("on", ["adapter", None])
def test_shapes_that_are_none_are_refused_and_nothing_is_loaded(spoil, on, tmp_path):
    path = files(tmp_path, "lora")[1]
    arrays, meta = read_arrays(path)
    wrong = SHAPES[spoil]
    if callable(wrong):
        wrong = {name: wrong(shape) if i == 2 else shape for i, (name, shape) in enumerate(meta["shapes"].items())}
    write_arrays(path, arrays, meta | {"shapes": wrong})
    adapters = Adapters(small_gpt())
    if on:
        adapters.add(on, recipe_of("adapter:bottleneck=3"))
        move(adapters.model)
    before = everything(adapters)
    with pytest.raises(CheckpointError, match="(does not hold the weights|is not an adapter written by minillm)"):
        adapters.load("odd", path)
    assert_same(adapters, before)


def test_one_that_is_unknown_cannot_be_removed(shelf):
    adapters, _ = shelf
    before = everything(adapters)
    with pytest.raises(ValueError, match="there is no adapter 'poet'; there are lora, "):
        adapters.remove("poet")
    assert_same(adapters, before)


def test_a_base_must_be_a_base():
    for text, advice in (("lora", ", or merge the adapter into it first"), ("prompt:tokens=2", "")):
        with pytest.raises(ValueError, match=f"a base with an adapter on; use the base itself{advice}$"):
            Adapters(specialist(text))
    model = specialist("lora")
    merge(model)
    assert Adapters(model).fingerprints[0] == fingerprint(model)


# ---- from files

def test_adapters_are_loaded_put_on_and_changed(tmp_path):
    base, *paths = files(tmp_path, *KINDS)
    adapters = Adapters(load(base).model)
    for text, path in zip(KINDS, paths):
        adapters.load(text, path)
        assert adapters.active == text
    for text in KINDS[::-1]:
        adapters.use(text)
        assert np.array_equal(adapters.model.logits(TOKENS), specialist(text).logits(TOKENS)), text
    adapters.use(None)
    assert_is_base(adapters.model)


def test_one_of_another_base_is_refused(tmp_path):
    adapters = Adapters(small_gpt(seed=6))
    before = adapters.model.logits(TOKENS)
    for path in files(tmp_path, *KINDS)[1:]:
        with pytest.raises(CheckpointError, match="trained on another base: the fingerprints differ"):
            adapters.load("stranger", path)
    assert adapters.known == {} and np.array_equal(adapters.model.logits(TOKENS), before) and not inserted(adapters.model)


def test_a_model_that_stands_alone_is_no_adapter(tmp_path):
    base, full = files(tmp_path, "full")
    for path in (base, full):
        with pytest.raises(CheckpointError, match="holds a model, not an adapter"):
            Adapters(small_gpt()).load("whole", path)


@pytest.mark.parametrize("text, recipe", [
    ("lora:rank=3", "lora:rank=2"), ("lora:targets=q", "lora:targets=k"), ("ia3", "head"), ("bitfit", "frozen"),
    ("adapter:bottleneck=3", "adapter:bottleneck=4"), ("prompt:tokens=3", "prompt:tokens=4"),
    ("prefix:tokens=3", "prefix:tokens=3,gate=no")])
def test_a_file_whose_weights_do_not_fit_its_recipe_is_refused_and_the_model_stays_the_base(text, recipe, tmp_path):
    path = tmp_path / "odd.npz"
    save_specialist(path, specialist(text), TEXT, recipe_of(recipe), tmp_path / "base.npz", fingerprint(small_gpt()))
    adapters = Adapters(small_gpt())
    with pytest.raises(CheckpointError, match="does not hold the weights that its recipe .* asks for"):
        adapters.load("odd", path)
    assert adapters.known == {} and adapters.active is None
    assert_is_base(adapters.model)


@pytest.mark.parametrize("spoil, message", [
    (lambda arrays, meta: ({"theta": arrays["theta"][:-1]}, meta), "there are .* numbers, but .* parameters"),
    (lambda arrays, meta: ({"theta": arrays["theta"][None]}, meta), "numbers, but"),
    (lambda arrays, meta: ({}, meta), "theta"),
    (lambda arrays, meta: (arrays, {name: value for name, value in meta.items() if name != "shapes"}), "shapes"),
    (lambda arrays, meta: (arrays, meta | {"recipe": {"method": "magic"}}), "recipe unknown to this version"),
    (lambda arrays, meta: (arrays, meta | {"recipe": meta["recipe"] | {"magic": 3}}), "recipe unknown to this version"),
], ids=["too short", "a matrix", "no weights", "no shapes", "unknown method", "unknown option"])
def test_a_spoiled_file_is_refused_and_the_model_stays_the_base(spoil, message, tmp_path):
    path = files(tmp_path, "lora")[1]
    write_arrays(path, *spoil(*read_arrays(path)))
    adapters = Adapters(small_gpt())
    with pytest.raises(CheckpointError, match=message):
        adapters.load("odd", path)
    assert adapters.known == {} and adapters.active is None
    assert_is_base(adapters.model)


@every_kind
def test_packed_and_unpacked_nothing_has_changed(text):
    model, other = specialist(text), small_gpt()
    recipe_of(text).apply(other, np.random.default_rng(66))
    theta, shapes = pack(model)
    assert theta.size == sum(p.size for p in model.trainable_parameters().values()) and theta.dtype == np.float32
    unpack(other, theta, shapes)
    assert np.array_equal(other.logits(TOKENS), model.logits(TOKENS))
    with pytest.raises(ValueError, match="differs in name or shape"):
        unpack(other, theta, {f"x{name}": shape for name, shape in shapes.items()})
    with pytest.raises(ValueError, match=f"there are {theta.size + 1} numbers, but {theta.size} parameters"):
        unpack(other, np.append(theta, 0), shapes)
    assert np.array_equal(other.logits(TOKENS), model.logits(TOKENS))


@every_method
def test_a_specialist_survives_the_round_trip_bit_for_bit(text, tmp_path):
    _, path = files(tmp_path, text)
    loaded, model = load(path), specialist(text)
    assert np.array_equal(loaded.model.logits(TOKENS), model.logits(TOKENS))
    assert list(loaded.model.state_dict()) == list(model.state_dict())
    for name, array in model.state_dict().items():
        read = loaded.model.state_dict()[name]
        assert np.array_equal(read, array) and read.dtype == array.dtype, name
    assert loaded.tokenizer.tokens == TEXT.tokens
    assert loaded.meta["kind"] == ("model" if text == "full" else "adapter")
    assert loaded.meta["base"] == {"path": "base.npz", "fingerprint": fingerprint(small_gpt())}


# ---- files with the names of an earlier version

def old_name(name):
    """A prefix was inserted around the whole attention sublayer once."""
    return name.replace(".attn.heads.prefix.", ".attn.prefix.")


@pytest.mark.parametrize("text", ["prefix:tokens=3", "prefix:tokens=3,gate=no,blocks=0"])
def test_a_prefix_with_its_old_names_is_loaded(text, tmp_path):
    _, path = files(tmp_path, text)
    arrays, meta = read_arrays(path)
    renamed = {old_name(name): shape for name, shape in meta["shapes"].items()}
    assert renamed.keys().isdisjoint(meta["shapes"])
    write_arrays(path, arrays, meta | {"shapes": renamed})
    assert np.array_equal(load(path).model.logits(TOKENS), specialist(text).logits(TOKENS))
    adapters = Adapters(small_gpt())
    adapters.load("old", path)
    assert np.array_equal(adapters.model.logits(TOKENS), specialist(text).logits(TOKENS))


def test_the_trajectory_of_a_prefix_with_its_old_names_is_read(tmp_path):
    model = specialist("prefix:tokens=3")
    recorder = Recorder(1)
    trainer = Trainer(model, AdamW(1e-2), workers=1, on_step=recorder)
    recorder(trainer)
    trainer.step(TOKENS, TOKENS)
    recorder.save(tmp_path / "new.npz")
    arrays, meta = read_arrays(tmp_path / "new.npz")
    write_arrays(tmp_path / "old.npz", {old_name(name): array for name, array in arrays.items()}, meta)
    (steps, expected, _), (old_steps, snapshots, _) = (read_trajectory(tmp_path / f"{age}.npz") for age in ("new", "old"))
    assert steps == old_steps == [0, 1]
    for snapshot, arrays in zip(snapshots, expected):
        assert list(snapshot) == list(arrays) == list(model.trainable_parameters())
        assert all(np.array_equal(snapshot[name], array) for name, array in arrays.items())


@pytest.mark.parametrize("name", ["blocks.0.attn.heads.prefix.keys", "blocks.0.attn.prefix.other", "blocks.0.attn.qkv.weight",
                                  "steps", "x.blocks.0.attn.prefix.keys", "blocks.0.attn.prefix.keys\n"])
def test_other_names_stay(name):
    assert current_name(name) == name


@every_method
def test_only_a_model_that_stands_alone_needs_no_base(text, tmp_path):
    base, path = files(tmp_path, text)
    base.unlink()
    if text == "full":
        assert np.array_equal(load(path).model.logits(TOKENS), specialist(text).logits(TOKENS))
    else:
        with pytest.raises(CheckpointError, match="its base model is not at"):
            load(path)


def test_a_specialist_of_another_base_is_refused(tmp_path):
    _, path = files(tmp_path, "bitfit")
    save_model(tmp_path / "other.npz", small_gpt(seed=6), TEXT)
    with pytest.raises(CheckpointError, match="trained on another base"):
        load(path, tmp_path / "other.npz")


@pytest.mark.parametrize("text", ["lora:rank=4", "lora:rank=1,targets=q+v", "dora", "ia3", "prefix", "prefix:gate=no", "prompt",
                                  "adapter", "pfeiffer", "parallel", "bitfit", "norms", "head", "frozen"])
def test_a_file_takes_four_bytes_for_each_number_that_was_trained_and_little_besides(text, tmp_path):
    """A model of the demo's size."""
    model = GPT(Config(vocab_size=300, context=112, n_layer=4, n_head=4, n_embd=128), np.random.default_rng(0))
    recipe_of(text).apply(model, np.random.default_rng(0))
    move(model)
    path = tmp_path / "specialist.npz"
    metadata = {"task": {"kind": "novel", "seed": 0, "documents": 64}, "seed": 1, "seconds": 12.345}
    save_specialist(path, model, TEXT, recipe_of(text), tmp_path / "base.npz", "0123456789abcdef", **metadata)
    count = sum(p.size for p in model.trainable_parameters().values())
    assert 4 * count < path.stat().st_size <= 4 * count + 1024
