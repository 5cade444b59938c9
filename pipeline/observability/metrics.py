"""Health and metrics of a gate: ``/healthz`` and ``/metrics``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from facegate.pipeline.observability.exposition import MetricsServer
from facegate.pipeline.observability.report import CameraReport, CameraState, RunReport
from facegate.pipeline.records import Outcome
from facegate.sinks.base import DeliveryReport

HEALTHY = (CameraState.LIVE, CameraState.ENDED)


class FleetHealth(msgspec.Struct, frozen=True):
    """State of a node's fleet connection."""

    connected: bool
    """Whether the fleet connection is up."""
    lease_s: float
    """Seconds until the lease expires; 0 without a lease."""
    watching: int
    """Number of cameras assigned to this node."""
    config: int
    """Revision of the configuration in use; 0 without one."""
    problem: str | None


class GateHealth(msgspec.Struct, frozen=True):
    """Body of ``/healthz``: status 200 if ``ok``, else 503."""

    ok: bool
    """At least one camera is live or has ended; in a fleet: connected, and that or no camera is assigned."""
    run_id: str
    uptime_s: float
    cameras: dict[str, str]
    """State of each camera, with the problem if there is one."""
    fleet: FleetHealth | None = None


def health(report: RunReport | None, fleet: FleetHealth | None = None) -> GateHealth:
    """Return the health of a run, or of a gate without a configuration (``None``)."""
    if report is None:
        return GateHealth(ok=False, run_id="", uptime_s=0.0, cameras={}, fleet=fleet)
    is_fine = any(camera.state in HEALTHY for camera in report.cameras)
    return GateHealth(
        ok=is_fine if fleet is None else fleet.connected and (is_fine or not fleet.watching),
        fleet=fleet,
        run_id=report.run_id,
        uptime_s=report.duration_s,
        cameras={
            camera.camera: camera.state.value + (f": {camera.problem}" if camera.problem else "")
            for camera in report.cameras
        },
    )


class Monitor(MetricsServer):
    """Serves the health and the metrics of a gate until closed."""

    def __init__(
        self,
        bind: str,
        report: Callable[[], RunReport | None],
        timings: Callable[[], Iterable[Metric]] = tuple,
        fleet: Callable[[], FleetHealth | None] = lambda: None,
    ) -> None:
        """Bind.

        Args:
            bind: ``host:port``; an empty host means loopback.
            report: returns the run's counts so far.
            timings: returns the histograms of the run's stages.
            fleet: returns the state of the fleet connection, if there is one.

        Raises:
            ConfigError: the address cannot be bound.
        """

        def check() -> tuple[bool, bytes]:
            answer = health(report(), fleet())
            return answer.ok, msgspec.json.encode(answer)

        super().__init__(bind, check, [RunCollector(report, timings, fleet)])


