"""The console's API against a real gate, a real worker and a real camera."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np

from facegate.demo.clip import DemoClip

from ..helpers import PATIENCE_S, facegate
from .serving import Served, served


def picture(body: bytes) -> tuple[int, ...]:
    image = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image.shape


def test_a_camera_is_live_and_shows_what_it_sees(console: Served) -> None:
    (camera,) = console.until("/cameras", lambda found: found["cameras"][0]["state"] == "live")["cameras"]
    assert camera["name"] == "door" and camera["observed"] > 0
    assert camera["settings"] == {"max_fps": 5}
    answer = console.api("GET", "/live?have=door:-1,nobody:-1&side=160")
    length = int.from_bytes(answer.body[:4], "big")
    head = json.loads(answer.body[4 : 4 + length])
    (told,) = head["cameras"]
    assert told["camera"] == "door" and (told["width"], told["height"]) == (640, 360)
    assert len(answer.body) == 4 + length + told["bytes"]
    assert picture(answer.body[4 + length :])[:2] == (90, 160)
    assert all(0 <= value <= 1 for face in told["faces"] for value in face["box"])
    assert picture(console.api("GET", "/cameras/door/snapshot.jpg").body) == (360, 640, 3)


def test_shots_and_visits_come_in_pages_and_by_what_is_asked(console: Served) -> None:
    seen: list[str] = []
    page = console.get("/visits?limit=2")
    while True:
        seen += [visit["visit"] for visit in page["visits"]]
        if page["next"] is None:
            break
        page = console.get(f"/visits?limit=2&before={page['next']}")
    assert len(seen) == len(set(seen)) >= 3
    shots = console.get("/shots?limit=200")["shots"]
    assert {shot["visit"] for shot in shots} <= set(seen) | {
        shot["visit"] for shot in shots if shot["outcome"] == "shadow"
    }
    assert len(shots) >= len(seen)
    best = max(shots, key=lambda shot: shot["quality"]["value"])
    quality = best["quality"]["value"]
    only = console.get(f"/shots?limit=200&min_quality={quality}&max_quality={quality}")["shots"]
    assert best["shot_id"] in {shot["shot_id"] for shot in only}
    assert {shot["quality"]["value"] for shot in only} == {quality}
    assert console.get("/shots?camera=nobody")["shots"] == []
    assert console.get("/visits?known=true&name=Nobody")["visits"] == []
    one = console.get(f"/shots/{best['shot_id']}")
    assert one == best and len(one["landmarks"]) == 5 and one["frame_size"] == [640, 360]
    assert picture(console.api("GET", f"/shots/{best['shot_id']}/crop.jpg").body) == (112, 112, 3)


def test_a_timeline_has_every_face_and_its_fate(console: Served) -> None:
    visit = next(v for v in console.get("/visits")["visits"] if v["shots"])
    timeline = console.until(
        f"/visits/{visit['visit']}",
        lambda found: (
            found["faces"]
            and len(found["events"]) == found["faces"]
            and found["outcomes"].get("forwarded") == len(found["shots"])  # stored by two writers
        ),
    )
    assert sum(timeline["outcomes"].values()) == timeline["faces"]
    assert timeline["outcomes"]["forwarded"] == len(timeline["shots"])
    sent = {fate["shot_id"] for fate in timeline["events"] if fate["shot_id"]}
    assert sent == {shot["shot_id"] for shot in timeline["shots"]}
    assert [fate["picture"] for fate in timeline["events"]] == [
        fate["quality"] is not None for fate in timeline["events"]
    ]
    for fate in (fate for fate in timeline["events"] if fate["picture"]):
        answer = console.api("GET", f"/visits/{visit['visit']}/face.jpg?face_id={fate['face_id']}")
        assert answer.status == 200, (fate, timeline["events"][:3], answer.body)
        assert picture(answer.body) == (112, 112, 3)
    scored = next(fate for fate in timeline["events"] if fate["quality"] is not None)
    heat = console.api("GET", f"/visits/{visit['visit']}/face.jpg?face_id={scored['face_id']}&heat=true")
    assert picture(heat.body)[1] > picture(heat.body)[0]
    tracks = console.get("/cameras/door/tracks?limit=500")["tracks"]
    assert timeline["track_id"] in {track["track_id"] for track in tracks}


def test_another_gate_is_decided_as_replay_decides_it(tmp_path: Path, clip: DemoClip) -> None:
    path = tmp_path / "cameras.yaml"
    path.write_text(f"cameras: [{{name: door, source: {clip.path}}}]\n")
    with served(tmp_path / "data", config=path) as console:
        console.until("/health", lambda found: found["gate_finished"])
        evidence = console.get("/cameras/door/tune?hours=1")
        assert sum(evidence["histogram"]) == evidence["scored"] > 0
        (run,) = (console.data / "recordings").iterdir()
        for change, option in (({}, []), ({"min_quality": 35}, ["--min-quality", 35])):
            played = console.api("POST", "/cameras/door/tune?hours=1", change).json()
            printed = facegate("replay", run, *option, env={"COLUMNS": "200"}).stdout
            rows = re.findall(r"│ ([a-z ]+?) +│ +(\d+) │(?: +(\d+) │)?", printed)
            counts = {fate.replace(" ", "_"): int(now or before) for fate, before, now in rows}
            assert played["outcomes"] == {fate: n for fate, n in counts.items() if n}
        assert played["outcomes"]["below_threshold"] > 0
        shot = console.get("/shots")["shots"][0]
        console.api("POST", "/people/Ada/shots", {"shot_id": shot["shot_id"], "accept": True})
        named = console.api("POST", "/cameras/door/tune?hours=1&named=true", {}).json()
        assert named["people"] == ["Ada"] and named["named"] >= 1


def test_the_file_keeps_its_comments_and_hands_are_noticed(tmp_path: Path, camera_url: str) -> None:
    path = tmp_path / "cameras.yaml"
    path.write_text(f"# ours\ncameras:\n  - name: hall  # the long one\n    source: {camera_url}\n")
    with served(tmp_path / "data", config=path) as console:
        before = console.get("/cameras")["config"]
        change = {"mask": [[[0, 0], [0.5, 0], [0.5, 1]]], "rotate": 90}
        assert console.api("PATCH", "/cameras/hall", change, if_match=before).status == 200
        text = path.read_text()
        assert "# ours" in text and "# the long one" in text and "rotate: 90" in text
        late = console.api("PATCH", "/cameras/hall", {"rotate": 180}, if_match=before)
        assert (late.status, late.json()["code"]) == (409, "conflict")
        assert path.read_text() == text
        path.write_text(text.replace("rotate: 90", "rotate: 270"))
        console.until("/health", lambda found: found["config_changed"])
        assert console.api("POST", "/config/load").status == 200
        assert console.get("/cameras")["cameras"][0]["settings"]["rotate"] == 270
        assert not console.get("/health")["config_changed"]
        path.write_text("cameras: [")
        assert "not valid YAML" in console.until("/health", lambda found: found["config_problem"])["config_problem"]
        assert console.api("POST", "/config/load").status == 422
        # What somebody is in the middle of writing is nothing to build on; what runs goes on.
        assert console.api("POST", "/cameras", {"name": "b", "source": camera_url}).status == 409
        assert path.read_text() == "cameras: ["
        os.kill(console.until("/health", lambda found: found["gate"]["running"])["gate"]["pid"], signal.SIGKILL)
        console.until("/health", lambda found: found["gate"]["running"] and found["gate"]["starts"] > 1)
        console.until("/cameras", lambda found: found["cameras"] and found["cameras"][0]["state"] == "live")
        path.write_text(text)
        assert console.api("POST", "/config/load").status == 200
        assert console.api("PATCH", "/cameras/hall", {"rotate": None, "mask": None}).status == 200
        assert "mask" not in path.read_text()
        assert console.api("POST", "/config/undo").status == 200
        assert path.read_text() == text
        assert console.api("DELETE", "/cameras/hall").status == 200
        assert console.get("/cameras")["cameras"] == []


def test_somebody_is_enrolled_from_a_shot_named_and_removed(tmp_path: Path, camera_url: str) -> None:
    with served(tmp_path / "data") as console:
        console.api("POST", "/cameras", {"name": "door", "source": camera_url, "max_fps": 5})
        page = console.until("/visits", lambda found: any(v["quality"] >= 30 for v in found["visits"]))
        visit = next(v for v in page["visits"] if v["quality"] >= 30)
        verdict = console.api("POST", "/people/Ada/shots", {"shot_id": visit["best"]}).json()
        assert verdict == {"added": 1, "faults": []}
        named = console.until("/visits?name=Ada", lambda found: found["visits"])["visits"][0]
        assert named["similarity"] > 0.5
        shots = console.until("/shots?name=Ada", lambda found: found["shots"])["shots"]
        assert {shot["name"] for shot in shots} == {"Ada"}
        assert console.api("PATCH", "/people/Ada", {"name": "Ada L."}).status == 204
        assert console.get("/visits?name=Ada%20L.")["visits"]
        played = console.api("POST", "/cameras/door/tune?hours=1&named=true", {}).json()
        assert played["people"] == ["Ada L."] and played["named"] >= 1
        assert console.api("POST", "/people/Ada%20L./negatives", {"shot_id": visit["best"]}).status == 204
        erased = console.api("DELETE", "/people/Ada%20L.").json()
        assert sum(each["found"] for each in erased if each["what"] in ("stored visits", "pictures")) >= 3
        assert console.get("/people") == []
        assert console.get("/visits?name=Ada%20L.")["visits"] == []
        assert console.api("GET", f"/shots/{shots[0]['shot_id']}/crop.jpg").status == 404
        crops = b"".join(file.read_bytes() for file in console.data.glob("store.db*"))
        assert b"Ada" not in crops


def test_a_probe_says_what_a_camera_offers(console: Served, camera_url: str) -> None:
    found = console.api("POST", "/cameras/probe", {"source": camera_url}).json()
    assert (found["width"], found["height"], found["codec"]) == (640, 360, "h264")
    gone = console.api("POST", "/cameras/probe", {"source": "rtsp://127.0.0.1:9/x"})
    assert gone.status == 422 and "refused" in gone.json()["detail"]


def test_problems_have_the_form_of_rfc_9457(console: Served) -> None:
    described = console.get("/openapi.json")
    (media,) = described["paths"]["/api/v1/cameras"]["post"]["responses"]["409"]["content"]
    docs = console.ask("GET", "/api/docs").body.decode()
    for method, path, body, status, code in (
        ("GET", "/visits/a/b/1", None, 404, "not_found"),
        ("GET", "/nothing", None, 404, "not_found"),
        ("PUT", "/visits", {}, 405, "method_not_allowed"),
        ("GET", "/visits?limit=0", None, 422, "invalid"),
        ("POST", "/cameras", {"name": "x", "source": "/etc/passwd"}, 422, "invalid"),
        ("POST", "/cameras", {"name": "x" * 300_000, "source": "rtsp://x"}, 413, "too_large"),
    ):
        answer = console.api(method, path, body)
        found = answer.json()
        assert answer.headers["Content-Type"] == media == "application/problem+json"
        assert list(found) == ["type", "title", "status", "detail", "code", "remedy"]
        assert (answer.status, found["status"], found["code"]) == (status, status, code)
        assert found["title"] and found["detail"] and found["remedy"]
        page, _, fragment = found["type"].partition("#")
        assert page == "/api/docs" and f'id="{fragment}"' in docs


def test_events_tell_of_visits_and_states(console: Served) -> None:
    import urllib.request

    kinds: set[str] = set()
    with urllib.request.urlopen(f"{console.url}/api/v1/events", timeout=PATIENCE_S) as stream:
        for line in stream:
            if line.startswith(b"event: "):
                kinds.add(line[7:].strip().decode())
            if kinds >= {"visit", "cameras"}:
                break
    assert kinds >= {"visit", "cameras"}


def test_a_person_has_one_name_however_it_is_written_and_it_may_be_a_word_of_the_api(
    tmp_path: Path, clip: DemoClip
) -> None:
    files = sorted(clip.gallery.rglob("*.png"))
    with served(tmp_path / "data") as console:
        for name, file in zip(("faults", "Jose\u0301", "pictures"), files, strict=False):
            answer = console.upload(f"/people/{quote(name, safe='')}/pictures", "files", file.read_bytes())
            assert answer.json()["added"] == 1, answer.body
        again = console.upload("/people/JOS%C3%89%20/pictures", "files", files[1].read_bytes())
        assert again.json()["added"] == 0
        assert [person["name"] for person in console.get("/people")] == ["Jos\u00e9", "faults", "pictures"]
        assert len(console.get("/people/jos%C3%A9")) == 1
        assert [picture["kind"] for picture in console.get("/people/faults")] == ["enrolled"]
        assert isinstance(console.get("/gallery/faults"), list)
        assert console.api("PATCH", "/people/PICTURES", {"name": " jos\u00e9\u200b"}).status != 204
        assert console.api("PATCH", "/people/PICTURES", {"name": " Ann\u200b "}).status == 204
        assert console.api("DELETE", "/people/FAULTS").status == 200
        assert [person["name"] for person in console.get("/people")] == ["Ann", "Jos\u00e9"]
