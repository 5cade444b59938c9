"""Ends a process when its parent ends."""

from __future__ import annotations

import os
import signal
import sys

PARENT = "FACEGATE_PARENT"
"""Environment variable with the process id of the parent."""
_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """End with the parent process, even if that is killed; only if ``PARENT`` is set, and on Linux."""
    parent = os.environ.pop(PARENT, None)
    if parent is None or not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        os._exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    # For other programs: the setting survives exec.
    end_with_parent()
    os.execvp(sys.argv[1], sys.argv[1:])