class RunCollector(Collector):
    """Turns a report into metrics at each scrape."""

    def __init__(
        self,
        report: Callable[[], RunReport | None],
        timings: Callable[[], Iterable[Metric]] = tuple,
        fleet: Callable[[], FleetHealth | None] = lambda: None,
    ) -> None:
        self._report, self._timings, self._fleet = report, timings, fleet

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; see ``prometheus_client.registry.Collector``."""
        report = self._report()
        if report is not None:
            yield from _per_camera(report.cameras)
            yield from _per_destination({"workers": report.delivery, **report.delivery.outputs})
            yield _feedback(report.delivery)
            yield from self._timings()
        fleet = self._fleet()
        if fleet is not None:
            yield from _of_fleet(fleet)


def _of_fleet(fleet: FleetHealth) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "facegate_fleet_connected", "1 if the fleet connection is up, 0 if it is not.", fleet.connected
    )
    yield GaugeMetricFamily(
        "facegate_fleet_lease_remaining_seconds", "Seconds until the lease of this node expires.", fleet.lease_s
    )
    yield GaugeMetricFamily("facegate_fleet_cameras", "Cameras assigned to this node.", fleet.watching)
    yield GaugeMetricFamily(
        "facegate_fleet_config_revision",
        "Revision of the fleet configuration that this node follows.",
        fleet.config,
    )


def _feedback(delivery: DeliveryReport) -> Metric:
    feedback = CounterMetricFamily(
        "facegate_recognition_feedback", "Recognition feedback on shots by result.", labels=["result"]
    )
    feedback.add_metric(["conclusive"], delivery.answered - delivery.inconclusive)
    feedback.add_metric(["inconclusive"], delivery.inconclusive)
    feedback.add_metric(["invalid"], delivery.invalid)
    return feedback


def _per_destination(destinations: dict[str, DeliveryReport]) -> Iterator[Metric]:
    counters = {
        "shots_accepted": ("Shots handed to delivery.", "accepted"),
        "shots_acknowledged": ("Shots acknowledged by their destination.", "acknowledged"),
        "shots_redelivered": ("Shots sent again.", "redelivered"),
        "shots_dropped": ("Shots deleted before they were delivered.", "dropped"),
        "shots_dead_lettered": ("Shots set aside because no worker ever acknowledged them.", "dead_lettered"),
        "shots_sent_bytes": ("Bytes of shots sent.", "bytes_sent"),
    }
    for name, (text, field) in counters.items():
        counter = CounterMetricFamily(f"facegate_{name}", text, labels=["destination"])
        for destination, report in destinations.items():
            counter.add_metric([destination], getattr(report, field))
        yield counter
    pending = GaugeMetricFamily("facegate_shots_pending", "Shots not acknowledged yet.", labels=["destination"])
    for destination, report in destinations.items():
        pending.add_metric([destination], report.undelivered)
    yield pending


def _per_camera(cameras: tuple[CameraReport, ...]) -> Iterator[Metric]:
    counters = {
        "frames_received": ("Frames received from the camera.", "frames_received"),
        "frames_processed": ("Frames processed by detection or tracking.", "frames_processed"),
        "frames_overwritten": ("Frames replaced by a newer one before they were processed.", "frames_overwritten"),
        "frames_without_motion": ("Frames not processed because nothing moved.", "frames_without_motion"),
        "searched_pixels": ("Pixels searched for new faces, over all scales.", "searched_pixels"),
        "deferred_pixels": ("Pixels whose search had to wait for the next frame.", "deferred_pixels"),
        "packets_skipped": ("Packets not decoded because the decoder had to catch up.", "packets_skipped"),
        "packets_idle": ("Packets not decoded because the scene was idle.", "packets_idle"),
        "camera_reconnects": ("Successful reconnects of the camera.", "reconnects"),
        "faces": ("Faces detected.", "observed"),
        "identity_switches": ("Tracks split because they passed from one person to another.", "identity_switches"),
    }
    for name, (text, field) in counters.items():
        counter = CounterMetricFamily(f"facegate_{name}", text, labels=["camera"])
        for camera in cameras:
            counter.add_metric([camera.camera], getattr(camera, field))
        yield counter
    outcomes = CounterMetricFamily("facegate_outcomes", "Faces by outcome.", labels=["camera", "outcome"])
    state = GaugeMetricFamily(
        "facegate_camera_state",
        "1 for the current state of the camera, 0 for the others.",
        labels=["camera", "state"],
    )
    threshold = GaugeMetricFamily(
        "facegate_quality_threshold", "Minimum quality that passes the gate, 0 to 100.", labels=["camera"]
    )
    lost = GaugeMetricFamily(
        "facegate_identifications_lost_ratio",
        "Share of identifications that the threshold of gate.target_recall loses, with its 95 % interval.",
        labels=["camera", "bound"],
    )
    for camera in cameras:
        for outcome in Outcome:
            outcomes.add_metric([camera.camera, outcome.value], camera.outcomes.get(outcome.value, 0))
        for each in CameraState:
            state.add_metric([camera.camera, each.value], float(camera.state is each))
        threshold.add_metric([camera.camera], camera.threshold)
        if camera.loss is not None:
            lost.add_metric([camera.camera, "estimate"], camera.loss.lost)
            lost.add_metric([camera.camera, "lower"], camera.loss.low)
            lost.add_metric([camera.camera, "upper"], camera.loss.high)
    yield from (outcomes, state, threshold, lost)
