"""Names arrive where they are needed: real servers, brokers and subscribers, which are away for a while too."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Literal

import msgspec
import nats
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from facegate.errors import ConfigError
from facegate.recognition.publishers.factory import PublisherSet
from facegate.recognition.publishers.home_assistant import Presence, camera_announcement, person_announcement
from facegate.recognition.worker.visits import VisitEvent
from facegate.sinks.spool import Spool

from ..helpers import PATIENCE_S, facegate, free_port, wait_until
from ..sinks.test_jetstream import Server
from ..sinks.test_mqtt import Broker, listening, say, told

Kind = Literal["seen", "named", "changed", "ended"]


def event(kind: Kind, track: int = 1, name: str | None = None, camera: str = "door", shots: int = 1) -> VisitEvent:
    return VisitEvent(kind, f"run/{camera}/{track}", camera, track, name, 0.7, 0.3, 1e-5, shots, 0.0, 1.0)


VISITS = [
    event("seen", 1),
    event("named", 1, "Ada"),
    event("seen", 2),
    event("ended", 2, shots=2),
    event("ended", 1, "Ada", shots=3),
]


@contextmanager
def web(port: int, status: int = 200) -> Iterator[list[dict[str, Any]]]:
    """What a web server on ``port`` was told."""
    heard: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append(json.loads(body) | {"key": self.headers["Idempotency-Key"]})
            self.send_response(status)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield heard
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_web_address_that_is_away_gets_everything_later_in_order_and_once(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/names"
    places = PublisherSet([url], tmp_path)
    places.publish(VISITS[:3])
    places._sinks[0].abort()  # the worker is in a hurry
    assert sum(report.kept for report in places.close().values()) == 3
    with web(port) as heard:
        places = PublisherSet([url.replace("//", "//me:new-password@")], tmp_path)
        places.publish(VISITS[3:])
        (report,) = places.close().values()
    assert (report.acknowledged, report.undelivered) == (5, 0)
    assert [(line["event"], line["name"]) for line in heard] == [(each.event, each.name) for each in VISITS]
    assert len({line["key"] for line in heard}) == 5


def test_a_correction_of_an_ended_visit_changes_the_last_person_but_nobody_is_there_again(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    corrected = msgspec.structs.replace(event("changed", 1, "Ben"), before="Ada", corrected=True, id="c1")
    older = msgspec.structs.replace(event("changed", 2, "Eve"), before=None, corrected=True, id="c2")
    try:
        with listening(broker, "site/#") as heard:
            places = PublisherSet([broker.url], tmp_path, presence=["Ben"])
            places.publish([*VISITS, corrected, older])
            places.close()
            found: dict[str, list[bytes]] = {}
            while found.get("site/names/status", [b""])[-1] != b"offline":
                message = heard.get(timeout=PATIENCE_S)
                found.setdefault(message.topic, []).append(message.payload)
    finally:
        broker.end()
    assert found["site/door/person"] == [b"Ada", b"Ben"]
    assert found["site/door/presence"] == [b"ON", b"OFF"]
    assert found["site/names/people/Ben/presence"] == [b"OFF"]
    assert [json.loads(line)["corrected"] for line in found["site/door/visit"]][-2:] == [True, True]


def test_home_assistant_learns_who_is_there_and_unknown_is_nobody_who_is_known(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    try:
        with listening(broker, "site/#", "homeassistant/#") as heard:
            places = PublisherSet([broker.url], tmp_path, presence=["Ada"])
            places.publish(VISITS)
            (report,) = places.close().values()
            found: dict[str, list[bytes]] = {}
            while found.get("site/names/status", [b""])[-1] != b"offline":
                message = heard.get(timeout=PATIENCE_S)
                found.setdefault(message.topic, []).append(message.payload)
        assert (report.acknowledged, report.undelivered) == (5, 0)
        with listening(broker, "site/#") as later:
            kept = {message.topic: message.payload for message in (later.get(timeout=PATIENCE_S) for _ in range(4))}
    finally:
        broker.end()
    assert [json.loads(line)["event"] for line in found["site/door/visit"]] == [each.event for each in VISITS]
    assert found["site/door/person"] == [b"Ada"]
    assert [json.loads(line)["track_id"] for line in found["site/door/unknown"]] == [2]
    assert found["site/door/presence"] == [b"ON", b"OFF"]
    assert found["site/names/people/Ada/presence"] == [b"OFF", b"ON", b"OFF"]
    assert kept == {
        "site/door/presence": b"OFF",
        "site/door/person": b"Ada",
        "site/names/people/Ada/presence": b"OFF",
        "site/names/status": b"offline",
    }
    for device, payload in (
        ("site_door_names", camera_announcement("site", "door")),
        person_announcement("site", "Ada"),
    ):
        announced = json.loads(found[f"homeassistant/device/{device}/config"][0])
        assert announced == payload
        for component in payload["components"].values():
            assert component["state_topic"] in found


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path)
    yield made
    made.end()


def kept(broker: Broker) -> dict[str, bytes]:
    return told(broker, "site/#", "homeassistant/#")


def until(broker: Broker, topic: str, payload: bytes | None) -> None:
    wait_until(lambda: told(broker, topic).get(topic) == payload)


def test_a_worker_that_dies_and_a_broker_that_forgets_leave_presence_as_it_is(
    broker: Broker, tmp_path: Path
) -> None:
    """Both at the same time: the next worker knows the cameras, the last person and who is still there."""
    places = PublisherSet([broker.url], tmp_path, presence=["Ada"])
    places.people(["Ada", "Bo"])
    places.publish([event("seen", 1), event("named", 1, "Ada")])
    until(broker, "site/names/people/Ada/presence", b"ON")
    before = kept(broker)
    broker.end()
    places.close()
    broker.start()
    places = PublisherSet([broker.url], tmp_path, presence=["Ada"])
    places.people(["Ada", "Bo"])
    until(broker, "site/names/status", b"online")
    assert kept(broker) == before, "left as it was until it is known who is still there"
    places.begin([event("named", 1, "Ada")])
    assert kept(broker) == before
    assert before["site/door/presence"] == b"ON" and before["site/door/person"] == b"Ada"
    places.publish([event("ended", 1, "Ada")])
    until(broker, "site/door/presence", b"OFF")
    until(broker, "site/names/people/Ada/presence", b"OFF")
    places.close()


def test_a_camera_has_the_name_that_its_gate_gives_the_device(broker: Broker, tmp_path: Path) -> None:
    """Whichever announces it first, and also when the name changes; other devices do not matter."""
    gate, own = "homeassistant/device/site_door/config", "homeassistant/device/site_door_names/config"

    def shown() -> str | None:
        payload = told(broker, own).get(own)
        return None if payload is None else str(json.loads(payload)["device"]["name"])

    places = PublisherSet([broker.url], tmp_path)
    places.publish([event("seen", 1)])
    wait_until(lambda: shown() == "door")
    for name in ("Tür Süd", "Front door"):
        say(broker, "homeassistant/device/other/config", b'{"device": {"name": "Lamp"}}', retain=True)
        say(broker, gate, json.dumps({"device": {"name": name}}).encode(), retain=True)
        wait_until(lambda name=name: shown() == name)
    places.publish([event("ended", 1)])
    places.close()
    assert shown() == "Front door"


def test_presence_may_be_asked_for_by_the_name_of_a_folder(broker: Broker, tmp_path: Path) -> None:
    places = PublisherSet([broker.url], tmp_path, presence=["Bill_Gates"])
    places.people(["Bill Gates"])
    places.publish([event("seen", 1), event("named", 1, "Bill Gates")])
    wait_until(lambda: b"ON" in told(broker, "site/names/people/#").values())
    places.close()


def notes(folder: Path) -> dict[str, bytes | None]:
    (path,) = folder.glob("*.spool")
    spool = Spool(path)
    found = spool.remembered()
    spool.close()
    return found


def test_of_who_is_removed_or_renamed_the_broker_keeps_nothing(broker: Broker, tmp_path: Path) -> None:
    places = PublisherSet([broker.url], tmp_path, presence=["Ada", "Bo"])
    places.people(["Ada", "Bo"])
    places.publish([event("seen", 1), event("named", 1, "Ada"), event("seen", 2, camera="hall")])
    places.publish([event("named", 2, "Bo", camera="hall"), event("ended", 2, "Bo", camera="hall", shots=2)])
    until(broker, "site/hall/presence", b"OFF")
    assert b"Ada" in kept(broker).values()
    places.people(["Bo", "Cy"])  # renamed
    until(broker, "homeassistant/device/site_person_Ada/config", None)
    assert not [(topic, payload) for topic, payload in kept(broker).items() if "Ada" in topic or b"Ada" in payload]
    changed = msgspec.structs.replace(event("changed", 1), before="Ada")
    places.publish([changed, event("named", 1, "Ada", shots=2)])  # which was on its way
    places.publish([event("seen", 3)])
    until(broker, "site/door/presence", b"ON")
    assert not [payload for payload in kept(broker).values() if b"Ada" in payload]
    assert kept(broker)["site/hall/person"] == b"Bo"
    places.close()
    assert not [key for key, value in notes(tmp_path).items() if "Ada" in key or (value and b"Ada" in value)]
    # A worker that was not there when somebody went, or is not asked about somebody any longer.
    places = PublisherSet([broker.url], tmp_path, presence=["Cy"])
    places.people(["Cy"])
    places.begin()
    until(broker, "homeassistant/device/site_person_Bo/config", None)
    until(broker, "site/hall/person", None)
    assert "homeassistant/device/site_person_Cy/config" in kept(broker)
    places.close()


def test_a_name_that_is_taken_back_is_nobodys_presence_and_no_last_person(broker: Broker, tmp_path: Path) -> None:
    places = PublisherSet([broker.url], tmp_path, presence=["Ada"])
    places.publish([event("seen", 1), event("named", 1, "Ada")])
    until(broker, "site/names/people/Ada/presence", b"ON")
    places.publish([msgspec.structs.replace(event("changed", 1, shots=2), before="Ada")])
    until(broker, "site/names/people/Ada/presence", b"OFF")
    found = kept(broker)
    assert found["site/door/presence"] == b"ON" and "site/door/person" not in found
    places.close()


def test_a_camera_that_the_gate_calls_removed_is_cleared_and_stays_away(broker: Broker, tmp_path: Path) -> None:
    places = PublisherSet([broker.url], tmp_path)
    places.publish([event("seen", 1), event("named", 1, "Ada"), event("seen", 2, camera="hall")])
    until(broker, "site/hall/presence", b"ON")
    say(broker, "site/removed", b'["door"]', retain=True)
    until(broker, "homeassistant/device/site_door_names/config", None)
    places.publish([event("ended", 1, "Ada"), event("ended", 2, camera="hall", shots=2)])
    until(broker, "site/hall/presence", b"OFF")
    assert not [topic for topic in kept(broker) if "door" in topic]
    say(broker, "site/removed", b"[]", retain=True)
    say(broker, "homeassistant/device/site_hall_names/config", b"", retain=True)  # deleted by hand
    until(broker, "homeassistant/device/site_hall_names/config", None)  # the broker acknowledges first
    places.publish([event("seen", 3)])
    until(broker, "site/door/presence", b"ON")
    assert "homeassistant/device/site_hall_names/config" not in kept(broker)
    places.close()


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(["seen", "named", "ended"]), st.sampled_from(["Ada", "Bo"])),
        max_size=30,
    )
)
def test_presence_is_whether_a_visit_is_open_and_hearing_twice_changes_nothing(
    heard: list[tuple[int, Kind, str]],
) -> None:
    presence, twice = Presence(), Presence()
    visits: dict[int, str | None] = {}
    for track, kind, name in heard:
        told = event(kind, track, name if kind == "named" else None, camera=f"c{track % 2}")
        presence.apply(told)
        twice.apply(told), twice.apply(told)
        visits.pop(track, None)
        if kind != "ended":
            visits[track] = told.name
        for state in (presence, twice):
            for camera in (0, 1):
                assert state.camera(f"c{camera}") == any(track % 2 == camera for track in visits)
            for who in ("Ada", "Bo"):
                assert state.person(who) == (who in visits.values())


def test_a_stream_and_subscribers_get_the_lines(tmp_path: Path) -> None:
    server, endpoint = Server(tmp_path / "js"), f"tcp://127.0.0.1:{free_port()}"
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        with closing(context.socket(zmq.SUB)) as dashboard:
            dashboard.setsockopt(zmq.RCVTIMEO, 1000 * PATIENCE_S)
            places = PublisherSet([server.url, endpoint], tmp_path)
            dashboard.connect(endpoint)
            dashboard.subscribe(b"door")
            first: list[bytes] = []
            while not first:  # until the subscription has arrived
                places.publish([event("seen", 99)])
                if dashboard.poll(50):
                    first = dashboard.recv_multipart()
            places.publish(VISITS)
            lines = [first]
            while json.loads(lines[-1][1])["shots"] != 3:
                lines.append(dashboard.recv_multipart())
            assert [json.loads(line)["event"] for _, line in lines][-5:] == [each.event for each in VISITS]
            (report,) = places.close().values()
            assert report.undelivered == 0
        assert asyncio.run(stored(server.url)) == ["seen", *(each.event for each in VISITS)]
    finally:
        context.term()
        server.process.kill()
        server.process.wait()


async def stored(url: str) -> list[str]:
    client = await nats.connect(url)
    subscription = await client.jetstream().subscribe("facegate.names.>", ordered_consumer=True)
    lines = [json.loads((await subscription.next_msg(timeout=PATIENCE_S)).data)["event"] for _ in range(6)]
    await client.close()
    return lines


@pytest.mark.parametrize(
    ("urls", "words"),
    [
        (["ftp://x/y"], "give an https://"),
        (["http://10.0.0.5/x"], "add --allow-insecure"),
        (["tcp://0.0.0.0:5580"], "names are not encrypted"),
        (["https://me:s3cret@[x"], "give an https://"),
        (["http://127.0.0.1/a", "http://127.0.0.1/a"], "duplicate URL of --publish"),
    ],
)
def test_an_address_that_is_wrong_or_not_encrypted_is_refused(tmp_path: Path, urls: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        PublisherSet(urls, tmp_path)
    assert "s3cret" not in str(refused.value) and not list(tmp_path.iterdir())


def test_the_command_says_so_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "people").mkdir()
    done = facegate("recognize", "--gallery", tmp_path / "people", "--publish", "ftp://x")
    assert done.returncode == 2 and "give an https://" in done.stderr.splitlines()[-1]
