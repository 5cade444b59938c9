"""Real footage, real processes: the right names come back from the worker, nobody else's, and the books balance."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.server import RtspServer

from .helpers import PATIENCE_S, facegate, free_port, process, shots_of, transcode


def recognize(
    data: Path,
    folder: Path,
    source: Path | str,
    embedder: str,
    options: Sequence[object] = (),
    gate_options: Sequence[object] = (),
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run gate and worker on ``source`` with YuNet and the gallery of photos; return report and results."""
    endpoint, results, report = f"tcp://127.0.0.1:{free_port()}", folder / "results.jsonl", folder / "report.json"
    detector = ["--detector", "yunet", "--detector-path", data / "models" / "yunet_n_640_640.onnx"]
    worker_options = ["--gallery", data / "photos", "--embedder", embedder, *detector, *options]
    with process("recognize", "--connect", endpoint, "--output", results, "--once", *worker_options) as worker:
        gate = facegate("run", source, "--bind", endpoint, "--report", report, *detector, *gate_options)
        assert gate.returncode == 0, gate.stderr
        assert worker.wait(PATIENCE_S) == 0
    said = json.loads(report.read_text())
    lines = shots_of(results.read_text())
    assert said["observed"] == sum(said["outcomes"].values()) > 0
    assert said["shots"] == said["delivery"]["acknowledged"] == len(lines) == len({x["shot_id"] for x in lines})
    assert said["shots"] < 0.08 * said["observed"], "scene cuts make short tracks, and strangers are asked for"
    return said, lines


def cameras(folder: Path, clips: dict[str, Path]) -> Path:
    path = folder / "cameras.yaml"
    path.write_text(
        "cameras:\n" + "".join(f"  - {{name: {name}, source: '{file}'}}\n" for name, file in clips.items())
    )
    return path


@pytest.mark.skipif(importlib.util.find_spec("dlib") is None, reason="the dlib extra is not installed")
def test_the_singer_and_the_pianist_are_named(data: Path, tmp_path: Path) -> None:
    """dlib at 0.5: the pianist's face is 24 pixels wide, too few for the MobileFaceNets."""
    clip = data / "clips" / "short_hamilton_clip.mp4"
    report, lines = recognize(data, tmp_path, clip, "dlib", ["--threshold", "0.5"])
    assert {line["name"] for line in lines} - {None} == {"Lin-Manuel Miranda", "Alex Lacamoire"}
    assert report["frames_processed"] == 275


def test_a_known_person_is_named_and_strangers_are_not(data: Path, tmp_path: Path) -> None:
    """Intel's recognizer, which has a license for any use, at a guaranteed rate; three cameras in one process."""
    clips = data / "clips"
    source = cameras(
        tmp_path,
        {
            "Bill_Gates": clips / "0490_03_007_bill_gates.avi",
            "stranger-1": clips / "1192_01_006_julia_roberts.avi",
            "stranger-2": clips / "1034_03_006_jet_li.avi",
        },
    )
    intel = data / "models" / "face-reidentification-retail-0095.xml"
    _, lines = recognize(data, tmp_path, source, str(intel))
    named = {(line["camera"], line["name"]) for line in lines if line["name"] is not None}
    assert named == {("Bill_Gates", "Bill Gates")}


LIVE = 300
"""Frames that are watched at the speed of life."""


def three_people(lines: list[dict[str, Any]], width: int) -> set[int]:
    """Which thirds of the picture best shots came from: the three colleagues sit left, middle and right."""
    return {int(3 * (line["box"][0] + line["box"][2]) / 2 / width) for line in lines}


def test_the_three_colleagues_are_found_in_every_frame_of_the_file_and_live_over_rtsp(
    data: Path, tmp_path: Path, tiny_model: Path
) -> None:
    """Which face of a track is best does not matter here, so a tiny model scores."""
    clip = data / "clips" / "multi_face.avi"
    quick = ["--weights", tiny_model, "--min-quality", 0]
    embedder = str(data / "models" / "mobilefacenet-casia.onnx")
    report, lines = recognize(data, tmp_path, clip, embedder, gate_options=quick)
    assert report["frames_processed"] == report["frames_received"] == 702
    assert three_people(lines, 640) == {0, 1, 2}

    movie = Movie(transcode(clip, tmp_path / "multi_face.mp4", LIVE))
    live = tmp_path / "live"
    live.mkdir()
    with RtspServer(movie) as server:
        report, lines = recognize(data, live, server.url, embedder, gate_options=[*quick, "--no-reconnect"])
    (camera,) = report["cameras"]
    assert camera["frames_received"] == LIVE
    assert camera["frames_processed"] + camera["frames_overwritten"] == LIVE
    assert three_people(lines, 640) == {0, 1, 2}
