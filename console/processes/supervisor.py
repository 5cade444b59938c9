"""Supervises the gate and worker processes of a configuration file."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from threading import Lock, RLock
from typing import Any

import msgspec
import structlog

from facegate.audit.log import DEFAULT_DAYS
from facegate.background import BackgroundThread
from facegate.console.notifications.outbox import NOTIFICATIONS
from facegate.console.processes.config_file import ConfigConflictError, ConfigFile, ConfigVersion
from facegate.console.processes.gate_client import GateClient, GateRefusedError, GateUnreachableError
from facegate.errors import ConfigError, os_errors
from facegate.paths import replacing
from facegate.pipeline.config import RunConfig
from facegate.subprocesses import LogLine, Subprocess, SubprocessState

POLL_INTERVAL_S = 0.25
MAX_LOG_LINES = 300
NOTABLE_LEVELS = ("warning", "error", "critical")
"""Log lines of gate and worker that pages show and the console's own log repeats."""
CAMERA_EVENTS = ("camera live", "camera ended")
"""Others that the console's log repeats, so that it says when a lost camera comes back."""

log = structlog.get_logger(__name__)


class ConsoleFolder(msgspec.Struct, frozen=True):
    """Paths in the data folder of a console."""

    data: Path

    @property
    def store(self) -> Path:
        """Database of shots, visits and tracks."""
        return self.data / "store.db"

    @property
    def recordings(self) -> Path:
        """Folder of recordings."""
        return self.data / "recordings"

    @property
    def running(self) -> Path:
        """Copy of the running configuration, independent of edits of the file."""
        return self.data / "running.yaml"

    @property
    def accounts(self) -> Path:
        """Database of users and tokens."""
        return self.data / "accounts.db"

    @property
    def alarms(self) -> Path:
        """Database of alarms."""
        return self.data / "alarms.db"

    @property
    def audit(self) -> Path:
        """Database of the audit log."""
        return self.data / "audit.db"

    @property
    def notifications(self) -> Path:
        """Database of rules, receivers and waiting messages."""
        return self.data / NOTIFICATIONS

    @property
    def secrets(self) -> Path:
        """Folder of camera passwords, one file each."""
        return self.data / "secrets"


class RecognizerSettings(msgspec.Struct, frozen=True):
    """Options of the recognition worker."""

    gallery: Path
    embedder: str = "auto"
    card: Path | None = None
    fpir: float | None = None
    key: Path | None = None
    templates: bool = True
    """Whether the templates of visits are kept."""
    min_shots: int = 1
    """Number of shots of a visit that must agree on its name."""
    audit: Path | None = None
    """Audit log of its uses."""
    audit_days: float = DEFAULT_DAYS
    """Days after which entries of the audit log expire."""

    def to_arguments(self) -> list[str]:
        """Arguments for ``facegate recognize``."""
        given = {"--card": self.card, "--fpir": self.fpir, "--key": self.key, "--audit": self.audit}
        options = [text for name, value in given.items() if value is not None for text in (name, str(value))]
        options += [] if self.templates else ["--no-templates"]
        options += ["--audit-days", str(self.audit_days), "--min-shots", str(self.min_shots)]
        return ["--gallery", str(self.gallery), "--embedder", self.embedder, *options]


class ProcessHealth(msgspec.Struct, frozen=True):
    """Health of the processes and the configuration."""

    gate: SubprocessState
    gate_finished: bool
    """The gate has processed its files to the end and exited normally."""
    worker: SubprocessState
    config_tag: str
    """Version of the running configuration."""
    config_changed: bool
    """Whether the file was edited by hand since."""
    config_problem: str | None
    """Why the current file is invalid; ``None`` if it is valid."""
    lines: tuple[LogLine, ...]
    """Warnings and errors, oldest first."""


