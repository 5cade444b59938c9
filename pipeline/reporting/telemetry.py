"""The run's report over PUB/SUB, every second: for dashboards, which may miss one. Shots never go this way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Self

import zmq

from facegate.pipeline.reporting.report import RunReport, to_json
from facegate.sinks.bound import Bound

TOPIC = b"report"
EVERY_S = 1.0
WAITING = 4
"""Reports kept for a subscriber that does not keep up; more are dropped."""


class Telemetry:
    """Publishes ``[b"report", JSON of RunReport]`` until closed, and the last report at the end."""

    def __init__(
        self,
        bind: str,
        report: Callable[[], RunReport],
        *,
        keys: Path | None = None,
        plain: bool = False,
        every_s: float = EVERY_S,
    ) -> None:
        """Bind.

        Args:
            bind: ZeroMQ endpoint.
            report: the run's counts so far.
            keys: folder of ``facegate keys``; a subscriber needs a key as a worker does.
            plain: allow an endpoint beyond loopback without keys.
            every_s: seconds between two reports.

        Raises:
            DeliveryError: the endpoint cannot be bound, or would tell anybody.
            ConfigError: the folder of keys holds none.
        """
        self._report = report
        self._every_s = every_s
        self._stop = Event()
        self._bound = Bound(zmq.PUB, bind, keys=keys, plain=plain, options={zmq.SNDHWM: WAITING})
        self.endpoint = self._bound.endpoint
        self._thread = Thread(target=self._run, name="facegate-telemetry", daemon=True)

    def _run(self) -> None:
        ended = False
        while not ended:
            ended = self._stop.wait(self._every_s)
            self._bound.socket.send_multipart([TOPIC, to_json(self._report())])
            self._bound.tell_refusals()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._bound.close()
