"""State and events of a visit."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from facegate.pipeline.records import Floats
from facegate.recognition.matching.gallery import Gallery, Match
from facegate.sinks.wire import ShotHeader, TrackEnded

VisitKey = tuple[str, str, int]
"""Run, camera, track."""
Kind = Literal["seen", "returned", "named", "changed", "ended"]


class CameFrom(msgspec.Struct, frozen=True):
    """The visit before, of the same person at another camera."""

    camera: str
    visit: str
    seconds: float
    """From its last shot to the first one here; negative where both cameras see the person at once."""


class VisitEvent(msgspec.Struct, frozen=True):
    """An event of a visit: a line of the worker's output."""

    event: Kind
    visit: str
    camera: str
    track_id: int
    name: str | None
    similarity: float
    margin: float
    """Similarity minus that of the second person."""
    fpir: float | None
    """Probability that an unknown person's visit scores this high; ``None`` if unknown."""
    shots: int
    first_pts_s: float
    last_pts_s: float
    """Media times of the first and last shot, s."""
    seen_at: float | None = None
    """Unix time (UTC) of arrival of the first shot's frame, by the gate's clock."""
    unknown_id: int | None = None
    """Number of an unknown visitor, the same in all visits."""
    seen_before: int | None = None
    """Number of earlier visits of an unknown visitor; ``None`` for a name, or before a face was good enough."""
    first_seen: float | None = None
    """Unix time (UTC) of the first visit of an unknown visitor."""
    came_from: CameFrom | None = None
    """Where the person, or the unknown visitor, was within the ten minutes before; ``None`` if nowhere else."""
    lists: tuple[str, ...] = ()
    """Watch lists of the named person."""
    before: str | None = None
    """For ``changed``: the previous name, if that person is still enrolled."""
    corrected: bool = False
    """Whether somebody has corrected the name; ``changed`` may then follow ``ended``."""
    id: str = ""
    """Unique id of the event, the same in duplicate deliveries."""

    @property
    def key(self) -> VisitKey:
        """Key of its visit."""
        run_id = self.visit.split("/", 1)[0]
        return (run_id, self.camera, self.track_id)


class Stranger(msgspec.Struct, frozen=True):
    """An unknown visitor, as seen in a visit."""

    id: int
    seen_before: int
    """Number of earlier visits."""
    first_seen: float
    """Unix time (UTC) of the first visit."""


class VisitState(msgspec.Struct, eq=False):
    """State of a visit, serializable as MessagePack."""

    run_id: str
    camera: str
    track_id: int
    first_pts_s: float
    last_pts_s: float
    seen_at: float | None
    best: Match
    """The decision: the best match so far by score; one with a name takes precedence."""
    sum: bytes
    """Weighted sum of the embeddings, float32; empty when the track has ended."""
    single: bytes
    """Embedding of the shot with the best single match, float32; empty when the track has ended."""
    quality: int
    """Best quality of its shots, 0..100."""
    shots: int
    recent: list[str]
    """Ids of the last shots."""
    opening: int = 1
    """Number of its ``seen`` events."""
    corrections: int = 0
    """Number of name changes caused by changes of the gallery."""
    over: bool = False
    """The gate has reported the end of the track."""
    stranger: Stranger | None = None
    """The unknown visitor, once a face was good enough."""
    own: Match | None = None
    """The worker's decision, where a person has corrected it; ``best`` is then the correction."""
    removed: bool = False
    """Its name was removed from the gallery: its face is not stored as an unknown one."""
    votes: dict[str, int] = {}
    """Number of shots that were each matched to a person, by name."""

    @property
    def key(self) -> VisitKey:
        """Key of the visit."""
        return (self.run_id, self.camera, self.track_id)

    @property
    def visit(self) -> str:
        """Id of the visit."""
        return f"{self.run_id}/{self.camera}/{self.track_id}"

    def vote(self, alone: Match, needed: int) -> Match:
        """Count the match of a shot alone, and return it as :meth:`agreed`."""
        if alone.name is not None:
            self.votes[alone.name] = self.votes.get(alone.name, 0) + 1
        return self.agreed(alone, needed)

    def agreed(self, match: Match, needed: int) -> Match:
        """The match, without its name if fewer than ``needed`` shots agree on it."""
        if needed <= 1 or match.name is None or self.votes.get(match.name, 0) >= needed:
            return match
        return msgspec.structs.replace(match, name=None, lists=())


class OpenVisit(msgspec.Struct, eq=False):
    """A visit whose track may get more shots."""

    state: VisitState
    due: float
    """Monotonic time at which it ends unless a message extends it."""
    gallery: Gallery | None
    """Gallery it was last matched with."""
    ending: bool = False
    """The gate no longer lists its track."""


class GateRunState(msgspec.Struct, eq=False):
    """State of a gate's run."""

    last_report: float | None = None
    """Monotonic time of its last report of live tracks."""
    live: dict[str, frozenset[int]] = {}
    over: bool = False


def fit(match: Match) -> tuple[bool, float]:
    """Key by which matches are compared: a name, then the score."""
    return (match.name is not None, match.score)


def visit_key(header: ShotHeader | TrackEnded) -> VisitKey:
    """Key of the visit that a message belongs to."""
    return (header.run_id, header.camera, header.track_id)


def pack(vector: Floats) -> bytes:
    """Serialize as float32, little-endian."""
    return np.asarray(vector, "<f4").tobytes()


def unpack(packed: bytes) -> Floats:
    """Deserialize the result of :func:`pack`, ``(D,)``."""
    vector: Floats = np.frombuffer(packed, "<f4").astype(np.float32, copy=False)
    return vector


def event_of(event: Kind, state: VisitState, cause: str, before: str | None = None) -> VisitEvent:
    """Create an event; ``cause`` makes its id unique within the visit and kind."""
    best = state.best
    named = best.name is not None and event != "seen"
    stranger = state.stranger if best.name is None else None
    return VisitEvent(
        event=event,
        visit=state.visit,
        camera=state.camera,
        track_id=state.track_id,
        name=best.name if named else None,
        similarity=round(best.similarity, 4),
        margin=round(best.margin, 4),
        fpir=None if best.fpir is None else float(f"{best.fpir:.3g}"),
        shots=state.shots,
        first_pts_s=round(state.first_pts_s, 3),
        last_pts_s=round(state.last_pts_s, 3),
        seen_at=state.seen_at,
        unknown_id=None if stranger is None else stranger.id,
        seen_before=None if stranger is None else stranger.seen_before,
        first_seen=None if stranger is None else stranger.first_seen,
        lists=best.lists if named else (),
        before=before,
        corrected=state.own is not None,
        id=f"{state.visit}/{event}/{cause}",
    )
