"""From the parts of a run to its report."""

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
    """The counts so far.

    Args:
        parts: of the run.
        cameras: of the run, removed ones included.
        threads_s: processor seconds of the run's threads, by name.
        cpu_s: of the whole process since the run began.
        duration_s: since the run began.
        interrupted: it was stopped or failed.
        delivery: what became of the shots.
    """
    outcomes = parts.ledger.outcomes()
    told = tuple(_camera_report(parts, camera, duration_s, threads_s) for camera in cameras)
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
        cost=_cost(threads_s, cpu_s, sum(camera.frames_processed for camera in told), duration_s),
    )


def _cost(threads_s: Mapping[str, float], cpu_s: float, looks: int, duration_s: float) -> CostReport:
    stages = {f"{name}_s": round(threads_s.get(name, 0.0), 3) for name in STAGES}
    decode_s = round(sum(spent for name, spent in threads_s.items() if name.startswith(THREAD_NAME_PREFIX)), 3)
    return CostReport(
        decode_s=decode_s,
        **stages,
        rest_s=round(max(0.0, cpu_s - decode_s - sum(stages.values())), 3),
        frames=looks,
        cores=round(cpu_s / max(duration_s, 1e-3), 3),
    )


def _camera_report(
    parts: Pipeline, camera: Camera, duration_s: float, threads_s: Mapping[str, float]
) -> CameraReport:
    watched = parts.detect.watched(camera.name)
    decider = parts.gate.cameras().get(camera.name)
    keeping = None if decider is None else decider.gate.recall
    return CameraReport(
        camera=camera.name,
        state=camera.state,
        problem=None if camera.error is None else str(camera.error),
        frames_received=camera.received,
        frames_processed=watched.frames,
        processed_fps=round(watched.frames / max(duration_s, 1e-3), 2),
        frames_searched=watched.frames_searched,
        frames_overwritten=camera.overwritten,
        frames_without_motion=watched.frames_without_motion,
        packets_skipped=camera.packets_skipped,
        packets_idle=camera.packets_idle,
        age_ms=watched.age_ms(),
        reconnects=camera.reconnects,
        decode_s=round(threads_s.get(THREAD_NAME_PREFIX + camera.name, 0.0), 3),
        observed=parts.ledger.observed(camera.name),
        outcomes=parts.ledger.outcomes(camera.name),
        threshold=parts.gates.settings(camera.name).min_quality if keeping is None else keeping.threshold,
        loss=None if keeping is None else keeping.loss(),
        drift=None if keeping is None else keeping.drift.shift(),
        identity_switches=0 if decider is None else decider.guard.identity_switches,
    )
