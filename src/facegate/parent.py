"""A process that is not to outlive the one that started it."""

from __future__ import annotations

import os
import signal
import sys

PARENT = "FACEGATE_PARENT"
"""Environment: number of the process without which this one is to end too."""
_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """End when the process that started this one is gone, however it went, where it has asked for that (Linux)."""
    parent = os.environ.pop(PARENT, None)
    if parent is None or not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        os._exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    # Another program, which does not know of this: what is asked of the system here holds for it, too.
    end_with_parent()
    os.execvp(sys.argv[1], sys.argv[1:])
