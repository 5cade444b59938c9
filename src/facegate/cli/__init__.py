"""The command line: ``app.py`` registers the commands, ``commands/`` implements them, ``output/`` prints."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn

from facegate.cli.app import main

__all__ = ["command", "main"]


def command() -> NoReturn:
    """Entry point of the ``facegate`` script: run the command line and exit without interpreter shutdown.

    Everything is closed and written by then. Shutting down torch, OpenVINO and the interpreter around their
    sleeping threads takes up to a second, and has hung once.
    """
    code: object = 0
    try:
        main()
    except SystemExit as exit_:
        code = exit_.code
    with contextlib.suppress(OSError):  # the reader of the pipe is gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))
