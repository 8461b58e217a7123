"""The commands: parse, call, print. What they do is in runs/ and demo.py."""

import io
import json
import os
import sys
import time
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import numpy as np

from .exercises import commands as learner
from .finetune.compare import compare
from .finetune.merge import merge
from .finetune.methods import from_json, recipe_of
from .finetune.remedies import remedy_of
from .finetune.specialist import prepare
from .finetune.summary import announcement, parameter_table, size
from .finetune.wrapper import inserted
from .ground.arrays import read_meta
from .ground.files import CheckpointError, checked, without_nan
from .ground.interrupts import listening
from .ground.ownership import not_others
from .ground.processes import WorkerError, parallel_map
from .ground.progress import Deaf, progress
from .inference.generate import generate
from .options import BadOption, parser
from .runs.finetuning import finetune
from .runs.load import load
from .runs.pretraining import pretrain
from .runs.resuming import unfinished
from .surface.sharpness import Curvature, extremes
from .surface.space import Probe
from .surface.views import learned_from, line, surface
from .tasks.evaluate import evaluate_text, pooled, score_table
from .tasks.pairs import PairTask
from .tasks.samples import flawless_to_json, flawless_world, numbers
from .tasks.special import SpecialTask
from .tasks.text import TextTask
from .tasks.world import CONTEXT, WorldTask
from .text.tokenizer import BEGIN, END
from .train.checkpoint import TRAINING, save_model
from .train.fit import Interrupted
from .train.optimizers import OPTIMIZERS
from .train.trainer import Trainer
from .train.workers import even_pieces


def main(argv=None):
    """Run one command and leave with its exit code: 0 done, 1 a check failed, 2 bad input, 130 interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    command = "minillm"
    with listening(), np.errstate(all="ignore"):            # a number that is too large shows in the result, and is told there
        try:
            with heard():
                args = parser(RUNS).parse_args(argv)
                command = f"minillm {args.command}"
                args.given = {word.split("=")[0].lstrip("-").replace("-", "_") for word in argv if word.startswith("--")}
                with patient() if args.command in MAKERS else nullcontext():
                    code = args.run(args) or 0
        except BadOption as error:
            code = told(f"{error.prog}: {error}", 2)
        except Interrupted as stop:
            code = told(f"\nminillm: {stop}. Saved in {stop.saved}; the same command with --resume goes on from there.", 130)
        except KeyboardInterrupt:
            code = told(f"\nminillm: interrupted{HINTS.get(command.split()[-1], '')}.", 130)
        except BrokenPipeError:                             # `| head` has read enough
            code = 1
        except (ValueError, OSError, MemoryError, ArithmeticError, WorkerError, RecursionError) as error:
            if "MINILLM_DEBUG" in os.environ:
                raise
            code = told(f"{command}: {reason_of(error)}", 2)
        sys.exit(code)


MAKERS = ("demo", "pretrain", "finetune", "merge", "compare", "surface", "report", "gallery")      # what they make is in files
LONGEST = 500                                               # letters of a sentence
HINTS = {"demo": "; --resume goes on with what is finished"} | dict.fromkeys(
    ("compare", "surface", "report", "gallery"), "; what is finished is kept, and the same command goes on from there")


def reason_of(error):
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return f"there is not enough memory for this ({error})" if str(error) else "there is not enough memory for this"
    return str(error) or type(error).__name__


def told(sentence, code):
    """Say a sentence on standard error, in one line whatever is in it, and hand on the exit code."""
    start = "\n" if sentence.startswith("\n") else ""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in sentence[len(start):][:10 * LONGEST])
    if len(line) > LONGEST:                                 # such as one with a name of 100,000 letters in it
        line = f"{line[:2 * LONGEST // 3]} ... {line[-LONGEST // 3:]}"
    with suppress(OSError, ValueError, AttributeError):     # there may be nowhere to say it
        print(f"{start}{line}", file=sys.stderr, flush=True)
    return code


@contextmanager
def heard():
    """Standard output and error as they must be to say anything: there, and not stopped by a letter that a terminal lacks."""
    streams = sys.stdout, sys.stderr
    for name, stream in zip(("stdout", "stderr"), streams):
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))      # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        drop_output()
        raise
    finally:
        sys.stdout, sys.stderr = streams


@contextmanager
def patient():
    """Work whose results go into files goes on when nobody reads what it says any more."""
    before, sys.stdout = sys.stdout, Deaf(sys.stdout)
    try:
        yield
    finally:
        sys.stdout = before
        try:
            sys.stdout.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                drop_output()


def drop_output():
    """What could not be written to standard output cannot be at the end, either, when Python tries once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# The commands.

