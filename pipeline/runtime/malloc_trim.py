"""Returns freed memory to the system.

Frames and activations are allocated in many threads, and glibc keeps what each thread has freed, so a process with
many cameras would grow for hours without a leak.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any


@cache
def _glibc() -> Any:
    """The C library if it is glibc, else ``None``."""
    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") else None


def trim_memory() -> None:
    """Return freed memory to the system; takes milliseconds."""
    if _glibc() is not None:
        _glibc().malloc_trim(0)
