"""The whole story in one run: a pretrained generalist is fine-tuned by three methods, and a loss surface shows the result."""

import platform
import textwrap
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from . import __version__
from .finetune.methods import BottleneckAdapter, Frozen, Full
from .ground.files import writable, write_json
from .ground.locks import alone
from .ground.processes import parallel_map
from .runs.demo_folder import MADE_BY, MODELS, begin, load_of
from .runs.finetuning import finetune
from .runs.pretraining import pretrain
from .surface.measure import GRID
from .surface.views import surface
from .tasks.evaluate import mean_excess
from .tasks.samples import TEMPERATURES, flawless_json, flawless_world, pooled_flawless, sample_counts, write_and_judge
from .tasks.special import SpecialTask
from .tasks.world import CONTEXT, WorldTask
from .train.optimizers import AdamW
from .train.optimizers.muon import Muon

SHOWN = ["full", "adapter", "frozen"]      # on the surface; its plane is spanned by the first two
PICTURES = ("pretraining.png", "learning_and_forgetting.png", "surface.png", "relief.png", "weights_moving.gif",
            "weights_moving.html")


# GPT-2's block, with rotary positions in place of its table of positions (lessons/experiments/10_todays_block.py compares them).
# The slowest pair of features turns once in 470 tokens, nearly five times the longest text.
BLOCK = {"positions": "rotary", "rope_base": 100.0}


@dataclass(frozen=True)
class Plan:
    """All sizes and settings of a demo. Learning rates were tuned for each method, on other seeds than the default one."""

    layers: int = 4
    heads: int = 4
    width: int = 128
    batch: int = 24
    pretraining_steps: int = 800
    lr: float = 0.03                   # of Muon, for the matrices of the blocks
    adamw_lr: float = 0.01             # of its AdamW, for everything else
    documents: int = 512
    finetuning_batch: int = 12
    finetuning_steps: int = 128
    bottleneck: int = 20
    lr_scratch: float = 8e-3
    test_documents: int = 100
    samples: int = 100                 # texts that a model writes of each kind it learned, at each temperature; 0: none
    grid: int = GRID

    def config(self):
        """Of the generalist, without its vocabulary."""
        return {"context": CONTEXT, "n_layer": self.layers, "n_head": self.heads, "n_embd": self.width, **BLOCK}


QUICK = Plan(layers=2, width=96, pretraining_steps=400, lr=0.04, finetuning_steps=80, bottleneck=12, test_documents=40,
             samples=40, grid=15)


@contextmanager
def clock(seconds, phase):
    """Store the time that the block takes as seconds[phase]."""
    start = time.perf_counter()
    yield
    seconds[phase] = round(time.perf_counter() - start, 2)


def demo(out="runs/demo", plots="plots", seed=1, plan=None, workers=None, resume=False):
    """Run the story. Models and metrics.json go to the folder `out`, pictures to `plots`. Returns the metrics.

    With `resume`, what an interrupted demo finished is read from `out`, and the interrupted training run continues.
    """
    plan, out, plots = plan or Plan(), Path(out), Path(plots)
    writable(out)
    writable(plots)
    with alone(out / "demo"):
        workers = begin(out, {"seed": seed, "plan": asdict(plan)}, workers, resume)
        return story(out, plots, seed, plan, workers)