def run_demo(args):
    from .demo import QUICK, demo

    if args.live:
        watch(args)
    else:
        answer(args, demo(args.out, args.plots, args.seed, QUICK if args.quick else None, args.workers, args.resume))


def watch(args):
    """demo --live: a window in which one more specialist trains, over the surface of a finished demo."""
    from . import draw
    from .demo import QUICK, SHOWN, Plan, demo
    from .draw import live as window
    from .live import Live

    plan, folder = QUICK if args.quick else Plan(), Path(args.out)
    if not (folder / "metrics.json").exists():
        print(f"There is no finished demo in {folder}, so that comes first.", flush=True)
        demo(args.out, args.plots, args.seed, plan, args.workers, resume=True)
    found = surface(folder, "three", SHOWN, plan.grid, args.workers, args.seed)
    if window.has_display():
        print("Close the window to end.", flush=True)
        window.run(Live(folder, found, batch=plan.finetuning_batch, workers=args.workers), dark=args.dark)
    else:
        page = Path(args.plots) / "weights_moving.html"
        draw.player(found, page, dark=args.dark)
        print("No window can be opened here (is there a screen, and Tk or Qt for Python?). Instead, open this page in any "
              f"browser:\n{page}")


def run_pretrain(args):
    out = Path(args.out) / "pretrained.npz"
    options = options_of_run(args, out)
    task = TextTask(args.text, workers=args.workers) if args.text is not None else WorldTask(args.seed, args.workers)
    config = {"context": args.context or (64 if args.text is not None else CONTEXT), "n_layer": args.layers, "n_head": args.heads,
              "n_embd": args.width}
    loaded = pretrain(task, config, out, optimizer=optimizer_of(args), steps=args.steps, batch=args.batch, seed=args.seed,
                      workers=args.workers, accumulate=args.accumulate, save_every=args.save_every, metadata={"options": options})
    report_run(args, loaded, task, out)


def run_finetune(args):
    folder = Path(args.out) if args.out else Path(args.base).parent
    out = folder / f"{args.name or recipe_of(args.method).method}.npz"
    keep_base(args.base, out, "--name or --out")
    options = options_of_run(args, out)
    recipe, remedy = recipe_of(args.method), remedy_of(args.remedy)     # with --resume, those of the run
    base = load_base(args.base)
    task = task_for(args, base)
    if args.lr is None and args.optimizer == "adamw":
        args.lr = recipe.lr
    loaded = finetune(base, args.base, task, recipe, out, optimizer=optimizer_of(args), steps=args.steps,
                      batch=args.batch, seed=args.seed, workers=args.workers, accumulate=args.accumulate,
                      save_every=args.save_every, metadata={"options": options}, remedy=remedy,
                      announce=lambda lines: print("\n".join(lines), flush=True))
    report_run(args, loaded, task, out)


def run_inspect(args):
    loaded = load(args.checkpoint, args.base)
    if not args.method:
        print("\n".join(description(loaded)))
        answer(args, size(loaded.model) | {"kind": loaded.meta["kind"], "recipe": loaded.meta.get("recipe")})
        return
    recipe = recipe_of(args.method)
    model = prepare(loaded.model, recipe)
    trainer = Trainer(model, OPTIMIZERS[args.optimizer](), workers=args.workers)
    T = min(args.context or model.config.context, model.config.context)
    print("\n".join(announcement(trainer, even_pieces(args.batch, T, trainer.workers.n))))
    answer(args, size(model))


def run_merge(args):
    loaded = load(args.checkpoint, args.base)
    keep_base(args.checkpoint, args.out, "--out")
    not_others(args.out, kinds=("model", "adapter"))
    if loaded.meta["kind"] == "adapter":
        keep_base(args.base or Path(args.checkpoint).parent / loaded.meta["base"]["path"], args.out, "--out")
    if inserted(loaded.model) or loaded.meta["kind"] != "adapter":          # an adapter may be other values of some weights alone
        merge(loaded.model)
    facts = {name: loaded.meta[name] for name in ("task", "recipe", "seed") if name in loaded.meta}
    save_model(args.out, loaded.model, loaded.tokenizer, **facts, merged=True)
    print(args.out)
    answer(args, size(loaded.model))


