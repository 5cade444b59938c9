"""Video files: every frame as fast as possible, or in real time like a camera."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from time import monotonic

import av
import av.error
import msgspec

from facegate.errors import SourceError
from facegate.pipeline.config import CameraConfig
from facegate.pipeline.records import Frame
from facegate.pipeline.sources.base import HardwareDecoding, Source, StreamInfo, error_reason
from facegate.pipeline.sources.decoder import Decoder


class FileSource:
    """A video file: every frame, in order."""

    live = False
    reconnectable = False
    packets_skipped = 0
    packets_idle = 0

    def __init__(self, config: CameraConfig) -> None:
        self._config = config
        self._decoder: Decoder | None = None

    def info(self) -> StreamInfo:
        """See :class:`facegate.pipeline.sources.base.Source`."""
        return StreamInfo() if self._decoder is None else self._decoder.info()

    def frames(self, stop: Event) -> Iterator[Frame]:
        """See :class:`facegate.pipeline.sources.base.Source`."""
        path = Path(self._config.source)
        if not path.is_file():
            raise SourceError(f"no video file at {path}: check the path")
        hardware = HardwareDecoding(self._config)
        while True:
            try:
                yield from self._decoded(path, hardware, stop)
            except SourceError as error:
                gave_pictures = self._decoder is not None and self._decoder.gave_pictures
                if gave_pictures or not hardware.give_up(str(error)):
                    raise
            else:
                return

    def _decoded(self, path: Path, hardware: HardwareDecoding, stop: Event) -> Iterator[Frame]:
        try:
            container = av.open(str(path), hwaccel=hardware.accelerator())
        except (av.error.FFmpegError, OSError, RuntimeError) as error:
            raise SourceError(f"{path} is not a readable video: {error_reason(error)}") from error
        with container:
            self._decoder = Decoder(self._config, container, str(path), live=False)
            yield from self._decoder.frames(stop)


class RealtimePlayback:
    """Plays a file in real time like a camera; late frames are dropped. A live source is left as it is."""

    live = True

    def __init__(self, recording: Source) -> None:
        self._recording = recording

    @property
    def packets_skipped(self) -> int:
        """See :class:`facegate.pipeline.sources.base.Source`."""
        return self._recording.packets_skipped

    @property
    def packets_idle(self) -> int:
        """See :class:`facegate.pipeline.sources.base.Source`."""
        return self._recording.packets_idle

    @property
    def reconnectable(self) -> bool:
        """See :class:`facegate.pipeline.sources.base.Source`."""
        return self._recording.reconnectable

    def info(self) -> StreamInfo:
        """See :class:`facegate.pipeline.sources.base.Source`."""
        return self._recording.info()

    def frames(self, stop: Event) -> Iterator[Frame]:
        """See :class:`facegate.pipeline.sources.base.Source`."""
        started: float | None = None
        for frame in self._recording.frames(stop):
            if self._recording.live:
                yield frame
                continue
            if started is None:
                started = monotonic() - frame.ref.pts_s
            due = started + frame.ref.pts_s
            if stop.wait(max(0.0, due - monotonic())):
                return
            now = monotonic()
            ref = msgspec.structs.replace(frame.ref, received_s=now, behind_s=now - due)
            yield Frame(ref=ref, image=frame.image)
