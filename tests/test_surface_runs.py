"""One space for every method: the model at a run's point is the model of its file, and the origin is the base."""

import copy

import numpy as np
import pytest
from surfaces import small_gpt

from minillm.finetune.methods import Frozen, Full, recipe_of
from minillm.ground.arrays import read_arrays, write_arrays
from minillm.ground.files import CheckpointError
from minillm.runs.finetuning import finetune
from minillm.runs.pretraining import pretrain
from minillm.runs.saved import load
from minillm.surface.family import ORIGIN, read_family, runs_in
from minillm.surface.plane import plane_through
from minillm.tasks.special import SpecialTask
from minillm.tasks.text import TextTask
from minillm.train.optimizers import SGD, AdamW
from minillm.train.recorder import Recorder, read_trajectory, trajectory_path
from minillm.train.trainer import Trainer

STEPS = 3
MERGED = {"lora": "lora:rank=2", "dora": "dora:rank=2", "ia3": "ia3"}
IN_BODY = {"full": "full", "frozen": "frozen", "tables": "frozen:train=tables", "scratch": "full"}
INSERTED = {"head": "head", "adapter": "adapter:bottleneck=3", "prefix": "prefix:tokens=4"}
TOGETHER = IN_BODY | MERGED | INSERTED
APART = {"parallel": "parallel:bottleneck=3", "wide": "adapter:bottleneck=5", "scaled": "parallel:bottleneck=3,scale=2",
         "low": "adapter:bottleneck=3,blocks=0", "long": "prefix:tokens=5",
         "prompt": "prompt:tokens=3", "ungated": "prefix:tokens=4,gate=no"}
ALL = TOGETHER | APART


@pytest.fixture(scope="module")
def zoo(story, tmp_path_factory):
    """A folder with the base of the story and a fine-tuning of every method."""
    folder = tmp_path_factory.mktemp("zoo")
    (folder / "pretrained.npz").write_bytes((story / "pretrained.npz").read_bytes())
    base, task = load(folder / "pretrained.npz"), SpecialTask("novel", 2, 8, workers=1)
    for name, recipe in ALL.items():
        recipe = recipe_of(recipe)
        finetune(base, folder / "pretrained.npz", task, recipe, folder / f"{name}.npz", optimizer=AdamW(3 * recipe.lr),
                 steps=STEPS, batch=2, seed=2, workers=1, scratch=name == "scratch")
    return folder


@pytest.fixture(scope="module")
def everything(zoo):
    return read_family(zoo, list(TOGETHER))


def logits(model):
    tokens = np.random.default_rng(0).integers(0, model.config.vocab_size, (3, 20))
    return model.logits(tokens).copy()


def at(family, theta):
    return logits(family.space.put(theta))


def with_weights(model, arrays):
    model = copy.deepcopy(model)
    for name, array in arrays.items():
        model.parameters()[name].data[...] = array
    return model


# ---- every point is the model that it says

@pytest.mark.parametrize("name", TOGETHER)
def test_each_method_is_in_the_space_of_all_and_remains_itself(name, zoo, everything):
    loaded = load(zoo / f"{name}.npz").model
    actual, wanted = at(everything, everything.end(name)), logits(loaded)
    assert np.abs(actual - wanted).max() <= (1e-5 if name in MERGED else 0)
    assert np.abs(actual - logits(load(zoo / "pretrained.npz").model)).max() > 1e-4                # and it has moved


@pytest.mark.parametrize("name", ALL)
def test_each_method_alone_is_itself(name, zoo):
    family = read_family(zoo, [name])
    assert np.abs(at(family, family.end(name)) - logits(load(zoo / f"{name}.npz").model)).max() <= (1e-5 if name in MERGED else 0)


@pytest.mark.parametrize("names", [list(TOGETHER), *([name] for name in TOGETHER), ["parallel", "full"]], ids="+".join)
def test_the_origin_is_the_base_bit_for_bit(names, zoo):
    family = read_family(zoo, names)
    assert family.origin == ORIGIN
    np.testing.assert_array_equal(at(family, family.start), logits(load(zoo / "pretrained.npz").model))
    np.testing.assert_array_equal(family.end(ORIGIN), family.start)