class Supervisor(BackgroundThread):
    """Starts, restarts and stops both processes in one thread."""

    def __init__(
        self,
        file: ConfigFile,
        folder: ConsoleFolder,
        recognizer: RecognizerSettings,
        publish: Callable[[str, Any], None] = lambda kind, payload: None,
    ) -> None:
        """Prepare; processes start when the context is entered.

        Args:
            file: configuration to run.
            folder: data folder.
            recognizer: options of the worker.
            publish: called with the kind and payload of each event, from any thread.

        Raises:
            ConfigError: the configuration is invalid.
        """
        super().__init__("facegate-supervisor")
        self.file = file
        self._folder = folder
        self._recognizer = recognizer
        self._publish = publish
        self._lock = Lock()
        self._changing = RLock()
        """Held while the file and the processes change from one version to another."""
        self._log_lines: deque[LogLine] = deque(maxlen=MAX_LOG_LINES)
        self._gate, self._worker = Subprocess("gate", self._on_log_line), Subprocess("worker", self._on_log_line)
        self._finished = False
        self._running: ConfigVersion = file.version()
        if self._running.problem is not None:
            raise ConfigError(self._running.problem)
        self._apply(self._running)
        self._stamp = self._stat()
        self._opened = ExitStack()
        # Paths of Unix sockets have about 100 characters, so that the data folder may be too long.
        sockets = self._opened.enter_context(tempfile.TemporaryDirectory(prefix="facegate-"))
        self._shots = f"ipc://{sockets}/shots"
        self.client = self._opened.enter_context(GateClient(f"ipc://{sockets}/gate"))

    def close(self) -> None:
        """Stop both processes."""
        super().close()
        self._opened.close()

    def health(self) -> ProcessHealth:
        """Health of the processes and the configuration."""
        now = self.file.version()
        with self._lock:
            return ProcessHealth(
                gate=self._gate.state(),
                gate_finished=self._finished,
                worker=self._worker.state(),
                config_tag=self._running.tag,
                config_changed=now.tag != self._running.tag,
                config_problem=now.problem,
                lines=tuple(self._log_lines),
            )

    def apply(self, version: ConfigVersion) -> None:
        """Apply a version of the file.

        Raises:
            ConfigError: it is invalid or rejected; the previous one keeps running.
        """
        if version.problem is not None:
            raise ConfigError(version.problem)
        with self._changing:
            with self._lock:
                before = self._running
                self._apply(version)
                self._finished = False
                self._gate.restart_now()
                running = self._gate.running
            try:
                if _active_config(version) is None or not running:
                    return  # the thread starts or stops it
                restart = bool(self.client.reload().ignored)
            except GateRefusedError as error:
                self._apply(before)
                raise ConfigError(str(error)) from error
            except GateUnreachableError:
                restart = True
            finally:
                self._stamp = self._stat()
            if restart:
                with self._lock:
                    self._gate.stop()

    def change(self, edit: Callable[[Any], None], expected: str | None = None) -> ConfigVersion:
        """Edit the file and apply it; if the gate rejects it, the edit is undone.

        Raises:
            ConfigError: the result is invalid or rejected.
            ConfigConflictError: the file has another version.
        """
        with self._changing:
            if self.file.version().tag != self._running.tag:
                name = self.file.path.name
                raise ConfigConflictError(f"{name} was edited by hand; load it first, on the Health page")
            version = self.file.change(edit, expected)
            try:
                self.apply(version)
            except ConfigError:
                self.file.undo()
                self._stamp = self._stat()
                raise
        self._publish("config", {"tag": version.tag})
        return version

    def load(self) -> ConfigVersion:
        """Apply the file after it was edited by hand.

        Raises:
            ConfigError: it is invalid or rejected.
        """
        version = self.file.version()
        self.apply(version)
        self._publish("config", {"tag": version.tag})
        return version

    def undo(self) -> ConfigVersion:
        """Undo the last change.

        Raises:
            ConfigError: there is nothing to undo.
        """
        with self._changing:
            version = self.file.undo()
            self.apply(version)
        self._publish("config", {"tag": version.tag})
        return version

    def running(self) -> ConfigVersion:
        """The running version."""
        return self._running

    def _apply(self, version: ConfigVersion) -> None:
        path = self._folder.running
        with os_errors(ConfigError, f"cannot write {path}"), replacing(path, 0o600) as part:
            part.write_text(version.text, encoding="utf-8")
        self._running = version

    def _run(self) -> None:
        try:
            while not self._stop.wait(POLL_INTERVAL_S):
                with self._lock:
                    self._poll()
        finally:
            self._worker.terminate()  # both stop in parallel
            self._gate.stop()
            self._worker.stop()

    def _poll(self) -> None:
        for child in (self._gate, self._worker):
            code = child.ended()
            if code is not None:
                self._finished = self._finished or (child is self._gate and code == 0)
                if code != 0:
                    log.warning("process exited, restarting", process=child.name, exit_code=code)
                self._publish("health", {"process": child.name, "exit_code": code})
        config = _active_config(self._running)
        if config is None:
            self._gate.stop()
        elif not self._finished and self._gate.start_if_due(self._gate_arguments()):
            self._publish("health", {"process": "gate", "started": True})
        if self._worker.start_if_due(self._worker_arguments(config)):
            self._publish("health", {"process": "worker", "started": True})
        if self._changing.acquire(blocking=False):
            try:
                self._check_config_file()
            finally:
                self._changing.release()

    def _check_config_file(self) -> None:
        stamp = self._stat()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        if self.file.version().tag != self._running.tag:
            log.warning(
                "configuration file edited by hand",
                path=str(self.file.path),
                remedy="load it on the Health page",
            )
            self._publish("health", {"config_changed": True})

    def _gate_arguments(self) -> list[str]:
        data = self._folder.data
        arguments = ["run", str(self._folder.running), "--data", str(data), "--control", self.client.endpoint]
        delivery = self._running.content.get("delivery") or {}
        if "bind" not in delivery:
            arguments += ["--bind", self._shots]
        if "spool" not in delivery:
            arguments += ["--spool", str(data / "shots.spool")]
        return arguments

    def _worker_arguments(self, config: RunConfig | None) -> list[str]:
        given = (self._running.content.get("delivery") or {}).get("bind")
        endpoint = self._shots if config is None or given is None else config.delivery.bind
        where = str(endpoint).replace("://0.0.0.0:", "://127.0.0.1:").replace("://*:", "://127.0.0.1:")
        store = self._folder.store.absolute()
        return [
            *("recognize", *self._recognizer.to_arguments(), "--connect", where, "--output", "/dev/null"),
            *("--publish", f"store://{store}", "--spool-dir", str(self._folder.data / "names")),
        ]

    def _on_log_line(self, line: LogLine) -> None:
        if line.level in NOTABLE_LEVELS or line.event in CAMERA_EVENTS:
            write = log.info if line.level == "info" else log.warning if line.level == "warning" else log.error
            write(line.event, **{**line.details, "process": line.process})
        if line.level in NOTABLE_LEVELS:
            self._log_lines.append(line)
            self._publish("line", line)

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            found = self.file.path.stat()
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size, found.st_ino)


def _active_config(version: ConfigVersion) -> RunConfig | None:
    """Configuration for the gate; ``None`` if no camera is enabled."""
    config = version.config
    return None if config is None or not any(camera.enabled for camera in config.cameras) else config
