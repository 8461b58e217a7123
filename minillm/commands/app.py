"""`main`: find the command, run it, and turn every error into a sentence and an exit code."""

import importlib
import os
import sys
from contextlib import nullcontext

import numpy as np

from .. import __version__
from ..ground.interrupts import listening
from ..ground.processes import WorkerError
from ..train.fit import Interrupted
from . import COMMANDS
from .output import ignore_closed_output, print_error, safe_streams
from .parsing import BadOption, Help, Parser


def main(argv=None):
    """Run one command and exit with its code: 0 done, 1 a check failed, 2 bad input, 130 interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    name, module = "minillm", None
    with listening(), np.errstate(all="ignore"):            # overflow is reported where the result shows it
        try:
            with safe_streams():
                args = parser(commands_to_load(argv)).parse_args(argv)
                name, module = f"minillm {args.command}", args.module
                args.given = {word.split("=")[0].lstrip("-").replace("-", "_") for word in argv if word.startswith("--")}
                with ignore_closed_output() if getattr(module, "WRITES_FILES", False) else nullcontext():
                    code = module.run(args) or 0
        except BadOption as error:
            code = 2
            print_error(f"{error.prog}: {error}")
        except Interrupted as stop:
            code = 130
            print_error(f"\nminillm: {stop}. Saved in {stop.saved}; the same command with --resume continues it.")
        except KeyboardInterrupt:
            code = 130
            print_error(f"\nminillm: interrupted{getattr(module, 'IF_INTERRUPTED', '')}.")
        except BrokenPipeError:                             # such as by `| head`
            code = 1
        except (ValueError, OSError, MemoryError, ArithmeticError, WorkerError, RecursionError) as error:
            if "MINILLM_DEBUG" in os.environ:
                raise
            code = 2
            print_error(f"{name}: {reason(error)}")
        sys.exit(code)


def reason(error):
    """The message of an exception, in words."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return f"there is not enough memory for this ({error})" if str(error) else "there is not enough memory for this"
    return str(error) or type(error).__name__


def commands_to_load(argv):
    """The commands whose files are needed to parse `argv`: loading all of them takes as long as loading NumPy."""
    if argv[:1] == ["--version"]:
        return ()
    return argv[:1] if argv and argv[0] in COMMANDS else COMMANDS


def parser(names=COMMANDS):
    """The parser of these commands. The arguments it returns include the command's `module` and its own `parser`."""
    top = Parser(prog="minillm", description="A small GPT with every gradient written by hand.",
                 epilog="minillm COMMAND --help shows the options and examples of a command.")
    top.add_argument("--version", action="version", version=f"minillm {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in names:
        module = importlib.import_module(f".{name}", __package__)
        command = commands.add_parser(name, help=module.SUMMARY, description=module.SUMMARY, epilog=text_below(name, module),
                                      formatter_class=Help, allow_abbrev=False)      # options must be typed in full
        command.set_defaults(module=module, parser=command)
        command.add_argument("--json", action="store_true", help="print the results as a last line of JSON")
        module.add_options(command)
    return top


def text_below(name, module):
    """The end of a command's help: examples, then notes."""
    examples = "examples:\n" + "\n".join(f"  minillm {name} {example}".rstrip() for example in module.EXAMPLES)
    notes = getattr(module, "NOTES", "")
    return f"{examples}\n\n{notes}" if notes else examples
