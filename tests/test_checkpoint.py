"""Files: what is read is what was written, an old file outlives a failed write, and what is none is refused in a sentence."""

import json
import os
import random
import shutil
import stat
import zipfile

import numpy as np
import pytest

from minillm.finetune.adapter_file import save_specialist
from minillm.finetune.methods import BottleneckAdapter, Frozen, Full, to_json
from minillm.finetune.spec import text_of
from minillm.gradcheck import perturb
from minillm.ground.arrays import FORMAT, read_arrays, write_arrays
from minillm.ground.files import CheckpointError, write_json, written_whole
from minillm.nn import GPT, Config
from minillm.runs.saved import load
from minillm.text.tokenizer import CharTokenizer
from minillm.text.world import World
from minillm.train.checkpoint import fingerprint, load_training, save_model, save_training
from minillm.train.optimizers import AdamW
from minillm.train.trainer import Trainer

TEXT = CharTokenizer.of("abcdefghi,\n")
CONFIG = Config(vocab_size=len(TEXT), context=7, n_layer=2, n_head=2, n_embd=12)
TOKENS = np.random.default_rng(3).integers(0, len(TEXT), (2, 6))


def small_gpt(seed=5):
    """The same model on every call, with every weight off its starting value."""
    rng = np.random.default_rng(seed)
    model = GPT(CONFIG, rng)
    perturb(model, rng)
    return model


def specialist(recipe, seed=5):
    """What a little training would make of the base."""
    rng = np.random.default_rng(6)
    model = small_gpt(seed)
    recipe.apply(model, rng)
    for p in model.trainable_parameters().values():
        p.data += 0.1 * rng.normal(size=p.shape)
    return model


@pytest.fixture
def base(tmp_path):
    """The file of a base model."""
    path = tmp_path / "pretrained.npz"
    save_model(path, small_gpt(), TEXT, task={"kind": "text"}, seed=1)
    return path


@pytest.fixture
def adapter(base):
    """The file of an adapter beside its base."""
    path = base.with_name("adapter.npz")
    save_specialist(path, specialist(BottleneckAdapter(3)), TEXT, BottleneckAdapter(3), base, fingerprint(small_gpt()))
    return path


def files(folder):
    return sorted(path.name for path in folder.iterdir())


# ---- round trips

def test_a_model_survives_the_round_trip_bit_for_bit(base):
    loaded, model = load(base), small_gpt()
    assert vars(loaded.model.config) == vars(CONFIG)
    assert loaded.tokenizer.tokens == TEXT.tokens and type(loaded.tokenizer) is CharTokenizer
    assert np.array_equal(loaded.model.logits(TOKENS), model.logits(TOKENS))
    for name, array in model.state_dict().items():
        restored = loaded.model.state_dict()[name]
        assert np.array_equal(restored, array) and restored.dtype == array.dtype, name
    assert loaded.meta["kind"] == "model" and loaded.meta["seed"] == 1 and loaded.meta["task"] == {"kind": "text"}


def test_a_vocabulary_of_words_survives_too(tmp_path):
    tokenizer = World().tokenizer
    model = GPT(Config(len(tokenizer), 7, 1, 2, 8), np.random.default_rng(0))
    save_model(tmp_path / "world.npz", model, tokenizer)
    again = load(tmp_path / "world.npz").tokenizer
    assert type(again) is type(tokenizer) and again.tokens == tokenizer.tokens


@pytest.mark.parametrize("recipe", [Full(), Frozen(), BottleneckAdapter(3), BottleneckAdapter(3, ("mlp",), norms=False)],
                         ids=text_of)
def test_a_specialist_survives_the_round_trip_bit_for_bit(recipe, base):
    model, path = specialist(recipe), base.with_name("own.npz")
    save_specialist(path, model, TEXT, recipe, base, fingerprint(small_gpt()), seconds=1.5)
    loaded = load(path)
    assert list(loaded.model.parameters()) == list(model.parameters())
    assert np.array_equal(loaded.model.logits(TOKENS), model.logits(TOKENS))
    assert not np.array_equal(loaded.model.logits(TOKENS), small_gpt().logits(TOKENS))
    assert loaded.meta["recipe"] == json.loads(json.dumps(to_json(recipe))) and loaded.meta["seconds"] == 1.5


@pytest.mark.parametrize("recipe", [BottleneckAdapter(3), BottleneckAdapter(2, ("attn",), norms=False), Frozen()],
                         ids=text_of)
