"""The cameras of a run, removed ones included: their threads and their replacement."""

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
    """All cameras of a run; iteration yields present ones first."""

    def __init__(self, cameras: list[Camera], threads: ThreadGroup, stopping: Event) -> None:
        self._present = cameras
        self._removed: dict[str, Camera] = {}
        self._threads = threads
        self._stopping = stopping

    def __iter__(self) -> Iterator[Camera]:
        return iter((*self._present, *self._removed.values()))

    @property
    def present(self) -> Sequence[Camera]:
        """Cameras that were not removed."""
        return self._present

    def start(self) -> None:
        """Start each camera's thread."""
        for camera in self._present:
            self._threads.spawn(THREAD_NAME_PREFIX + camera.name, camera.run)

    def stop(self) -> None:
        """Ask each camera to end."""
        for camera in self._present:
            camera.stopped.set()

    def replace(
        self,
        result: ConfigDiff,
        configs: dict[str, CameraConfig],
        prepare: Callable[[CameraConfig, Camera | None], Camera],
    ) -> None:
        """End removed cameras and start new ones; counts, frame numbers and track ids of a changed camera continue.

        Only changed cameras are waited for, after all others have started: a silent one takes seconds to end.
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
            new = prepare(configs[name], last)
            self._removed.pop(name, None)
            self._present.append(new)
            if self._stopping.is_set():
                new.stopped.set()
            self._threads.spawn(THREAD_NAME_PREFIX + name, new.run)

    def raise_problem(self) -> None:
        """Raise the reason why no camera gave a frame.

        Raises:
            SourceError: a camera has failed.
        """
        errors = [camera.error for camera in self._present if camera.error]
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise SourceError(f"none of {len(errors)} cameras gave a frame; first error: {errors[0]}")

    def _wait_for(self, camera: Camera) -> None:
        """Wait until its thread has ended and its last frame was taken; FFmpeg may block until its time-out."""
        self._threads.wait_for(lambda: camera.done or self._stopping.is_set())
        camera.lane.drained()