@pytest.mark.parametrize("name", ALL)
def test_every_recorded_point_is_the_model_that_was_there(name, zoo, everything):
    family = everything if name in TOGETHER else read_family(zoo, [name])
    steps, snapshots, _ = read_trajectory(trajectory_path(zoo / f"{name}.npz"))
    run, loaded = family.runs[name], load(zoo / f"{name}.npz").model
    assert run.steps == steps == list(range(STEPS + 1)) and len(run.snapshots) == STEPS + 1
    for snapshot, embedded in zip(snapshots, run.snapshots):
        there = logits(with_weights(loaded, snapshot))
        assert np.abs(at(family, family.space.vector(embedded)) - there).max() <= (1e-5 if name in MERGED else 0)
    np.testing.assert_array_equal(family.space.vector(run.snapshots[-1]), family.end(name))


@pytest.mark.parametrize("name", [name for name in TOGETHER if name != "scratch"])
def test_every_way_begins_at_the_origin(name, everything):
    """Or a picture would draw it as coming from elsewhere."""
    way = everything.space.vector(everything.runs[name].snapshots[0]) - everything.start
    assert not way.any()


def test_the_body_and_what_was_inserted_move_in_different_directions(everything):
    full, prefix, head = (everything.end(name) - everything.start for name in ("full", "prefix", "head"))
    assert full @ prefix == 0
    assert full @ head != 0                              # the tied table of `full` rates words too, so there they share a way


def test_merged_methods_have_no_dimensions_of_their_own(zoo):
    family = read_family(zoo, list(MERGED))
    assert family.space.size == sum(p.size for p in load(zoo / "pretrained.npz").model.parameters().values())
    assert {key for name in MERGED for key in family.runs[name].end} <= family.body


def test_factors_that_make_the_same_product_are_the_same_point(zoo, tmp_path):
    """A -> cA, B -> B/c is another file and the same model, so it must not be another place on the map."""
    for name in ("pretrained.npz", "lora.npz", "lora.trajectory.npz"):
        (tmp_path / name).write_bytes((zoo / name).read_bytes())
    arrays, meta = read_arrays(tmp_path / "lora.npz")
    start = 0
    for name, shape in meta["shapes"].items():
        size = int(np.prod(shape))
        arrays["theta"][start:start + size] *= 8 if name.endswith("A") else 1 / 8
        start += size
    write_arrays(tmp_path / "lora.npz", arrays, meta)
    ends = [read_family(folder, ["lora"]).end("lora") for folder in (zoo, tmp_path)]
    np.testing.assert_allclose(ends[0], ends[1], rtol=0, atol=1e-7)


def test_a_mixture_of_all_is_a_model_that_works(everything):
    theta = everything.start + sum(0.1 * (everything.end(name) - everything.start) for name in TOGETHER if name != "scratch")
    assert np.isfinite(at(everything, theta)).all()


@pytest.mark.parametrize("names", [["adapter", "prefix"], ["prefix", "adapter"], ["low", "adapter"], ["adapter", "low"],
                                   ["prefix", "parallel", "lora", "head", "full"]], ids="+".join)
def test_the_order_of_names_does_not_matter(names, zoo):
    family = read_family(zoo, names)
    for name in names:
        wanted = logits(load(zoo / f"{name}.npz").model)
        assert np.abs(at(family, family.end(name)) - wanted).max() <= (1e-5 if name in MERGED else 0)


# ---- what has no space in common

@pytest.mark.parametrize("name", ["prompt", "ungated"])
def test_vectors_before_every_text_begin_where_they_began(name, zoo):
    family = read_family(zoo, [name])
    assert family.origin == "the start"
    _, snapshots, _ = read_trajectory(trajectory_path(zoo / f"{name}.npz"))
    began = logits(with_weights(load(zoo / f"{name}.npz").model, snapshots[0]))
    np.testing.assert_array_equal(at(family, family.start), began)
    assert np.abs(began - logits(load(zoo / "pretrained.npz").model)).max() > 1e-4


