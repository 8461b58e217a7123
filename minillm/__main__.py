"""The command `minillm`, also as `python -m minillm`."""

import signal
import sys

from .ground.interrupts import listening


def start():
    """Run a command, and end the process with its exit code."""
    try:
        with listening():
            from .commands.app import main  # here, since it takes a while, in which Ctrl-C may come as well

            main()
    except KeyboardInterrupt:
        print("\nminillm: interrupted.", file=sys.stderr)
        sys.exit(130)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)      # what is left is Python's own cleaning up


if __name__ == "__main__":
    start()
