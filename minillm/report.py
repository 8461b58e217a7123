"""One page about a whole run: numbers, pictures, the moving surface, settings. It works offline, and can be mailed."""

import base64
import json
import platform
import tempfile
from html import escape
from pathlib import Path

import numpy as np

from . import __version__, draw
from .ground.files import CheckpointError, read_json, write_text
from .ground.ownership import not_others
from .ground.progress import progress
from .inference.generate import generate_text
from .runs.demo_folder import NOTE
from .runs.saved import load
from .surface.family import ORIGIN, files_of, read_family, runs_in
from .surface.measure import GRID
from .surface.movement import movements
from .surface.views import line, surface
from .tasks.samples import TEMPERATURES, flawless_world, pooled_flawless, sample_counts, write_and_judge

STYLE = """
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --faint: #777; --rule: #ddd }
@media (prefers-color-scheme: dark) { :root.auto { --ink: #ededed; --paper: #14171c; --faint: #9aa0a8; --rule: #333a44 } }
:root.dark { --ink: #ededed; --paper: #14171c; --faint: #9aa0a8; --rule: #333a44 }
body { font: 17px/1.5 "DejaVu Sans", Verdana, sans-serif; color: var(--ink); background: var(--paper); max-width: 1100px;
       margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.9rem } h2 { margin-top: 2.5rem; border-bottom: 2px solid var(--rule) }
img { max-width: 100%; height: auto } figure { margin: 1.5rem 0 } figcaption, .faint { color: var(--faint); font-size: .9rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums } .wide { overflow-x: auto }
th, td { padding: .3rem .8rem; border-bottom: 1px solid var(--rule); text-align: right }
th:first-child, td:first-child { text-align: left }
blockquote { margin: .5rem 0 1rem; padding-left: 1rem; border-left: 4px solid var(--rule) }
pre { overflow-x: auto; font-size: .8rem }
@media print { body { max-width: none } }
"""


def report(folder, out=None, names=None, documents=100, grid=GRID, seed=1, workers=None, dark=False, announce=print,
           samples=100):
    """Write a page about the fine-tunings in a folder and their base. Returns its path, by default report.html in the folder.

    documents   of each kind to evaluate on: texts that no model has seen (for the task "facts", those that were learned)
    announce    called with a line about each part as it begins
    samples     number of texts of each kind that each model writes, to count those without a mistake (tasks/samples.py)
    CheckpointError says which file is missing or broken.
    """
    folder = Path(folder)
    out = Path(out) if out else folder / "report.html"
    not_others(out, b"<title>minillm: ")
    names = list(names or runs_in(folder))
    if not names:
        raise CheckpointError(f"{folder} has no fine-tunings with their trajectories; make one with   minillm finetune --base "
                              f"{folder / ORIGIN}.npz")
    base_path, _ = files_of(folder, names)
    family = read_family(folder, [name for name in names if name != "scratch"] or names)      # are they of this base?
    models = {ORIGIN: load(base_path)} | {name: load(folder / f"{name}.npz", base_path) for name in names}
    announce("evaluating the models")
    task, scores, written = evaluate(models, names, documents, samples, workers)
    announce("measuring surfaces")
    shown = [name for name in names if name != "scratch"] or names
    plane = surface(folder, "three" if len(shown) > 1 else "pca", shown, grid, workers, seed)
    straight = line(folder, [ORIGIN, shown[0]], workers=workers, seed=seed)
    moved = movements(family, shown)
    announce("drawing")
    history = models[ORIGIN].meta.get("history")
    world = task.world
    parts = [
        heading(folder, models, names, task),
        section("Results", table(models, scores, written, task),
                picture(lambda path: draw.learning_and_forgetting(figures(models, scores), task.world.general, task.name, path,
                                                                  dark=dark)) if world else ""),
        section("What the models write", *examples(models, task, seed)),
        section("The weights, moving", draw.player_html(plane, dark=dark)),
        section("The loss surface", picture(lambda path: draw.surface(plane, path, dark=dark)),
                picture(lambda path: draw.relief(plane, path, dark=dark))),
        section("The straight line", picture(lambda path: draw.profile(straight, path, dark=dark)), listing(straight.checks())),
        section("Where the weights moved", picture(lambda path: draw.movement(moved, path, dark=dark))),
        section("How the base was trained", picture(lambda path: draw.pretraining(history, path, dark=dark))) if history else "",
        section("Settings", settings(folder, models)),
    ]
    page = (f'<!doctype html>\n<html lang="en" class="{"dark" if dark else "light"}">\n<head>\n<meta charset="utf-8">\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n{draw.POLICY}\n'
            f"<title>minillm: {escape(folder.name)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{''.join(parts)}\n"
            "</body>\n</html>\n")
    write_text(out, page)
    return out


def evaluate(models, names, documents, samples, workers):
    """(task, scores, written): the task of the first fine-tuning, {model: {domain: Score}} on its test texts and the old domains,
    and {model: {domain: {temperature: Flawless}}} of the texts that the models write, if there is a grammar to check them."""
    task, scores, written = models[names[0]].task(workers), {}, {}
    for name, loaded in progress(models.items(), desc="evaluating", unit="model"):
        scores[name] = task.score(loaded.model, n=documents)
        written[name] = flawless_world(loaded.model, task.world, sample_counts(task.world, scores[name], task.learned, samples),
                                       workers=workers) if task.world else {}
    return task, scores, written


