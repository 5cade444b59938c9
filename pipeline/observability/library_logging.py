"""Logging when facegate is used as a library."""

from __future__ import annotations

import structlog


def log_as_a_library() -> None:
    """Log through the standard library, which is quiet by default, unless structlog is configured.

    structlog's own default prints to stdout, which is reserved for data.
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
