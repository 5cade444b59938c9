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
"""Maximum number of ended tracks waiting to be announced; the oldest are dropped and no longer listed as live."""
REPEAT_S = 3.0
"""Live tracks are announced again after this time without a newer report, as the pipeline waits for delivery."""


class DeliveryReport(msgspec.Struct, frozen=True):
    """Delivery counters of a sink."""

    accepted: int = 0
    acknowledged: int = 0
    undelivered: int = 0
    redelivered: int = 0
    bytes_sent: int = 0
    dropped: int = 0
    """Deleted unsent: the spool was full, the shots expired, or they were erased."""
    dead_lettered: int = 0
    """Moved to the spool's dead letters after repeated delivery without acknowledgement; not in ``accepted``."""
    kept: int = 0
    """Undelivered shots that a spool keeps for the next run."""
    answered: int = 0
    """Acknowledged shots with recognition feedback."""
    inconclusive: int = 0
    """Shots whose feedback was inconclusive."""
    invalid: int = 0
    """Feedback ignored as impossible, such as similarities beyond 1."""
    recognition_ms: float = 0.0
    """Time that workers spent on acknowledged shots, ms, summed."""
    outputs: dict[str, DeliveryReport] = {}
    """Reports of the other outputs, by name."""


class CameraStatus(msgspec.Struct, frozen=True):
    """State of a camera."""

    state: str
    """``connecting``, ``live``, ``stalled``, ``unauthorized``, ``failed`` or ``ended``."""
    problem: str | None = None
    """Why it is not live."""
    display_name: str | None = None
    """Its name for people, where that is another."""


class Sink(Protocol):
    """Takes shots. One owner calls ``close`` once; ``abort`` may come from another thread."""

    def send(self, *shots: Shot) -> None:
        """Accept shots as one batch; blocks while the sink is full.

        Raises:
            DeliveryError: the sink was aborted or can take no more.
        """
        ...

    def ended(self, *tracks: TrackEnd) -> None:
        """Announce that these tracks have ended. Never blocks; may be lost."""
        ...

    def live(self, tracks: LiveTracks) -> None:
        """Announce the live tracks. Never blocks; may be lost, is repeated every second."""
        ...

    def cameras(self, cameras: Mapping[str, CameraStatus], *, complete: bool) -> None:
        """Publish the state of each camera, at the start and at every change. Never blocks.

        Args:
            cameras: by name.
            complete: there are no other cameras; ``False`` in a fleet, where other nodes have some.
        """
        ...

    def feedback(self) -> FeedbackBatch:
        """Recognition feedback received since the last call. Never blocks."""
        ...

    def report(self) -> DeliveryReport:
        """The counters so far."""
        ...

    def close(self, linger_s: float) -> DeliveryReport:
        """Deliver what is pending for at most ``linger_s`` seconds, release all resources, report."""
        ...

    def abort(self) -> None:
        """Give up waiting: a blocked ``send`` or ``close`` returns at once."""
        ...


class EncodedSink(Protocol):
    """Takes encoded shots. Owned and closed like a :class:`Sink`."""

    def put(self, entries: Sequence[EncodedShot]) -> None:
        """Accept shots as one batch; see :meth:`Sink.send`."""
        ...

    def ended(self, tracks: Sequence[TrackEnd]) -> None:
        """See :meth:`Sink.ended`."""
        ...

    def live(self, tracks: LiveTracks) -> None:
        """See :meth:`Sink.live`."""
        ...

    def feedback(self) -> FeedbackBatch:
        """See :meth:`Sink.feedback`."""
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
    """Announcements of live and ended tracks for workers. Thread-safe.

    A track is live until its end has been announced.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._ends: deque[TrackEnd] = deque(maxlen=MAX_ENDS)
        self._run_id: str | None = None
        self._live: dict[str, set[int]] = {}
        self._new = False
        self._again_s = 0.0

    def ended(self, tracks: Sequence[TrackEnd]) -> None:
        """Record that tracks have ended."""
        with self._lock:
            self._ends.extend(tracks)
            for end in tracks:
                self._live.get(end.camera, set()).discard(end.track_id)

    def live(self, tracks: LiveTracks) -> None:
        """Record the live tracks."""
        with self._lock:
            self._run_id, self._new = tracks.run_id, True
            self._live = {camera: set(ids) for camera, ids in tracks.cameras.items()}

    def shots(self, entries: Sequence[EncodedShot]) -> None:
        """Record the tracks of shots, which the last report of live tracks may lack."""
        with self._lock:
            for entry in entries if self._run_id is not None else ():
                self._live.setdefault(entry.camera, set()).add(entry.track_id)

    def __len__(self) -> int:
        """Number of track ends not announced yet."""
        return len(self._ends)

    @property
    def new(self) -> bool:
        """Whether a report of live tracks waits to be announced."""
        return self._new

    def take_ends(self, is_due: Callable[[TrackEnd], bool] = lambda end: True) -> list[TrackEnd]:
        """Remove and return the track ends to announce now, oldest first."""
        with self._lock:
            ends = [end for end in self._ends if is_due(end)]
            if ends:
                taken = set(map(id, ends))
                self._ends = deque((end for end in self._ends if id(end) not in taken), maxlen=MAX_ENDS)
        return ends

    def take_live(self, now: float) -> list[LiveTracksMessage]:
        """The messages about live tracks due at ``now``, seconds of a monotonic clock."""
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
    """Split the live tracks into as few messages as possible, each within the size limit."""
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
