"""The metrics of a recognition worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

RESULTS = ("named", "unknown", "duplicate", "invalid")
EVENTS = ("seen", "returned", "named", "changed", "ended")
LATENCIES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class WorkerMetrics(Collector):
    """Metrics of one worker; thread-safe."""

    def __init__(self, people: Callable[[], int]) -> None:
        """Create; ``people`` returns the current number of people in the gallery."""
        self.shots = Counter("facegate_worker_shots", "Shots by result.", ["result"], registry=None)
        self.visit_events = Counter(
            "facegate_worker_visit_events", "Visit events by type.", ["event"], registry=None
        )
        self.messages_rejected = Counter(
            "facegate_worker_messages_rejected", "Invalid messages rejected.", registry=None
        )
        self.duration = Histogram(
            "facegate_worker_recognition_duration_seconds",
            "Time to recognize one shot.",
            registry=None,
            buckets=LATENCIES_S,
        )
        self._people = Gauge("facegate_worker_gallery_people", "People in the gallery.", registry=None)
        self._people.set_function(people)
        for result in RESULTS:
            self.shots.labels(result)
        for event in EVENTS:
            self.visit_events.labels(event)

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client's collectors."""
        for metric in (self.shots, self.visit_events, self.messages_rejected, self.duration, self._people):
            yield from metric.collect()
