"""Supervised subprocesses: started, their logs read, restarted when they exit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock, Thread
from time import monotonic, time
from typing import IO

import msgspec

from facegate.backoff import PROCESS_RETRY_S, Backoff
from facegate.parent import PARENT

STABLE_AFTER_S = 30.0
"""A process that ran for this long restarts after the shortest delay."""
END_S = 5.0
MAX_LINES = 300
MAX_LINE_BYTES = 2000


class LogLine(msgspec.Struct, frozen=True):
    """A log line of a process."""

    at: float
    """Unix time (UTC)."""
    process: str
    level: str
    event: str
    details: dict[str, str]


class SubprocessState(msgspec.Struct, frozen=True):
    """State of a process."""

    name: str
    running: bool
    pid: int | None
    since: float | None
    """Unix time (UTC) of its start."""
    starts: int
    last_exit: int | None
    """Exit code of the last one; negative for a signal."""
    last_log_lines: str | None
    """Last log line before it exited."""


class Subprocess:
    """One process. For the supervisor's thread, except :meth:`state` and :meth:`lines`."""

    def __init__(self, name: str, log: Callable[[LogLine], None]) -> None:
        self.name = name
        self._log = log
        self._lock = Lock()
        self._lines: deque[LogLine] = deque(maxlen=MAX_LINES)
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0
        self._since: float | None = None
        self._started_s = 0.0
        self._due_s = 0.0
        self._backoff = Backoff(PROCESS_RETRY_S)
        self._last_exit: int | None = None
        self._last_line: str | None = None
        self._terminating = False

    @property
    def running(self) -> bool:
        """Whether the process exists."""
        return self._process is not None

    def start_if_due(self, arguments: Sequence[str], output: int | None = subprocess.DEVNULL) -> bool:
        """Start ``facegate`` with ``arguments`` unless it runs or its restart delay has not passed.

        Args:
            arguments: of the command line.
            output: destination of stdout, as in :mod:`subprocess`.

        Returns:
            whether it was started.
        """
        return self._start_if_due([sys.executable, "-m", "facegate", "--log-json", *arguments], output)

    def start_other_if_due(self, program: str, arguments: Sequence[str]) -> bool:
        """As :meth:`start_if_due`, for another program."""
        command = [sys.executable, "-m", "facegate.parent", program, *arguments]
        return self._start_if_due(command, subprocess.DEVNULL)

    def _start_if_due(self, command: Sequence[str], output: int | None) -> bool:
        if self._process is not None or monotonic() < self._due_s:
            return False
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            env=os.environ | {PARENT: str(os.getpid())},
            start_new_session=True,  # Ctrl-C goes to the supervisor, which ends this process
        )
        assert self._process.stderr is not None
        Thread(
            target=self._read_log, args=(self._process.stderr,), name=f"facegate-log-{self.name}", daemon=True
        ).start()
        with self._lock:
            self._starts += 1
            self._terminating = False
            self._since = time()
        self._started_s = monotonic()
        return True

    def ended(self) -> int | None:
        """The exit code, once, if the process has exited on its own."""
        if self._process is None or (code := self._process.poll()) is None:
            return None
        self._forget(code)
        if monotonic() - self._started_s >= STABLE_AFTER_S:
            self._backoff.reset()
        self._due_s = monotonic() + self._backoff.next_s()
        return code

    def terminate(self) -> None:
        """Send SIGTERM, once: a second one would abort the shutdown. :meth:`stop` waits for the end."""
        if self._process is not None and not self._terminating:
            self._process.send_signal(signal.SIGTERM)
            self._terminating = True

    def stop(self, timeout_s: float = END_S) -> None:
        """End the process: SIGTERM, then SIGKILL after ``timeout_s`` seconds."""
        if self._process is None:
            return
        self.terminate()
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._forget(code)
        self.restart_now()

    def restart_now(self) -> None:
        """Reset the restart delay, after a change."""
        self._due_s = 0.0
        self._backoff.reset()

    def state(self) -> SubprocessState:
        """State of the process."""
        with self._lock:
            process = self._process
            return SubprocessState(
                name=self.name,
                running=process is not None,
                pid=None if process is None else process.pid,
                since=self._since,
                starts=self._starts,
                last_exit=self._last_exit,
                last_log_lines=self._last_line,
            )

    def lines(self) -> list[LogLine]:
        """Its last log lines."""
        with self._lock:
            return list(self._lines)

    def _forget(self, code: int) -> None:
        with self._lock:
            self._last_exit, self._process, self._since = code, None, None
            self._last_line = self._lines[-1].event if self._lines else None

    def _read_log(self, stream: IO[bytes]) -> None:
        with stream:
            while raw := stream.readline(MAX_LINE_BYTES):
                line = _parsed(self.name, raw)
                if line is not None:
                    with self._lock:
                        self._lines.append(line)
                    self._log(line)


def _parsed(process: str, raw: bytes) -> LogLine | None:
    text = raw.decode(errors="replace").strip()
    if not text:
        return None
    try:
        fields = msgspec.json.decode(text, type=dict[str, object])
    except (msgspec.DecodeError, ValueError):
        level = "error" if text.startswith("facegate:") else "info"
        return LogLine(time(), process, level, text.removeprefix("facegate:").strip(), {})
    level, event = str(fields.pop("level", "info")), str(fields.pop("event", ""))
    fields.pop("timestamp", None)
    return LogLine(time(), process, level, event, {key: str(value)[:500] for key, value in fields.items()})
