"""The whole story on a tiny plan: the promised numbers and pictures, the same again, and the same when it was interrupted."""

import contextlib
import io
import json
import math
import shutil
import signal

import numpy as np
import pytest
from commands import refused

from minillm import draw
from minillm.demo import PICTURES, Plan, demo
from minillm.finetune.methods import LoRA
from minillm.gallery import RATES, gallery, train_missing
from minillm.ground.arrays import read_arrays, write_arrays
from minillm.ground.locks import alone
from minillm.runs.demo_folder import MODELS
from minillm.runs.saved import load
from minillm.tasks.samples import flawless, write_and_judge
from minillm.text.world import World
from minillm.train.fit import Interrupted
from minillm.train.trainer import Trainer

TINY = Plan(layers=2, heads=2, width=12, batch=4, pretraining_steps=12, documents=8, finetuning_batch=4, finetuning_steps=8,
            bottleneck=3, test_documents=4, samples=2, grid=4)
DOMAINS = list(World().domains)


class DemoRun:
    """What a demo gave: its metrics, folders, and what it printed."""

    def __init__(self, folder, **options):
        self.out, self.plots = folder / "out", folder / "plots"
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            self.metrics = demo(self.out, self.plots, seed=3, plan=TINY, **options)
        self.printed = printed.getvalue()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return DemoRun(tmp_path_factory.mktemp("demo"))


@pytest.fixture
def blind(monkeypatch):
    """No pictures: they are not what is tested, and take longer than all the rest."""
    for name in ("pretraining", "learning_and_forgetting", "surface", "relief", "animate", "player"):
        monkeypatch.setattr(draw, name, lambda *args: None)


def but_seconds(metrics):
    return {name: value for name, value in metrics.items() if name != "seconds"}


def assert_same_models(folder, other):
    for name in MODELS:
        (actual, _), (wanted, _) = (read_arrays(out / f"{name}.npz") for out in (folder, other))
        assert actual.keys() == wanted.keys() and all(np.array_equal(actual[key], wanted[key]) for key in wanted), name


# ---- what is promised

def test_the_metrics_on_disk_are_those_that_were_returned(run):
    assert json.loads((run.out / "metrics.json").read_text()) == json.loads(json.dumps(run.metrics))


def test_seconds_of_every_phase(run):
    seconds = run.metrics["seconds"]
    phases = {"pretrain", *(f"finetune_{name}" for name in MODELS[1:]), "evaluate", "surface"}
    assert phases <= seconds.keys()
    parts = sum(value for phase, value in seconds.items() if phase != "total")
    assert 0 < parts <= seconds["total"] + 0.1
    assert all(value >= 0 for value in seconds.values())


def test_domains_and_floors(run):
    assert run.metrics["domains"] == {"general": DOMAINS[:-1], "special": DOMAINS[-1]}
    assert list(run.metrics["floor"]) == DOMAINS
    assert all(0.1 < floor < 5 for floor in run.metrics["floor"].values())


def test_every_model_has_a_loss_and_an_excess_in_every_domain(run):
    assert tuple(run.metrics["models"]) == MODELS
    for metrics in run.metrics["models"].values():
        assert list(metrics["loss"]) == list(metrics["excess"]) == DOMAINS
        for domain in DOMAINS:
            assert metrics["loss"][domain] - run.metrics["floor"][domain] == pytest.approx(metrics["excess"][domain], abs=1e-9)
            assert math.isfinite(metrics["loss"][domain])


def test_the_numbers_are_those_of_the_saved_models(run):
    from minillm.tasks.world import WorldTask
    task = WorldTask(3)
    for name in MODELS:
        scores = task.score(load(run.out / f"{name}.npz").model, "test", TINY.test_documents)
        assert {domain: score.loss for domain, score in scores.items()} == pytest.approx(run.metrics["models"][name]["loss"])


def test_texts_without_a_mistake_are_counted_and_mistakes_are_shown(run):
    """100 and 25 in a whole demo, here 2 and 1: of what a model was taught, and of what else it may know."""
    world = World(3)
    for name, metrics in run.metrics["models"].items():
        assert list(metrics["flawless"]) == DOMAINS
        for domain, counts in metrics["flawless"].items():
            assert counts.keys() == {"1", "0.7"}
            assert all(one["n"] == (2 if domain == "novel" or name == "pretrained" else 1) for one in counts.values())
        model = load(run.out / f"{name}.npz").model
        assert metrics["flawless"]["novel"]["0.7"] == flawless(model, world, "novel", 2, 0.7, seed=3).to_json()
        [(text, mistake)] = write_and_judge(model, world, ["novel"], [np.random.default_rng([3, 3])])
        assert f"{name} (breaks a rule: {mistake}):\n" in run.printed and text.split()[0] in run.printed
    assert "without a mistake at 1 / 0.7" in run.printed and "0 / 0 %" in run.printed


