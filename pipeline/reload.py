"""Going over to a changed configuration file while a run goes on."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from types import FrameType

import structlog

from facegate.errors import FacegateError
from facegate.pipeline.config import RunConfig
from facegate.pipeline.runner import Runner

log = structlog.get_logger(__name__)


class Reloading:
    """Remembers that a reload was asked for, and does it outside the signal handler."""

    def __init__(self, runner: Runner, read: Callable[[], RunConfig]) -> None:
        self._runner = runner
        self._read = read
        self._asked = Event()

    def ask(self, number: int, frame: FrameType | None) -> None:
        """The handler of SIGHUP."""
        del number, frame
        self._asked.set()

    def if_asked(self) -> None:
        """Reload if that was asked for; a configuration that cannot work changes nothing and is logged."""
        if not self._asked.is_set():
            return
        self._asked.clear()
        try:
            result = self._runner.reload(self._read())
        except FacegateError as error:
            log.error("configuration not taken over, going on with the old one", reason=str(error))
            return
        log.info("configuration taken over", added=result.added, removed=result.removed, changed=result.changed)
        if result.ignored:
            log.warning("needs a restart", sections=result.ignored)
