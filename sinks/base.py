"""The sink protocol: where shots leave the pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from facegate.pipeline.records import Answers, Shot, TrackEnd
from facegate.sinks.wire import Entry


class DeliveryReport(msgspec.Struct, frozen=True):
    """What became of the shots handed to a sink."""

    accepted: int = 0
    acknowledged: int = 0
    undelivered: int = 0
    redelivered: int = 0
    bytes_sent: int = 0
    dropped: int = 0
    """Deleted unsent: a spool was full, they had waited too long, or somebody erased them."""
    dead: int = 0
    """Put aside in the spool, as nobody who got them ever acknowledged them; not among the accepted any more."""
    kept: int = 0
    """Of the undelivered, those that a spool keeps for the next run."""
    answered: int = 0
    """Of the acknowledged, those of which the worker said what it made of them."""
    unsure: int = 0
    """Of these, those after which it was not sure yet."""
    odd: int = 0
    """Answers that cannot be, such as similarities beyond 1; they are not believed."""
    recognition_ms: float = 0.0
    """Sum of the time that workers spent on acknowledged shots."""
    others: dict[str, DeliveryReport] = {}
    """Of the other places that shots go to, by name."""


class CameraStatus(msgspec.Struct, frozen=True):
    """How a camera is doing."""

    state: str
    """``connecting``, ``live``, ``stalled``, ``unauthorised``, ``failed`` or ``ended``."""
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

    def cameras(self, cameras: Mapping[str, CameraStatus], *, complete: bool) -> None:
        """Tell the state of each camera, at the start and when one changes; never waits.

        Args:
            cameras: by name.
            complete: there are no others; in a fleet other gates have some.
        """
        ...

    def answers(self) -> Answers:
        """What recognisers have said of shots since this was last called; never waits."""
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


class Place(Protocol):
    """Where encoded shots are delivered to. Owned and ended like a :class:`Sink`."""

    def put(self, entries: Sequence[Entry]) -> None:
        """Accept shots, together; see :meth:`Sink.send`."""
        ...

    def ended(self, tracks: Sequence[TrackEnd]) -> None:
        """See :meth:`Sink.ended`."""
        ...

    def answers(self) -> Answers:
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
