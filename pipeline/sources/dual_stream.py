"""Cameras with two streams: faces are detected in the sub stream and cut from the main stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from threading import Event, Thread

import av
import msgspec

from facegate.errors import FacegateError, SourceError
from facegate.pipeline.records import Frame, FrameRef
from facegate.pipeline.sources.base import StreamInfo
from facegate.pipeline.sources.network import NetworkSource

MAX_BUFFERED_FRAMES = 12
"""Frames of the main stream that wait for their sub-stream frame; about half a second."""
MAX_PAIR_GAP_S = 0.1
"""Maximum time between two frames of a pair, seconds; beyond, faces have moved."""

Large = tuple[FrameRef, av.VideoFrame]


def nearest(ref: FrameRef, kept: list[Large]) -> Large | None:
    """Return the main-stream frame of the same time: by capture times if both have them, else by arrival."""
    best, least = None, MAX_PAIR_GAP_S
    for large in kept:
        other = large[0]
        if ref.captured_at is not None and other.captured_at is not None:
            apart = abs(ref.captured_at - other.captured_at)
        else:
            apart = abs(ref.received_s - other.received_s)
        if apart <= least:
            best, least = large, apart
    return best


class DualStreamSource:
    """Frames of ``small``, each with the frame of ``large`` of the same time, if there is one."""

    live = True
    reconnectable = True
    packets_idle = 0

    def __init__(self, small: NetworkSource, large: NetworkSource) -> None:
        self._small = small
        self._large = large

    @property
    def packets_skipped(self) -> int:
        """See :class:`facegate.pipeline.sources.base.Source`."""
        return self._small.packets_skipped + self._large.packets_skipped

    def info(self) -> StreamInfo:
        """Return the properties of the sub stream."""
        return self._small.info()

    def frames(self, stop: Event) -> Iterator[Frame]:
        """See :class:`facegate.pipeline.sources.base.Source`; the end of either stream is the end of both."""
        kept: deque[Large] = deque(maxlen=MAX_BUFFERED_FRAMES)
        ended: list[FacegateError | None] = []
        enough = Event()

        def keep() -> None:
            error: FacegateError | None = None
            try:
                for picture in self._large.pictures(enough):
                    kept.append(picture)
            except FacegateError as broken:
                error = broken
            ended.append(error)

        reader = Thread(target=keep, name="facegate-large-stream", daemon=True)
        reader.start()
        try:
            for frame in self._small.frames(stop):
                if ended:
                    if ended[0] is not None:
                        raise ended[0]
                    raise SourceError("the main stream has ended: check main_stream")
                large = nearest(frame.ref, list(kept))
                if large is None:
                    yield frame
                    continue
                try:
                    image = self._large.to_rgb(large[1])
                except SourceError:  # damaged; the next one follows soon
                    yield frame
                    continue
                size = {"width": image.shape[1], "height": image.shape[0]}
                yield Frame(ref=msgspec.structs.replace(frame.ref, **size), image=frame.image, large=image)
        finally:
            enough.set()
            reader.join()
