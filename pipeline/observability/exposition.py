"""Serves ``/healthz`` (JSON) and ``/metrics`` (Prometheus) over HTTP on one port, read only."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from threading import Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics, make_wsgi_app
from prometheus_client.core import InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from facegate.errors import ConfigError, os_reason
from facegate.sinks.wire import SOFTWARE

MAX_PORT = 65535

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

HealthCheck = Callable[[], tuple[bool, bytes]]
"""Returns whether the process is healthy, and the JSON body of ``/healthz``."""


class _BuildInfo(Collector):
    def collect(self) -> Iterable[Metric]:
        labels = {"version": SOFTWARE, "python_version": platform.python_version()}
        yield InfoMetricFamily("facegate_build", "Version of facegate and of Python.", labels)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = 5.0

    def log_message(self, format: str, *args: Any) -> None:
        """Do not log requests."""


class MetricsServer:
    """Serves the health and the metrics of a process until closed."""

    def __init__(self, bind: str, health: HealthCheck, collectors: Iterable[Collector] = ()) -> None:
        """Bind.

        Args:
            bind: ``host:port``; an empty host means loopback.
            health: returns whether the process is healthy (200 or 503), and the JSON body of ``/healthz``.
            collectors: metrics besides ``facegate_build_info`` and ``process_*``.

        Raises:
            ConfigError: the address cannot be bound.
        """
        disable_created_metrics()  # type: ignore[no-untyped-call]  # they double the series of counters
        registry = CollectorRegistry()
        for collector in (_BuildInfo(), *collectors):
            registry.register(collector)
        ProcessCollector(registry=registry)
        metrics = make_wsgi_app(registry)

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            path = environ["PATH_INFO"]
            if path == "/metrics":
                return cast(Iterable[bytes], metrics(environ, start_response))
            status, kind, body = "404 Not Found", "text/plain", b"try /healthz or /metrics\n"
            if path == "/healthz":
                ok, body = health()
                status, kind = "200 OK" if ok else "503 Service Unavailable", "application/json"
            start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
            return [body]

        host, _, port = bind.rpartition(":")
        if not port.isdecimal() or int(port) > MAX_PORT:
            raise ConfigError(
                f"--metrics {bind} is not an address: give HOST:PORT, such as 127.0.0.1:9108, or :9108"
            )
        try:
            self._server = make_server(host or "127.0.0.1", int(port), app, _Server, _Handler)
        except (OSError, UnicodeError) as error:
            raise ConfigError(
                f"cannot serve health and metrics at {bind}: {os_reason(error)}; choose another port"
            ) from error
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