def test_the_file_of_an_adapter_holds_what_trained_and_nothing_else(recipe, base):
    """All of it as one array, one parameter after the other, and their shapes in its meta.json."""
    model, path = specialist(recipe), base.with_name("own.npz")
    save_specialist(path, model, TEXT, recipe, base, fingerprint(small_gpt()))
    arrays, meta = read_arrays(path)
    trains = model.trainable_parameters()
    assert meta["kind"] == "adapter" and arrays.keys() == {"theta"} and not {"config", "tokenizer"} & meta.keys()
    assert list(meta["shapes"].items()) == [(name, list(p.shape)) for name, p in trains.items()]
    assert np.array_equal(arrays["theta"], np.concatenate([p.data.reshape(-1) for p in trains.values()]))
    assert arrays["theta"].dtype == np.float32


def test_a_model_that_was_trained_whole_needs_no_base(base):
    model, path = specialist(Full()), base.with_name("own.npz")
    save_specialist(path, model, TEXT, Full(), base, fingerprint(small_gpt()))
    base.unlink()
    assert np.array_equal(load(path).model.logits(TOKENS), model.logits(TOKENS))


def test_the_file_of_an_adapter_is_small(tmp_path):
    config = Config(len(TEXT), 7, 2, 4, 128)
    model, base = GPT(config, np.random.default_rng(0)), tmp_path / "base.npz"
    save_model(base, model, TEXT)
    key = fingerprint(model)
    recipe = BottleneckAdapter(4)
    recipe.apply(model, np.random.default_rng(0))
    save_specialist(tmp_path / "own.npz", model, TEXT, recipe, base, key)
    numbers = sum(p.size for p in model.trainable_parameters().values())
    bytes_written = (tmp_path / "own.npz").stat().st_size
    assert 4 * numbers < bytes_written < 4 * numbers + 3_000        # names and shapes, but no copy of the body
    assert bytes_written < 0.06 * base.stat().st_size


def test_a_checkpoint_says_in_plain_json_what_it_is(adapter):
    with zipfile.ZipFile(adapter) as archive:
        meta = json.loads(archive.read("meta.json"))
    assert meta["format"] == FORMAT and meta["kind"] == "adapter" and meta["recipe"]["bottleneck"] == 3
    assert meta["base"] == {"path": "pretrained.npz", "fingerprint": fingerprint(small_gpt())}
    assert meta["shapes"]["blocks.1.mlp.adapter.down.weight"] == [12, 3]


def test_a_model_says_in_plain_json_how_large_it_is(base):
    with zipfile.ZipFile(base) as archive:
        meta = json.loads(archive.read("meta.json"))
    assert meta["format"] == FORMAT and meta["kind"] == "model" and meta["config"] == CONFIG.to_json()
    assert meta["tokenizer"] == {"kind": "character", "tokens": TEXT.tokens}


def test_the_state_of_a_run_survives_the_round_trip_bit_for_bit(tmp_path):
    trainers = [Trainer(small_gpt(seed), AdamW(1e-2), workers=1) for seed in (5, 9)]
    for _ in range(3):
        trainers[0].step(TOKENS, TOKENS)
    save_training(tmp_path / "run.npz", trainers[0], history={"loss": [1.25, 0.1]})
    metadata = load_training(tmp_path / "run.npz", trainers[1])
    assert metadata["history"] == {"loss": [1.25, 0.1]} and trainers[1].steps_done == 3
    losses = [[trainer.step(TOKENS, TOKENS) for _ in range(3)] for trainer in trainers]
    assert losses[0] == losses[1]
    assert np.array_equal(trainers[0].flat.data, trainers[1].flat.data)


def test_the_state_of_another_run_is_refused(tmp_path):
    save_training(tmp_path / "run.npz", Trainer(small_gpt(), AdamW(1e-2), workers=1))
    other = GPT(Config(len(TEXT), 7, 1, 2, 12), np.random.default_rng(0))
    with pytest.raises(CheckpointError, match="belongs to another run"):
        load_training(tmp_path / "run.npz", Trainer(other, AdamW(1e-2), workers=1))