def run_compare(args):
    from . import draw

    base = load_base(args.base)
    for name, sign in (("md", b"| method |"), ("csv", b"method,"), ("json", b'"settings"')):
        not_others(Path(args.out) / f"comparison.{name}", sign)
    found = compare(base, task_for(args, base).to_json(), args.methods, args.remedies, seeds=args.seeds, rates=args.rates,
                    steps=args.steps, batch=args.batch, test_documents=args.test_documents, samples=args.samples,
                    scratch=not args.no_scratch, folder=args.out, workers=args.workers)
    print(found.text())
    files = found.save(args.out)
    picture = Path(args.out) / "comparison.png"
    draw.comparison(found, picture)
    print("", *files, picture, sep="\n")
    answer(args, found.to_json())


def run_evaluate(args):
    asked = [option for option in ("text", "pairs", "task") if getattr(args, option) is not None]
    if len(asked) > 1:
        raise ValueError(f"--{' and --'.join(asked)} are two things to judge by; give one of them")
    loaded = load(args.checkpoint, args.base)
    start, written = time.perf_counter(), {}
    if args.text is not None:
        scores = {"text": evaluate_text(loaded.model, TextTask(args.text, loaded.tokenizer).ids, args.workers)}
    else:
        if args.pairs is not None:
            task = PairTask(args.pairs, loaded.tokenizer, args.workers, args.skip_bad)
        else:
            task = loaded.task(args.workers)
            if args.task and not task.world:
                raise ValueError(f"{args.checkpoint} does not know the language of the toy world, in which --task {args.task} "
                                 "is put")
            if args.task:
                task = SpecialTask(args.task, task.world.seed, args.documents, workers=args.workers)
        scores = task.score(loaded.model, n=args.documents)
        if task.world:
            written = flawless_world(loaded.model, task.world, numbers(task.world, scores, scores, args.samples),
                                     workers=args.workers)
    print(*score_table(scores, written), *(task.remarks("test", args.documents) if args.text is None else []), sep="\n")
    result = {"loss": pooled(scores), "tokens": sum(score.tokens for score in scores.values()),
              "seconds": time.perf_counter() - start}
    if all(score.floor is not None or score.accuracy is not None for score in scores.values()):
        result["domains"] = {name: vars(score) for name, score in scores.items()}
        for name, facts in flawless_to_json(written).items():
            result["domains"][name] = result["domains"][name] | {"flawless": facts}
    answer(args, result)


def run_generate(args):
    loaded = load(args.checkpoint, args.base)
    tokenizer = loaded.tokenizer
    ids = tokenizer.encode(args.prompt)
    if BEGIN in tokenizer.ids:
        ids = [tokenizer.ids[BEGIN], *ids]
    elif not ids:
        ids = [tokenizer.ids.get("\n", 0)]
    rng = np.random.default_rng(args.seed)
    texts = []
    for _ in range(args.count):
        written = generate(loaded.model, ids, args.tokens, rng, args.temperature, args.top_k, args.top_p, tokenizer.ids.get(END))
        texts.append(tokenizer.decode([i for i in written if tokenizer.tokens[i] not in (BEGIN, END)]))
        print(texts[-1])
    answer(args, {"texts": texts})


def run_surface(args):
    from . import draw

    start, plots = time.perf_counter(), Path(args.plots)
    named = "" if args.view == "three" else f"-{args.view}"
    if args.view == "line":
        found = line(args.folder, args.models, workers=args.workers, seed=args.seed)
        drawn = [(draw.profile, "line.png")]
    else:
        found = surface(args.folder, args.view, args.models, args.grid, args.workers, args.seed)
        drawn = [(draw.surface, f"surface{named}.png"), (draw.relief, f"relief{named}.png")]
        if found.paths:
            drawn += [(draw.animate, f"weights_moving{named}.gif"), (draw.player, f"weights_moving{named}.html")]
    measured = time.perf_counter() - start
    jobs = [(lambda make=make, name=name: make(found, plots / name, dark=args.dark) and None) for make, name in reversed(drawn)]
    list(parallel_map(lambda job: job(), jobs, args.workers))
    pictures = [plots / name for _, name in drawn]
    if args.view == "curve":
        along = line(args.folder, args.models, True, workers=args.workers, seed=args.seed)
        pictures.append(plots / "curve_profile.png")
        draw.profile(along, pictures[-1], dark=args.dark)
    print_checks(found)
    print(*pictures, sep="\n")
    result = {"view": args.view, "seconds": measured}
    if args.view != "line":
        result |= {"distances": found.distances, "cosines": found.cosines, "max_residual": found.max_residual,
                   "gap": found.info["gap"], "not_numbers": found.info["not_numbers"]}
    answer(args, result | ({"barrier": found.barrier} if args.view == "line" else {}))


