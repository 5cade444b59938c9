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

import nats
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from facegate.errors import ConfigError
from facegate.recognition.telling.places import Places
from facegate.recognition.telling.presence import Presence, camera_discovery, person_discovery
from facegate.recognition.working.visits import VisitEvent

from ..helpers import PATIENCE_S, facegate, free_port
from ..sinks.test_jetstream import Server
from ..sinks.test_mqtt import Broker, listening

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
    places = Places([url], tmp_path)
    places.tell(VISITS[:3])
    places._outboxes[0].abort()  # the worker is in a hurry
    assert sum(report.kept for report in places.close().values()) == 3
    with web(port) as heard:
        places = Places([url.replace("//", "//me:new-password@")], tmp_path)
        places.tell(VISITS[3:])
        (report,) = places.close().values()
    assert (report.acknowledged, report.undelivered) == (5, 0)
    assert [(line["event"], line["name"]) for line in heard] == [(each.event, each.name) for each in VISITS]
    assert len({line["key"] for line in heard}) == 5


def test_home_assistant_learns_who_is_there_and_unknown_is_nobody_who_is_known(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    try:
        with listening(broker, "site/#", "homeassistant/#") as heard:
            places = Places([broker.url], tmp_path, presence=["Ada"])
            places.tell(VISITS)
            (report,) = places.close().values()
            found: dict[str, list[bytes]] = {}
            while found.get("site/names/status", [b""])[-1] != b"offline":
                message = heard.get(timeout=PATIENCE_S)
                found.setdefault(message.topic, []).append(message.payload)
        assert (report.acknowledged, report.undelivered) == (5, 0)
        with listening(broker, "site/#") as later:
            kept = {message.topic: message.payload for message in (later.get(timeout=PATIENCE_S) for _ in range(3))}
    finally:
        broker.end()
    assert [json.loads(line)["event"] for line in found["site/door/visit"]] == [each.event for each in VISITS]
    assert found["site/door/person"] == [b"Ada"]
    assert [json.loads(line)["track_id"] for line in found["site/door/unknown"]] == [2]
    # Announced as it was, then seen, seen, one gone, both gone.
    assert found["site/door/presence"] == [b"ON", b"ON", b"ON", b"ON", b"OFF"]
    assert found["site/names/people/Ada/presence"] == [b"OFF", b"ON", b"OFF"]
    assert set(kept) == {"site/door/presence", "site/names/people/Ada/presence", "site/names/status"}
    for device, payload in (camera_discovery("site", "door"), person_discovery("site", "Ada")):
        told = json.loads(found[f"homeassistant/device/{device}/config"][0])
        assert told == payload
        for component in payload["components"].values():
            assert component["state_topic"] in found


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
        presence.hear(told)
        twice.hear(told), twice.hear(told)
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
            places = Places([server.url, endpoint], tmp_path)
            dashboard.connect(endpoint)
            dashboard.subscribe(b"door")
            first: list[bytes] = []
            while not first:  # until the subscription has arrived
                places.tell([event("seen", 99)])
                if dashboard.poll(50):
                    first = dashboard.recv_multipart()
            places.tell(VISITS)
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
        (["ftp://x/y"], "names go to https://"),
        (["http://10.0.0.5/x"], "say --plain"),
        (["tcp://0.0.0.0:5580"], "names are not encrypted there"),
        (["https://me:s3cret@[x"], "names go to https://"),
        (["http://127.0.0.1/a", "http://127.0.0.1/a"], "the same place twice"),
    ],
)
def test_an_address_that_is_wrong_or_not_encrypted_is_refused(tmp_path: Path, urls: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        Places(urls, tmp_path)
    assert "s3cret" not in str(refused.value) and not list(tmp_path.iterdir())


def test_the_command_says_so_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "people").mkdir()
    done = facegate("recognize", "--gallery", tmp_path / "people", "--to", "ftp://x")
    assert done.returncode == 2 and "names go to https://" in done.stderr.splitlines()[-1]
