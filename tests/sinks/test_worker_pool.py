"""Who gets which shot, whatever workers do: every shot is in one place, and nobody has more than its credit."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from facegate.errors import DeliveryError
from facegate.sinks import worker_pool
from facegate.sinks.wire import EncodedShot, Ready
from facegate.sinks.worker_pool import MessageRateLimiter, WorkerPool

LEASE_S = 5.0
NAMES = st.sampled_from([b"a", b"b", b"c"])
CHOICE = st.integers(0, 10**6)


class Delivery(RuleBasedStateMachine):
    """A gate without sockets: shots wait, are given, come back, or are acknowledged."""

    def __init__(self) -> None:
        super().__init__()
        self.workers = WorkerPool(LEASE_S)
        self.now = 0.0
        self.made = 0
        self.waiting: list[EncodedShot] = []
        self.given: dict[str, tuple[bytes, float]] = {}
        self.done: set[str] = set()
        self.windows: dict[bytes, int] = {}
        self.heard: dict[bytes, float] = {}

    @rule(seconds=st.floats(0, 4))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(name=NAMES, window=st.integers(-1, worker_pool.MAX_WINDOW + 1))
    def a_worker_is_ready(self, name: bytes, window: int) -> None:
        try:
            self.workers.ready(name, Ready(window), self.now)
        except DeliveryError:
            assert not 0 < window <= worker_pool.MAX_WINDOW
        else:
            self.windows[name], self.heard[name] = window, self.now

    @rule(count=st.integers(1, 40))
    def shots_are_given(self, count: int) -> None:
        for _ in range(count):
            self.waiting.append(EncodedShot(str(self.made), "door", 1, b"", b""))
            self.made += 1
        while self.waiting and (name := self.workers.assign(self.waiting[0], self.now)) is not None:
            self.given[self.waiting.pop(0).shot_id] = (name, self.now)

    @rule(choice=CHOICE, name=NAMES)
    def a_shot_is_acknowledged_by_whoever(self, choice: int, name: bytes) -> None:
        shot_id = str(choice % (self.made + 1))
        entry = self.workers.acknowledge(name, shot_id, self.now)
        if self.given.get(shot_id, (None, 0.0))[0] == name:
            assert entry is not None and entry.shot_id == shot_id
            del self.given[shot_id]
            self.done.add(shot_id)
            self.heard[name] = self.now
        else:
            assert entry is None, "only who has a shot can be done with it"

    @rule(name=NAMES)
    def a_worker_leaves(self, name: bytes) -> None:
        self.come_back(self.workers.remove(name))
        self.windows.pop(name, None)

    @rule()
    def leases_run_out(self) -> None:
        late = {key for key, (_, given) in self.given.items() if self.now - given >= LEASE_S}
        back = self.workers.expired_leases(self.now)
        assert {entry.shot_id for entry in back} == late
        self.come_back(back)

    @rule()
    def the_silent_are_forgotten(self) -> None:
        for name in self.workers.timed_out(self.now):
            assert self.now - self.heard[name] > worker_pool.WORKER_TIMEOUT_S
            self.a_worker_leaves(name)

    def come_back(self, entries: list[EncodedShot]) -> None:
        for entry in entries:
            del self.given[entry.shot_id]
        self.waiting = entries + self.waiting

    @invariant()
    def every_shot_is_in_one_place(self) -> None:
        places = [entry.shot_id for entry in self.waiting] + list(self.given) + list(self.done)
        assert sorted(places, key=int) == [str(number) for number in range(self.made)]

    @invariant()
    def nobody_has_more_than_its_window(self) -> None:
        for name in self.workers:
            has = sum(holder == name for holder, _ in self.given.values())
            assert has <= worker_pool.MAX_WINDOW and (has == 0 or name in self.windows)


Delivery.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestDelivery = Delivery.TestCase


def shot(number: int) -> EncodedShot:
    return EncodedShot(str(number), "door", number, b"", b"")


def test_a_quick_worker_is_given_more_and_a_slow_one_is_not_forgotten() -> None:
    workers = WorkerPool(LEASE_S)
    pace = {b"quick": 0.1, b"slow": 1.0}
    busy: dict[bytes, list[tuple[float, str]]] = {name: [] for name in pace}
    taken = dict.fromkeys(pace, 0)
    for name in pace:
        workers.ready(name, Ready(4), 0.0)
    number = 0
    for tick in range(600):
        now = tick / 20
        while (name := workers.assign(shot(number), now)) is not None:
            start = max([now, *(end for end, _ in busy[name])])
            busy[name].append((start + pace[name], str(number)))
            number += 1
        for name, held in busy.items():
            while held and held[0][0] <= now:
                assert workers.acknowledge(name, held.pop(0)[1], now)
                taken[name] += 1
    assert 8 * taken[b"slow"] < taken[b"quick"] and taken[b"slow"] > 20


def test_patience_ends_for_the_loud_alone_and_returns() -> None:
    patience, told = MessageRateLimiter(), 0
    for _ in range(3 * worker_pool.MAX_IDLE_MESSAGES):
        told += patience.record(b"loud", 1.0)
    patience.record(b"quiet", 1.0)
    assert told == 1 and patience.is_blocked(b"loud", 60.0) and not patience.is_blocked(b"quiet", 60.0)
    assert not patience.is_blocked(b"loud", 61.1)
