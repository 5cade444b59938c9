"""Structured logs on stderr, human-readable by default, optionally JSON."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from facegate.pipeline.addresses import redact


def _redact_values(_: Any, __: str, event: Any) -> Any:
    """Redact passwords in URLs of every field, as a last line of defense."""
    return {key: redact(value) if isinstance(value, str) else value for key, value in event.items()}


def configure(*, json: bool = False, debug: bool = False) -> None:
    """Send logs to stderr, which keeps stdout free for data."""
    renderer: Any = (
        structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _redact_values,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if debug else logging.INFO),
        # Looked up at every call: a live display replaces sys.stderr while it is shown.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def show_warnings_only() -> None:
    """Leave out informational logs, for commands that print their results themselves."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
