"""Replays a recording with its own or other gates. Same recording and gates, same decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Protocol

import msgspec

from facegate.pipeline.config import CameraConfig, RunConfig
from facegate.pipeline.gating.factory import CameraGates, GateFactory
from facegate.pipeline.gating.gate import Decision
from facegate.pipeline.recording.format import Header
from facegate.pipeline.recording.record import GateChange
from facegate.pipeline.records import FeedbackBatch, ScoredFace, ScoredFrame
from facegate.pipeline.tracking.identity import IdentityThresholds


class DecisionLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One decision, as a line of a log that can be compared line by line."""

    camera: str
    decided_s: float
    """Media time of the decision."""
    seen_s: float
    """Media time of the face's frame."""
    face_id: str
    track_id: int
    quality: int | None
    """``None`` for a face that was not scored."""
    outcome: str
    reason: str | None = None
    shot_id: str | None = None


class ReplaySource(Protocol):
    """A recording, in a file or in memory."""

    @property
    def header(self) -> Header:
        """Header of the recording."""
        ...

    def config(self) -> RunConfig:
        """The recorded gates, as a configuration without sources."""
        ...

    def events(self) -> Iterator[ScoredFrame | FeedbackBatch | GateChange]:
        """Yield the gate's inputs in order."""
        ...


def decide(recording: ReplaySource, config: RunConfig | None = None) -> Iterator[tuple[float, Decision]]:
    """Yield every decision with the media time at which it was made.

    Args:
        recording: inputs of the gates.
        config: other gates; the recorded ones by default. A camera that is not in it gets the common gate.
    """
    header = recording.header
    given = config
    people = None if header.people is None else IdentityThresholds(*header.people)
    first = recording.config() if given is None else _for_cameras(given, list(header.gates))
    gates = GateFactory(first, header.run_id, header.quality_info, people, header.learned)
    deciders = CameraGates(gates)
    for item in recording.events():
        if isinstance(item, GateChange):
            names = [camera.name for camera in item.config.cameras]
            gates.configure(item.config if given is None else _for_cameras(given, names), item.learned)
            continue
        for decided in deciders.step(item) if isinstance(item, ScoredFrame) else deciders.on_feedback(item):
            yield from ((decided.now, decision) for decision in decided.decisions)
    for decided in deciders.settle_pending():
        yield from ((decided.now, decision) for decision in decided.decisions)


def line(decided_s: float, decision: Decision) -> DecisionLine:
    """Return the log line of a decision."""
    face = decision.face
    return DecisionLine(
        camera=face.face.frame.camera,
        decided_s=decided_s,
        seen_s=face.face.frame.pts_s,
        face_id=face.face.face_id,
        track_id=face.track_id,
        quality=face.quality if isinstance(face, ScoredFace) else None,
        outcome=decision.outcome.value,
        reason=None if decision.shot is None else decision.shot.reason.value,
        shot_id=None if decision.shot is None else decision.shot.shot_id,
    )


def outcomes(lines: list[DecisionLine]) -> Counter[str]:
    """Count the outcomes."""
    return Counter(item.outcome for item in lines)


def _for_cameras(config: RunConfig, cameras: list[str]) -> RunConfig:
    known = {camera.name: camera.gate for camera in config.cameras}
    return RunConfig(
        cameras=tuple(CameraConfig(name=n, source="recording", gate=known.get(n, {})) for n in cameras),
        gate=config.gate,
    )
