"""Keeps memory that is not used from staying with the process.

Frames and activations are allocated in many threads, and glibc keeps what each thread has freed, so a process with
many cameras would grow for hours without a leak.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

M_ARENA_MAX = -8
"""glibc's parameter for the number of heaps."""
MAX_ARENAS = 2


@cache
def _glibc() -> Any:
    """The C library if it is glibc, else ``None``."""
    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") else None


def limit_arenas() -> None:
    """Let threads share two heaps; each would get its own, up to eight per core, and keep what was once in it."""
    if _glibc() is not None:
        _glibc().mallopt(M_ARENA_MAX, MAX_ARENAS)


def trim_memory() -> None:
    """Return freed memory to the system; takes milliseconds."""
    if _glibc() is not None:
        _glibc().malloc_trim(0)