def test_how_many_parameters_trained(run):
    models = run.metrics["models"]
    C, m, L, V = TINY.width, TINY.bottleneck, TINY.layers, len(World().tokenizer)
    body = V * C + L * (12 * C * C + 13 * C) + 2 * C
    adapters = 2 * L * (2 * C * m + C + m)
    trainable = {"pretrained": body, "full": body, "frozen": 12 * C * C + 13 * C + 2 * C,
                 "adapter": adapters + (2 * L + 1) * 2 * C, "scratch": body}
    assert {name: metrics["trainable_parameters"] for name, metrics in models.items()} == trainable
    assert {name: metrics["total_parameters"] for name, metrics in models.items()} == {
        name: body + (adapters if name == "adapter" else 0) for name in MODELS}


def test_the_surface_in_numbers(run):
    surface = run.metrics["surface"]
    assert surface["distances"].keys() == {"full", "adapter", "frozen"}
    assert all(distance > 0 for distance in surface["distances"].values())
    assert surface["cosines"].keys() == {"full,adapter", "full,frozen", "adapter,frozen"}
    assert all(-1 <= value <= 1 for value in surface["cosines"].values())
    assert 0 < surface["max_residual"] <= 1 + 1e-12


def test_seed_config_and_versions(run):
    assert run.metrics["seed"] == 3
    assert Plan(**run.metrics["config"]) == TINY
    assert run.metrics["versions"].keys() >= {"minillm", "numpy", "python"}
    assert run.metrics["versions"]["numpy"] == np.__version__


def test_the_specialists_learned_and_the_one_from_scratch_shares_no_weight(run):
    models = run.metrics["models"]
    for name in ("full", "frozen", "adapter"):
        history = read_arrays(run.out / f"{name}.trajectory.npz")[1]["history"]
        assert history["loss"][-1] < history["loss"][0]
        assert models[name]["loss"]["novel"] < models["pretrained"]["loss"]["novel"]
    base, scratch = (load(run.out / f"{name}.npz").model.state_dict()["wte.weight"] for name in ("pretrained", "scratch"))
    assert abs(np.corrcoef(base.reshape(-1), scratch.reshape(-1))[0, 1]) < 0.2
    full = load(run.out / "full.npz").model.state_dict()["wte.weight"]
    assert np.corrcoef(base.reshape(-1), full.reshape(-1))[0, 1] > 0.8


