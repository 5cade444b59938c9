"""The report of a run: shown as a summary and, with ``--report``, written as JSON."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from facegate.pipeline.gating.drift import SimilarityShift
from facegate.pipeline.gating.recall_threshold import RecallLoss
from facegate.sinks.base import DeliveryReport


class CameraState(StrEnum):
    """State of a camera."""

    CONNECTING = "connecting"
    LIVE = "live"
    STALLED = "stalled"
    """Connection lost; reconnecting."""
    UNAUTHORIZED = "unauthorized"
    FAILED = "failed"
    """Never live in this run, and the server says why; or a file that cannot be read. A URL is tried again."""
    ENDED = "ended"


class FrameAge(msgspec.Struct, frozen=True):
    """Age of frames when detection takes them, in milliseconds, delays of the stream included."""

    p50: float
    p95: float
    worst: float


LATENCIES_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the buckets of latency histograms, seconds."""


class CameraReport(msgspec.Struct, frozen=True):
    """One camera's counts."""

    camera: str
    state: CameraState
    problem: str | None
    frames_received: int
    frames_processed: int
    processed_fps: float
    """Mean number of processed frames per second of the run."""
    frames_searched: int
    """Processed frames that were searched for new faces; in the others known faces were tracked."""
    frames_overwritten: int
    """Frames replaced by a newer one before they were processed."""
    frames_without_motion: int
    """Frames not processed because nothing moved (``idle_fps``, ``skip_still``)."""
    packets_skipped: int
    """Packets not decoded because the decoder had to catch up."""
    packets_idle: int
    """Packets not decoded because the scene was idle (``idle_fps``)."""
    age_ms: FrameAge | None
    """Ages of the last thousand frames."""
    reconnects: int
    decode_s: float
    """CPU seconds of its thread."""
    observed: int
    outcomes: dict[str, int]
    threshold: int
    """Quality threshold of the gate; with ``gate.target_recall``, the learned one."""
    identity_switches: int
    """Tracks split because they passed from one person to another."""
    searched_share: float = 0.0
    """Share of the picture that was searched for new faces per processed frame, over all scales; 1 is all of it."""
    searched_pixels: int = 0
    """Pixels searched for new faces, over all scales."""
    deferred_pixels: int = 0
    """Pixels that were due and had to wait for the next frame, because the work per frame is bounded."""
    loss: RecallLoss | None = None
    """With ``gate.target_recall``: share of identifications that the threshold loses."""
    drift: SimilarityShift | None = None
    """With ``gate.target_recall``: drift of the similarity at equal quality, if detected."""


class CostReport(msgspec.Struct, frozen=True):
    """CPU time by stage, in seconds of one core."""

    decode_s: float
    """The cameras' threads: decoding, color conversion, sampling."""
    detect_s: float
    """Detection, tracking of known faces, and alignment."""
    track_s: float
    score_s: float
    gate_s: float
    deliver_s: float
    rest_s: float
    """Everything else in the process: reading packets, threads of libraries, code besides facegate."""
    frames: int
    cores: float
    """Mean number of cores in use."""

    @property
    def total_s(self) -> float:
        """Total CPU seconds."""
        return sum(self.parts().values())

    def parts(self) -> dict[str, float]:
        """Return CPU seconds by part."""
        return {
            name.removesuffix("_s"): getattr(self, name) for name in self.__struct_fields__ if name.endswith("_s")
        }

    def ms_per_frame(self, *parts: str) -> float | None:
        """Return the mean of these parts per processed frame, ``None`` without one."""
        spent = self.parts()
        return 1000 * sum(spent[part] for part in parts) / self.frames if self.frames else None


class ScoringReport(msgspec.Struct, frozen=True):
    """Batches of crops. Waits run from the arrival of a frame to the start of its scoring."""

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
    """Cost avoided by not forwarding faces, at the mean cost of the forwarded ones."""

    fr_calls: int
    bytes: int
    fr_ms: float
    """0 if no worker acknowledged a shot."""


class RunReport(msgspec.Struct, frozen=True):
    """Report of a run. ``observed`` equals the sum of ``outcomes``."""

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
        """Recognition cost that the gate avoided."""
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
