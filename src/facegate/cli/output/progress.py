"""Progress on stderr: a live line on a terminal, a log line every few seconds elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

import structlog
from rich.console import Console
from rich.live import Live
from rich.text import Text

if TYPE_CHECKING:
    from facegate.pipeline.observability.report import RunReport
    from facegate.pipeline.runner import Runner

REFRESH_S = 0.25
LOG_EVERY_S = 5.0

log = structlog.get_logger("facegate.run")


def follow(runner: Runner, on_tick: Callable[[], None]) -> None:
    """Show progress until the run ends or is being stopped; calls ``on_tick`` every 0.25 s."""
    if sys.stderr.isatty():
        with Live(console=Console(stderr=True), refresh_per_second=4, transient=True) as live:
            while not runner.wait(REFRESH_S) and not runner.stopping:
                on_tick()
                live.update(Text(_line(runner.report())))
        return
    due = monotonic() + LOG_EVERY_S
    while not runner.wait(REFRESH_S) and not runner.stopping:
        on_tick()
        if monotonic() >= due:
            report = runner.report()
            log.info("progress", frames=report.frames_processed, faces=report.observed, forwarded=report.shots)
            due = monotonic() + LOG_EVERY_S


def _line(report: RunReport) -> str:
    rate = report.frames_processed / max(report.duration_s, 1e-9)
    states = ", ".join(f"{camera.camera} {camera.state}" for camera in report.cameras[:4])
    return (
        f"{report.duration_s:6.0f} s  frames {report.frames_processed} ({rate:.0f}/s)  faces {report.observed}"
        f"  forwarded {report.shots}  [{states}]"
    )


@contextmanager
def counting(what: str) -> Iterator[CountLine]:
    """Show a line ``what done/total``, on a terminal only."""
    line = CountLine(what)
    try:
        yield line
    finally:
        line.clear()


class CountLine:
    """Progress line, called with ``(done, total)``."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._shown = sys.stderr.isatty()

    def __call__(self, done: int, total: int) -> None:
        """Show ``done/total``."""
        if self._shown:
            sys.stderr.write(f"\r{self._what} {done}/{total}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Remove the line."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
