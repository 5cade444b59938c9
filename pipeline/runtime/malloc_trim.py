"""Memory that the C library keeps after it was freed goes back to the system.

Frames and network activations come and go in many threads, and glibc keeps what each thread has freed, so a process
with many cameras would grow for hours without holding anything.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any


@cache
def _glibc() -> Any:
    """The C library where it is glibc, else ``None``."""
    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") else None


def trim_memory() -> None:
    """Give freed memory back; takes milliseconds."""
    if _glibc() is not None:
        _glibc().malloc_trim(0)
