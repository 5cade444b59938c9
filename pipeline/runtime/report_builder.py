"""Builds the report of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from facegate.pipeline.cameras.camera import Camera
from facegate.pipeline.observability.report import CameraReport, CostReport, RunReport
from facegate.pipeline.runtime.assembly import Pipeline
from facegate.pipeline.runtime.cameras import THREAD_NAME_PREFIX
from facegate.sinks.base import DeliveryReport

STAGES = ("detect", "track", "score", "gate", "deliver")


def run_report(
    parts: Pipeline,
    cameras: Iterable[Camera],
    threads_s: Mapping[str, float],
    *,
    cpu_s: float,
    duration_s: float,
    interrupted: bool,
    delivery: DeliveryReport,
) -> RunReport:
    """Return the counts so far.

    Args:
        parts: the assembled pipeline.
        cameras: all cameras, removed ones included.
        threads_s: CPU seconds of the run's threads, by name.
        cpu_s: CPU seconds of the process since the run began.
        duration_s: seconds since the run began.
        interrupted: whether it was stopped or failed.
        delivery: report of the sink.
    """
    outcomes = parts.ledger.outcomes()
    camera_reports = tuple(_camera_report(parts, camera, duration_s, threads_s) for camera in cameras)
    return RunReport(
        run_id=parts.run_id,
        duration_s=round(duration_s, 3),
        interrupted=interrupted,
        detector=parts.detector_name,
        algorithm=parts.info.algorithm,
        model=parts.info.model,
        frames_received=sum(camera.frames_received for camera in camera_reports),
        frames_processed=sum(camera.frames_processed for camera in camera_reports),
        observed=parts.ledger.observed(),
        outcomes=outcomes,
        tracks=parts.track.tracks,
        shots=outcomes.get("forwarded", 0) + outcomes.get("shadow", 0),
        scoring=parts.score.report(),
        delivery=delivery,
        cameras=camera_reports,
        cost=_cost(threads_s, cpu_s, sum(camera.frames_processed for camera in camera_reports), duration_s),
    )


def _cost(threads_s: Mapping[str, float], cpu_s: float, frames: int, duration_s: float) -> CostReport:
    stages = {f"{name}_s": round(threads_s.get(name, 0.0), 3) for name in STAGES}
    decode_s = round(sum(spent for name, spent in threads_s.items() if name.startswith(THREAD_NAME_PREFIX)), 3)
    return CostReport(
        decode_s=decode_s,
        **stages,
        rest_s=round(max(0.0, cpu_s - decode_s - sum(stages.values())), 3),
        frames=frames,
        cores=round(cpu_s / max(duration_s, 1e-3), 3),
    )


def _camera_report(
    parts: Pipeline, camera: Camera, duration_s: float, threads_s: Mapping[str, float]
) -> CameraReport:
    detection = parts.detect.watched(camera.name)
    searched = detection.plan.counts
    decider = parts.gate.cameras().get(camera.name)
    recall = None if decider is None else decider.gate.recall
    return CameraReport(
        camera=camera.name,
        state=camera.state,
        problem=None if camera.error is None else str(camera.error),
        frames_received=camera.received,
        frames_processed=detection.frames,
        processed_fps=round(detection.frames / max(duration_s, 1e-3), 2),
        frames_searched=detection.frames_searched,
        searched_share=round(searched.searched_px / max(searched.picture_px, 1), 4),
        searched_pixels=searched.searched_px,
        deferred_pixels=searched.deferred_px,
        frames_overwritten=camera.overwritten,
        frames_without_motion=detection.frames_without_motion,
        packets_skipped=camera.packets_skipped,
        packets_idle=camera.packets_idle,
        age_ms=detection.age_ms(),
        reconnects=camera.reconnects,
        decode_s=round(threads_s.get(THREAD_NAME_PREFIX + camera.name, 0.0), 3),
        observed=parts.ledger.observed(camera.name),
        outcomes=parts.ledger.outcomes(camera.name),
        threshold=parts.gates.settings(camera.name).min_quality if recall is None else recall.threshold,
        loss=None if recall is None else recall.loss(),
        drift=None if recall is None else recall.drift.shift(),
        identity_switches=0 if decider is None else decider.guard.identity_switches,
    )
