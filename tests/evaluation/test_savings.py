"""Savings: three policies over the same footage, their bills, and visits by labels and by tracks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from facegate.demo.clip import DemoClip
from facegate.errors import ConfigError
from facegate.evaluation.savings import LabeledVisit, Observer, compare, load_labels
from facegate.pipeline.config import build_config, load_config
from facegate.pipeline.gating.factory import CameraGates, GateFactory
from facegate.pipeline.records import Detection, Face, FrameRef, QualityInfo, ScoredFace, ScoredFrame
from facegate.recognition.embedders import load_embedder, recognizer_id
from facegate.recognition.matching.decision_rule import FixedThresholdRule
from facegate.recognition.matching.gallery import Gallery

from ..helpers import facegate

POINTS = np.zeros((5, 2), np.float32)


class ByColor:
    """Recognizes people by the color of their crop; costs nothing."""

    name, version, threshold = "color", "color-1", 0.5

    def embed(self, crops: object) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        rows = [np.eye(4, dtype=np.float32)[int(crop[0, 0, 0])] for crop in crops]  # type: ignore[attr-defined]
        return np.stack(rows)


GALLERY = Gallery(["ann", "bob"], np.eye(4, dtype=np.float32)[:2])


def face(seq: int, track: int, who: int, *, width: float = 50, texture: int = 0, quality: int = 50) -> ScoredFace:
    crop = np.full((112, 112, 3), who, np.uint8)
    crop[1::2, ::2, 1] = texture
    ref = FrameRef("cam", seq, float(seq), float(seq), None, 640, 480)
    item = Face(f"{seq}-{track}", ref, Detection((100, 0, 100 + width, 50), 0.9, POINTS), crop)
    return ScoredFace(item, track, quality, 0.5, np.zeros(4, np.float32), None)


def watch() -> Observer:
    """Ann on track 1 in frames 0 to 3, named in all but the first; a stranger is taken for Bob once on track 2."""
    observer = Observer("clip", ByColor(), GALLERY, FixedThresholdRule(0.5))
    plan = [
        [face(0, 1, 3)],
        [face(1, 1, 0, texture=10), face(1, 2, 2, quality=5)],
        [face(2, 1, 0, texture=90), face(2, 2, 1, width=20, quality=5)],
        [face(3, 1, 0, quality=60), face(3, 2, 2, quality=5)],
    ]
    for seq, faces in enumerate(plan):
        ref = FrameRef("cam", seq, float(seq), float(seq), None, 640, 480)
        observer.scored(ScoredFrame(ref, tuple(faces), (1, 2) if seq == 3 else ()))
    gate = {"max_wait_s": 10, "min_quality": 10}
    config = build_config({"cameras": [{"name": "cam", "source": "clip.mp4", "gate": gate}]})
    observer.decide(CameraGates(GateFactory(config, "run", QualityInfo("a", "m", "c"), None)))
    return observer


def test_bills_visits_and_false_names_by_labels() -> None:
    visits = (LabeledVisit("clip", 0.0, 3.0, "ann"), LabeledVisit("clip", 0.0, 3.0, None))
    found = compare([watch()], visits, "color", "0.5")
    every, naive, ours = (found.policies[name] for name in ("every_face", "naive", "facegate"))
    assert (every.fr_calls, naive.fr_calls, ours.fr_calls) == (7, 2, 1)
    assert (every.identified, every.visits, every.false_identifications) == (1, 1, 1)
    assert (naive.identified, naive.false_identifications) == (1, 0)
    assert (ours.identified, ours.seconds_to_first, ours.false_identifications) == (1, 3.0, 0)
    assert every.seconds_to_first == 1.0 and every.bytes > naive.bytes > ours.bytes > 0
    assert found.missed == {"every_face": (), "naive": (), "facegate": ()}
    absent = compare([watch()], (LabeledVisit("clip", 0.0, 3.0, "bob", box=(0, 0, 10, 10)),), "color", "0.5")
    assert (
        absent.missed["facegate"] == ("bob in clip from 0 s",)
        and absent.policies["every_face"].false_identifications == 4
    )


def test_a_right_name_counts_for_every_visit_of_the_person_that_its_track_was_seen_in() -> None:
    visits = (
        LabeledVisit("clip", 0.0, 0.5, "ann"),
        LabeledVisit("clip", 2.5, 3.0, "ann"),
        LabeledVisit("clip", 0.1, 3.0, "ann", box=(400, 0, 500, 50)),  # nobody was tracked there
        LabeledVisit("clip", 0.0, 0.5, "bob"),
    )
    found = compare([watch()], visits, "color", "0.5")
    assert found.missed["facegate"] == ("ann in clip from 0.1 s", "bob in clip from 0 s")
    assert found.policies["facegate"].identified == 2 and found.policies["facegate"].seconds_to_first == 1.75


def test_without_labels_a_track_is_a_visit_of_whom_most_of_its_faces_name() -> None:
    found = compare([watch()], None, "color", "0.5")
    assert not found.labeled and found.policies["facegate"].visits == 1
    assert found.policies["every_face"].false_identifications == 1


def test_labels_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "visits.yaml"
    path.write_text("visits: [{source: a.mp4, start_s: 0, end_s: 1, persn: ann}]")
    with pytest.raises(ConfigError, match="not a valid visits file"):
        load_labels(path)
    with pytest.raises(ConfigError, match="cannot read"):
        load_labels(tmp_path / "none.yaml")
    assert len(load_labels(Path(__file__).parents[1] / "visits.yaml")) == 14


def test_the_command_compares_and_writes(clip: DemoClip, short_clip: Path, tmp_path: Path) -> None:
    out, picture = tmp_path / "s.json", tmp_path / "s.png"
    arguments = ("--gallery", clip.gallery, "--embedder", "builtin", "--json", out, "--plot", picture)
    result = facegate("savings", short_clip, *arguments)
    assert result.returncode == 0, result.stderr
    found = json.loads(out.read_text())
    policies = found["policies"]
    assert set(policies) == {"every_face", "naive", "facegate"}
    assert set(policies["facegate"]) == {
        "fr_calls", "fr_ms", "bytes", "visits", "identified", "false_identifications", "seconds_to_first",
    }  # fmt: skip
    assert policies["every_face"]["fr_calls"] == found["faces"] > 10 * policies["facegate"]["fr_calls"] > 0
    assert "tracks as visits" in result.stdout.replace("\n", " ") and picture.stat().st_size > 5000


def test_the_gate_is_answered_and_asks_again() -> None:
    """The best face of Ann's track is not recognized; the next one is, and closes it."""
    observer = Observer("clip", ByColor(), GALLERY, FixedThresholdRule(0.5))
    for seq, (who, quality) in enumerate([(3, 28), (0, 26), (0, 24)]):
        ref = FrameRef("cam", seq, float(seq), float(seq), None, 640, 480)
        observer.scored(ScoredFrame(ref, (face(seq, 1, who, quality=quality),), (1,) if seq == 2 else ()))
    config = build_config({"cameras": [{"name": "cam", "source": "clip.mp4", "gate": {"max_wait_s": 10}}]})
    observer.decide(CameraGates(GateFactory(config, "run", QualityInfo("a", "m", "c"), None)))
    assert [(sent.face.face_id, sent.face.name) for sent in observer.sent] == [("0-1", None), ("1-1", "ann")]


