"""A gate of a fleet: what it takes, follows, says when it is alone, and leaves."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from facegate.demo.clip import DemoClip
from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.server import RtspServer
from facegate.pipeline.gating.factory import write_learned_state
from facegate.pipeline.gating.recall_threshold import RecallState
from facegate.pipeline.records import QualityInfo
from facegate.scoring.engine import load_scorer

from ..exposition import check_exposition, exposition
from ..helpers import PATIENCE_S, facegate, free_port
from .processes import GateProcess, NatsServer, camera, forget_who_listens, put, status, until, watched


def test_a_gate_takes_a_camera_sends_its_shots_and_leaves(tmp_path: Path, clip: DemoClip) -> None:
    with RtspServer(Movie(clip.path), loop=True) as cameras, NatsServer(tmp_path / "js") as server:
        site = tmp_path / "site.yaml"
        site.write_text(f"cameras:\n  - {{name: door, source: '{cameras.url}', max_fps: 2}}\n")
        assert facegate("fleet", "apply", site, "--fleet", server.url).returncode == 0
        with GateProcess("left", server.url, tmp_path) as gate:
            until(lambda: gate.told("shot"), "a shot")
            until(lambda: camera(server.url, "door")["state"] == "live", "the fleet knows")
            assert camera(server.url, "door")["gate"] == "left"
            assert gate.end() == 130
        found = status(server.url)
        assert found["gates"] == {} and found["cameras"]["door"]["gate"] is None
        assert all(watch.ended_s is not None for watch in cameras.watches)


@pytest.mark.fleet
def test_a_gate_that_its_server_does_not_tell_what_happens_asks_anew(tmp_path: Path, clip: DemoClip) -> None:
    with RtspServer(Movie(clip.path), loop=True) as cameras, NatsServer(tmp_path / "js") as server:
        site = tmp_path / "site.yaml"
        site.write_text(f"cameras:\n  - {{name: door, source: '{cameras.url}', max_fps: 2}}\n")
        assert facegate("fleet", "apply", site, "--fleet", server.url).returncode == 0
        with GateProcess("left", server.url, tmp_path) as gate:
            began_s = until(lambda: camera(server.url, "door")["state"] == "live", "the camera is watched")
            forget_who_listens(server.url, "KV_facegate-facegate-leases")
            until(
                lambda: gate.told("fleet not connected, will retry"),
                "it notices; nats-py would after 20 s",
                8 + began_s,
            )
            assert facegate("fleet", "pause", "door", "--fleet", server.url).returncode == 0
            until(
                lambda: all(watch.ended_s is not None for watch in cameras.watches), "it hears of it", 8 + began_s
            )
            assert len(cameras.watches) == 1, "nobody's camera has blinked"


@pytest.mark.fleet
def test_a_gate_follows_tells_when_it_is_alone_and_leaves(tmp_path: Path, clip: DemoClip) -> None:
    port = free_port()
    with RtspServer(Movie(clip.path), loop=True) as cameras, NatsServer(tmp_path / "js") as nats_server:
        base, path = cameras.url.removesuffix("/live"), tmp_path / "site.yaml"

        def apply(text: str) -> None:
            path.write_text(text)
            done = facegate("fleet", "apply", path, "--fleet", nats_server.url)
            assert done.returncode == 0, done.stderr

        one = f"cameras:\n  - {{name: one, source: '{base}/one', max_fps: 2}}\n"
        two = one + f"  - {{name: two, source: '{base}/two', max_fps: 2, user: u, password: '${{TWO}}'}}\n"
        three = two + f"  - {{name: three, source: '{base}/three', hosts: [elsewhere]}}\n"
        scorer = load_scorer(device="cpu")
        info = QualityInfo(scorer.algorithm, scorer.card.name, scorer.calibration)
        write_learned_state(tmp_path, "odd", info, RecallState("", [], 1))
        next(tmp_path.glob("odd.*")).write_text("nonsense")
        three += f"  - {{name: odd, source: '{base}/odd', gate: {{target_recall: 0.99, state: {tmp_path}}}}}\n"
        apply(three)

        def healthz() -> dict[str, object]:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=PATIENCE_S) as answer:
                    found: dict[str, object] = json.load(answer)
            except urllib.error.HTTPError as error:
                found = json.load(error)
            return found

        with GateProcess("gate.1", nats_server.url, tmp_path, "--metrics", f":{port}") as gate:
            until(lambda: watched(cameras.watches, ["one"]), "the camera is watched")
            until(lambda: camera(nats_server.url, "one")["state"] == "live", "the fleet knows")
            found = status(nats_server.url)["cameras"]
            assert found["one"]["gate"] == "gate.1" and found["three"]["state"] == "waiting"
            assert "variable TWO is not set" in found["two"]["state"], "a secret that this host does not have"
            until(lambda: "not a learned threshold" in camera(nats_server.url, "odd")["state"], "why not")
            assert healthz()["ok"] and healthz()["fleet"]["connected"]  # type: ignore[index]
            until(lambda: gate.told("shot"), "a shot")
            check_exposition(exposition(port))
            apply(three.replace("name: two", "name: too"))
            until(lambda: "too" in str(status(nats_server.url)), "the new configuration")
            assert len([watch for watch in cameras.watches if watch.path == "/one"]) == 1, "the others do not blink"
            put(nats_server.url, "facegate-facegate", "config", b"nonsense")
            until(lambda: gate.told("configuration rejected, keeping the previous one"), "it says so")
            assert watched(cameras.watches, ["one"])
            apply(three)
            nats_server.kill()
            until(lambda: not healthz()["fleet"]["connected"], "it says so")  # type: ignore[index]
            assert watched(cameras.watches, ["one"]), "as long as the lease allows"
            until(lambda: not watched(cameras.watches, ["one"]), "the lease has run out")
            nats_server.start()
            until(lambda: watched(cameras.watches, ["one"]), "watched again")
            assert gate.end() == 130
            assert not watched(cameras.watches, ["one"])
        assert status(nats_server.url)["gates"] == {}
