"""Exceptions raised by facegate.

::

    FacegateError
    ├── ConfigError      wrong usage or configuration        (exit 2)
    ├── SourceError      a camera, stream, file or image     (exit 1)
    ├── ModelError       weights, cards, detector packs      (exit 1)
    ├── GalleryError     enrollment pictures                 (exit 1)
    ├── DeliveryError    sockets and messages                (exit 1)
    ├── StoreError       the store of shots and visits       (exit 1)
    ├── FleetError       servers and state of a fleet        (exit 1)
    └── StageError       a pipeline stage failed; names it   (exit 1)

A message is one line: what is wrong, then the remedy.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Codes of an ``OSError`` that say that there is no space for a file: a full disk, a quota, a limit of its size."""
FREE_SPACE = "free some disk space, and retry"


class FacegateError(Exception):
    """Base class; ``exit_code`` is the exit status of the command line."""

    exit_code = 1


class ConfigError(FacegateError):
    """A wrong argument, configuration key or value."""

    exit_code = 2


class SourceError(FacegateError):
    """A source of frames or images cannot be opened or read."""


class ModelError(FacegateError):
    """A model file is missing, damaged, unknown or of another architecture."""


class GalleryError(FacegateError):
    """The gallery is empty, or a picture in it cannot be enrolled."""


class DeliveryError(FacegateError):
    """A socket cannot be bound or connected, or a message is malformed."""


class StoreError(FacegateError):
    """The file with shots, visits and tracks cannot be used."""


class FleetError(FacegateError):
    """The fleet's server, its bucket or its configuration cannot be used."""


class StageError(FacegateError):
    """A pipeline stage failed; the original error is the ``__cause__``."""

    def __init__(self, stage: str, error: BaseException) -> None:
        super().__init__(f"stage '{stage}' failed: {type(error).__name__}: {error}")
        self.stage = stage


def os_reason(error: BaseException) -> str:
    """The operating system's or a library's reason of an error, such as ``permission denied``."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    return str(getattr(error, "strerror", None) or error or type(error).__name__).lower()


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or the one that caused it, says that there is no space for a file."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in DISK_FULL:
            return True
        if type(cause).__name__ == "OperationalError" and "disk is full" in str(cause):  # of SQLite
            return True
        cause = cause.__cause__
    return False


@contextmanager
def os_errors(kind: type[FacegateError], failure: str, remedy: str = "") -> Iterator[None]:
    """Raise an error of reading or writing as ``kind``: ``cannot read x.yaml: permission denied; remedy``.

    A full disk is no mistake of the caller: its remedy is free space, and its exit code 1.
    """
    try:
        yield
    except (OSError, UnicodeDecodeError) as error:
        full = is_disk_full(error)
        remedy = FREE_SPACE if full else remedy
        failed = kind(f"{failure}: {os_reason(error)}" + (f"; {remedy}" if remedy else ""))
        if full:
            failed.exit_code = FacegateError.exit_code
        raise failed from error
