"""minillm finetune: make a specialist of a pretrained model, with any method."""

from pathlib import Path

from ..finetune.methods import recipe_of
from ..finetune.remedies import remedy_of
from ..runs.finetuning import finetune
from .inputs import add_base, add_optimizer, add_task, keep_base, load_base, optimizer_of, task_for
from .options import add_seed, add_training, add_workers, path, plain_name
from .output import print_result
from .recipes import METHODS_HELP, add_method, add_remedy
from .resuming import interrupted_in, options_of_run

SUMMARY = "Fine-tune a pretrained model: make a specialist of it."
EXAMPLES = ("--base runs/pretrain/pretrained.npz --method lora",
            "--base runs/pretrain/pretrained.npz --method lora:rank=8,targets=q+v --lr 5e-3",
            "--base runs/pretrain/pretrained.npz --method 'frozen:train=blocks.*.mlp.*+*.bias'",
            "--base runs/pretrain/pretrained.npz --task questions --documents 1024 --steps 400 --batch 32",
            "--base runs/pretrain/pretrained.npz --remedy replay:share=0.5",
            "--base runs/book/pretrained.npz --method adapter:bottleneck=8 --text letters.txt",
            "--base runs/pretrain/pretrained.npz --pairs answers.jsonl")
NOTES = METHODS_HELP
WRITES_FILES = True


def add_options(parser):
    add_seed(parser)
    add_workers(parser)
    add_base(parser)
    add_method(parser, "--method", default="full",
               help="method of fine-tuning, with options as in lora:rank=8,alpha=16 (see below)")
    add_remedy(parser, "--remedy", default="none", help="remedy against forgetting (see below)")
    add_task(parser)
    add_training(parser, batch=12, steps=128)
    add_optimizer(parser, "adamw", "of the method")
    parser.add_argument("--out", type=path, metavar="FOLDER", help="folder for the new file NAME.npz (default: that of the base)")
    parser.add_argument("--name", type=plain_name, help="name of the new file (default: the name of the method, as you give it)")


def name_of(args, folder):
    """--name, or the method by the name that was given; for --resume alone, that of the only run that was interrupted there."""
    if args.resume and not {"name", "method"} & set(args.given):
        interrupted = [name for name in interrupted_in(folder) if name != "pretrained"]
        if len(interrupted) == 1:
            return interrupted[0]
    return args.name or args.method.partition(":")[0]


def run(args):
    folder = Path(args.out) if args.out else Path(args.base).parent
    out = folder / f"{name_of(args, folder)}.npz"
    keep_base(args.base, out, "--name or --out")
    options = options_of_run(args, out)
    recipe, remedy = recipe_of(args.method), remedy_of(args.remedy)     # with --resume, those of the interrupted run
    base = load_base(args.base)
    task = task_for(args, base)
    if args.lr is None and args.optimizer == "adamw":
        args.lr = recipe.lr
    loaded = finetune(base, args.base, task, recipe, out, optimizer=optimizer_of(args), steps=args.steps,
                      batch=args.batch, seed=args.seed, workers=args.workers, accumulate=args.accumulate,
                      save_every=args.save_every, metadata={"options": options}, remedy=remedy,
                      announce=lambda lines: print("\n".join(lines), flush=True))
    print_result(args, loaded, task, out)