def story(out, plots, seed, plan, workers):
    """Run the demo in a folder that `begin` prepared. Models that are already in it are not trained again."""
    from . import draw  # noqa: F401  (only a demo needs matplotlib; if it is broken, fail before the work)

    seconds, start = {}, time.perf_counter()
    say("1. A generalist is pretrained on six kinds of text.")
    world, novels = WorldTask(seed, workers), SpecialTask("novel", seed, plan.documents, workers=workers)
    base = generalist(out, world, plan, seed, workers, seconds)

    say(f"2. Three methods fine-tune it on {plan.documents} novels; a fourth model trains on them from scratch.")
    loaded = {"pretrained": base} | specialists(out, base, novels, plan, seed, workers, seconds)

    say("3. All models are evaluated on texts that none of them has seen.")
    scores, written = evaluate(loaded, world, plan, seed, workers, seconds)

    say("4. The loss surface in the plane through the pretrained, the full and the adapter model. Is the picture right?")
    with clock(seconds, "surface"):
        plane = surface(out, "three", SHOWN, plan.grid, workers, seed)
    print("\n".join(f"  {line}" for line in plane.checks()))

    metrics = metrics_of(loaded, scores, written, plane, world.world, plan, seed)
    with clock(seconds, "draw"):
        draw_all(plots, plane, metrics, base.meta["history"], workers)
    seconds["total"] = round(time.perf_counter() - start, 2)
    metrics = {"seconds": seconds} | metrics
    write_json(out / "metrics.json", metrics)
    say(f"Done in {seconds['total']:.0f} seconds.")
    for path in [*(plots / name for name in PICTURES), out / "metrics.json", *(out / f"{name}.npz" for name in MODELS)]:
        print(f"  {path}")
    return metrics


def generalist(out, world, plan, seed, workers, seconds):
    path = out / "pretrained.npz"
    with clock(seconds, "pretrain"):
        return load_of(None, path) if path.exists() else pretrain(
            world, plan.config(), path, optimizer=Muon(plan.lr, adamw_lr=plan.adamw_lr), steps=plan.pretraining_steps,
            batch=plan.batch, seed=seed, workers=workers, about=MADE_BY)


def specialists(out, base, novels, plan, seed, workers, seconds):
    """{name: Loaded} of three methods; and, to see what the base is worth, of the same training from random weights."""
    recipes = {"full": Full(), "frozen": Frozen(), "adapter": BottleneckAdapter(plan.bottleneck), "scratch": Full()}
    loaded = {}
    for name, recipe in recipes.items():
        lr = plan.lr_scratch if name == "scratch" else recipe.lr
        path = out / f"{name}.npz"
        with clock(seconds, f"finetune_{name}"):
            loaded[name] = load_of(base, path) if path.exists() else finetune(
                base, out / "pretrained.npz", novels, recipe, path, optimizer=AdamW(lr), steps=plan.finetuning_steps,
                batch=plan.finetuning_batch, seed=seed, workers=workers, scratch=name == "scratch", about=MADE_BY,
                announce=lambda lines: print(*lines[-3:], sep="\n", flush=True))
    return loaded


def evaluate(loaded, world_task, plan, seed, workers, seconds):
    """Evaluate on test texts, and count the texts without a mistake that each model writes. Prints and returns both."""
    with clock(seconds, "evaluate"):
        scores = {name: world_task.score(loaded[name].model, "test", plan.test_documents) for name in MODELS}
    world = world_task.world
    with clock(seconds, "samples"):
        taught = {name: [world.special, *(world.general if name == "pretrained" else [])] for name in MODELS}
        written = {name: flawless_world(loaded[name].model, world,
                                        sample_counts(world, world.domains, taught[name], plan.samples),
                                        seed=seed, workers=workers) for name in MODELS}
        print(table(loaded, scores, written, world.general, world.special))
        print_samples(loaded, world, seed)
    return scores, written


def metrics_of(loaded, scores, written, plane, world, plan, seed):
    """The content of metrics.json, without the times."""
    return {
        "domains": {"general": world.general, "special": world.special},
        "floor": {domain: score.floor for domain, score in scores["pretrained"].items()},
        "models": {name: {"loss": {domain: score.loss for domain, score in scores[name].items()},
                          "excess": {domain: score.excess for domain, score in scores[name].items()},
                          "stderr": {domain: score.stderr for domain, score in scores[name].items()},
                          "flawless": flawless_json(written[name])}
                   | sizes(loaded[name]) for name in MODELS},
        "surface": {"distances": plane.distances, "cosines": plane.cosines, "max_residual": plane.max_residual,
                    "gap": plane.info["gap"]},
        "seed": seed,
        "world": world.fingerprint(),
        "config": asdict(plan),
        **MADE_BY,
        "versions": {"minillm": __version__, "numpy": np.__version__, "python": platform.python_version()},
    }


