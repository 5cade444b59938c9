"""Health and metrics over HTTP: ``/healthz`` (JSON) and ``/metrics`` (Prometheus), on one port, read only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Any, Self

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from facegate.errors import ConfigError
from facegate.pipeline.reporting.report import CameraReport, CameraState, RunReport
from facegate.sinks.base import DeliveryReport

FINE = (CameraState.LIVE, CameraState.ENDED)


class Fleet(msgspec.Struct, frozen=True):
    """How a gate stands in its fleet."""

    connected: bool
    """Heard and listened to."""
    lease_s: float
    """For how much longer it may watch without being heard; 0 where it may not."""
    watching: int
    """Cameras that are its own."""
    config: int
    """Revision of the configuration that it follows; 0 before there is one."""
    problem: str | None


class Health(msgspec.Struct, frozen=True):
    """The answer of ``/healthz``: 200 when ``ok``, else 503."""

    ok: bool
    """At least one camera is live or has ended well; in a fleet: it is connected, and none or one is live."""
    run_id: str
    uptime_s: float
    cameras: dict[str, str]
    """State of each, with the reason where something is wrong."""
    fleet: Fleet | None = None


def health(report: RunReport | None, fleet: Fleet | None = None) -> Health:
    """What ``/healthz`` says of a run, or of a gate that has no configuration yet."""
    if report is None:
        return Health(ok=False, run_id="", uptime_s=0.0, cameras={}, fleet=fleet)
    fine = any(camera.state in FINE for camera in report.cameras)
    return Health(
        ok=fine if fleet is None else fleet.connected and (fine or not fleet.watching),
        fleet=fleet,
        run_id=report.run_id,
        uptime_s=report.duration_s,
        cameras={
            camera.camera: camera.state.value + (f": {camera.problem}" if camera.problem else "")
            for camera in report.cameras
        },
    )


class _Collector:
    """Turns a report into metrics whenever it is asked."""

    def __init__(self, report: Callable[[], RunReport | None], fleet: Callable[[], Fleet | None]) -> None:
        self._report, self._fleet = report, fleet

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client's collectors."""
        report = self._report()
        if report is not None:
            yield from self._of_run(report)
        fleet = self._fleet()
        if fleet is not None:
            yield GaugeMetricFamily("facegate_fleet_connected", "1 while the fleet hears it.", fleet.connected)
            yield GaugeMetricFamily("facegate_fleet_lease_s", "Seconds it may watch unheard.", fleet.lease_s)
            yield GaugeMetricFamily("facegate_fleet_cameras", "Cameras that are its own.", fleet.watching)
            yield GaugeMetricFamily("facegate_fleet_config", "Revision that it follows.", fleet.config)

    def _of_run(self, report: RunReport) -> Iterator[Metric]:
        yield from _per_camera(report.cameras)
        scoring, delivery = report.scoring, report.delivery
        yield GaugeMetricFamily("facegate_scoring_batch_size", "Mean crops per batch.", scoring.batch_mean)
        yield GaugeMetricFamily(
            "facegate_scoring_wait_p95_ms", "From a frame's arrival to scoring.", scoring.wait_p95_ms
        )
        yield GaugeMetricFamily("facegate_scoring_ms_per_crop", "Recent mean.", scoring.ms_per_crop)
        yield from _per_place({"workers": delivery, **delivery.others})
        answers = CounterMetricFamily("facegate_answers", "What workers made of shots.", labels=["said"])
        answers.add_metric(["sure"], delivery.answered - delivery.unsure)
        answers.add_metric(["unsure"], delivery.unsure)
        answers.add_metric(["odd"], delivery.odd)
        yield answers


def _per_place(places: dict[str, DeliveryReport]) -> Iterator[Metric]:
    accepted = CounterMetricFamily("facegate_shots_accepted", "Shots given to delivery.", labels=["to"])
    done = CounterMetricFamily("facegate_shots_acknowledged", "Shots that are delivered.", labels=["to"])
    again = CounterMetricFamily("facegate_shots_redelivered", "Shots sent again.", labels=["to"])
    dropped = CounterMetricFamily("facegate_shots_dropped", "Shots deleted from a full spool.", labels=["to"])
    waiting = GaugeMetricFamily("facegate_shots_waiting", "Shots not acknowledged yet.", labels=["to"])
    for name, report in places.items():
        accepted.add_metric([name], report.accepted)
        done.add_metric([name], report.acknowledged)
        again.add_metric([name], report.redelivered)
        dropped.add_metric([name], report.dropped)
        waiting.add_metric([name], report.undelivered)
    yield from (accepted, done, again, dropped, waiting)


