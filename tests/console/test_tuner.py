"""Tuning over many recordings: each answer does a bounded part of the work and says what is left."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from facegate.console.tuning import tuner as tuning
from facegate.console.tuning.tuner import Tuner
from facegate.demo.clip import DemoClip
from facegate.recognition.loading import Recognition, load_recognition

from ..helpers import facegate

RUNS = 5


@pytest.fixture(scope="module")
def recordings(clip: DemoClip, short_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of a camera, one of them several times."""
    folder = tmp_path_factory.mktemp("tune")
    for name, source in (("first", clip.path), ("second", short_clip)):
        (folder / "cameras.yaml").write_text(f"cameras: [{{name: door, source: {source}}}]\n")
        facegate("run", folder / "cameras.yaml", "--record", folder / name, "--linger", 0)
    for number in range(RUNS):
        (folder / "recordings" / f"run-{number}").mkdir(parents=True)
        recorded = folder / ("second" if number == 0 else "first")
        shutil.copy(recorded, folder / "recordings" / f"run-{number}" / "0000.rec")
    gallery = folder / "people.db"
    assert facegate("gallery", "add", gallery, clip.gallery).returncode in (0, 1)
    return folder


@pytest.fixture(scope="module")
def recognition() -> Recognition:
    return load_recognition("auto", None, "auto", None)


def test_answers_in_parts_come_to_what_one_answer_says(
    recordings: Path, recognition: Recognition, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made() -> Tuner:
        return Tuner(recordings / "recordings", recordings / "people.db", lambda: recognition)

    monkeypatch.setattr(tuning, "WORK_S", 600.0)
    whole, changes = made(), {"min_quality": 30}
    evidence, outcome = whole.evidence("door", 24), whole.replay("door", 24, changes, named=True)
    assert (evidence.to_read, outcome.to_recognize) == (0, 0)
    assert outcome.named and outcome.people
    monkeypatch.setattr(tuning, "WORK_S", 0.0)
    parts = made()
    left = [parts.evidence("door", 24)]
    while left[-1].to_read:
        left.append(parts.evidence("door", 24))
    assert [each.to_read for each in left] == [*range(RUNS - 1, -1, -1)]
    assert left[-1] == evidence and [each.faces for each in left] == sorted(each.faces for each in left)
    steps = [parts.replay("door", 24, changes, named=True)]
    while steps[-1].to_recognize:
        steps.append(parts.replay("door", 24, changes, named=True))
    assert steps[-1] == outcome and len(steps) == 2, "one for each run"
    assert {each.shots for each in steps} == {outcome.shots}
