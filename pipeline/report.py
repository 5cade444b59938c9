"""What a run says of itself: the summary that is shown and, with ``--report``, written as JSON."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from facegate.sinks.base import DeliveryReport


class CameraState(StrEnum):
    """Where a camera is in its life."""

    CONNECTING = "connecting"
    LIVE = "live"
    UNAUTHORISED = "unauthorised"
    FAILED = "failed"
    ENDED = "ended"


class CameraReport(msgspec.Struct, frozen=True):
    """One camera's counts."""

    camera: str
    state: CameraState
    problem: str | None
    frames_received: int
    frames_processed: int
    frames_overwritten: int
    observed: int
    outcomes: dict[str, int]


class StageReport(msgspec.Struct, frozen=True):
    """CPU time of one stage's thread (its helpers' threads are not in it)."""

    stage: str
    cpu_s: float


class ScoringReport(msgspec.Struct, frozen=True):
    """How crops were batched. Waits run from a frame's arrival to the start of its crops' scoring."""

    backend: str
    dtype: str
    why: str
    batches: int
    batch_mean: float
    batch_max: int
    wait_p50_ms: float
    wait_p95_ms: float
    ms_per_crop: float


class RunReport(msgspec.Struct, frozen=True):
    """The whole run. ``observed`` equals the sum of ``outcomes``."""

    run_id: str
    duration_s: float
    interrupted: bool
    detector: str
    algorithm: str
    model: str
    frames_received: int
    frames_processed: int
    observed: int
    outcomes: dict[str, int]
    tracks: int
    shots: int
    scoring: ScoringReport
    delivery: DeliveryReport
    cameras: tuple[CameraReport, ...]
    stages: tuple[StageReport, ...]

    @property
    def forwarded_share(self) -> float:
        """Forwarded faces over observed ones, 0 when none was observed."""
        return self.shots / self.observed if self.observed else 0.0


def to_json(report: RunReport) -> bytes:
    """Return the report as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"
