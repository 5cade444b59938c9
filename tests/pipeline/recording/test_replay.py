"""Recordings: what was decided can be decided again, bit for bit, and otherwise; damage is refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from facegate.errors import ConfigError
from facegate.pipeline.config import GateConfig, RunConfig, config_for
from facegate.pipeline.gating.gate import Decision
from facegate.pipeline.recording.record import Recording
from facegate.pipeline.recording.replay import decide, line, outcomes
from facegate.pipeline.records import Outcome
from facegate.pipeline.runner import Runner
from facegate.pipeline.watch import ShotQueue

from ...helpers import facegate


def record(clip: Path, weights: Path, to: Path) -> list[Decision]:
    config: RunConfig = config_for(clip).model_copy(update={"gate": GateConfig(min_quality=0)})
    config = config.model_copy(update={"scorer": config.scorer.model_copy(update={"weights": weights})})
    live: list[Decision] = []
    queue = ShotQueue()
    with Runner(
        config, lambda: queue, run_id="run", on_decision=live.append, on_finished=queue.end, record=to
    ) as runner:
        for _ in queue:
            pass
        runner.close(linger_s=0)
    return live


@pytest.fixture(scope="module")
def recorded(
    short_clip: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Decision]]:
    path = tmp_path_factory.mktemp("rec") / "clip.rec"
    return path, record(short_clip, tiny_model, path)


def test_a_replay_decides_as_the_run_did(recorded: tuple[Path, list[Decision]]) -> None:
    path, live = recorded
    again = [line(at, decision) for at, decision in decide(Recording(path))]
    assert [(d.face.face.face_id, d.outcome, d.shot and d.shot.shot_id) for d in live] == [
        (item.face_id, item.outcome, item.shot_id) for item in again
    ]
    assert again and any(item.shot_id for item in again)


def test_two_runs_over_a_file_give_identical_decision_logs(
    recorded: tuple[Path, list[Decision]], short_clip: Path, tiny_model: Path, tmp_path: Path
) -> None:
    path, _ = recorded
    record(short_clip, tiny_model, tmp_path / "second.rec")
    for file, name in ((path, "a"), (tmp_path / "second.rec", "b")):
        assert facegate("replay", file, "--log", tmp_path / name).returncode == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != b""


def test_another_gate_decides_otherwise_and_the_table_says_how(
    recorded: tuple[Path, list[Decision]], tmp_path: Path
) -> None:
    path, _ = recorded
    before = outcomes([line(at, d) for at, d in decide(Recording(path))])
    result = facegate("replay", path, "--min-quality", 100, "--log", tmp_path / "log")
    assert result.returncode == 0, result.stderr
    after = [json.loads(row) for row in (tmp_path / "log").read_text().splitlines()]
    assert {row["outcome"] for row in after} == {"below_threshold", "not_needed"} and len(after) == before.total()
    scored = before.total() - before["not_needed"]
    assert f"+{scored}" in result.stdout and "tracks without shots now: 3" in result.stdout
    (tmp_path / "gate.yaml").write_text(
        "cameras: [{name: other, source: x.mp4}]\ngate: {mode: interval, interval_s: 0.2, min_quality: 0}\n"
    )
    more = facegate("replay", path, "--config", tmp_path / "gate.yaml", "--log", tmp_path / "log")
    assert more.returncode == 0, more.stderr
    reasons = {json.loads(row).get("reason") for row in (tmp_path / "log").read_text().splitlines()}
    assert "interval" in reasons


def test_the_page_is_self_contained_and_shows_every_track(
    recorded: tuple[Path, list[Decision]], tmp_path: Path
) -> None:
    path, live = recorded
    result = facegate("explain", path, "--to", tmp_path / "page.html")
    assert result.returncode == 0, result.stderr
    page = (tmp_path / "page.html").read_text()
    tracks = {decision.face.track_id for decision in live}
    assert page.count("<h2>") == len(tracks) and page.count("<title>") == len(live) + 1
    assert 0 < page.count(": not needed<") == sum(d.outcome is Outcome.NOT_NEEDED for d in live) < len(live)
    assert "http" not in page and 'src="data:image/jpeg;base64,' in page
    camera = live[0].face.face.frame.camera
    one = facegate("explain", path, "--to", tmp_path / "one.html", "--track", f"{camera}/{min(tracks)}")
    assert one.returncode == 0 and (tmp_path / "one.html").read_text().count("<h2>") == 1
    none = facegate("explain", path, "--to", tmp_path / "one.html", "--track", "nobody/7")
    assert none.returncode == 2 and "--track nobody/7 is not in" in none.stderr


def test_a_recording_holds_no_source(recorded: tuple[Path, list[Decision]], short_clip: Path) -> None:
    path, _ = recorded
    assert str(short_clip).encode() not in path.read_bytes()


def test_damaged_recordings_are_refused_in_a_line(recorded: tuple[Path, list[Decision]], tmp_path: Path) -> None:
    path, _ = recorded
    content = path.read_bytes()
    whole = len(list(Recording(path).frames()))
    cut = tmp_path / "cut.rec"
    cut.write_bytes(content[:-10])
    assert len(list(Recording(cut).frames())) == whole - 1, "a power cut costs the last frame"
    other = tmp_path / "other.rec"
    for wrong in (b"", b"hello, I am a text file", struct.pack(">I", 2**31) + b"x"):
        other.write_bytes(wrong)
        with pytest.raises(ConfigError, match=r"not a recording"):
            Recording(other)
    length = struct.unpack(">I", content[:4])[0] + 4
    other.write_bytes(content[:length] + struct.pack(">I", 5) + b"\xff\xff\xff\xff\xff")
    with pytest.raises(ConfigError, match="damaged"):
        list(Recording(other).frames())
    missing = facegate("replay", tmp_path / "none.rec")
    assert missing.returncode == 2 and "cannot read" in missing.stderr