def _per_camera(cameras: tuple[CameraReport, ...]) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        "facegate_camera_state", "1 for the state the camera is in.", labels=["camera", "state"]
    )
    age = GaugeMetricFamily(
        "facegate_frame_age_ms", "Age of frames when detection takes them.", labels=["camera", "quantile"]
    )
    faces = CounterMetricFamily("facegate_faces", "Faces detected.", labels=["camera"])
    outcomes = CounterMetricFamily("facegate_outcomes", "Fates of faces.", labels=["camera", "outcome"])
    lost = GaugeMetricFamily(
        "facegate_identifications_lost",
        "Share of the visits named without the threshold of gate.keep that it loses.",
        labels=["camera", "bound"],
    )
    threshold = GaugeMetricFamily("facegate_threshold", "Least quality that passes.", labels=["camera"])
    counters = {
        "frames_received": "Frames that came.",
        "frames_processed": "Frames looked at.",
        "frames_overwritten": "Frames replaced by a newer one.",
        "frames_still": "Frames left out because nothing had moved.",
        "packets_not_decoded": "Packets left out to catch up.",
        "packets_at_rest": "Packets not decoded because nothing moved.",
        "reconnects": "Times the camera came back.",
    }
    counted = {
        name: CounterMetricFamily(f"facegate_{name}", text, labels=["camera"]) for name, text in counters.items()
    }
    for camera in cameras:
        for each in CameraState:
            state.add_metric([camera.camera, each.value], float(camera.state is each))
        if camera.age_ms is not None:
            age.add_metric([camera.camera, "0.5"], camera.age_ms.p50)
            age.add_metric([camera.camera, "0.95"], camera.age_ms.p95)
        faces.add_metric([camera.camera], camera.observed)
        threshold.add_metric([camera.camera], camera.threshold)
        if camera.loss is not None:
            for bound in ("lost", "low", "high"):
                lost.add_metric([camera.camera, bound], getattr(camera.loss, bound))
        for outcome, count in camera.outcomes.items():
            outcomes.add_metric([camera.camera, outcome], count)
        for name, metric in counted.items():
            metric.add_metric([camera.camera], getattr(camera, name))
    yield from (state, age, faces, outcomes, threshold, lost, *counted.values())


class Monitor:
    """Serves a run's health and metrics until closed."""

    def __init__(
        self, bind: str, report: Callable[[], RunReport | None], fleet: Callable[[], Fleet | None] = lambda: None
    ) -> None:
        """Bind.

        Args:
            bind: ``host:port``; an empty host means loopback.
            report: the run's counts so far.
            fleet: how the gate stands in its fleet, if it is in one.

        Raises:
            ConfigError: the address cannot be bound.
        """
        host, _, port = bind.rpartition(":")
        registry = CollectorRegistry()
        registry.register(_Collector(report, fleet))

        class Handler(BaseHTTPRequestHandler):
            timeout = 5.0

            def do_GET(self) -> None:
                status, kind, body = 404, "text/plain", b"try /healthz or /metrics\n"
                if self.path == "/healthz":
                    answer = health(report(), fleet())
                    status, kind, body = (
                        (200 if answer.ok else 503),
                        "application/json",
                        msgspec.json.encode(answer),
                    )
                elif self.path == "/metrics":
                    status, kind, body = 200, CONTENT_TYPE_LATEST, generate_latest(registry)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """A scrape every few seconds is not worth a line."""

        try:
            self._server = ThreadingHTTPServer((host or "127.0.0.1", int(port)), Handler)
        except (OSError, ValueError, OverflowError) as error:
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            raise ConfigError(
                f"cannot serve health and metrics at {bind}: {reason}; choose another port"
            ) from error
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, args=(0.1,), name="facegate-monitor", daemon=True)

    @property
    def port(self) -> int:
        """The bound port."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
