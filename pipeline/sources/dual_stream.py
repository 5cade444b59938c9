"""Cameras with two streams: faces are detected in the sub stream and cut from the main stream.

The sub stream is always decoded. The main stream is only received, but for its first picture, and decoded from its
last key frame on once a face is worth it; see :class:`~facegate.pipeline.sources.idle_decoding.OnDemandMode`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from threading import Condition, Event, Thread

import av
import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from facegate.errors import FacegateError, SourceError
from facegate.pipeline.records import Frame, FrameRef, Image, contiguous
from facegate.pipeline.sources.base import StreamInfo
from facegate.pipeline.sources.network import NetworkSource
from facegate.pipeline.sources.stream_alignment import THUMBNAIL, StreamAlignment

MAX_BUFFERED_FRAMES = 12
"""Frames of the main stream that wait for their sub-stream frame; about half a second."""
MAX_PAIR_GAP_S = 0.1
"""Maximum time between two frames of a pair, seconds; beyond, faces have moved."""
MAX_WAIT_S = 0.6
"""Maximum time to wait for a main stream that arrives later than the sub stream, seconds."""
LUMA_FORMATS = frozenset({"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "nv12", "gray"})
"""Pixel formats whose first plane is 8-bit luma."""

Large = tuple[FrameRef, av.VideoFrame]


def arrival_s(ref: FrameRef) -> float:
    """Return when a frame arrived, monotonic seconds: the time in which it waited for the decoder is no age."""
    return ref.received_s - ref.behind_s


def nearest(ref: FrameRef, kept: list[Large], offset_s: float = 0.0) -> Large | None:
    """Return the main-stream frame of the same time: by capture times if both have them, else by arrival.

    Args:
        ref: a frame of the sub stream.
        kept: frames of the main stream.
        offset_s: time of main-stream frames minus that of sub-stream frames of the same moment.
    """
    best, least = None, MAX_PAIR_GAP_S
    for large in kept:
        apart = abs(time_between(ref, large[0]) - offset_s)
        if apart <= least:
            best, least = large, apart
    return best


def time_between(small: FrameRef, large: FrameRef) -> float:
    """Return the time from a sub-stream frame to a main-stream frame, seconds."""
    if small.captured_at is not None and large.captured_at is not None:
        return large.captured_at - small.captured_at
    return arrival_s(large) - arrival_s(small)


class DualStreamSource:
    """Frames of ``small``, each with the frame of ``large`` of the same time, if there is one."""

    live = True
    reconnectable = True

    def __init__(self, small: NetworkSource, large: NetworkSource, wanted: Callable[[], bool]) -> None:
        """Prepare; nothing is opened yet.

        Args:
            small: the sub stream.
            large: the main stream, which decodes while ``wanted``.
            wanted: whether a face is present whose crops are worth the main stream's size.
        """
        self._small = small
        self._large = large
        self._wanted = wanted

    @property
    def packets_skipped(self) -> int:
        """See :class:`facegate.pipeline.sources.base.Source`."""
        return self._small.packets_skipped + self._large.packets_skipped

    @property
    def packets_idle(self) -> int:
        """See :class:`facegate.pipeline.sources.base.Source`."""
        return self._small.packets_idle + self._large.packets_idle

    def info(self) -> StreamInfo:
        """Return the properties of the sub stream."""
        return self._small.info()

    def frames(self, stop: Event) -> Iterator[Frame]:
        """See :class:`facegate.pipeline.sources.base.Source`; the end of either stream is the end of both."""
        with _MainStream(self._large) as main:
            for frame in self._small.frames(stop):
                main.check()
                if self._wanted():
                    large = main.matching(frame)
                else:
                    main.clear()
                    large = None
                image = None if large is None else _converted(self._large, large[1])
                # Boxes are always in pixels of the main stream, so that tracks continue with either picture.
                height, width = (main.shape or frame.image.shape)[:2]
                ref = msgspec.structs.replace(frame.ref, width=width, height=height)
                yield Frame(ref=ref, image=frame.image, large=image)


class _MainStream:
    """Keeps the newest decoded frames of the main stream, read in a thread of its own."""

    def __init__(self, source: NetworkSource) -> None:
        self._source = source
        self.shape: tuple[int, ...] | None = None
        """Shape of its converted pictures, from the first one on."""
        self._kept: deque[Large] = deque(maxlen=MAX_BUFFERED_FRAMES)
        self._alignment = StreamAlignment()
        self._by_capture = False
        self._changed = Condition()
        self._enough = Event()
        self._ended: FacegateError | None = None
        self._thread = Thread(target=self._read, name="facegate-main-stream", daemon=True)

    def __enter__(self) -> _MainStream:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._enough.set()
        self._thread.join()

    def check(self) -> None:
        """Raise the error with which the stream has ended."""
        if self._ended is not None:
            raise self._ended

    def clear(self) -> None:
        """Let go of the frames: nobody is there."""
        with self._changed:
            self._kept.clear()

    def matching(self, frame: Frame) -> Large | None:
        """Return the frame of the same moment; waits a little for a stream that is late."""
        with self._changed:
            offset_s = self._alignment.offset_s or 0.0
            wait_s = MAX_WAIT_S if self._kept else 0.0
            reached = self._changed.wait_for(lambda: self._reaches(frame.ref, offset_s), wait_s)
            kept = list(self._kept)
            if kept and reached:
                self._measure(frame, kept)
        return nearest(frame.ref, kept, offset_s)

    def _reaches(self, ref: FrameRef, offset_s: float) -> bool:
        """Whether the stream has come to a frame's moment, or has ended or paused."""
        if self._ended is not None or not self._kept:
            return True
        return time_between(ref, self._kept[-1][0]) >= offset_s - MAX_PAIR_GAP_S / 4

    def _measure(self, frame: Frame, kept: list[Large]) -> None:
        ref, newest = frame.ref, kept[-1][0]
        by_capture = ref.captured_at is not None and newest.captured_at is not None
        if by_capture != self._by_capture:  # times of the two kinds must not be mixed
            self._by_capture, self._alignment = by_capture, StreamAlignment()
        at_s = self._time(ref)
        if self._alignment.measuring(at_s):
            self._alignment.add_small(at_s, _shrunk(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY)))

    def _time(self, ref: FrameRef) -> float:
        return ref.captured_at if self._by_capture and ref.captured_at is not None else arrival_s(ref)

    def _read(self) -> None:
        error: FacegateError = SourceError("the main stream has ended: check main_stream")
        try:
            for ref, picture in self._source.pictures(self._enough):
                if self.shape is None and (image := _converted(self._source, picture)) is not None:
                    self.shape = image.shape
                at_s = self._time(ref)
                thumbnail = _thumbnail(picture) if self._alignment.measuring(at_s) else None
                with self._changed:
                    self._kept.append((ref, picture))
                    if thumbnail is not None:
                        self._alignment.add_large(at_s, thumbnail)
                    self._changed.notify_all()
        except FacegateError as broken:
            error = broken
        finally:
            with self._changed:
                self._ended = error
                self._changed.notify_all()


def _converted(source: NetworkSource, picture: av.VideoFrame) -> Image | None:
    try:
        return source.to_rgb(picture)
    except SourceError:  # damaged; the next one follows soon
        return None


def _thumbnail(picture: av.VideoFrame) -> NDArray[np.uint8]:
    """Gray thumbnail of a decoded picture, from its luma where it has one."""
    if picture.format.name in LUMA_FORMATS:
        plane = picture.planes[0]
        luma = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[
            : picture.height, : picture.width
        ]
    else:
        luma = contiguous(picture.to_ndarray(format="gray"))
    return _shrunk(luma)


def _shrunk(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A cell is the mean of a few of its pixels: reading all of a 4K picture would cost milliseconds."""
    step = max(1, gray.shape[1] // (4 * THUMBNAIL[0]))
    sampled = np.ascontiguousarray(gray[::step, ::step])
    shrunk: NDArray[np.uint8] = cv2.resize(sampled, THUMBNAIL, interpolation=cv2.INTER_AREA)
    return shrunk
