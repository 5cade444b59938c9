"""Video files and RTSP streams, decoded by PyAV (FFmpeg)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import av
import av.error
import numpy as np

from facegate.errors import SourceError
from facegate.pipeline.records import Frame, FrameRef, contiguous
from facegate.pipeline.sources.base import UnauthorisedError, redact


class FileSource:
    """A video file: every frame, in order, as fast as the pipeline takes them."""

    live = False

    def __init__(self, camera: str, path: Path) -> None:
        self._camera = camera
        self._path = path

    def frames(self, stop: Event) -> Iterator[Frame]:
        """See :class:`facegate.pipeline.sources.base.Source`."""
        if not self._path.is_file():
            raise SourceError(f"no video file at {self._path}: check the path")
        try:
            container = av.open(str(self._path))
        except (av.error.FFmpegError, OSError) as error:
            raise SourceError(f"{self._path} is not a video that can be read: {_cause(error)}") from error
        with container:
            yield from _decode(self._camera, container, str(self._path), stop, threads="AUTO")


class RtspSource:
    """A live RTSP stream."""

    live = True

    def __init__(self, camera: str, url: str, timeout_s: float = 5.0, transport: str = "tcp") -> None:
        self._camera = camera
        self._url = url
        self._timeout_s = timeout_s
        self._transport = transport

    def frames(self, stop: Event) -> Iterator[Frame]:
        """See :class:`facegate.pipeline.sources.base.Source`."""
        shown = redact(self._url)
        started = monotonic()
        try:
            container = av.open(
                self._url,
                # "nobuffer" would throw away what was received while probing: a second or two of faces.
                options={"rtsp_transport": self._transport, "analyzeduration": "500000"},
                timeout=(self._timeout_s, self._timeout_s),
            )
        except (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError) as error:
            raise UnauthorisedError(
                f"{shown} refuses the credentials: check user and password in the URL"
            ) from error
        except (av.error.FFmpegError, OSError) as error:
            # An open that was given up says "invalid data" or "exit requested"; only the clock tells.
            gave_up = monotonic() - started >= self._timeout_s
            cause = f"no answer within {self._timeout_s:g} s" if gave_up else _cause(error)
            raise SourceError(f"cannot open {shown}: {cause}; check address, port and path") from error
        with container:
            # Frame threading would hold back one frame per thread; slices add no delay.
            yield from _decode(self._camera, container, shown, stop, threads="SLICE")


def _cause(error: BaseException) -> str:
    """The reason alone: FFmpeg's own text repeats the URL, password included."""
    if isinstance(error, av.error.ExitError | av.error.TimeoutError):
        return "nothing received within the time-out"
    reason = getattr(error, "strerror", None) or type(error).__name__
    return redact(str(reason)).lower()


def _decode(camera: str, container: Any, shown: str, stop: Event, threads: str) -> Iterator[Frame]:
    if not container.streams.video:
        raise SourceError(f"{shown} has no video stream")
    stream = container.streams.video[0]
    stream.thread_type = threads
    fps = float(stream.average_rate or stream.guessed_rate or 25)
    seq = 0
    for picture in _pictures(container, stream, shown):
        if stop.is_set():
            return
        image = contiguous(picture.to_ndarray(format="rgb24"))
        turns = round((getattr(picture, "rotation", 0) or 0) / 90) % 4
        if turns:
            image = contiguous(np.rot90(image, turns))
        pts_s = picture.time if picture.time is not None else seq / fps
        ref = FrameRef(
            camera=camera,
            seq=seq,
            pts_s=float(pts_s),
            received_s=monotonic(),
            captured_at=None,
            width=image.shape[1],
            height=image.shape[0],
        )
        yield Frame(ref=ref, image=image)
        seq += 1
    if seq == 0:
        raise SourceError(f"{shown} holds no frame that can be decoded")


def _pictures(container: Any, stream: Any, shown: str) -> Iterator[Any]:
    """Demux and decode; a damaged packet costs its frames and no more."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except (av.error.EOFError, av.error.ConnectionResetError):
            return
        except (av.error.FFmpegError, OSError) as error:
            raise SourceError(f"{shown} broke off: {_cause(error)}") from error
        try:
            pictures = packet.decode()
        except av.error.FFmpegError:
            continue
        yield from pictures
