"""Exit codes of every command."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the shell gets. A process that a signal ends returns 128 plus the number of the signal."""

    DONE = 0
    """The command did what it was asked to do."""
    REFUSED = 1
    """The command was understood, but failed, was refused, or found faults."""
    USAGE = 2
    """An option, an argument or the configuration is wrong; nothing was done."""
    INTERRUPTED = 130
    """Ctrl-C (128 + SIGINT)."""
    TERMINATED = 143
    """SIGTERM (128 + SIGTERM)."""