def test_calibrate_says_what_a_threshold_would_cost_and_keeps_what_it_learned(
    clip: DemoClip, short_clip: Path, tmp_path: Path
) -> None:
    out, picture, state = tmp_path / "c.json", tmp_path / "c.png", tmp_path / "state"
    arguments = ("--gallery", clip.gallery, "--embedder", "builtin", "--json", out, "--plot", picture)
    result = facegate("calibrate", short_clip, *arguments, "--state", state, "--began", "23:59:59")
    assert result.returncode == 0, result.stderr
    (camera,) = json.loads(out.read_text())["cameras"]
    assert camera["floor"] == camera["chosen"] and camera["loss"]["visits_needed"] > 100, "too few visits to move"
    assert "more identified visits" in result.stdout and picture.stat().st_size > 5000
    assert {len(curve) for curve in camera["curves"].values()} == {19}
    assert [hour["hour"] for hour in camera["hours"]] == [23, 0] and "00:00" in result.stdout
    assert sum(hour["faces"] for hour in camera["hours"]) == camera["faces"]
    assert sum(hour["fr_calls"] for hour in camera["hours"]) == camera["chosen"]["fr_calls"]
    assert sum(hour["named"] for hour in camera["hours"]) == camera["chosen"]["visits"]
    assert "such as 07:30" in facegate("calibrate", short_clip, *arguments, "--began", "noon").stderr
    (file,) = state.iterdir()
    learned = json.loads(file.read_text())
    assert len(learned["best"]) == camera["floor"]["visits"] > 0
    # Regression: the first answer of a worker made the gate forget it, as it seemed to be of another recognizer.
    assert learned["recogniser"] == recognizer_id(load_embedder("builtin"))
    other = facegate("calibrate", "--forget", "nobody", "--state", state)
    assert other.returncode == 2 and file.exists()
    assert facegate("calibrate", "--forget", short_clip.stem, "--state", state).returncode == 0
    assert not list(state.iterdir())


def test_calibrate_writes_thresholds_into_a_configuration_and_keeps_its_comments(
    clip: DemoClip, short_clip: Path, tmp_path: Path
) -> None:
    config = tmp_path / "cameras.yaml"
    config.write_text("cameras:\n  - name: elsewhere  # ours\n    source: x.mp4\n")
    arguments = ("calibrate", short_clip, "--gallery", clip.gallery, "--embedder", "builtin", "--write", config)
    refused = facegate(*arguments)
    assert refused.returncode == 2 and f"no camera {short_clip.stem}" in refused.stderr
    config.write_text(f"# all\ncameras:\n  - name: {short_clip.stem}  # ours\n    source: x.mp4\n")
    done = facegate(*arguments)
    assert done.returncode == 0, done.stderr
    text = config.read_text()
    assert "# all" in text and "# ours" in text
    assert load_config(config).gate_for(short_clip.stem).min_quality == 1