def test_the_pictures(run):
    from PIL import Image  # matplotlib brings it
    assert sorted(path.name for path in run.plots.iterdir()) == sorted(PICTURES)
    for name in PICTURES:
        data = (run.plots / name).read_bytes()
        if name.endswith(".html"):                          # tests/test_player.py looks into it
            assert data.startswith(b"<!doctype html>")
            continue
        assert data.startswith(b"GIF8" if name.endswith(".gif") else b"\x89PNG\r\n\x1a\n")
        with Image.open(run.plots / name) as picture:
            assert min(picture.size) > 200
            assert len(set(picture.convert("RGB").resize((200, 200)).tobytes())) > 20       # something is drawn
            if name.endswith(".gif"):
                assert picture.n_frames >= 3
                picture.seek(picture.n_frames // 2)
                middle = np.array(picture.convert("RGB"))
                picture.seek(0)
                assert (np.array(picture.convert("RGB")) != middle).any()                  # and it moves


def test_what_is_printed(run):
    for name in [*PICTURES, "metrics.json", *(f"{model}.npz" for model in MODELS)]:
        assert name in run.printed
    for metrics in list(run.metrics["models"].values())[1:]:
        assert f"{metrics['trainable_parameters']:,d}" in run.printed
        assert f"{metrics['excess']['novel']:.3f}" in run.printed


def test_nothing_else_is_left_in_the_folder(run):
    models = {f"{name}.npz" for name in MODELS} | {f"{name}.trajectory.npz" for name in MODELS[1:]}
    assert {path.name for path in run.out.iterdir()} == models | {"surfaces", "metrics.json", "demo.json"}
    assert [path.name[:6] for path in (run.out / "surfaces").iterdir()] == ["three-"]


# ---- again

def test_the_same_seed_gives_the_same_metrics(run, blind, tmp_path):
    again = DemoRun(tmp_path)
    assert but_seconds(again.metrics) == but_seconds(run.metrics)
    assert_same_models(again.out, run.out)


@pytest.mark.parametrize("lost", [
    ["metrics.json"], ["full.npz"], ["adapter.trajectory.npz"],
    ["adapter.npz", "adapter.trajectory.npz", "scratch.npz", "scratch.trajectory.npz", "metrics.json"]],
    ids="+".join)
def test_with_resume_what_is_missing_is_made_again_and_nothing_else(lost, run, blind, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(run.out, out, ignore=shutil.ignore_patterns(*lost))
    made_again = {"metrics", *(name.split(".")[0] for name in lost)}
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("*.*") if path.name.split(".")[0] not in made_again}
    again = DemoRun(tmp_path, resume=True)
    assert but_seconds(again.metrics) == but_seconds(run.metrics)
    assert_same_models(out, run.out)
    assert kept == {path: path.stat().st_mtime_ns for path in kept}


@pytest.mark.parametrize("cut", [5, TINY.pretraining_steps + 6, TINY.pretraining_steps + 3 * TINY.finetuning_steps + 1])
def test_an_interrupted_demo_goes_on_and_ends_the_same(cut, run, blind, tmp_path, monkeypatch):
    whole, done = Trainer.step, []

    def step(self, tokens, targets):
        loss = whole(self, tokens, targets)
        done.append(loss)
        if len(done) == cut:
            signal.raise_signal(signal.SIGINT)
        return loss

    monkeypatch.setattr(Trainer, "step", step)
    with pytest.raises(Interrupted):
        DemoRun(tmp_path)
    assert len(done) == cut and not (tmp_path / "out" / "metrics.json").exists()
    again = DemoRun(tmp_path, resume=True)
    assert len(done) == TINY.pretraining_steps + 4 * TINY.finetuning_steps      # no step was done twice
    assert but_seconds(again.metrics) == but_seconds(run.metrics)
    assert_same_models(again.out, run.out)


def test_without_resume_all_is_made_anew_and_that_is_said(run, blind, tmp_path, monkeypatch):
    """Also the run that was cut; while what others have put there, and what was measured, stays."""
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", lambda self, *batch, whole=Trainer.step: (
            whole(self, *batch), signal.raise_signal(signal.SIGINT) if self.steps_done == 5 else None)[0])
        with pytest.raises(Interrupted):
            demo(out, tmp_path / "plots", seed=4, plan=TINY)
    for name in ("thesis.npz", "notes.txt", "surfaces/mine.npz", ".pretrained.part.npz", "try"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("somebody's own")
    again = DemoRun(tmp_path)
    assert "is removed: pretrained.training.npz." in again.printed
    assert but_seconds(again.metrics) == but_seconds(run.metrics)
    assert not list(out.glob("*.training.npz"))
    for name in ("thesis.npz", "notes.txt", "surfaces/mine.npz", ".pretrained.part.npz", "try"):
        assert (out / name).read_text() == "somebody's own"


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("name", ["pretrained.npz", "full.npz", "adapter.trajectory.npz", "scratch.training.npz", "metrics.json"])
def test_a_file_of_its_name_that_no_demo_has_made_is_refused_and_stays(name, resume, tmp_path, story):
    out = tmp_path / "out"
    out.mkdir()
    if name in ("pretrained.npz", "adapter.trajectory.npz"):        # a model of minillm, and yet not of a demo
        shutil.copy(story / name, out / name)
    else:
        (out / name).write_text("left over from something else")
    before = (out / name).read_bytes()
    refused(tmp_path, "demo", "--out", out, "--plots", tmp_path / "plots", *["--resume"] * resume, words=[name, "no demo"])
    assert (out / name).read_bytes() == before


def test_models_of_a_demo_whose_note_is_lost_are_not_gone_on_with(run, tmp_path):
    shutil.copytree(run.out, tmp_path / "out", ignore=shutil.ignore_patterns("demo.json"))
    with pytest.raises(ValueError, match="no .*demo.json that says which demo"):
        DemoRun(tmp_path, resume=True)


def test_a_specialist_of_another_generalist_is_not_gone_on_with(run, tmp_path):
    shutil.copytree(run.out, tmp_path / "out", ignore=shutil.ignore_patterns("metrics.json"))
    arrays, meta = read_arrays(tmp_path / "out" / "full.npz")
    write_arrays(tmp_path / "out" / "full.npz", arrays, meta | {"base": meta["base"] | {"fingerprint": "0" * 16}})
    with pytest.raises(ValueError, match="from another generalist"):
        DemoRun(tmp_path, resume=True)


def test_resume_knows_how_many_workers_there_were(run, tmp_path):
    shutil.copytree(run.out, tmp_path / "out", ignore=shutil.ignore_patterns("metrics.json"))
    with pytest.raises(ValueError, match="with 1 workers, not 2"):
        DemoRun(tmp_path, resume=True, workers=2)


def test_two_demos_in_one_folder(tmp_path):
    out = tmp_path / "out"
    with alone(out / "demo"):
        refused(tmp_path, "demo", "--out", out, "--plots", tmp_path / "plots", words=["another minillm is at work"])


def test_resume_in_an_empty_folder_is_a_first_run(run, blind, tmp_path):
    assert but_seconds(DemoRun(tmp_path, resume=True).metrics) == but_seconds(run.metrics)


def test_resume_does_not_mix_runs_of_two_seeds(run, blind, tmp_path):
    """Refused or made anew, but never one model of seed 3 beside numbers that say seed 4."""
    shutil.copytree(run.out, tmp_path / "out")
    out = tmp_path / "out"
    try:
        metrics = demo(out, tmp_path / "plots", seed=4, plan=TINY, resume=True)
    except ValueError:
        return
    assert metrics["seed"] == load(out / "pretrained.npz").meta["seed"] == load(out / "full.npz").meta["seed"]


@pytest.mark.parametrize("folder", ["out", "plots"])
def test_a_folder_that_cannot_be_written_is_found_out_before_any_work(folder, blind, tmp_path, monkeypatch):
    (tmp_path / folder).write_text("a file where a folder is expected")
    monkeypatch.setattr(Trainer, "step", lambda self, *batch: pytest.fail("it trains, and could not keep what it learns"))
    with pytest.raises((OSError, ValueError)):
        DemoRun(tmp_path)
    assert (tmp_path / folder).read_text() == "a file where a folder is expected"


# ---- the gallery of a finished demo

def test_the_gallery_draws_everything_and_trains_what_is_missing_once(run, tmp_path, monkeypatch):
    out = shutil.copytree(run.out, tmp_path / "out")       # other tests say what is in the original
    with contextlib.redirect_stdout(io.StringIO()):
        pictures = gallery(out, tmp_path, grid=3)
    assert {path.name for path in pictures} >= {f"{name}.png" for name in (
        "curve", "curve_profile", "fan", "hessian", "line", "movement", "pca", "random", "relief", "spectrum", "surface")} | {
        "weights_moving.gif", "weights_moving.html"}
    assert all(path.stat().st_size > 5_000 for path in pictures)
    trained = {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")}
    assert {out / "lora.npz", *(out / "fan" / f"lr-{rate:g}.npz" for rate in RATES)} <= trained.keys()
    drawn = []
    for name in draw.__all__:
        monkeypatch.setattr(draw, name, lambda *args, **options: drawn.append(args[-1]))
    assert gallery(out, tmp_path, grid=3, seed=3, workers=1) == drawn == pictures
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")} == trained


def test_a_gallery_makes_its_own_models_again_and_leaves_others(run, tmp_path, monkeypatch):
    """After a demo of another seed in the same folder."""
    shutil.copytree(run.out, tmp_path / "out")
    out = tmp_path / "out"
    recipes, plan = {"lora": (LoRA(rank=1), 1e-2)}, TINY
    train_missing(out, recipes, plan, 3, 1)
    arrays, meta = read_arrays(out / "lora.npz")
    other = meta | {"base": meta["base"] | {"fingerprint": "0" * 16}}
    write_arrays(out / "lora.npz", arrays, other)
    train_missing(out, recipes, plan, 3, 1)
    assert read_arrays(out / "lora.npz")[1]["base"] == meta["base"]
    write_arrays(out / "lora.npz", arrays, {key: value for key, value in other.items() if key != "made_by"})
    with pytest.raises(ValueError, match="move it away"):
        train_missing(out, recipes, plan, 3, 1)


def test_a_gallery_of_no_demo_is_refused(tmp_path):
    refused(tmp_path, "gallery", tmp_path, "--plots", tmp_path / "plots", words=["pretrained.npz"])
