"""The command line: ``app.py`` registers the commands, ``commands/`` implements them, ``output/`` prints."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import NoReturn

__all__ = ["command"]


def command() -> NoReturn:
    """Entry point of the ``facegate`` script: run the command line and exit without interpreter shutdown.

    Everything is closed and written by then. Shutting down torch, OpenVINO and the interpreter around their
    sleeping threads takes up to a second, and has hung once.
    """
    with _quiet_interrupt():  # importing the commands takes half a second
        from facegate.cli.app import main
    code: object = 0
    try:
        main()
    except SystemExit as exit_:
        code = exit_.code
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    with contextlib.suppress(OSError):  # the reader of the pipe is gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


@contextlib.contextmanager
def _quiet_interrupt() -> Iterator[None]:
    """Exit at once on Ctrl-C while modules are imported, unless it is ignored, as in a shell's background."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(128 + number))
    yield
    signal.signal(signal.SIGINT, before)