def run_sharpness(args):
    loaded = load(args.checkpoint, args.base)
    task = loaded.task()
    probe = Probe({task.name: learned_from(task, loaded.model.config.context)})
    if args.trainable and "recipe" in loaded.meta and from_json(loaded.meta["recipe"]).stands_alone:
        loaded.model.trainable = True
    curvature = Curvature(loaded.model, probe.only(task.name), args.trainable, args.workers)
    with progress(desc="curvature", unit="product") as bar:
        top, bottom = extremes(curvature.product, curvature.n, np.random.default_rng(args.seed), args.top,
                               progress=lambda m, value: bar.update())
    print(f"the Hessian ({curvature.n:,d} x {curvature.n:,d}) of the loss on {probe.count[task.name]} tokens of {task.name} "
          "that it was trained on")
    for title, found in (("largest", top), ("smallest", bottom)):
        for eigen in found:
            print(f"  {title:9s}{eigen.value:12.5g}   ± {eigen.error:.1g}")
    print(f"plain gradient descent is stable here up to a learning rate of 2 / {top[0].value:.4g} = {2 / top[0].value:.3g}\n"
          "sharpness says little about how well a transformer does on new texts")
    answer(args, {"top": [eigen.value for eigen in top], "bottom": [eigen.value for eigen in bottom], "parameters": curvature.n,
                  "errors": [eigen.error for eigen in (*top, *bottom)]})


def run_report(args):
    from .report import report

    print(report(args.folder, args.out, args.models, args.documents, args.grid, args.seed, args.workers, args.dark,
                 announce=lambda line: print(f"{line} ...", flush=True), samples=args.samples))


def run_gallery(args):
    from .gallery import gallery

    print(*gallery(args.folder, args.plots, args.grid, args.seed, args.workers, args.dark), sep="\n")


def run_lesson(args):
    return learned(args, learner.lesson)


def run_check(args):
    return learned(args, learner.check)


def run_hint(args):
    return learned(args, learner.hint)


def run_progress(args):
    return learned(args, learner.progress)


def learned(args, command):
    code, result = command(args)
    answer(args, result)
    return code


def run_gradcheck(args):
    from .finetune.check import check_methods
    from .gradcheck import TOLERANCE, check_everything

    rng = np.random.default_rng(args.seed)
    errors = check_everything(rng) | check_methods(rng)
    for name, error in errors.items():
        print(f"{name:56s}{error:10.1e}  {'right' if error < TOLERANCE else 'WRONG'}")
    worst = max(errors.values())
    print(f"largest relative error {worst:.1e}; a right gradient stays below {TOLERANCE:g}")
    answer(args, {"max_relative_error": worst, "errors": errors})
    return 0 if worst < TOLERANCE else 1


def run_bench(args):
    from .bench import aligned, bench

    found = bench(args.size, args.workers, args.seconds)
    print("\n".join(f"{what:10s}{value}" for what, value in found["machine"].items()))
    print("\nOne training step, beside the floor: the time of its matrix products alone.\n")
    print(aligned(found["sizes"]))
    print("\nThe same with each way of fine-tuning; memory is what comes on top of the weights.\n")
    print(aligned(found["methods"]))
    answer(args, found)


# What they share.

def print_checks(found):
    print("Is the picture right?")
    print("\n".join(f"  {sentence}" for sentence in found.checks()))


def answer(args, result):
    """With --json, the last line of standard output is one JSON object."""
    if args.json:
        print(json.dumps(without_nan(result)), flush=True)


def report_run(args, loaded, task, out):
    """What a training command says in the end."""
    print(f"{loaded.meta['seconds']:.1f} seconds")
    lines, result = task.final_report(loaded.model)
    print(*lines, out, sep="\n")
    answer(args, result | {"seconds": loaded.meta["seconds"]} | size(loaded.model))


def keep_base(base, out, option):
    """ValueError if a result would be written over the base that it was made from."""
    if os.path.realpath(out) == os.path.realpath(base):
        raise ValueError(f"the result would be written over {base}, from which it is made; choose another {option}")


