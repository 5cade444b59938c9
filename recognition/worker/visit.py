"""What is known of a visit, and what is told of it."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from facegate.pipeline.records import Floats
from facegate.recognition.matching.gallery import Match

VisitKey = tuple[str, str, int]
"""Run, camera, track."""
Kind = Literal["seen", "named", "changed", "ended"]


class VisitEvent(msgspec.Struct, frozen=True):
    """Something that became known of a visit: a line of the worker's output."""

    event: Kind
    visit: str
    camera: str
    track_id: int
    name: str | None
    similarity: float
    margin: float
    """By how much the second person is less similar."""
    fpir: float | None
    """Probability that a stranger's visit gets so good a score; ``None`` where no rate is known."""
    shots: int
    first_pts_s: float
    last_pts_s: float
    """Media times of the first and last shot, seconds."""
    seen_at: float | None = None
    """Unix time (UTC) by the gate's clock when the first shot's frame came."""
    before: str | None = None
    """The name that ``changed`` takes back, while somebody of that name is in the gallery."""
    id: str = ""
    """The same whenever this event is delivered, and different for every other event."""

    @property
    def key(self) -> VisitKey:
        """Which visit it belongs to."""
        run_id = self.visit.split("/", 1)[0]
        return (run_id, self.camera, self.track_id)


class VisitState(msgspec.Struct, eq=False):
    """All that is known of a visit; MessagePack can hold it."""

    run_id: str
    camera: str
    track_id: int
    first_pts_s: float
    last_pts_s: float
    seen_at: float | None
    best: Match
    """The decision: the best match so far, by its score; one with a name before any without."""
    sum: bytes
    """Weighted sum of the embeddings, float32; empty when the track has ended."""
    single: bytes
    """Embedding of the shot that fits best by itself, float32."""
    quality: int
    """The best of its shots'."""
    shots: int
    recent: list[str]
    """Ids of the last shots."""
    opening: int = 1
    """How often it was told as ``seen``."""
    corrections: int = 0
    """How often a change of the gallery changed its name."""
    over: bool = False
    """The gate has said that the track has ended."""
    removed: bool = False
    """It had a name that was removed from the gallery: its face is not kept as an unknown one."""

    @property
    def key(self) -> VisitKey:
        """Which visit it is."""
        return (self.run_id, self.camera, self.track_id)

    @property
    def visit(self) -> str:
        """Its id."""
        return f"{self.run_id}/{self.camera}/{self.track_id}"


def pack(vector: Floats) -> bytes:
    """As it is kept: float32, little-endian."""
    return np.asarray(vector, "<f4").tobytes()


def unpack(packed: bytes) -> Floats:
    """What :func:`pack` packed, ``(D,)``."""
    vector: Floats = np.frombuffer(packed, "<f4").astype(np.float32, copy=False)
    return vector


def event_of(event: Kind, state: VisitState, cause: str, before: str | None = None) -> VisitEvent:
    """Tell something of a visit; ``cause`` makes the event's id unique within the visit and kind."""
    best = state.best
    named = best.name is not None and event != "seen"
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
        before=before,
        id=f"{state.visit}/{event}/{cause}",
    )
