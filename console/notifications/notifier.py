"""Turns visits and alarms into messages and delivers them: a thread for events, and one for each receiver."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Event as Flag
from threading import Lock
from time import monotonic, time

import structlog

from facegate.background import BackgroundThread
from facegate.backoff import OUTPUT_RETRY_S, Backoff
from facegate.console.alarms.journal import Alarm
from facegate.console.notifications import channels
from facegate.console.notifications.outbox import Outbox, Receiver
from facegate.console.notifications.rules import Event, alarm_event, visit_event
from facegate.errors import ConfigError, DeliveryError, FacegateError, StoreError
from facegate.extras import installed
from facegate.store.reader import StoreReader
from facegate.store.records import StoredVisit

POLL_INTERVAL_S = 0.2
UNKNOWN_AFTER_S = 10.0
"""An unknown person is notified at the end of the visit, or this long after the first answer."""
MAX_AGE_S = 86_400.0
"""Age at which a message that cannot be delivered is given up."""

log = structlog.get_logger(__name__)


class Notifier(BackgroundThread):
    """Tells of visits and alarms while its context is open."""

    def __init__(
        self,
        outbox: Outbox,
        store: StoreReader,
        key: Callable[[], channels.PushKey],
        labels: Callable[[], Mapping[str, str]] = dict,
        lists: Callable[[], Mapping[str, tuple[str, ...]]] = dict,
    ) -> None:
        """Configure.

        Args:
            outbox: rules, receivers and waiting messages.
            store: visits and crops.
            key: returns the key for Web Push.
            labels: returns the names of cameras for people, by name.
            lists: returns the watch lists that each person is in now.
        """
        super().__init__("facegate-notifier")
        self._outbox, self._store, self._key, self._labels = outbox, store, key, labels
        self._lists = lists
        self._members: Mapping[str, tuple[str, ...]] = {}
        self._lock = Lock()
        self._senders: dict[int, _Sender] = {}
        self._revision = 0
        self._unknown: dict[str, float] = {}
        """Visits without a name, and the monotonic time when they got their first answer."""

    def close(self) -> None:
        """Stop; what was not delivered waits on disk."""
        super().close()
        for sender in self._senders.values():
            sender.end()
        for sender in self._senders.values():
            sender.close()

    def on_alarms(self, changed: Iterable[Alarm]) -> None:
        """Tell of alarms that began; thread-safe."""
        self._tell([alarm_event(alarm, self._labels()) for alarm in changed if alarm.ended is None])

    def problem(self, receiver: int) -> str | None:
        """Why the last delivery to a receiver failed; ``None`` if it did not."""
        sender = self._senders.get(receiver)
        return None if sender is None else sender.problem

    def _run(self) -> None:
        revision = self._outbox.revision()
        if revision is None:  # what was before the first start is not told
            revision = self._store.revision()
            self._outbox.set_revision(revision)
        self._revision = min(revision, self._store.revision())  # an older store may have been restored
        self._wake_senders()
        while not self._stop.wait(POLL_INTERVAL_S):
            try:
                self._step()
            except FacegateError as error:
                log.error("notifications are late", reason=str(error))
                self._stop.wait(OUTPUT_RETRY_S[1] / 6)

    def _step(self) -> None:
        now = monotonic()
        changed = self._store.changes(self._revision)
        if changed or self._unknown:
            self._members = self._lists()
        events = [event for visit in changed if (event := self._event(visit, now))]
        self._tell(events + self._late(now))
        if changed:
            self._revision = changed[-1].revision
            self._outbox.set_revision(self._revision)

    def _event(self, visit: StoredVisit, now: float) -> Event | None:
        if not visit.answered:
            return None
        if visit.name is None and not visit.ended:
            self._unknown.setdefault(visit.visit, now)
            return None
        self._unknown.pop(visit.visit, None)
        return visit_event(visit, self._labels(), self._members)

    def _late(self, now: float) -> list[Event]:
        """Events of visits that have no name for a while."""
        late = [visit for visit, began in self._unknown.items() if now - began >= UNKNOWN_AFTER_S]
        found = [self._store.visit(visit) for visit in late]
        for visit in late:
            del self._unknown[visit]
        return [
            event
            for visit in found
            if visit is not None and (event := visit_event(visit, self._labels(), self._members))
        ]

    def _tell(self, events: Sequence[Event]) -> None:
        if not events:
            return
        wall = time()
        with self._lock:
            told = self._outbox.tell(self._outbox.rules(), events, wall)
        if told:
            log.info("notifications", events=len(events), told=told)
        self._wake_senders()

    def _wake_senders(self) -> None:
        waiting = self._outbox.waiting()
        if not waiting:
            return
        receivers = self._outbox.receivers()
        with self._lock:
            for row in waiting:
                if row in receivers and not self._stop.is_set():
                    if row not in self._senders:
                        self._senders[row] = _Sender(receivers[row], self._outbox, self._store, self._key)
                        self._senders[row].__enter__()
                    self._senders[row].wake.set()


class _Sender(BackgroundThread):
    """Delivers what waits for one receiver, oldest first."""

    join_timeout_s = 5.0
    """A message that is on its way has this long to arrive; if it does not, it is sent again."""

    def __init__(
        self, receiver: Receiver, outbox: Outbox, store: StoreReader, key: Callable[[], channels.PushKey]
    ) -> None:
        super().__init__(f"facegate-notify-{receiver.id}")
        self.wake = Flag()
        self.problem: str | None = None
        self._receiver, self._outbox, self._store, self._key = receiver, outbox, store, key

    def end(self) -> None:
        """Deliver nothing more after the current message."""
        self._stop.set()
        self.wake.set()

    def _run(self) -> None:
        backoff = Backoff(OUTPUT_RETRY_S)
        while not self._stop.is_set():
            message = None
            try:
                message = self._outbox.next(self._receiver.id)
                if message is None:
                    self.wake.wait()
                    self.wake.clear()
                    continue
                event = message.event
                crop = self._store.crop(event.shot) if message.picture and event.shot is not None else None
                key = self._key() if self._receiver.kind == "push" else None
                channels.send(self._receiver, event, crop, key)
                self._outbox.done(message.id)
                self.problem = None
                backoff.reset()
            except channels.ReceiverGoneError as error:
                log.info("receiver removed", receiver=self._receiver.name, reason=str(error))
                self._outbox.delete_receiver(self._receiver.id)
                return
            except (DeliveryError, ConfigError, StoreError) as error:
                self.problem = str(error)
                wait_s = backoff.next_s()
                if message is not None and time() - message.created > MAX_AGE_S:
                    self._outbox.done(message.id)
                log.warning(
                    "notification failed, will retry",
                    receiver=self._receiver.name,
                    reason=str(error),
                    retry_in_s=wait_s,
                )
                self._stop.wait(wait_s)


def is_available() -> bool:
    """Whether the extra is installed."""
    return installed(channels.EXTRA)
