"""Ctrl-C, SIGTERM and the end of the process."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, NoReturn

from facegate.parent import end_with_parent

SIGNAL_EXIT = 128
"""A process that a signal ends exits with this plus the number of the signal."""


class Interrupt:
    """Handles Ctrl-C and SIGTERM: the first calls ``stop``, the second exits at once."""

    def __init__(self, stop: Any) -> None:
        self.exit_code = 0
        self._stop = stop
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.exit_code:
            os._exit(self.exit_code)
        self.exit_code = SIGNAL_EXIT + number
        self._stop()


def end_at_once_while_loading() -> None:
    """Exit on a signal while modules are imported, when nothing has to be closed yet.

    Python would raise ``KeyboardInterrupt``, which code that is being imported may swallow.
    """
    end_with_parent()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: os._exit(SIGNAL_EXIT + number))


def leave(code: int) -> NoReturn:
    """Exit the process; everything is closed and written by now.

    After a signal, and while a thread of ours is inside a torch or FFmpeg call, without interpreter shutdown:
    shutdown can take a second, and can crash around a running call.
    """
    working = any(thread.name.startswith("facegate-") for thread in threading.enumerate())
    if working or code > SIGNAL_EXIT:
        with contextlib.suppress(OSError):  # reported, or the reader of the pipe is gone
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
