"""The command `oleaster`, also as `python -m oleaster`: its verbs are in `oleaster.cli`.

Modules take a second to import. Who interrupts the command meanwhile reads what is said later.
"""

import os
import signal
import sys


def main() -> int:
    """Run the process's command line and return its exit status: see `oleaster.cli`."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # not where a shell said to ignore it
        signal.signal(signal.SIGINT, _leave)
    signal.signal(signal.SIGTERM, _leave)

    from oleaster.cli import main as run

    # From here on an interrupt is an exception, so that work under way is cleaned up.
    signal.signal(signal.SIGINT, before)
    try:
        status = run()
    except KeyboardInterrupt:
        status = _interrupted()
    if status == 130:
        # A compiler in a thread does not stop, and would be torn down while it works. And CPython
        # ends itself by the signal, not with the status, if code from a string (as dataclasses
        # make) was interrupted, whoever caught it.
        sys.stdout.flush()
        os._exit(status)
    return status


def _leave(number: int, frame: object) -> None:
    """At once: as an exception it would get lost in an import, or be told as a failed one."""
    os._exit(_interrupted())


def _interrupted() -> int:
    os.write(2, b"interrupted\n")
    return 130


if __name__ == "__main__":
    sys.exit(main())