@pytest.mark.parametrize("names", [["prompt", "full"], ["adapter", "prompt"], ["ungated", "lora"], ["prompt", "ungated"],
                                   ["prefix", "ungated"]], ids="+".join)
def test_vectors_before_every_text_have_no_space_in_common_with_others(names, zoo):
    with pytest.raises(ValueError, match=r"^\w+ puts vectors before .* only runs of exactly the same recipe, options included$"):
        read_family(zoo, names)


def test_only_runs_of_another_seed_have_something_to_say_of_their_start(zoo, everything, tmp_path):
    assert everything.notes() == []
    (tmp_path / "pretrained.npz").write_bytes((zoo / "pretrained.npz").read_bytes())
    base, recipe = load(zoo / "pretrained.npz"), recipe_of(ALL["prompt"])
    for seed in (1, 2):
        finetune(base, tmp_path / "pretrained.npz", SpecialTask("novel", 2, 8, workers=1), recipe, tmp_path / f"seed{seed}.npz",
                 optimizer=AdamW(recipe.lr), steps=1, batch=2, seed=seed, workers=1)
    finetune(base, tmp_path / "pretrained.npz", SpecialTask("novel", 2, 8, workers=1), recipe_of("head"), tmp_path / "anew.npz",
             optimizer=AdamW(1e-3), steps=1, batch=2, seed=2, workers=1, scratch=True)
    family = read_family(tmp_path, ["anew"])
    np.testing.assert_array_equal(at(family, family.start), logits(base.model))         # not the table drawn anew
    assert family.notes()[0].startswith("anew began with other random numbers than the base, ")
    (note,) = read_family(tmp_path, ["seed1", "seed2"]).notes()
    assert note.startswith("seed2 began with other random numbers than seed1, ") and " away from the start, and moved " in note


@pytest.mark.parametrize("names", [["adapter", "wide"], ["prefix", "long"], ["adapter", "parallel"], ["parallel", "adapter"],
                                   ["parallel", "scaled"]], ids="+".join)
def test_two_different_things_in_one_place_are_refused(names, zoo):
    """Of other sizes; or of other forms with the same shapes, where the weights of one would be another model in the other."""
    with pytest.raises(ValueError, match=f"^{names[1]} has another .* in form or size, .* leave one of them out"):
        read_family(zoo, names)


# ---- folders

def test_the_runs_in_a_folder(zoo, tmp_path):
    assert runs_in(zoo) == ["full", "adapter", *sorted(ALL.keys() - {"full", "adapter", "scratch"}), "scratch"]
    for name in ("lora.npz", "lora.trajectory.npz", "alone.npz", "way.trajectory.npz", ".hidden.trajectory.npz", ".hidden.npz"):
        (tmp_path / name).touch()
    assert runs_in(tmp_path) == ["lora"] and runs_in(tmp_path / "nowhere") == []


@pytest.mark.parametrize("names, message", [
    (["nobody"], "no fine-tuning 'nobody'"), (["full", "alone"], "no fine-tuning 'alone'")])
def test_a_name_that_is_not_there_is_reported_with_those_that_are(names, message, story, tmp_path):
    for name in ("pretrained.npz", "full.npz", "full.trajectory.npz"):
        (tmp_path / name).write_bytes((story / name).read_bytes())
    (tmp_path / "alone.npz").write_bytes((story / "full.npz").read_bytes())
    with pytest.raises(CheckpointError, match=f"{message}.*; it has full"):
        read_family(tmp_path, names)
    with pytest.raises(CheckpointError, match="there is no folder"):
        read_family(tmp_path / "nowhere", ["full"])


def test_the_base_may_lie_elsewhere(zoo, story, tmp_path):
    """Then it is the one that the first fine-tuning remembers."""
    base = load(story / "pretrained.npz")
    finetune(base, story / "pretrained.npz", SpecialTask("novel", 2, 8), Full(), tmp_path / "mine.npz", optimizer=AdamW(1e-3),
             steps=1, batch=2, workers=1)
    family = read_family(tmp_path, ["mine"])
    np.testing.assert_array_equal(at(family, family.start), logits(base.model))


