"""Reloading the configuration of a run: cameras are added, removed and changed without interrupting the others."""

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
"""Sections that need a restart."""

log = structlog.get_logger(__name__)


class ConfigDiff(msgspec.Struct, frozen=True):
    """Changes of a reload, by camera name."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    ignored: tuple[str, ...]
    """Changed sections that need a restart."""


def differences(
    before: RunConfig,
    after: RunConfig,
    gate_before: Callable[[str], GateConfig],
    must_restart: Set[str] = frozenset(),
) -> ConfigDiff:
    """Compare two configurations.

    Args:
        before: the running configuration.
        after: the new one.
        gate_before: returns the current gate settings of a camera.
        must_restart: cameras that restart even if unchanged.
    """
    known = {camera.name: camera for camera in before.cameras}
    new = {camera.name: camera for camera in after.cameras}
    return ConfigDiff(
        added=tuple(name for name in new if name not in known),
        removed=tuple(name for name in known if name not in new),
        changed=tuple(
            name
            for name, camera in new.items()
            if name in known
            and (
                name in must_restart
                or camera.model_copy(update={"store": {}}) != known[name].model_copy(update={"store": {}})
                or after.gate_for(name) != gate_before(name)
                or _kept(after, name) != _kept(before, name)
            )
        ),
        ignored=tuple(name for name in SECTIONS if getattr(after, name) != getattr(before, name)),
    )


def _kept(config: RunConfig, camera: str) -> tuple[int | None, float, bool]:
    """Settings of ``store`` that a camera is restarted for."""
    settings = config.store_for(camera)
    return settings.scene_px, settings.clip_s, settings.blur_others


class Reloadable(Protocol):
    """A run whose configuration can be reloaded."""

    def reload(self, config: RunConfig) -> ConfigDiff:
        """Switch to ``config``; raises a :class:`FacegateError` and keeps the previous one if that is
        impossible."""
        ...


class ReloadRequests:
    """Records a requested reload, and runs it outside the signal handler."""

    def __init__(self, runner: Reloadable, read: Callable[[], RunConfig]) -> None:
        self._runner = runner
        self._read = read
        self._asked = Event()

    def ask(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGHUP."""
        del number, frame
        self._asked.set()

    def if_asked(self) -> None:
        """Reload if requested; an invalid configuration changes nothing and is logged."""
        if not self._asked.is_set():
            return
        self._asked.clear()
        try:
            result = self._runner.reload(self._read())
        except FacegateError as error:
            log.error("configuration rejected, keeping the previous one", reason=str(error))
            return
        log.info("configuration reloaded", added=result.added, removed=result.removed, changed=result.changed)
        if result.ignored:
            log.warning("changed sections need a restart", sections=result.ignored)
