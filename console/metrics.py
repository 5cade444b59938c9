"""Metrics of a console: requests, processes, disk, and the report of its gate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import time

from prometheus_client import Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facegate.console.alarms.conditions import KINDS
from facegate.console.alarms.journal import Alarm
from facegate.subprocesses import SubprocessState

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "other")
CODES = ("2xx", "3xx", "4xx", "5xx")


class Requests(Collector):
    """Counts HTTP requests by method and class of status code."""

    def __init__(self) -> None:
        self._counter = Counter(
            "facegate_console_http_requests",
            "HTTP requests by method and class of status code.",
            ["method", "code"],
            registry=None,
        )
        for method in METHODS:
            for code in CODES:
                self._counter.labels(method, code)

    def count(self, method: str, status: int) -> None:
        """Count a request with its response status."""
        self._counter.labels(method if method in METHODS else "other", f"{status // 100}xx").inc()

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client's collectors."""
        yield from self._counter.collect()


class CountRequests:
    """ASGI middleware that counts requests."""

    def __init__(self, app: ASGIApp, requests: Requests) -> None:
        self._app, self._requests = app, requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._requests.count(scope["method"], message["status"])
            await send(message)

        await self._app(scope, receive, counted if scope["type"] == "http" else send)


class ConsoleCollector(Collector):
    """Processes, disk usage and alarms, read at each scrape."""

    def __init__(
        self,
        processes: Callable[[], tuple[SubprocessState, ...]],
        disk: Callable[[], dict[str, int]],
        alarms: Callable[[], list[Alarm]],
        oldest_unmatched: Callable[[], float | None],
    ) -> None:
        self._processes, self._disk, self._alarms = processes, disk, alarms
        self._oldest_unmatched = oldest_unmatched

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client's collectors."""
        running = GaugeMetricFamily(
            "facegate_console_process_running", "1 if the process is running, else 0.", labels=["process"]
        )
        starts = CounterMetricFamily("facegate_console_process_starts", "Process starts.", labels=["process"])
        for process in self._processes():
            running.add_metric([process.name], process.running)
            starts.add_metric([process.name], process.starts)
        disk = self._disk()
        used = GaugeMetricFamily("facegate_console_storage_bytes", "Bytes of stored data by kind.", labels=["kind"])
        for kind in ("store", "recordings"):
            used.add_metric([kind], disk[kind])
        free = GaugeMetricFamily(
            "facegate_console_storage_free_bytes", "Free bytes on the disk of the data folder.", disk["free"]
        )
        opened = [alarm.kind for alarm in self._alarms()]
        alarms = GaugeMetricFamily("facegate_console_alarms", "Open alarms by kind.", labels=["kind"])
        for each in KINDS:
            alarms.add_metric([each], opened.count(each))
        oldest = self._oldest_unmatched()
        unmatched = GaugeMetricFamily(
            "facegate_console_unmatched_oldest_seconds",
            "Age of the oldest visit without a name in the store; 0 if there is none.",
            0.0 if oldest is None else max(0.0, time() - oldest),
        )
        yield from (running, starts, used, free, alarms, unmatched)
