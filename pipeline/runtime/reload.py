"""Going over to another configuration while a run goes on: cameras come, go and change, the others do not blink."""

from __future__ import annotations

from collections.abc import Callable, Set
from threading import Event
from types import FrameType
from typing import Protocol

import msgspec
import structlog

from facegate.errors import FacegateError
from facegate.pipeline.config import GateConfig, RunConfig

SECTIONS = ("detector", "tracker", "scorer", "delivery")
"""What only a restart changes."""

log = structlog.get_logger(__name__)


class ConfigDiff(msgspec.Struct, frozen=True):
    """What a new configuration changed, by camera name."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    ignored: tuple[str, ...]
    """Sections that only a restart changes."""


def differences(
    before: RunConfig,
    after: RunConfig,
    gate_before: Callable[[str], GateConfig],
    anew: Set[str] = frozenset(),
) -> ConfigDiff:
    """What going over means.

    Args:
        before: what runs.
        after: what is to run.
        gate_before: tells the gate that a camera has now.
        anew: cameras that have to begin anew, whatever they are.
    """
    known = {camera.name: camera for camera in before.cameras}
    wanted = {camera.name: camera for camera in after.cameras}
    return ConfigDiff(
        added=tuple(name for name in wanted if name not in known),
        removed=tuple(name for name in known if name not in wanted),
        changed=tuple(
            name
            for name, camera in wanted.items()
            if name in known
            and (name in anew or camera != known[name] or after.gate_for(name) != gate_before(name))
        ),
        ignored=tuple(name for name in SECTIONS if getattr(after, name) != getattr(before, name)),
    )


class Reloadable(Protocol):
    """A run that can go over."""

    def reload(self, config: RunConfig) -> ConfigDiff:
        """Go over to ``config``; raises a :class:`FacegateError` and stays as it was where that cannot work."""
        ...


class ReloadRequests:
    """Remembers that a reload was asked for, and does it outside the signal handler."""

    def __init__(self, runner: Reloadable, read: Callable[[], RunConfig]) -> None:
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
