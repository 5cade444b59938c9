"""The command line: ``app.py`` gathers the verbs, ``verbs/`` has one file each, ``output/`` what people see."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn

from facegate.cli.app import main

__all__ = ["command", "main"]


def command() -> NoReturn:
    """Run the command line as a process of its own, and end that at once.

    Everything of ours is closed and written by then. Taking torch, OpenVINO and the interpreter apart around their
    sleeping threads costs up to a second, and was once seen not to end.
    """
    code: object = 0
    try:
        main()
    except SystemExit as left:
        code = left.code
    with contextlib.suppress(OSError):  # a reader that has left
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))
