"""Notifications: told to three kinds of receivers, once, also over a restart, and never more than a rule allows."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from time import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Page, expect

from facegate.console.notifications.rules import Event, Rule, try_rule
from facegate.sinks import wire
from facegate.store.records import VisitUpdate
from facegate.store.writer import StoreWriter

from ...helpers import free_port
from ...store.test_store import entry
from ..serving import Client, served
from .receivers import MailServer, NtfyServer, PushService


class House:
    """People who come, written as a gate and a worker write them."""

    def __init__(self, data: Path) -> None:
        self._writer = StoreWriter(data / "store.db", create=True)
        self._count = 0

    def comes(self, name: str | None, *, camera: str = "door", quality: int = 60, at: float | None = None) -> float:
        """A visit with one shot that is named and has ended; the Unix time when that was stored."""
        return self.come([name], camera=camera, quality=quality, at=at)

    def come(
        self, names: list[str | None], *, camera: str = "door", quality: int = 60, at: float | None = None
    ) -> float:
        seen, shots, updates = time() if at is None else at, [], []
        for name in names:
            self._count += 1
            shot = entry(self._count, camera=camera, track=self._count, quality=quality)
            header = msgspec.structs.replace(wire.decode_header(shot.header), received_at=seen)
            shots.append(msgspec.structs.replace(shot, header=wire.encode(header)))
            visit = f"run/{camera}/{self._count}"
            updates.append(VisitUpdate(visit, camera, self._count, name, 0.8, 0.3, 1e-4, seen, "ended"))
        self._writer.add_shots(shots)
        self._writer.update_visits(updates)
        return time()

    def close(self) -> None:
        self._writer.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data" / "recordings").mkdir()
    found = House(tmp_path / "data")
    yield found
    found.close()


def add(console: Client, rule: dict[str, Any], *receivers: MailServer | NtfyServer | PushService) -> int:
    """A rule for these receivers."""
    ids = []
    for receiver in receivers:
        given = (
            {"push": receiver.subscription} if isinstance(receiver, PushService) else {"address": receiver.address}
        )
        answer = console.api("POST", "/notifications/receivers", {"name": type(receiver).__name__, **given})
        assert answer.status == 201, answer.body
        ids.append(answer.json()["id"])
    answer = console.api("POST", "/notifications/rules", {"receivers": ids, **rule})
    assert answer.status == 201, answer.body
    return int(answer.json()["id"])


def test_three_kinds_of_receivers_are_told_once_and_a_push_that_is_gone_is_forgotten(
    tmp_path: Path, house: House
) -> None:
    with ExitStack() as opened:
        mail, push = opened.enter_context(MailServer()), opened.enter_context(PushService())
        ntfy = opened.enter_context(NtfyServer(failures=1))
        house.comes("Ada")  # before there was a rule
        with served(tmp_path / "data") as console:
            add(console, {"name": "Ada at the door", "people": ["Ada"], "cameras": ["door"]}, mail, ntfy, push)
            for each, camera in (("Bob", "door"), (None, "door"), ("Ada", "yard")):
                house.comes(each, camera=camera)
            stored = house.comes("Ada")
            for receiver in (mail, ntfy, push):
                ((arrived, message),) = receiver.until(1)
                print(type(receiver).__name__, f"told after {arrived - stored:.2f} s")
                assert message["title"] == "Ada at door" and "similarity 0.80" in message["body"]
            assert mail.arrived[0][1]["pictures"][0].startswith(b"\xff\xd8")
            assert ntfy.arrived[0][1]["pictures"][0].startswith(b"\xff\xd8")
            assert push.arrived[0][1]["ttl"] == 86_400 and push.arrived[0][1]["vapid"].startswith("vapid t=")
            push.is_gone = True
            house.comes("Ada")
            mail.until(2)
            ntfy.until(2)
            found = console.until("/notifications", lambda page: len(page["receivers"]) == 2)
            assert [each["kind"] for each in found["receivers"]] == ["apprise", "apprise"]
    assert (len(mail.arrived), len(ntfy.arrived), len(push.arrived)) == (2, 2, 1)


def test_a_restart_tells_what_waits_and_nothing_twice(tmp_path: Path, house: House) -> None:
    ports = [free_port() for _ in range(3)]
    down = [MailServer(ports[0]), NtfyServer(ports[1]), PushService(ports[2])]
    push = down[2]
    with served(tmp_path / "data") as console:
        add(console, {"name": "all", "known": True, "unknown": True}, *down)
        for each in down:
            each._server.server_close()  # nothing listens any more
        house.comes("Ada")
        console.until("/notifications", lambda page: all(each["problem"] for each in page["receivers"]))
        console.process.send_signal(signal.SIGKILL)
        console.process.wait()
    with ExitStack() as opened:
        mail = opened.enter_context(MailServer(ports[0]))
        ntfy, again = opened.enter_context(NtfyServer(ports[1])), opened.enter_context(PushService(ports[2]))
        again.key, again.secret = push.key, push.secret  # type: ignore[attr-defined]
        house.comes(None)  # while the console is down
        for _ in range(2):
            with served(tmp_path / "data") as console:
                for receiver in (mail, ntfy, again):
                    receiver.until(2)
                console.until("/notifications", lambda page: not any(each["waiting"] for each in page["receivers"]))
        for receiver in (mail, ntfy, again):
            assert sorted(receiver.titles) == ["Ada at door", "Unknown person at door"]


def test_a_flood_makes_what_the_rule_allows(tmp_path: Path, house: House) -> None:
    with NtfyServer() as ntfy, served(tmp_path / "data") as console:
        add(console, {"name": "few", "known": True, "max_messages": 3, "period_s": 3600}, ntfy)
        house.come(["Ada"] * 1000)
        ntfy.until(3)
        with ExitStack() as opened:
            other = opened.enter_context(MailServer())
            add(console, {"name": "marker", "people": ["Bob"]}, other)
            house.comes("Bob")
            other.until(1)  # everything before it was looked at
        console.until("/notifications", lambda page: not any(each["waiting"] for each in page["receivers"]))
        assert ntfy.titles == ["Ada at door"] * 3


def test_an_alarm_is_told(tmp_path: Path) -> None:
    with NtfyServer() as ntfy, served(tmp_path / "data", "--min-free-mb", 10**9) as console:
        console.until("/alarms", lambda page: page["open"])
        add(console, {"name": "alarms", "alarms": True}, ntfy)
        (tmp_path / "data" / "facegate.yaml").write_text("cameras: []\n# by hand\n")
        ((_, message),) = ntfy.until(1)
        assert message["title"] == "Alarm: configuration" and "edited by hand" in message["body"]


def test_addresses_are_checked_and_secrets_are_not_shown(tmp_path: Path) -> None:
    with served(tmp_path / "data") as console:
        for address, said in (("nonsense", "is not one that Apprise knows"), ("ntfy://host/a/b", "2 receivers")):
            answer = console.api("POST", "/notifications/receivers", {"name": "x", "address": address})
            assert answer.status == 422 and said in answer.json()["detail"], answer.body
        secret = {"name": "mail", "address": "mailtos://ada:hunter2hunter2@mail.example.org?to=ada@example.org"}
        assert console.api("POST", "/notifications/receivers", secret).status == 201
        (shown,) = console.get("/notifications")["receivers"]
        assert "hunter2" not in str(shown) and "example.org" in shown["address"]
        rule = {"name": "x", "receivers": [99]}
        assert "there is no receiver 99" in console.api("POST", "/notifications/rules", rule).json()["detail"]
        assert (tmp_path / "data" / "notifications.db").stat().st_mode & 0o077 == 0
        assert (tmp_path / "data" / "push.pem").stat().st_mode & 0o077 == 0


EVENTS = st.lists(st.tuples(st.sampled_from(["Ada", "Bob", None]), st.integers(0, 6000)), max_size=60)


@given(EVENTS, st.integers(1, 5), st.integers(60, 4000), st.booleans())
def test_a_trial_tells_at_most_what_the_rule_allows_in_any_period(
    seen: list[tuple[str | None, int]], most: int, period_s: int, unknown: bool
) -> None:
    rule = Rule(name="r", people=("Ada",), unknown=unknown, max_messages=most, period_s=period_s)
    events = [
        Event(str(n), "unknown" if name is None else "known", 1e9 + at, "t", "b", name, "door")
        for n, (name, at) in enumerate(sorted(seen, key=lambda each: each[1]))
    ]
    wanted = [each for each in events if each.name == "Ada" or (each.name is None and unknown)]
    trial = try_rule(rule, events)
    assert len(trial.told) + trial.held_back == len(wanted)
    for first in trial.told:
        assert sum(first.at <= each.at < first.at + period_s for each in trial.told) <= most
    if len(wanted) <= most:
        assert trial.told == wanted


def test_hours_and_days_are_those_of_the_host_and_a_night_belongs_to_the_evening_before() -> None:
    friday = datetime(2026, 11, 27)
    night = Rule(name="night", known=True, days=(4,), begin="22:00", end="06:00")
    day = Rule(name="day", known=True, days=(4,), begin="08:00", end="18:00")
    expected = {2: (0, 0), 9: (0, 1), 18: (0, 0), 23: (1, 0), 29: (1, 0), 30: (0, 0), 47: (0, 0)}
    for hours, told in expected.items():
        event = Event("1", "known", (friday + timedelta(hours=hours)).timestamp(), "t", "b", "Ada", "door")
        assert (night.wants(event), day.wants(event)) == told, hours


def test_a_rule_is_made_tried_and_told_on_the_page(page: Page, tmp_path: Path, house: House) -> None:
    yesterday = datetime.now().replace(hour=12) - timedelta(days=1)
    house.come([None] * 4, at=yesterday.timestamp())
    house.comes("Ada", at=yesterday.timestamp() + 60)
    with NtfyServer() as ntfy, served(tmp_path / "data") as console:
        page.goto(f"{console.url}/notifications")
        expect(page.get_by_text("No receivers yet")).to_be_visible()
        page.get_by_label("Name", exact=True).first.fill("My phone")
        page.get_by_label("Address").fill(ntfy.address)
        page.get_by_role("button", name="Add receiver").click()
        row = page.get_by_role("row").filter(has_text="My phone")
        row.get_by_role("button", name="Test").click()
        expect(page.get_by_text("The test message was delivered.")).to_be_visible()
        assert ntfy.titles == ["Test of facegate"]
        form = page.get_by_role("form", name="Rule")
        form.get_by_label("Name", exact=True).fill("Strangers")
        form.get_by_label("Unknown people").check()
        form.get_by_label("Messages at most").fill("2")
        form.get_by_label("My phone").check()
        form.get_by_role("button", name="Try it on yesterday").click()
        expect(form).to_contain_text("Yesterday it would have told 2 times. 2 more came too often.")
        expect(form.get_by_role("listitem")).to_have_count(2)
        form.get_by_role("button", name="Save").click()
        expect(page.get_by_role("row").filter(has_text="Strangers")).to_be_visible()
        house.comes(None)
        ntfy.until(2)
        assert ntfy.titles == ["Test of facegate", "Unknown person at door"]
