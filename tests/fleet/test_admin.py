"""What an operator does with a fleet, and what is refused, against a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nats.js.kv import KeyValue

from facegate.errors import FacegateError
from facegate.fleet import admin
from facegate.fleet.bucket import parse
from facegate.fleet.records import key, parse_key

from ..helpers import facegate, free_port
from .processes import NatsServer, camera, plain, put, status

SITE = (
    "cameras:\n  - name: door\n    source: rtsp://u:${DOOR_PASSWORD}@192.0.2.1/s\n  - {name: yard, source: a.mp4}\n"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with NatsServer(tmp_path_factory.mktemp("nats")) as found:
        yield found


def test_all_is_read_where_the_client_says_too_early_that_it_has_come(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = parse(server.url + "/early")
    watch = KeyValue.watch

    async def early(self: KeyValue, *arguments: Any, **how: Any) -> Any:
        watcher = await watch(self, *arguments, **how)
        watcher._updates._queue.appendleft(None)  # type: ignore[attr-defined]
        return watcher

    admin.run(admin.apply(place, {"cameras": [{"name": "door", "source": "a.mp4"}]}, replace=False))
    monkeypatch.setattr(KeyValue, "watch", early)
    assert set(admin.run(admin.status(place)).cameras) == {"door"}
    with pytest.raises(FacegateError, match="other cameras"):
        admin.run(admin.apply(place, {"cameras": [{"name": "b", "source": "b.mp4"}]}, replace=False))


def refused(*arguments: object) -> str:
    done = facegate("fleet", *arguments)
    assert done.returncode in (1, 2), done.stdout + done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    return done.stderr


def test_a_configuration_is_applied_seen_kept_and_taken_back(tmp_path: Path, server: NatsServer) -> None:
    fleet = server.url + "/site"
    path = tmp_path / "site.yaml"
    path.write_text(SITE)
    assert "no fleet" in refused("status", "--fleet", fleet)
    assert facegate("fleet", "apply", path, "--fleet", fleet).returncode == 0
    path.write_text(SITE + "gate: {min_quality: 30}\n")
    assert facegate("fleet", "apply", path, "--fleet", fleet).returncode == 0
    found = json.loads(facegate("fleet", "status", "--json", "--fleet", fleet).stdout)
    assert found["gates"] == {} and set(found["cameras"]) == {"door", "yard"}
    assert found["cameras"]["door"] == {"gate": None, "state": "waiting", "since_s": None, "processed_fps": 0.0}
    lines = facegate("fleet", "history", "--fleet", fleet).stdout.splitlines()
    assert len(lines) == 2 and all("2 cameras" in line for line in lines)
    shown = facegate("fleet", "history", "--show", lines[1].split()[0], "--fleet", fleet).stdout
    before = tmp_path / "before.yaml"
    before.write_text(shown)
    assert "gate" not in json.loads(shown) and "${DOOR_PASSWORD}" in shown
    assert facegate("fleet", "apply", before, "--fleet", fleet).returncode == 0
    assert facegate("fleet", "pause", "door", "--fleet", fleet).returncode == 0
    assert camera(fleet, "door")["state"] == "paused"
    assert facegate("fleet", "pause", "door", "--undo", "--fleet", fleet).returncode == 0
    assert camera(fleet, "door")["state"] == "waiting"
    assert "known: door, yard" in refused("pause", "dor", "--fleet", fleet)
    assert "known: none" in refused("drain", "left", "--fleet", fleet)
    assert "does not exist" in refused("history", "--show", "999", "--fleet", fleet)
    assert "door" in plain(facegate("fleet", "status", "--fleet", fleet).stdout)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "cameras:\n  - {name: a, source: 'rtsp://u:secret@h/s'}\n",
            "cameras[0].source contains a literal password",
        ),
        ("cameras:\n  - {name: a, source: 'rtsp://h/s', user: u, password: abc}\n", "password is a literal secret"),
        (
            "cameras:\n  - {name: a, source: x}\ndelivery: {bind: 'tcp://127.0.0.1:5570'}\n",
            "not allowed in a fleet",
        ),
        ("cameras:\n  - {name: a, source: x, hsots: [h]}\n", "did you mean 'hosts'?"),
        ("cameras:\n  - {name: a, source: x}\n  - {name: a, source: y}\n", "occurs twice"),
        ("cameras:\n  - {name: a, source: 'rtsp://h/s', reconnect: false}\n", "reconnect cannot be false"),
        ("cameras: [", "not valid YAML"),
        (
            "cameras:\n  - {name: a, source: x}\ndelivery: {outputs: [{kind: webhook, url: 'https://h/', spool: s, "
            "secret: long-enough}]}\n",
            "secret is a literal secret",
        ),
    ],
)
def test_what_is_not_fit_for_a_fleet_is_refused_as_a_whole(
    tmp_path: Path, server: NatsServer, text: str, words: str
) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(text)
    said = refused("apply", path, "--fleet", server.url + "/never")
    assert words in said and "secret@" not in said and "abc" not in said
    assert "no fleet" in refused("status", "--fleet", server.url + "/never")


def test_two_fleets_by_one_name_and_buckets_of_another_version(tmp_path: Path, server: NatsServer) -> None:
    fleet, path = server.url + "/twice", tmp_path / "site.yaml"
    path.write_text(SITE)
    assert facegate("fleet", "apply", path, "--fleet", fleet).returncode == 0
    path.write_text("cameras:\n  - {name: hall, source: a.mp4}\n")
    said = refused("apply", path, "--fleet", fleet)
    assert "has other cameras (door, yard)" in said and "--replace" in said
    assert set(status(fleet)["cameras"]) == {"door", "yard"}
    assert facegate("fleet", "apply", path, "--fleet", fleet, "--replace").returncode == 0

    put(server.url, "facegate-twice", "meta", b'{"version": 7}')
    assert "has version 7, this facegate supports 1" in refused("status", "--fleet", fleet)
    put(server.url, "facegate-twice", "meta", b"nonsense")
    assert "is not a fleet of facegate" in refused("status", "--fleet", fleet)


def test_wrong_dead_and_unfit_servers_are_named(tmp_path: Path, server: NatsServer) -> None:
    assert "no NATS server answers" in refused("status", "--fleet", f"nats://127.0.0.1:{free_port()}")
    assert "is another host" in refused("status", "--fleet", "nats://192.0.2.1:4222")
    assert "invalid fleet URL" in refused("status", "--fleet", "http://127.0.0.1")
    assert "up to 32 letters" in refused("status", "--fleet", server.url + "/a b")
    with NatsServer(None) as bare:
        assert "has no JetStream" in refused("status", "--fleet", bare.url)
    with NatsServer(tmp_path / "js", "--user", "u", "--pass", "right") as locked:
        said = refused("status", "--fleet", locked.url.replace("//", "//u:wrong@"))
        assert "rejected the login" in said and "wrong" not in said
    done = facegate("run", "clip.mp4", "--fleet", server.url)
    assert done.returncode == 2 and "SOURCE cannot be combined with --fleet" in done.stderr


def test_names_of_any_kind_are_keys() -> None:
    for name in ("door", "a.b", "..", "Tür-7", "x_y.z"):
        written = key("camera", name)
        assert parse_key(written) == ("camera", name) and written.isascii() and written.count(".") == 1
    assert parse("nats://u:p@one:1,two:2/x", allow_insecure=True).url == "nats://u:p@one:1,two:2"
    with pytest.raises(FacegateError, match="port"):
        parse("nats://127.0.0.1:99999")
