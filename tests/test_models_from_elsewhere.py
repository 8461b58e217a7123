"""Models that no command has made: with other numbers, without a task, or of an older version."""

import json
import zipfile

import numpy as np
import pytest
from commands import refused

from minillm import GPT, AdamW, Config, LoRA, fingerprint, load, recipe_of, save_model
from minillm.finetune.methods import from_json, to_json
from minillm.ground.arrays import write_arrays
from minillm.runs.finetuning import finetune
from minillm.surface.family import read_family
from minillm.tasks.pairs import PairTask
from minillm.tasks.text import TextTask
from minillm.text.tokenizer import CharTokenizer, WordTokenizer
from minillm.train.checkpoint import fingerprints

LETTERS = CharTokenizer.of("abcdefgh \n")
PAIRS = "".join(json.dumps({"prompt": a, "completion": b}) + "\n" for a in "abcd" for b in "efgh")


def model_of(rng, dtype=np.float32, **sizes):
    return GPT(Config(**{"vocab_size": len(LETTERS), "context": 8, "n_layer": 2, "n_head": 2, "n_embd": 8} | sizes), rng, dtype)


def fine_tuned(folder, model, recipe):
    """The file of a model and the file of its adapter."""
    (folder / "pairs.jsonl").write_text(PAIRS)
    save_model(folder / "base.npz", model, LETTERS)
    base = load(folder / "base.npz")
    finetune(base, folder / "base.npz", PairTask(folder / "pairs.jsonl", LETTERS, 1, context=8), recipe, folder / "adapter.npz",
             optimizer=AdamW(lr=0.01), steps=3, batch=4, workers=1)
    return folder / "base.npz", folder / "adapter.npz"


def with_meta(path, change):
    """Write a file again with something changed in its meta.json."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if not name.startswith("meta")}
    with zipfile.ZipFile(path) as archive:
        meta = json.loads(archive.read("meta.json"))
    change(meta)
    meta.pop("format")
    write_arrays(path, arrays, meta)


def test_the_same_weights_with_other_heads_are_another_model(rng, tmp_path):
    two, four = model_of(rng), model_of(rng, n_head=4)
    four.load_state_dict(two.state_dict())
    assert fingerprint(two) != fingerprint(four)
    _, adapter = fine_tuned(tmp_path, two, LoRA(2))
    save_model(tmp_path / "four.npz", four, LETTERS)
    load(adapter)
    with pytest.raises(ValueError, match="fingerprints differ"):
        load(adapter, tmp_path / "four.npz")


def test_an_adapter_with_the_fingerprint_of_before_is_read(rng, tmp_path):
    base, adapter = fine_tuned(tmp_path, model_of(rng), LoRA(2))
    before = fingerprints(load(base).model)[1]
    with_meta(adapter, lambda meta: meta["base"].update(fingerprint=before))
    tokens = np.arange(8)[None]
    assert np.abs(load(adapter).model(tokens) - load(base).model(tokens)).max() > 0
    base.rename(tmp_path / "pretrained.npz")
    assert list(read_family(tmp_path, ["adapter"]).runs) == ["adapter"]


def test_lora_of_before_wrote_out_the_names_of_all_maps(rng, tmp_path):
    _, adapter = fine_tuned(tmp_path, model_of(rng), LoRA(2))
    tokens = np.arange(8)[None]
    logits = load(adapter).model(tokens)
    with_meta(adapter, lambda meta: meta["recipe"].update(targets=["q", "k", "v", "o", "fc", "proj"]))
    assert np.array_equal(load(adapter).model(tokens), logits) and load(adapter).meta["recipe"]["targets"] == ["all"]


def test_all_maps_can_be_asked_for_by_name():
    assert recipe_of("lora:targets=all") == recipe_of("lora") == from_json(json.loads(json.dumps(to_json(LoRA()))))


@pytest.mark.parametrize("method", ["lora:rank=2", "adapter:bottleneck=2", "frozen"])
def test_a_model_of_float64_stays_so(method, rng, tmp_path):
    base, adapter = fine_tuned(tmp_path, model_of(rng, np.float64), recipe_of(method))
    model = load(adapter).model
    assert {p.data.dtype for p in model.parameters().values()} == {np.dtype(np.float64)}
    tokens = np.arange(8)[None]
    assert np.abs(model(tokens) - load(base).model(tokens)).max() > 1e-4


def test_sizes_may_be_integers_of_numpy(rng, tmp_path):
    model = model_of(rng, n_head=np.int64(2), context=np.int32(8))
    save_model(tmp_path / "base.npz", model, LETTERS)
    assert load(tmp_path / "base.npz").model.config == model.config


def test_numbers_that_no_file_may_hold_are_not_written(rng, tmp_path):
    with pytest.raises(TypeError, match="float16; files hold float32, float64"):
        save_model(tmp_path / "half.npz", model_of(rng, np.float16), LETTERS)
    assert not (tmp_path / "half.npz").exists()


def test_a_base_that_does_not_say_what_it_has_learned(rng, tmp_path):
    (tmp_path / "pairs.jsonl").write_text(PAIRS)
    save_model(tmp_path / "base.npz", model_of(rng), LETTERS)
    few = "--base", tmp_path / "base.npz", "--steps", 2, "--batch", 4, "--workers", 1
    refused(tmp_path, "finetune", *few, "--task", "novel", words=["does not say what it has learned", "--pairs"])
    refused(tmp_path, "finetune", *few, "--pairs", tmp_path / "pairs.jsonl", "--remedy", "replay",
            words=["does not say what it has learned"])


def test_bits_per_character_are_per_character_whatever_the_tokens_are(rng, tmp_path):
    (tmp_path / "text.txt").write_text("ab cde ab fgh cde " * 30)
    task = TextTask(tmp_path / "text.txt", WordTokenizer(["ab", "cde", "fgh"]), 1)
    model = model_of(rng, vocab_size=3)
    [sentence], figures = task.final_report(model)
    written = len(task.tokenizer.decode(task.validation[1:]))
    assert f"the last {written} characters" in sentence and written > 2 * len(task.validation)
    nats = figures["validation_loss"] * (len(task.validation) - 1)
    assert figures["bits_per_character"] == pytest.approx(nats / written / np.log(2))
