"""The sink protocol: where shots leave the pipeline."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Protocol

import msgspec

from facegate.pipeline.records import FeedbackBatch, LiveTracks, Shot, TrackEnd
from facegate.sinks.wire import MAX_HEADER_BYTES, EncodedShot, LiveTracksMessage

MAX_ENDS = 10_000
"""Ended tracks that wait to be told; older ones are forgotten, and no longer listed as live."""
REPEAT_S = 3.0
"""The live tracks are told again after this long without a newer report: the pipeline waits for delivery."""


class DeliveryReport(msgspec.Struct, frozen=True):
    """What became of the shots handed to a sink."""

    accepted: int = 0
    acknowledged: int = 0
    undelivered: int = 0
    redelivered: int = 0
    bytes_sent: int = 0
    dropped: int = 0
    """Deleted unsent: a spool was full, they had waited too long, or somebody erased them."""
    dead_lettered: int = 0
    """Put aside in the spool, as nobody who got them ever acknowledged them; not among the accepted any more."""
    kept: int = 0
    """Of the undelivered, those that a spool keeps for the next run."""
    answered: int = 0
    """Of the acknowledged, those of which the worker said what it made of them."""
    inconclusive: int = 0
    """Of these, those after which it was not sure yet."""
    invalid: int = 0
    """Answers that cannot be, such as similarities beyond 1; they are not believed."""
    recognition_ms: float = 0.0
    """Sum of the time that workers spent on acknowledged shots."""
    outputs: dict[str, DeliveryReport] = {}
    """Of the other places that shots go to, by name."""


class CameraStatus(msgspec.Struct, frozen=True):
    """How a camera is doing."""

    state: str
    """``connecting``, ``live``, ``stalled``, ``unauthorized``, ``failed`` or ``ended``."""
    problem: str | None = None
    """Why it is not live."""


class Sink(Protocol):
    """Takes shots. One owner calls ``close`` once; ``abort`` may come from another thread."""

    def send(self, *shots: Shot) -> None:
        """Accept shots, together; waits while the sink is full.

        Raises:
            DeliveryError: the sink was aborted or can take no more.
        """
        ...

    def ended(self, *tracks: TrackEnd) -> None:
        """Tell whoever wants to know that no more shots will come of these tracks; never waits, may be lost."""
        ...

    def live(self, tracks: LiveTracks) -> None:
        """Tell whoever wants to know which tracks live; never waits, may be lost, comes again every second."""
        ...

    def cameras(self, cameras: Mapping[str, CameraStatus], *, complete: bool) -> None:
        """Tell the state of each camera, at the start and when one changes; never waits.

        Args:
            cameras: by name.
            complete: there are no others; in a fleet other gates have some.
        """
        ...

    def feedback(self) -> FeedbackBatch:
        """What recognizers have said of shots since this was last called; never waits."""
        ...

    def report(self) -> DeliveryReport:
        """The counts so far."""
        ...

    def close(self, linger_s: float) -> DeliveryReport:
        """Deliver what is pending for at most ``linger_s`` seconds, release everything, report."""
        ...

    def abort(self) -> None:
        """Give up waiting: a blocked ``send`` or ``close`` returns at once."""
        ...


class EncodedSink(Protocol):
    """Where encoded shots are delivered to. Owned and ended like a :class:`Sink`."""

    def put(self, entries: Sequence[EncodedShot]) -> None:
        """Accept shots, together; see :meth:`Sink.send`."""
        ...

    def ended(self, tracks: Sequence[TrackEnd]) -> None:
        """See :meth:`Sink.ended`."""
        ...

    def live(self, tracks: LiveTracks) -> None:
        """See :meth:`Sink.live`."""
        ...

    def feedback(self) -> FeedbackBatch:
        """See :meth:`Sink.answers`."""
        ...

    def report(self) -> DeliveryReport:
        """See :class:`Sink`."""
        ...

    def close(self, linger_s: float) -> DeliveryReport:
        """See :class:`Sink`."""
        ...

    def abort(self) -> None:
        """See :class:`Sink`."""
        ...


class TrackNews:
    """Which tracks live and which have ended, on its way to workers. Thread-safe.

    A track counts as live until its end was told.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._ends: deque[TrackEnd] = deque(maxlen=MAX_ENDS)
        self._run_id: str | None = None
        self._live: dict[str, set[int]] = {}
        self._new = False
        self._again_s = 0.0

    def ended(self, tracks: Sequence[TrackEnd]) -> None:
        """Tracks have ended."""
        with self._lock:
            self._ends.extend(tracks)
            for end in tracks:
                self._live.get(end.camera, set()).discard(end.track_id)

    def live(self, tracks: LiveTracks) -> None:
        """These tracks live."""
        with self._lock:
            self._run_id, self._new = tracks.run_id, True
            self._live = {camera: set(ids) for camera, ids in tracks.cameras.items()}

    def shots(self, entries: Sequence[EncodedShot]) -> None:
        """Shots of tracks that the last report may not know yet."""
        with self._lock:
            for entry in entries if self._run_id is not None else ():
                self._live.setdefault(entry.camera, set()).add(entry.track_id)

    def __len__(self) -> int:
        """Ends that wait."""
        return len(self._ends)

    @property
    def new(self) -> bool:
        """Whether there is a report of live tracks that was not told yet."""
        return self._new

    def take_ends(self, ripe: Callable[[TrackEnd], bool] = lambda end: True) -> list[TrackEnd]:
        """The ends that are to be told now, oldest first; the others wait."""
        with self._lock:
            ends = [end for end in self._ends if ripe(end)]
            if ends:
                told = set(map(id, ends))
                self._ends = deque((end for end in self._ends if id(end) not in told), maxlen=MAX_ENDS)
        return ends

    def take_live(self, now: float) -> list[LiveTracksMessage]:
        """What is to be told of live tracks at a monotonic time, if anything."""
        with self._lock:
            if self._run_id is None or not (self._new or now >= self._again_s):
                return []
            self._new, self._again_s = False, now + REPEAT_S
            cameras = {camera: set(ids) for camera, ids in self._live.items()}
            for end in self._ends:
                if end.run_id == self._run_id:
                    cameras.setdefault(end.camera, set()).add(end.track_id)
            return live_messages(self._run_id, {camera: sorted(ids) for camera, ids in cameras.items()})


def live_messages(run_id: str, cameras: Mapping[str, Sequence[int]]) -> list[LiveTracksMessage]:
    """As few messages as hold all cameras, each short enough to be accepted."""
    parts: list[dict[str, list[int]]] = [{}]
    size = 0
    for camera, ids in cameras.items():
        own = len(camera.encode()) + 10 + 5 * len(ids)
        if parts[-1] and size + own > MAX_HEADER_BYTES - 1024:
            parts.append({})
            size = 0
        parts[-1][camera] = list(ids)
        size += own
    return [LiveTracksMessage(run_id, part) for part in parts]
