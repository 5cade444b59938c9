"""Ctrl-C, SIGTERM and the end of the process."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, NoReturn

from facegate.parent import end_with_parent

SIGNAL_EXIT = 128
"""Exit codes above it name the signal that ended the process."""


class Interrupt:
    """Ctrl-C and SIGTERM: the first asks to stop, the second ends at once."""

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
    """Until something has to be closed, a signal ends the process.

    Python's own way is an exception, which may come up inside somebody's import and be swallowed there.
    """
    end_with_parent()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: os._exit(SIGNAL_EXIT + number))


def leave(code: int) -> NoReturn:
    """End the process.

    After a signal, at once: taking the interpreter and torch apart can cost a second. And where a thread of ours is
    still inside a torch or FFmpeg call, which nothing can interrupt, taking them apart around it can crash. By now
    everything of ours is closed and written.
    """
    working = any(thread.name.startswith("facegate-") for thread in threading.enumerate())
    if working or code > SIGNAL_EXIT:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
