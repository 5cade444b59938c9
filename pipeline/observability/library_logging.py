"""Logs of a run inside somebody else's program."""

from __future__ import annotations

import structlog


def log_as_a_library() -> None:
    """Unless somebody has configured structlog, log through the standard library, which is quiet by default.

    structlog's own default prints to stdout, where data belongs.
    """
    if not structlog.is_configured():
        structlog.configure(
            processors=[
                structlog.stdlib.filter_by_level,
                structlog.processors.KeyValueRenderer(key_order=["event"]),
            ],
            wrapper_class=structlog.stdlib.BoundLogger,
            logger_factory=structlog.stdlib.LoggerFactory(),
        )