def load_base(path):
    """A model to fine-tune. ValueError for one that has an adapter on."""
    base = load(path)
    if base.meta["kind"] == "adapter":
        raise ValueError(f"{path} is an adapter; fine-tune its base, or make one model of both first: "
                         f"minillm merge {path} --out FILE")
    return base


def task_for(args, base):
    """The task that the options name, in the language of a base."""
    learned = base.meta.get("task", {}).get("kind")
    of_world = learned not in ("text", "pairs")
    tasks = [option for option in ("text", "pairs", "task") if option in args.given]
    if len(tasks) > 1:
        raise ValueError(f"--{' and --'.join(tasks)} are two tasks; give one of them")
    if args.text is not None and base.tokenizer.kind != "character":
        raise ValueError(f"{args.base} knows only the words of the toy world; for --text, pretrain a model with --text first")
    if args.text is not None:
        return TextTask(args.text, base.tokenizer, args.workers)
    if args.pairs is not None:
        task = PairTask(args.pairs, base.tokenizer, args.workers, args.skip_bad, base.model.config.context)
        for line in task.skipped:
            print(f"left out: {args.pairs}, {line}", file=sys.stderr)
        return task
    if not of_world:
        raise ValueError(f"{args.base} was pretrained on a text; say with --text FILE or --pairs FILE what it shall learn now")
    return SpecialTask(args.task, base.task(args.workers).world.seed, args.documents, workers=args.workers)


def description(loaded):
    """What a file holds, in lines."""
    meta, config = loaded.meta, loaded.model.config
    lines = [f"{name:18s}{value}" for name, value in vars(config).items()]
    lines += [f"{'tokens':18s}{loaded.tokenizer.kind}s"]
    if "recipe" in meta:
        options = ", ".join(f"{name} {value}" for name, value in meta["recipe"].items() if name != "method")
        lines += [f"{'made by':18s}{meta['recipe']['method']}{f' ({options})' if options else ''}"]
    if "task" in meta:
        lines += [f"{'learned':18s}{', '.join(f'{name} {value}' for name, value in meta['task'].items())}"]
    return [*lines, "", *parameter_table(loaded.model, meta["kind"] == "adapter")]


def optimizer_of(args):
    if args.lr is None:
        return OPTIMIZERS[args.optimizer]()
    return OPTIMIZERS[args.optimizer](lr=args.lr)


NOT_OF_THE_RUN = ("command", "run", "given", "resume", "json", "out")


def options_of_run(args, out):
    """The options that make a run what it is. With --resume they are those of the run that was interrupted, put into `args`.

    ValueError if there is nothing to resume, if an option was given that differs, or if a run would be lost by starting anew.
    """
    checkpoint = unfinished(out)
    if not args.resume:
        if checkpoint.exists():
            raise ValueError(f"{checkpoint} holds a run that was interrupted: go on with --resume, remove that file, or choose "
                             "another --out")
        return {name: value for name, value in vars(args).items() if name not in NOT_OF_THE_RUN}
    if not checkpoint.exists():
        raise ValueError(f"there is nothing to resume: {out} is finished" if out.exists() else
                         f"there is nothing to resume: no {checkpoint}")
    saved = checked(read_meta(checkpoint, "training"), TRAINING, checkpoint, "run in progress").get("options")
    if saved is None:
        raise CheckpointError(f"{checkpoint} was not written by this command")
    saved = vars(parsed_again(args.command, saved, checkpoint))
    for name in [name for name in saved if name not in NOT_OF_THE_RUN]:
        if name == "workers" and name in args.given:        # compared where it is known how many there were (runs/)
            continue
        if name in args.given and getattr(args, name) != saved[name]:
            raise ValueError(f"the interrupted run has --{name.replace('_', '-')} {saved[name]}; --resume cannot change that")
        setattr(args, name, saved[name])
    return {name: value for name, value in vars(args).items() if name not in NOT_OF_THE_RUN}


def parsed_again(command, options, path):
    """The saved options of a command, as if they were typed once more: so each is checked as it was then. CheckpointError."""
    words = [command]
    for name, value in options.items():
        if value is True:
            words.append(f"--{name.replace('_', '-')}")
        elif value is not None and value is not False:
            words.append(f"--{name.replace('_', '-')}={value}")
    try:
        return parser(RUNS).parse_args(words)
    except BadOption as error:
        raise CheckpointError(f"{path} has options of a run that cannot be ({str(error).split(';')[0]})") from None


RUNS = {name.removeprefix("run_"): run for name, run in list(globals().items()) if name.startswith("run_")}