@pytest.mark.parametrize("change", ["a value", "a name", "a shape"])
def test_the_fingerprint_tells_models_apart(change):
    model = small_gpt()
    key = fingerprint(model)
    assert key == fingerprint(small_gpt())
    if change == "a value":
        model.blocks[1].mlp.fc.weight.data[3, 4] = np.nextafter(model.blocks[1].mlp.fc.weight.data[3, 4], np.float32(9))
    elif change == "a name":
        model.norm = model.__dict__.pop("ln_f")
    else:
        model.wpe.weight.data = model.wpe.weight.data.reshape(12, 7)
    assert fingerprint(model) != key


# ---- an adapter and its base

def test_adapter_and_base_can_be_moved_together(adapter, tmp_path):
    logits = load(adapter).model.logits(TOKENS)
    there = tmp_path / "far" / "away"
    there.mkdir(parents=True)
    for path in (adapter, adapter.with_name("pretrained.npz")):
        shutil.move(path, there)
    assert np.array_equal(load(there / "adapter.npz").model.logits(TOKENS), logits)


def test_a_base_in_a_neighbouring_folder_moves_along(tmp_path):
    base, path = tmp_path / "runs" / "base" / "pretrained.npz", tmp_path / "runs" / "mine" / "adapter.npz"
    save_model(base, small_gpt(), TEXT)
    save_specialist(path, specialist(BottleneckAdapter(3)), TEXT, BottleneckAdapter(3), base, fingerprint(small_gpt()))
    shutil.move(tmp_path / "runs", tmp_path / "elsewhere")
    assert load(tmp_path / "elsewhere" / "mine" / "adapter.npz").meta["kind"] == "adapter"


def test_a_relative_path_of_the_base_does_not_depend_on_the_working_directory(base, monkeypatch):
    monkeypatch.chdir(base.parent)
    save_specialist("adapter.npz", specialist(BottleneckAdapter(3)), TEXT, BottleneckAdapter(3), "pretrained.npz",
                    fingerprint(small_gpt()))
    monkeypatch.chdir("/")
    assert load(base.with_name("adapter.npz")).meta["kind"] == "adapter"


def test_a_missing_base_is_named_and_another_place_can_be_given(adapter, tmp_path):
    base, moved = adapter.with_name("pretrained.npz"), tmp_path / "elsewhere.npz"
    logits = load(adapter).model.logits(TOKENS)
    shutil.move(base, moved)
    with pytest.raises(CheckpointError, match="its base model is not at .*pretrained.npz; .*--base"):
        load(adapter)
    assert np.array_equal(load(adapter, moved).model.logits(TOKENS), logits)


@pytest.mark.parametrize("given", [False, True], ids=["in its place", "by --base"])
def test_another_base_is_refused(given, adapter):
    other = adapter.with_name("other.npz" if given else "pretrained.npz")
    save_model(other, small_gpt(seed=9), TEXT)
    with pytest.raises(CheckpointError, match="trained on another base than .*fingerprints differ.*--base"):
        load(adapter, other if given else None)


def test_a_base_that_is_no_model_is_refused(adapter):
    with pytest.raises(CheckpointError):
        load(adapter, base=adapter)


# ---- what is no checkpoint

