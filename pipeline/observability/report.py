"""What a run says of itself: the summary that is shown and, with ``--report``, written as JSON."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from facegate.pipeline.gating.drift import SimilarityShift
from facegate.pipeline.gating.recall_threshold import RecallLoss
from facegate.sinks.base import DeliveryReport


class CameraState(StrEnum):
    """Where a camera is in its life."""

    CONNECTING = "connecting"
    LIVE = "live"
    STALLED = "stalled"
    """Lost; it is tried again."""
    UNAUTHORIZED = "unauthorized"
    FAILED = "failed"
    ENDED = "ended"


class FrameAge(msgspec.Struct, frozen=True):
    """How old frames were when detection took them, in milliseconds; the stream's own delay is included."""

    p50: float
    p95: float
    worst: float


LATENCIES_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the buckets of latency histograms."""


class CameraReport(msgspec.Struct, frozen=True):
    """One camera's counts."""

    camera: str
    state: CameraState
    problem: str | None
    frames_received: int
    frames_processed: int
    processed_fps: float
    """Frames looked at per second of the run: what the processor held for this camera, at most its ``max_fps``."""
    frames_searched: int
    """Of the processed ones, searched as a whole; in the others known faces were followed."""
    frames_overwritten: int
    """Replaced by a newer one before anybody looked."""
    frames_without_motion: int
    """Left out because nothing had moved and nobody was there (``idle_fps``), or at all (``skip_still``)."""
    packets_skipped: int
    """Left out by a decoder that had to catch up."""
    packets_idle: int
    """Not decoded because nobody was there and nothing moved (``idle_fps``)."""
    age_ms: FrameAge | None
    """Of the last thousand frames."""
    reconnects: int
    decode_s: float
    """Processor seconds of its thread."""
    observed: int
    outcomes: dict[str, int]
    threshold: int
    """The gate's threshold at the end; with ``gate.target_recall``, what it was last set to."""
    identity_switches: int
    """Times a track passed from one person to another and was split."""
    loss: RecallLoss | None = None
    """With ``gate.target_recall``: what the threshold costs in identifications."""
    drift: SimilarityShift | None = None
    """With ``gate.target_recall``: similarity at the same quality, where it has moved."""


class CostReport(msgspec.Struct, frozen=True):
    """Where the processor's time went, in seconds of one core."""

    decode_s: float
    """Of the cameras' threads: decoding, colors, sampling."""
    detect_s: float
    """Searching, following and aligning."""
    track_s: float
    score_s: float
    gate_s: float
    deliver_s: float
    rest_s: float
    """Of everything else in the process: reading packets, libraries' own threads, whatever runs beside facegate."""
    frames: int
    cores: float
    """Mean over the run."""

    @property
    def total_s(self) -> float:
        """All of it."""
        return sum(self.parts().values())

    def parts(self) -> dict[str, float]:
        """Seconds by what they were spent on."""
        return {
            name.removesuffix("_s"): getattr(self, name) for name in self.__struct_fields__ if name.endswith("_s")
        }

    def ms_per_frame(self, *parts: str) -> float | None:
        """Mean of these parts, ``None`` where nothing was looked at."""
        spent = self.parts()
        return 1000 * sum(spent[part] for part in parts) / self.frames if self.frames else None


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


class Avoided(msgspec.Struct, frozen=True):
    """What the faces that were not forwarded would have cost, at the mean cost of those that were."""

    fr_calls: int
    bytes: int
    fr_ms: float
    """0 where no worker acknowledged anything."""


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
    cost: CostReport

    @property
    def avoided(self) -> Avoided:
        """The bill that the gate spared."""
        calls, delivery = self.observed - self.shots, self.delivery
        return Avoided(
            fr_calls=calls,
            bytes=round(calls * delivery.bytes_sent / self.shots) if self.shots else 0,
            fr_ms=round(calls * delivery.recognition_ms / delivery.acknowledged, 1)
            if delivery.acknowledged
            else 0.0,
        )

    @property
    def forwarded_share(self) -> float:
        """Forwarded faces over observed ones, 0 when none was observed."""
        return self.shots / self.observed if self.observed else 0.0


def to_json(report: RunReport) -> bytes:
    """Return the report as indented JSON."""
    whole = msgspec.to_builtins(report) | {"avoided": msgspec.to_builtins(report.avoided)}
    return msgspec.json.format(msgspec.json.encode(whole), indent=2) + b"\n"
