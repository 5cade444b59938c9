"""Shots to files and to the web: all of them, in time, and a dead place delays nobody else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from facegate.errors import ConfigError, DeliveryError
from facegate.pipeline.config import build_config
from facegate.pipeline.images import decode_image
from facegate.pipeline.runtime.outputs import make_sink
from facegate.sinks import wire
from facegate.sinks.files import INDEX, CropFolder, JsonLines
from facegate.sinks.spool import Spool
from facegate.sinks.spooled_sink import FanOut, SpooledSink, Target
from facegate.sinks.webhook import SIGNATURE, Webhook
from facegate.sinks.wire import EncodedShot
from facegate.sinks.zeromq import ZmqSink
from facegate.store.reader import StoreReader, VisitFilter

from ..helpers import PATIENCE_S, facegate, free_port, json_lines, wait_until
from .test_wire import entries, make_shot

MANY = 10**9


class Site:
    """A web server that answers with the given statuses, then 200."""

    def __init__(self, *statuses: int, port: int = 0) -> None:
        self.taken: list[dict[str, Any]] = []
        self.asked: list[tuple[str, str]] = []
        self.logins: set[str | None] = set()
        pending = list(statuses)
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                site.asked.append((self.headers["Idempotency-Key"], self.headers.get(SIGNATURE, "")))
                site.logins.add(self.headers.get("Authorization"))
                status = pending.pop(0) if pending else 200
                if status == 200:
                    site.taken.append(json.loads(body))
                    signed = hmac.new(b"top secret", body, hashlib.sha256).hexdigest()
                    assert self.headers[SIGNATURE] in (None, f"sha256={signed}")
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", f"http://127.0.0.1:{site.port}/elsewhere")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/faces"


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    thread = Thread(target=site.server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield site
    finally:
        site.server.shutdown()
        thread.join()
        site.server.server_close()


def outbox(target: Target, folder: Path, max_bytes: int = MANY) -> SpooledSink:
    return SpooledSink(target, Spool(folder / "s.db", max_bytes=max_bytes))


def ids(count: int) -> list[str]:
    return [make_shot(number).shot_id for number in range(count)]


def test_files_hold_every_shot_in_order(tmp_path: Path) -> None:
    for target in (JsonLines(tmp_path / "shots.jsonl"), CropFolder(tmp_path / "crops")):
        (tmp_path / type(target).__name__).mkdir()
        sink = outbox(target, tmp_path / type(target).__name__)
        for number in range(50):
            sink.put(entries(number))
        report = sink.close(PATIENCE_S)
        assert (report.accepted, report.acknowledged, report.undelivered) == (50, 50, 0)
    assert [line["shot_id"] for line in json_lines(tmp_path / "shots.jsonl")] == ids(50)
    index = json_lines(tmp_path / "crops" / INDEX)
    for line in index:
        crop = tmp_path / "crops" / f"{line['camera']}-{line['shot_id']}.jpg"
        assert crop.read_bytes()[:2] == b"\xff\xd8"
    assert [line["shot_id"] for line in index] == ids(50) and not list((tmp_path / "crops").glob("*.part"))


def test_a_webhook_is_signed_tried_again_and_not_led_astray(tmp_path: Path) -> None:
    with serving(Site(503, 302, 200, 400)) as site:
        sink = outbox(Webhook(site.url, "top secret"), tmp_path)
        sink.put(entries(0, 1, 2))
        report = sink.close(PATIENCE_S)
    assert report.undelivered == 0
    assert [shot["shot"]["shot_id"] for shot in site.taken] == [ids(3)[0], ids(3)[2]], "400 is for good"
    assert base64.b64decode(site.taken[0]["jpeg"])[:2] == b"\xff\xd8"
    assert [key for key, _ in site.asked] == [ids(3)[i] for i in (0, 0, 0, 1, 2)]
    assert all(signature.startswith("sha256=") for _, signature in site.asked)


def test_a_dead_place_delays_only_itself_and_gets_everything_later(tmp_path: Path) -> None:
    port = free_port()
    for name in ("lines", "web"):
        (tmp_path / name).mkdir()
    lines = outbox(JsonLines(tmp_path / "shots.jsonl"), tmp_path / "lines")
    dead = outbox(Webhook(f"http://user:hidden@127.0.0.1:{port}/faces"), tmp_path / "web")
    sink = FanOut(ZmqSink("tcp://127.0.0.1:*"), [lines, dead])
    for number in range(20):
        sink.send(make_shot(number))
    wait_until(lambda: not lines.report().undelivered)
    report = sink.close(0.5)
    assert report.undelivered == 20 and "hidden" not in str(report)
    assert report.outputs[lines.name].acknowledged == 20
    assert report.outputs[dead.name].kept == 20
    assert [line["shot_id"] for line in json_lines(tmp_path / "shots.jsonl")] == ids(20)
    with serving(Site(port=port)) as site:
        late = outbox(Webhook(site.url.replace("//", "//user:hid%40den@")), tmp_path / "web")
        assert late.close(PATIENCE_S).acknowledged == 20
    assert [shot["shot"]["shot_id"] for shot in site.taken] == ids(20)
    assert site.logins == {"Basic " + base64.b64encode(b"user:hid@den").decode()}


def test_a_place_that_never_answers_is_not_waited_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        places = []
        for name in ("one", "two", "three"):
            (tmp_path / name).mkdir()
            places.append(outbox(Webhook(f"http://127.0.0.1:{silent.getsockname()[1]}/{name}"), tmp_path / name))
        sink = FanOut(ZmqSink("tcp://127.0.0.1:*"), places)
        sink.send(make_shot(0))
        held, _ = silent.accept()
        report = sink.close(0.0)
        held.setblocking(False)
        with pytest.raises(BlockingIOError):  # not ended: it is still asking
            while held.recv(65_536):
                pass
        held.close()
    assert [other.kept for other in report.outputs.values()] == [1, 1, 1]


def test_a_place_with_a_fault_of_its_own_stops_nobody(tmp_path: Path) -> None:
    class Faulty(JsonLines):
        faults = 2

        def deliver(self, entries: Sequence[EncodedShot]) -> None:
            if self.faults:
                self.faults -= 1
                raise AttributeError("a bug in somebody's library")
            super().deliver(entries)

    sink = outbox(Faulty(tmp_path / "shots.jsonl"), tmp_path)
    sink.put(entries(0, 1))
    assert sink.close(PATIENCE_S).acknowledged == 2
    assert [line["shot_id"] for line in json_lines(tmp_path / "shots.jsonl")] == ids(2)


def test_what_waits_for_any_place_is_delivered_without_a_camera(tmp_path: Path) -> None:
    for name in ("s.db", "c.db"):
        with closing(Spool(tmp_path / name)) as spool:
            spool.put(entries(0, 1))
    site = {
        "cameras": [{"name": "door", "source": "0"}],
        "delivery": {
            "bind": f"ipc://{tmp_path}/gate",
            "outputs": [
                {"kind": "jsonl", "path": str(tmp_path / "s.jsonl"), "spool": str(tmp_path / "s.db")},
                {"kind": "folder", "path": str(tmp_path / "crops"), "spool": str(tmp_path / "c.db")},
            ],
        },
    }
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(site))
    result = facegate("spool", "retry", tmp_path / "site.yaml")
    assert result.returncode == 0 and result.stdout.count("2 delivered, 0 pending") == 2, result.stderr
    assert [line["shot_id"] for line in json_lines(tmp_path / "s.jsonl")] == ids(2)
    assert len(list((tmp_path / "crops").glob("*.jpg"))) == 2


def test_a_full_spool_lets_the_oldest_go_and_counts_them(tmp_path: Path) -> None:
    sink = outbox(Webhook(f"http://127.0.0.1:{free_port()}/"), tmp_path, max_bytes=10_000)
    for number in range(40):
        sink.put(entries(number))
    report = sink.close(0.0)
    assert report.dropped + report.kept == 40 and 0 < report.kept < 40
    spool = Spool(tmp_path / "s.db")
    assert [entry.shot_id for entry in spool.after(0, 100)] == ids(40)[-report.kept :]
    spool.close()


def test_a_run_delivers_to_its_other_places(short_clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    site = {
        "cameras": [{"name": "door", "source": str(short_clip), "max_fps": 5}],
        "scorer": {"weights": str(tiny_model)},
        "gate": {"min_quality": 0},
        "delivery": {
            "bind": None,
            "linger_s": 20,
            "context_px": 160,
            "embedding": True,
            "outputs": [
                {"kind": "jsonl", "path": str(tmp_path / "s.jsonl"), "spool": str(tmp_path / "s.db")},
                {"kind": "folder", "path": str(tmp_path / "crops"), "spool": str(tmp_path / "c.db")},
            ],
        },
    }
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(site))
    result = facegate("run", tmp_path / "site.yaml", "--report", tmp_path / "run.json")
    assert result.returncode == 0, "without workers nothing waits for one"
    report = json.loads((tmp_path / "run.json").read_text())
    lines = json_lines(tmp_path / "s.jsonl")
    assert len(lines) == report["shots"] > 0 and {line["camera"] for line in lines} == {"door"}, result.stderr
    assert [other["acknowledged"] for other in report["delivery"]["outputs"].values()] == [len(lines)] * 2
    for line in lines:
        whole = cv2.imread(str(tmp_path / "crops" / f"door-{line['shot_id']}.context.jpg"))
        assert whole is not None and list(whole.shape[1::-1]) == line["context_size"] and whole.shape[1] == 160
        values = np.frombuffer(base64.b64decode(line["embedding"]["values"]), "<f4")
        assert np.linalg.norm(values) == pytest.approx(1, abs=1e-4)


def test_the_store_alone_gets_whole_pictures_unless_the_others_are_to_have_them(
    short_clip: Path, tiny_model: Path, tmp_path: Path
) -> None:
    site = {
        "cameras": [{"name": "door", "source": str(short_clip), "max_fps": 5}],
        "scorer": {"weights": str(tiny_model)},
        "gate": {"min_quality": 0},
        "store": {"scene_px": 160},
        "delivery": {
            "bind": None,
            "linger_s": 20,
            "outputs": [{"kind": "folder", "path": str(tmp_path / "crops"), "spool": str(tmp_path / "c.db")}],
        },
    }
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(site))
    assert facegate("run", tmp_path / "site.yaml", "--data", tmp_path / "data").returncode == 0
    assert not list((tmp_path / "crops").glob("*.context.jpg")) and list((tmp_path / "crops").glob("*.jpg"))
    with StoreReader(tmp_path / "data" / "store.db") as store:
        visits = store.visits(VisitFilter()).items
        scenes = [store.scene(visit.best or "") for visit in visits]
        header = wire.decode_header(store.shots(VisitFilter()).items[0].header)
    assert scenes and header.context_size is not None and header.context_size[0] == 160
    for scene in scenes:
        assert scene is not None and decode_image(scene, "the scene").shape[1] == 160


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ([{"kind": "webhook", "url": "ftp://x", "spool": "a"}], "http"),
        ([{"kind": "jsonl", "path": "x", "spool": "a", "secret": "long enough"}], "'webhook' only"),
        (
            [{"kind": "jsonl", "path": "x", "spool": "a"}, {"kind": "folder", "path": "y", "spool": "a"}],
            "its own spool",
        ),
        ([{"kind": "mail", "url": "x", "spool": "a"}], "kind"),
    ],
)
def test_what_cannot_work_is_refused(others: list[dict[str, str]], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build_config({"cameras": [{"name": "a", "source": "0"}], "delivery": {"outputs": others}})


def test_two_places_that_are_one_are_refused_and_nothing_stays_open(tmp_path: Path) -> None:
    others = [{"kind": "webhook", "url": f"https://x/faces?{n}", "spool": str(tmp_path / f"{n}.db")} for n in "ab"]
    camera = {"cameras": [{"name": "a", "source": "0"}]}
    config = build_config(camera | {"delivery": {"bind": None, "outputs": others}})
    for _ in range(2):
        with pytest.raises(ConfigError, match="https://x/faces occurs twice"):
            make_sink(config.delivery)


def test_a_secret_is_not_shown_when_it_is_refused() -> None:
    other = {"kind": "webhook", "url": "https://me:hidden@x", "spool": "a", "secret": "s3cret"}
    with pytest.raises(ConfigError, match="minimum length of 8") as caught:
        build_config({"cameras": [{"name": "a", "source": "0"}], "delivery": {"outputs": [other]}})
    assert "s3cret" not in str(caught.value) and "hidden" not in str(caught.value)


def test_shots_go_somewhere() -> None:
    camera = {"cameras": [{"name": "a", "source": "0"}]}
    with pytest.raises(ConfigError, match="no output for shots"):
        build_config(camera | {"delivery": {"bind": None}})
    others = [{"kind": "jsonl", "path": "x", "spool": "a"}]
    with pytest.raises(ConfigError, match="for workers"):
        build_config(camera | {"delivery": {"bind": None, "outputs": others, "spool": {"path": "b"}}})


def test_a_place_that_cannot_be_written_is_refused_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(DeliveryError, match="cannot write"):
        JsonLines(tmp_path / "nowhere" / "s.jsonl")
    (tmp_path / "file").write_text("")
    with pytest.raises(DeliveryError, match="cannot write"):
        CropFolder(tmp_path / "file")


def test_a_spool_that_cannot_be_written_loses_its_own_shots_counts_them_and_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = outbox(JsonLines(tmp_path / "shots.jsonl"), tmp_path)
    sink = FanOut(ZmqSink("tcp://127.0.0.1:*"), [full])

    def no_space(self: Spool, entries: object) -> list[object]:
        raise DeliveryError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Spool, "put", no_space)
        sink.send(make_shot(0))
    sink.send(make_shot(1))
    report = sink.close(0.5)
    assert report.accepted == 2 and report.outputs[full.name].dropped == 1
    assert [line["shot_id"] for line in json_lines(tmp_path / "shots.jsonl")] == ids(2)[1:]
