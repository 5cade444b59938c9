"""Webcams through OpenCV: an index (``0``) or a device path (``/dev/video0``)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from time import monotonic

import cv2

from facegate.errors import SourceError
from facegate.pipeline.config import CameraConfig
from facegate.pipeline.records import Frame, FrameRef, contiguous
from facegate.pipeline.sources.aspect_ratio import with_aspect
from facegate.pipeline.sources.backlog import sampler
from facegate.pipeline.sources.base import StreamInfo


class WebcamSource:
    """A local camera."""

    live = True
    reconnectable = True
    packets_skipped = 0
    packets_idle = 0

    def __init__(self, config: CameraConfig) -> None:
        self._config = config
        self._device = int(config.source) if config.source.isdecimal() else config.source

    def info(self) -> StreamInfo:
        """See :class:`facegate.pipeline.sources.base.Source`."""
        return StreamInfo()

    def frames(self, stop: Event) -> Iterator[Frame]:
        """See :class:`facegate.pipeline.sources.base.Source`."""
        # Checked first: OpenCV floods the terminal when a device is missing.
        device = Path(f"/dev/video{self._device}" if isinstance(self._device, int) else self._device)
        missing = f"no webcam at {self._device}: plug it in, or list devices with 'ls /dev/video*'"
        if sys.platform == "linux" and not device.exists():
            raise SourceError(missing)
        capture = cv2.VideoCapture(self._device)
        try:
            if not capture.isOpened():
                raise SourceError(missing)
            yield from self._read(capture, stop)
        finally:
            capture.release()

    def _read(self, capture: cv2.VideoCapture, stop: Event) -> Iterator[Frame]:
        keep = sampler(self._config.max_fps)
        started = monotonic()
        seq = 0
        while not stop.is_set():
            ok, image = capture.read()
            if not ok:
                if seq == 0:
                    raise SourceError(f"webcam {self._device} gives no picture: close other programs that use it")
                return
            now = monotonic()
            if not keep(now - started):
                continue
            image = with_aspect(contiguous(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)), self._config.aspect_ratio)
            ref = FrameRef(
                camera=self._config.name,
                seq=seq,
                pts_s=now - started,
                received_s=now,
                captured_at=None,
                width=image.shape[1],
                height=image.shape[0],
            )
            yield Frame(ref=ref, image=image)
            seq += 1
