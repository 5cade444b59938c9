"""From the parts of a run to its report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from facegate.pipeline.cameras.camera import Camera
from facegate.pipeline.reporting.report import CameraReport, RunReport, StageReport
from facegate.pipeline.running.parts import Parts
from facegate.sinks.base import DeliveryReport


def run_report(
    parts: Parts,
    cameras: Iterable[Camera],
    stage_cpu_s: Mapping[str, float],
    *,
    duration_s: float,
    interrupted: bool,
    delivery: DeliveryReport,
) -> RunReport:
    """The counts so far."""
    outcomes = parts.ledger.outcomes()
    told = tuple(_camera_report(parts, camera, duration_s) for camera in cameras)
    return RunReport(
        run_id=parts.run_id,
        duration_s=round(duration_s, 3),
        interrupted=interrupted,
        detector=parts.detector_name,
        algorithm=parts.info.algorithm,
        model=parts.info.model,
        frames_received=sum(camera.frames_received for camera in told),
        frames_processed=sum(camera.frames_processed for camera in told),
        observed=parts.ledger.observed(),
        outcomes=outcomes,
        tracks=parts.track.tracks,
        shots=outcomes.get("forwarded", 0) + outcomes.get("shadow", 0),
        scoring=parts.score.report(),
        delivery=delivery,
        cameras=told,
        stages=tuple(StageReport(name, round(cpu, 3)) for name, cpu in stage_cpu_s.items()),
    )


def _camera_report(parts: Parts, camera: Camera, duration_s: float) -> CameraReport:
    watched = parts.detect.watched(camera.name)
    decider = parts.gate.cameras().get(camera.name)
    online = None if decider is None else decider.gate.online
    return CameraReport(
        camera=camera.name,
        state=camera.state,
        problem=None if camera.error is None else str(camera.error),
        frames_received=camera.received,
        frames_processed=watched.frames,
        looks_per_s=round(watched.frames / max(duration_s, 1e-3), 2),
        frames_searched=watched.frames_searched,
        frames_overwritten=camera.overwritten,
        frames_still=watched.frames_still,
        packets_not_decoded=camera.not_decoded,
        age_ms=watched.age_ms(),
        reconnects=camera.reconnects,
        observed=parts.ledger.observed(camera.name),
        outcomes=parts.ledger.outcomes(camera.name),
        threshold=parts.gates.settings(camera.name).min_quality if online is None else online.threshold,
        quality_moved=0.0 if online is None else round(online.moved, 3),
        splits=0 if decider is None else decider.guard.splits,
    )