def figures(models, scores):
    """The models as `draw.learning_and_forgetting` takes them."""
    return {name: {"excess": {domain: score.excess for domain, score in scores[name].items()},
                   "trainable_parameters": loaded.meta.get("trainable_parameters", 0),
                   "total_parameters": loaded.meta.get("total_parameters", 1)} for name, loaded in models.items()}


# The parts of the page.

def section(title, *contents):
    return f"<section>\n<h2>{escape(title)}</h2>\n" + "\n".join(contents) + "\n</section>\n"


def heading(folder, models, names, task):
    base = models[ORIGIN]
    config, total = base.model.config, sum(p.size for p in base.model.parameters().values())
    return (f"<h1>A generalist becomes a specialist</h1>\n<p>A GPT of {config.n_layer} blocks, {config.n_head} heads and width "
            f"{config.n_embd}, {total:,d} parameters, was pretrained and then fine-tuned on <i>{escape(task.name)}</i>: "
            f"{len(names)} run{'s' * (len(names) > 1)} ({escape(', '.join(names))}). From {escape(folder.name)}, seed "
            f"{escape(str(base.meta.get('seed')))}.</p>\n")


def table(models, scores, written, task):
    """A table of what each model cost, learned and forgot."""
    floors = all(score.floor is not None for of_model in scores.values() for score in of_model.values())
    figure = "excess" if floors else "loss"
    domains = list(scores[ORIGIN])
    new = [domain for domain in domains if domain in task.learned]
    old = [domain for domain in domains if domain not in new]
    kinds = {"old kinds" if group is old else ", ".join(group): group for group in (new, old)
             if group and set(group) <= written[ORIGIN].keys()}
    head = ["", "parameters that train", "seconds", *new, *(["old kinds, mean"] if old else []), *old,
            *(f"{kind}, flawless at {temperature:g}" for kind in kinds for temperature in TEMPERATURES)]
    rows = []
    for name, loaded in models.items():
        meta, of_model = loaded.meta, scores[name]
        trains, total = meta.get("trainable_parameters", 0), meta.get("total_parameters", 1)
        cost = ["", ""] if name == ORIGIN else [f"{trains:,d} ({100 * trains / total:.3g} %)", f"{meta.get('seconds', 0):.1f}"]
        mean = [f"{np.mean([getattr(of_model[domain], figure) for domain in old]):.3f}"] if old else []
        rows.append([name, *cost, *(f"{getattr(of_model[domain], figure):.3f}" for domain in new), *mean,
                     *(f"{getattr(of_model[domain], figure):.3f}" for domain in old),
                     *(str(pooled_flawless(written[name], group, temperature)) for group in kinds.values()
                       for temperature in TEMPERATURES)])
    counted = (" Flawless: the share of texts without a mistake, of those that a model writes at two temperatures, and its "
               "95 % interval." if kinds else "")
    sources = "On texts that no model has seen" + (
        "." if task.unseen else f"; for {task.name}, which can only be learned by heart, on those that were learned.")
    unit = "Nats per token above the floor, the best possible loss: 0 is perfect." if floors else "Loss in nats per token."
    cells = [f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr>",
             *(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)]
    return ('<div class="wide"><table>\n' + "\n".join(cells)
            + f'\n</table></div>\n<p class="faint">{unit} {sources}{counted}</p>')


def examples(models, task, seed):
    """Yield a text by each model, with the same beginning and random numbers, and the first rule of the grammar it breaks."""
    for name, loaded in models.items():
        rng, context, remark = np.random.default_rng([seed, 3]), loaded.model.config.context, ""
        if task.world and task.name in task.world.grammars:
            [(text, mistake)] = write_and_judge(loaded.model, task.world, [task.name], [rng])
            remark = f" (breaks a rule: {mistake})" if mistake else " (without a mistake)"
        else:
            text = generate_text(loaded.model, loaded.tokenizer, task.probe(context)[0].beginning, context, rng)
        yield f"<p><b>{escape(name)}</b>{escape(remark)}</p><blockquote>{escape(text)}</blockquote>"


def picture(draw_into):
    """HTML of a picture, with its bytes inside.   draw_into(path) writes it to a file"""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        draw_into(path)
        return f'<figure><img alt="" src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"></figure>'


def listing(sentences):
    return "<ul>\n" + "\n".join(f"<li>{escape(sentence)}</li>" for sentence in sentences) + "\n</ul>"


def settings(folder, models):
    """HTML of all that is needed to make the same models again."""
    made_from = {"versions": {"minillm": __version__, "numpy": np.__version__, "python": platform.python_version()}}
    if (folder / "demo.json").exists():
        made_from["demo"] = read_json(folder / "demo.json", NOTE, "note of a demo")
    wanted = ("task", "seed", "recipe", "seconds", "config", "base")
    made_from |= {name: {part: unplaced(loaded.meta[part]) for part in wanted if part in loaded.meta}
                  for name, loaded in models.items()}
    return f"<pre>{escape(json.dumps(made_from, indent=1))}</pre>"


def unplaced(value):
    """The same, with file names instead of paths: a page that is passed on should not show the folders of its author."""
    if isinstance(value, dict):
        return {key: Path(part).name if key == "path" else unplaced(part) for key, part in value.items()}
    return value
