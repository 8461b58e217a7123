"""--resume: go on with a run that was interrupted, with the options that it had."""

from ..ground.arrays import read_meta
from ..ground.files import CheckpointError, checked
from ..runs.resuming import unfinished
from ..train.checkpoint import TRAINING
from .parsing import BadOption

NOT_OF_THE_RUN = ("command", "module", "parser", "given", "resume", "json", "out")


def options_of_run(args, out):
    """The options that make a run what it is. With --resume they are those of the run that was interrupted, put into `args`.

    ValueError if there is nothing to resume, if an option was given that differs, or if a run would be lost by starting anew.
    """
    checkpoint = unfinished(out)
    if args.resume:
        take_saved_options(args, checkpoint, out)
    elif checkpoint.exists():
        raise ValueError(f"{checkpoint} holds a run that was interrupted: go on with --resume, remove that file, or choose "
                         "another --out")
    return only_of_run(args)


def take_saved_options(args, checkpoint, out):
    """Put the options of the interrupted run into `args`."""
    if not checkpoint.exists():
        raise ValueError(f"there is nothing to resume: {out} is finished" if out.exists() else
                         f"there is nothing to resume: no {checkpoint}")
    saved = checked(read_meta(checkpoint, "training"), TRAINING, checkpoint, "run in progress").get("options")
    if saved is None:
        raise CheckpointError(f"{checkpoint} was not written by this command")
    for name, value in only_of_run(parsed_again(args.parser, saved, checkpoint)).items():
        if name == "workers" and name in args.given:        # compared where it is known how many there were (runs/)
            continue
        if name in args.given and getattr(args, name) != value:
            raise ValueError(f"the interrupted run has --{name.replace('_', '-')} {value}; --resume cannot change that")
        setattr(args, name, value)


def only_of_run(args):
    """{option: value}, without those that say only how to run or where to write."""
    return {name: value for name, value in vars(args).items() if name not in NOT_OF_THE_RUN}


def parsed_again(parser, options, path):
    """The saved options of a command, as if they were typed once more: so each is checked as it was then. CheckpointError."""
    words = []
    for name, value in options.items():
        if value is True:
            words.append(f"--{name.replace('_', '-')}")
        elif value is not None and value is not False:
            words.append(f"--{name.replace('_', '-')}={value}")
    try:
        return parser.parse_args(words)
    except BadOption as error:
        raise CheckpointError(f"{path} has options of a run that cannot be ({str(error).split(';')[0]})") from None
