"""--resume: continue an interrupted run with its options."""

from ..ground.arrays import read_meta
from ..ground.files import CheckpointError, checked
from ..runs.resuming import unfinished
from ..train.checkpoint import TRAINING
from .parsing import BadOption

NOT_OF_THE_RUN = ("command", "module", "parser", "given", "resume", "json", "out")


def options_of_run(args, out):
    """The options that determine the result of a run. With --resume, those of the interrupted run, which are put into `args`.

    ValueError if there is nothing to resume, if a given option differs, or if a new run would overwrite an interrupted one.
    """
    checkpoint = unfinished(out)
    if args.resume:
        take_saved_options(args, checkpoint, out)
    elif checkpoint.exists():
        raise ValueError(f"{checkpoint} holds an interrupted run: continue it with --resume, remove that file, or choose "
                         "another --out")
    return only_of_run(args)


def take_saved_options(args, checkpoint, out):
    """Put the options of the interrupted run into `args`."""
    if not checkpoint.exists():
        raise ValueError(f"there is nothing to resume: {out} is finished" if out.exists() else
                         f"there is nothing to resume: no {checkpoint}{others_beside(checkpoint)}")
    saved = checked(read_meta(checkpoint, "training"), TRAINING, checkpoint, "run in progress").get("options")
    if saved is None:
        raise CheckpointError(f"{checkpoint} was not written by this command")
    for name, value in only_of_run(parsed_again(args.parser, saved, checkpoint)).items():
        if name == "workers" and name in args.given:        # compared with the number of the run in runs/
            continue
        if name in args.given and getattr(args, name) != value:
            raise ValueError(f"the interrupted run has --{name.replace('_', '-')} {value}; --resume cannot change that")
        setattr(args, name, value)


def interrupted_in(folder):
    """The names of the interrupted runs in a folder."""
    return sorted(path.name.removesuffix(".training.npz") for path in folder.glob("*.training.npz"))


def others_beside(checkpoint):
    """A clause about the interrupted runs in the same folder, which have another name."""
    names = interrupted_in(checkpoint.parent)
    return f"; interrupted there is {', '.join(names[:5])}: name it with --method or --name" if names else ""


def only_of_run(args):
    """{option: value} without those that do not change the result."""
    return {name: value for name, value in vars(args).items() if name not in NOT_OF_THE_RUN}


def parsed_again(parser, options, path):
    """The saved options of a command, checked again as if they were typed. CheckpointError if one of them is invalid."""
    words = []
    for name, value in options.items():
        if value is True:
            words.append(f"--{name.replace('_', '-')}")
        elif value is not None and value is not False:
            words.append(f"--{name.replace('_', '-')}={value}")
    try:
        return parser.parse_args(words)
    except BadOption as error:
        raise CheckpointError(f"{path} holds invalid options ({str(error).split(';')[0]})") from None
