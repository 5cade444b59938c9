"""The threads of a run: each has a name, and the first error is kept for the owner."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from threading import Condition, Thread, get_ident

from facegate.errors import FacegateError, StageError
from facegate.pipeline.flow.channel import Aborted

THREAD_PREFIX = "facegate-"


class ThreadGroup:
    """Starts threads and waits for them."""

    def __init__(self, on_error: Callable[[], None], on_finished: Callable[[], None]) -> None:
        """Prepare; nothing runs yet.

        Args:
            on_error: called from the thread that failed, after its error was kept.
            on_finished: called from the last thread that ends.
        """
        self.error: BaseException | None = None
        self._on_error = on_error
        self._on_finished = on_finished
        self._changed = Condition()
        self._running = 0
        self._active: dict[int, str] = {}
        self._finished_cpu_s: defaultdict[str, float] = defaultdict(float)

    def spawn(self, name: str, target: Callable[[], None]) -> None:
        """Start a thread."""
        with self._changed:
            self._running += 1
        # Daemons: a read inside FFmpeg cannot be interrupted before its time-out, and must not hold up the exit.
        thread = Thread(target=self._guard, args=(name, target), name=THREAD_PREFIX + name, daemon=True)
        thread.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until every thread has ended; return whether they have."""
        with self._changed:
            return self._changed.wait_for(lambda: self._running == 0, timeout_s)

    def wait_for(self, reached: Callable[[], bool]) -> None:
        """Wait until ``reached`` holds; checked whenever a thread ends or :meth:`notify` is called."""
        with self._changed:
            self._changed.wait_for(reached)

    def wait_for_end_or(self, reached: Callable[[], bool]) -> bool:
        """Wait until every thread has ended or ``reached`` holds; return whether some still run."""
        with self._changed:
            self._changed.wait_for(lambda: self._running == 0 or reached())
            return self._running > 0

    def cpu_s(self) -> dict[str, float]:
        """Return CPU seconds of the threads so far, summed by name."""
        with self._changed:  # no thread can end meanwhile: the clock of an ended thread must not be read
            spent = dict(self._finished_cpu_s)
            for thread, name in self._active.items():
                spent[name] = spent.get(name, 0.0) + _cpu_s(thread)
        return spent

    def notify(self) -> None:
        """Wake all waiters to check their conditions."""
        with self._changed:
            self._changed.notify_all()

    def _guard(self, name: str, target: Callable[[], None]) -> None:
        with self._changed:
            self._active[get_ident()] = name
        try:
            target()
        except Aborted:
            pass
        except BaseException as error:  # kept and raised by the owner
            self._record_error(name, error)
            self._on_error()
        finally:
            with self._changed:
                del self._active[get_ident()]
                self._finished_cpu_s[name] += time.thread_time()
                self._running -= 1
                last = self._running == 0
                self._changed.notify_all()
            if last:
                self._on_finished()

    def _record_error(self, name: str, error: BaseException) -> None:
        """Keep the first error."""
        with self._changed:
            if self.error is None:
                self.error = error if isinstance(error, FacegateError) else StageError(name, error)
                self.error.__cause__ = error if self.error is not error else error.__cause__


def _cpu_s(thread: int) -> float:
    """CPU seconds of a live thread; 0 on systems without per-thread clocks."""
    if not hasattr(time, "pthread_getcpuclockid"):
        return 0.0
    return time.clock_gettime(time.pthread_getcpuclockid(thread))
