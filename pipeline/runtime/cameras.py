"""The cameras of a run, those that were removed included: their threads, and one taking another's place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from threading import Event

from facegate.errors import SourceError
from facegate.pipeline.cameras.camera import Camera
from facegate.pipeline.config import CameraConfig
from facegate.pipeline.runtime.reload import ConfigDiff
from facegate.pipeline.runtime.threads import ThreadGroup

THREAD_NAME_PREFIX = "camera-"
"""Prefix of the threads' names."""


class CameraSet:
    """Every camera of a run; present ones first when iterated."""

    def __init__(self, cameras: list[Camera], crew: ThreadGroup, stopping: Event) -> None:
        self._present = cameras
        self._removed: dict[str, Camera] = {}
        self._crew = crew
        self._stopping = stopping

    def __iter__(self) -> Iterator[Camera]:
        return iter((*self._present, *self._removed.values()))

    @property
    def present(self) -> Sequence[Camera]:
        """Those that were not removed."""
        return self._present

    def start(self) -> None:
        """Start each one's thread."""
        for camera in self._present:
            self._crew.spawn(THREAD_NAME_PREFIX + camera.name, camera.run)

    def stop(self) -> None:
        """Ask each to end."""
        for camera in self._present:
            camera.stopped.set()

    def replace(
        self,
        result: ConfigDiff,
        wanted: dict[str, CameraConfig],
        prepare: Callable[[CameraConfig, Camera | None], Camera],
    ) -> None:
        """Let leaving cameras end and new ones start; counts, frame numbers and track ids of a camera go on.

        Only a camera that has a successor is waited for, when all others have begun: one that says nothing takes
        its time to end.
        """
        before = {camera.name: camera for camera in self._present}
        leaving = [before[name] for name in (*result.removed, *result.changed)]
        for old in leaving:
            old.stopped.set()
        self._removed |= {old.name: old for old in leaving}
        self._present = [camera for camera in self._present if camera not in leaving]
        waits = {name for name, old in self._removed.items() if not old.done}
        for name in sorted((*result.added, *result.changed), key=lambda name: name in waits):
            last = self._removed.get(name)
            if last is not None:
                self._wait_for(last)
            new = prepare(wanted[name], last)
            self._removed.pop(name, None)
            self._present.append(new)
            if self._stopping.is_set():
                new.stopped.set()
            self._crew.spawn(THREAD_NAME_PREFIX + name, new.run)

    def raise_problem(self) -> None:
        """Raise why there was no frame.

        Raises:
            SourceError: a camera has failed.
        """
        errors = [camera.error for camera in self._present if camera.error]
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise SourceError(f"none of {len(errors)} cameras gave a frame; the first: {errors[0]}")

    def _wait_for(self, camera: Camera) -> None:
        """Until its thread has ended and its last frame was taken; FFmpeg may read on until its time-out."""
        self._crew.wait_for(lambda: camera.done or self._stopping.is_set())
        camera.lane.drained()