def assert_refused(path, *words):
    """load says what is wrong, in one sentence that names the file, and leaves the file alone."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(CheckpointError) as error:
        load(path)
    for part in (str(path), *words):
        assert part in str(error.value)
    assert "\n" not in str(error.value)
    assert before is None or path.read_bytes() == before


@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.1, 0.3, 0.5, 0.9, 0.99, 0.999, -1, -22])
@pytest.mark.parametrize("kind", ["base", "adapter"])
def test_a_truncated_file_is_refused(kind, share, request):
    path = request.getfixturevalue(kind)
    whole = path.read_bytes()
    path.write_bytes(whole[:share] if share < 0 else whole[:int(share * len(whole))])
    assert_refused(path, "not a whole checkpoint", "cut short")


@pytest.mark.parametrize("seed", range(40))
def test_a_file_with_spoiled_bytes_is_refused_or_read_as_it_was(seed, base):
    """A spoiled byte may hit what nobody reads; it never gives other weights, and never another error."""
    random.seed(seed)
    spoiled, logits = bytearray(base.read_bytes()), load(base).model.logits(TOKENS)
    spots = range(len(spoiled)) if seed % 2 else range(len(spoiled) - 4000, len(spoiled))       # the directory is at the end
    for spot in random.sample(spots, 3):
        spoiled[spot] ^= random.randrange(1, 256)
    base.write_bytes(spoiled)
    try:
        loaded = load(base)
    except CheckpointError as error:
        assert str(base) in str(error)
    else:
        assert np.array_equal(loaded.model.logits(TOKENS), logits)


def test_other_files_are_refused(tmp_path):
    text, archive, nothing = tmp_path / "letter.txt", tmp_path / "some.zip", tmp_path / "nothing.npz"
    text.write_text("Dear model,\n")
    nothing.write_bytes(b"")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("photo.jpg", b"\xff\xd8\xff")
    for path in (text, archive, nothing):
        assert_refused(path, "not a whole checkpoint")
    assert_refused(tmp_path / "missing.npz", "there is no file")
    assert_refused(tmp_path, "is a folder")


def test_an_npz_of_somebody_else_is_refused(tmp_path):
    np.savez(tmp_path / "weights.npz", a=np.ones(3))
    assert_refused(tmp_path / "weights.npz", "not a whole checkpoint")


@pytest.mark.parametrize("number", [FORMAT + 1, FORMAT - 1, 0, None, str(FORMAT)])
def test_another_format_is_refused_and_named(number, tmp_path):
    path = tmp_path / "other.npz"
    write_arrays(path, small_gpt().state_dict(), {"kind": "model", "format": number})
    assert_refused(path, f"has format {number}", f"reads format {FORMAT}")


def test_a_checkpoint_without_a_format_is_refused(tmp_path):
    path = tmp_path / "other.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("meta.json", json.dumps({"kind": "model"}))
    assert_refused(path, "has format None")


@pytest.mark.parametrize("meta", ["[]", "3", '"model"', f'{{"format": {FORMAT}}}'])
def test_a_meta_that_describes_nothing_is_refused(meta, tmp_path):
    path = tmp_path / "other.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("meta.json", meta)
    assert_refused(path)


@pytest.mark.parametrize("change", [
    {"config": None}, {"config": {"vocab_size": 11}}, {"config": vars(CONFIG) | {"n_head": 5}},
    {"config": vars(CONFIG) | {"heads": 5}},
    {"tokenizer": {"kind": "syllable", "tokens": []}}, {"tokenizer": None}, {"config": vars(CONFIG) | {"n_embd": 14}}], ids=str)
def test_a_model_that_is_described_wrongly_is_refused(change, tmp_path):
    path = tmp_path / "other.npz"
    meta = {"kind": "model", "config": vars(CONFIG), "tokenizer": {"kind": "character", "tokens": TEXT.tokens}}
    write_arrays(path, small_gpt().state_dict(), meta)
    load(path)
    write_arrays(path, small_gpt().state_dict(), meta | change)
    assert_refused(path)


def test_an_adapter_whose_recipe_asks_for_other_weights_is_refused(adapter):
    arrays, meta = read_arrays(adapter)
    write_arrays(adapter, arrays, meta | {"recipe": meta["recipe"] | {"bottleneck": 4}})
    assert_refused(adapter, "does not hold the weights that its recipe")


@pytest.mark.parametrize("change", ["fewer", "more", "another shape", "another name", "no shapes", "no weights", "none at all"])
def test_an_adapter_whose_weights_are_not_those_of_its_recipe_is_refused(change, adapter):
    arrays, meta = read_arrays(adapter)
    shapes = meta["shapes"]
    if change in ("fewer", "more"):
        arrays["theta"] = arrays["theta"][:-1] if change == "fewer" else np.append(arrays["theta"], np.float32(0))
    elif change == "another shape":
        shapes["ln_f.weight"] = [3, 4]
    elif change == "another name":
        shapes["ln_g.weight"] = shapes.pop("ln_f.weight")
    elif change == "no shapes":
        del meta["shapes"]
    else:
        arrays = {} if change == "no weights" else {"theta": np.zeros(0, np.float32)}
    write_arrays(adapter, arrays, meta)
    assert_refused(adapter, "does not hold the weights that its recipe")


@pytest.mark.parametrize("recipe", [{"method": "telepathy"}, {"method": "lora", "ranks": 3}, {"bottleneck": 3}], ids=str)
def test_an_unknown_recipe_is_refused(recipe, adapter):
    arrays, meta = read_arrays(adapter)
    write_arrays(adapter, arrays, meta | {"recipe": recipe})
    assert_refused(adapter, "recipe unknown to this version", str(recipe))


def test_a_recipe_that_cannot_be_is_refused_with_the_name_of_the_file(adapter):
    """Of this method and with these options, but not on this base: such a file was made by nobody, or has been spoiled."""
    arrays, meta = read_arrays(adapter)
    for change in ({"bottleneck": 0}, {"blocks": [7]}, {"places": ["mlp", "mlp"]}, {"bottleneck": "three"}):
        write_arrays(adapter, arrays, meta | {"recipe": meta["recipe"] | change})
        assert_refused(adapter)


def test_the_state_of_an_unfinished_run_is_no_model(tmp_path):
    path = tmp_path / "pretrained.training.npz"
    save_training(path, Trainer(small_gpt(), AdamW(1e-2), workers=1))
    assert_refused(path, "unfinished run", "--resume")


@pytest.mark.parametrize("kind", ["surface", "trajectory"])
def test_a_surface_or_trajectory_is_no_model_and_not_called_an_unfinished_run(kind, tmp_path):
    path = tmp_path / f"{kind}.npz"
    write_arrays(path, {"a": np.ones(3)}, {"kind": kind})
    assert_refused(path, kind)
    with pytest.raises(CheckpointError) as error:
        load(path)
    assert "--resume" not in str(error.value)


def test_a_model_is_no_unfinished_run(base):
    with pytest.raises(CheckpointError, match="holds a model, not the state of a run"):
        load_training(base, Trainer(small_gpt(), AdamW(1e-2), workers=1))


class Mischief:
    """Unpickling it would leave a mark."""

    def __reduce__(self):
        return os.mkdir, (os.environ["MISCHIEF"],)


def test_nothing_is_ever_unpickled(tmp_path, monkeypatch):
    mark, path = tmp_path / "mark", tmp_path / "evil.npz"
    monkeypatch.setenv("MISCHIEF", str(mark))
    with monkeypatch.context() as careless:
        careless.setattr("minillm.ground.arrays.DTYPES", {np.dtype(kind) for kind in ("f4", "O")})
        write_arrays(path, small_gpt().state_dict() | {"wte.weight": np.array([Mischief()], dtype=object)},
                     {"kind": "model", "config": vars(CONFIG), "tokenizer": {"kind": "character", "tokens": TEXT.tokens}})
    assert_refused(path, "not a whole checkpoint")
    assert not mark.exists()
    np.load(path, allow_pickle=True)["wte.weight"]
    assert mark.exists()                                        # the trap was a real one


# ---- whole or not at all

class NoSpace(OSError):
    """No space left on device."""


def half_a_file(file, **arrays):
    file.write(b"half a file")
    raise NoSpace(28, "No space left on device")


@pytest.mark.parametrize("existing", [True, False])
def test_a_write_that_fails_midway_leaves_the_old_file_and_nothing_else(existing, tmp_path, monkeypatch):
    path = tmp_path / "pretrained.npz"
    if existing:
        save_model(path, small_gpt(), TEXT)
    before = path.read_bytes() if existing else None
    monkeypatch.setattr(np, "savez", half_a_file)
    with pytest.raises(NoSpace):
        save_model(path, small_gpt(seed=9), TEXT)
    assert files(tmp_path) == (["pretrained.npz"] if existing else [])
    if existing:
        assert path.read_bytes() == before


def test_a_write_that_fails_at_its_end_leaves_the_old_file_and_nothing_else(base):
    before = base.read_bytes()
    with pytest.raises(TypeError):
        save_model(base, small_gpt(seed=9), TEXT, not_json={1, 2})
    assert files(base.parent) == ["pretrained.npz"] and base.read_bytes() == before


def test_ctrl_c_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "notes.json"
    write_json(path, {"old": 1})
    with pytest.raises(KeyboardInterrupt), written_whole(path) as temporary:
        temporary.write_text("{")
        assert json.loads(path.read_text()) == {"old": 1}       # the reader of this moment sees the old file
        raise KeyboardInterrupt
    assert files(tmp_path) == ["notes.json"] and json.loads(path.read_text()) == {"old": 1}


def test_a_write_that_succeeds_replaces_the_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "new folder" / "notes.json"
    for value in ({"old": 1}, {"new": 2}):
        write_json(path, value)
        assert json.loads(path.read_text()) == value
    assert files(path.parent) == ["notes.json"]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_files_get_the_permissions_that_new_files_get(mask, tmp_path):
    before = os.umask(mask)
    try:
        write_json(tmp_path / "notes.json", {})
        (tmp_path / "plain").touch()
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {0o666 & ~mask}