def draw_all(plots, plane, metrics, history, workers):
    """Draw all pictures, several at a time."""
    from . import draw

    general, special = metrics["domains"].values()
    jobs = [lambda: draw.player(plane, plots / "weights_moving.html"),                             # the slowest first
            lambda: draw.animate(plane, plots / "weights_moving.gif"),
            lambda: draw.relief(plane, plots / "relief.png"), lambda: draw.surface(plane, plots / "surface.png"),
            lambda: draw.learning_and_forgetting(metrics["models"], general, special, plots / "learning_and_forgetting.png"),
            lambda: draw.pretraining(history, plots / "pretraining.png")]
    list(parallel_map(lambda job: job() and None, jobs, workers))                       # None, as no figure can leave its process


def say(sentence):
    print(f"\n{sentence}\n", flush=True)


def sizes(loaded):
    """{"trainable_parameters": ..., "total_parameters": ...}"""
    return {name: loaded.meta[name] for name in ("trainable_parameters", "total_parameters")}


def table(loaded, scores, written, general, special):
    """One line per model: its cost, the excess over the floor in nats per token, and the share of its texts without a mistake."""
    before_new, before_old = scores["pretrained"][special].excess, mean_excess(scores["pretrained"], general)
    lines = [f"{'':99s}   without a mistake at {TEMPERATURES[0]:g} / {TEMPERATURES[1]:g}",
             f"{'':24s}{'parameters that train':>24s}{'seconds':>9s}   {'excess on novels':<18s}{'excess on old domains':<22s}"
             f"{'novels':>14s}{'old domains':>17s}", "-" * 130]
    names = {"pretrained": "generalist, untouched", "full": "full fine-tuning", "frozen": "last block, rest frozen",
             "adapter": "adapters, body frozen", "scratch": "from scratch, same steps"}
    for name in MODELS:
        new, old = scores[name][special].excess, mean_excess(scores[name], general)
        flawless = "".join(f"{shares(written[name], kinds):>15s}" for kinds in ([special], general))
        trains, total = sizes(loaded[name]).values()
        if name == "pretrained":
            lines.append(f"{names[name]:24s}{'':24s}{'':9s}   {new:6.3f}{'':12s}{old:6.3f}{'':15s}{flawless}")
            continue
        from_new = "   -  " if name == "scratch" else f"{before_new:6.3f}"
        from_old = "   -  " if name == "scratch" else f"{before_old:6.3f}"
        lines.append(f"{names[name]:25s}{trains:14,d} {100 * trains / total:6.1f} %{loaded[name].meta['seconds']:9.1f}   "
                     f"{from_new} -> {new:6.3f}  {from_old} -> {old:6.3f}  {flawless}")
    return "\n".join(lines)


def shares(written, kinds):
    """The share of texts without a mistake at each temperature, as text: 16 / 46 %"""
    if not written:
        return "-"
    return " / ".join(f"{100 * pooled_flawless(written, kinds, temperature).share:.0f}" for temperature in TEMPERATURES) + " %"


def print_samples(loaded, world, seed):
    """Print how each model continues the same beginning, and whether the text breaks a rule of novels."""
    for name in MODELS:
        [(text, mistake)] = write_and_judge(loaded[name].model, world, [world.special], [np.random.default_rng([seed, 3])])
        print(f"\n{name} ({f'breaks a rule: {mistake}' if mistake else 'a novel without a mistake'}):")
        print(textwrap.indent(textwrap.fill(text, 100), "  "))