def test_a_trajectory_that_is_something_else_is_refused(story, tmp_path):
    for path in story.glob("*.npz"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    write_arrays(tmp_path / "full.trajectory.npz", {"steps": np.arange(3)}, {"kind": "surface"})
    with pytest.raises(CheckpointError, match="holds a surface, not a trajectory"):
        read_family(tmp_path, ["full"])


def test_specialists_of_another_base_are_refused(story, tmp_path):
    """A full model that came from elsewhere would span a plane that means nothing."""
    for path in story.glob("*.npz"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    arrays, meta = read_arrays(tmp_path / "full.npz")
    write_arrays(tmp_path / "full.npz", arrays, meta | {"base": meta["base"] | {"fingerprint": "0" * 16}})
    with pytest.raises(CheckpointError, match="full.npz was trained on another base"):
        read_family(tmp_path, ["adapter", "full"])


def test_reading_changes_no_file(zoo):
    before = {path.name: path.read_bytes() for path in zoo.glob("*.npz")}
    family = read_family(zoo, ["full", "lora", "adapter"])
    family.space.put(plane_through(family.start, family.end("full"), family.end("lora")).at(3, 4))
    assert {path.name: path.read_bytes() for path in zoo.glob("*.npz")} == before


# ---- the way, recorded

@pytest.mark.parametrize("name", ["full", "frozen", "adapter"])
def test_every_method_is_recorded_from_the_base_to_its_model(name, story):
    steps, snapshots, meta = read_trajectory(trajectory_path(story / f"{name}.npz"))
    assert steps == list(range(13)) and len(snapshots) == 13
    end, start = load(story / f"{name}.npz").model.state_dict(), load(story / "pretrained.npz").model.state_dict()
    assert all(np.array_equal(array, end[key]) for key, array in snapshots[-1].items())
    assert all(np.array_equal(array, start[key]) for key, array in snapshots[0].items() if key in start)
    assert meta["recipe"]["method"] == name and meta["history"]["loss"]


def test_a_recorder_keeps_copies_each_few_steps_the_start_and_the_last_included(rng, tmp_path):
    model = small_gpt(np.float32)
    model.trainable = False
    model.ln_f.trainable = True
    recorder = Recorder(3, last=8)
    trainer = Trainer(model, SGD(0.1), workers=1, on_step=recorder)
    recorder(trainer)
    kept = [model.ln_f.bias.data.copy()]
    for step in range(1, 10):
        trainer.step(rng.integers(0, 11, (2, 5)), rng.integers(0, 11, (2, 5)))
        if step in (3, 6, 8, 9):
            kept.append(model.ln_f.bias.data.copy())
    recorder.save(tmp_path / "way.npz", why="a test")
    steps, snapshots, meta = read_trajectory(tmp_path / "way.npz")
    assert steps == [0, 3, 6, 8, 9] and meta["why"] == "a test"
    assert all(snapshot.keys() == {"ln_f.weight", "ln_f.bias"} for snapshot in snapshots)
    assert np.array_equal([snapshot["ln_f.bias"] for snapshot in snapshots], kept)
    assert len({array.tobytes() for array in kept}) == 5


@pytest.mark.parametrize("steps", [7, 25, 47])
def test_the_last_step_is_recorded_whatever_the_number_of_steps(steps, tmp_path):
    """Or the path would end short of its model."""
    text = tmp_path / "text.txt"
    text.write_text("abcdefghij \n" * 20)
    config = {"context": 8, "n_layer": 2, "n_head": 2, "n_embd": 12}
    base = pretrain(TextTask(text, workers=1), config, tmp_path / "pretrained.npz", optimizer=AdamW(), steps=2, batch=2,
                    workers=1)
    finetune(base, tmp_path / "pretrained.npz", TextTask(text, base.tokenizer, 1), Frozen(), tmp_path / "frozen.npz",
             optimizer=AdamW(), steps=steps, batch=2, workers=1)
    recorded, snapshots, _ = read_trajectory(tmp_path / "frozen.trajectory.npz")
    end = load(tmp_path / "frozen.npz").model.state_dict()
    assert recorded[0] == 0 and recorded[-1] == steps and len(recorded) <= 50
    assert all(np.array_equal(array, end[key]) for key, array in snapshots[-1].items())
