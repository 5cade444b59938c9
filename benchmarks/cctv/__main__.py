"""Small faces in large pictures: which are found, how late, at which cost, beside the build before and an oracle.

    python -m benchmarks.cctv --yunet yunet_n_640_640.onnx --quick                      # less than three minutes
    git worktree add /tmp/before REVISION && (cd /tmp/before && python3 hatch_build.py)
    python -m benchmarks.cctv --yunet yunet_n_640_640.onnx --before /tmp/before --json cctv.json

People of the development clips are pasted into scenes of 640x360 to 4K, five frames a second, with faces 24 to 150
pixels wide. The oracle searches every frame as a whole at native scale with the same detector; what it found is
kept in ``runs/cctv``. Recall counts its faces of people in the scene that were found in the same frame (overlap
0.4). False faces are those near no face of a person. Costs are processor time of the detection stage, crops
included, per frame after the first three seconds; every frame goes to the builds in turn, and to the oracle now and
then. A scene that everybody has left is processed at the idle rate.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from benchmarks.cctv.oracle import Oracle
from benchmarks.cctv.people import Cutout, load_people
from benchmarks.cctv.scenes import BACKGROUNDS, SIZES, Scene, SceneFrame, play
from benchmarks.host_info import cpu
from facegate.cpu import share_cores
from facegate.detectors.base import load_detector, same_face
from facegate.pipeline.records import Box

ROOT = Path(__file__).parent.parent.parent
BINS = (24, 32, 48, 64, 96, 150, 400)
SAME_IOU = 0.4
WARM_FRAMES = 15
"""Frames of a scene after which costs count: the picture is searched as a whole when a stream begins."""
ONE_WALKING = Scene("one walking", "1080p", 1, faces_px=(45, 45), seconds=16)
QUICK = (
    ONE_WALKING,
    Scene("empty", "1080p", 0, seconds=30),
    Scene("six sitting", "1080p", 6, motion="sitting"),
    Scene("six in trees", "1080p", 6, "trees", seconds=10),
    Scene("still, appears", "1080p", 4, motion="still", appear_s=3.0, seconds=9),
    Scene("three near", "360p", 3, motion="sitting", faces_px=(40, 90)),
    Scene("six sitting uhd", "4K", 6, motion="sitting", faces_px=(24, 150), seconds=6),
)


def all_scenes() -> list[Scene]:
    """Every size, background and number of people."""
    scenes = list(QUICK)
    scenes += [Scene(f"{way} 1080p", "1080p", 5, way, faces_px=(24, 120), seconds=6) for way in BACKGROUNDS]
    scenes += [
        Scene(f"{way} 4K", "4K", 6, way, faces_px=(24, 150), seconds=5) for way in ("quiet", "trees", "night")
    ]
    scenes += [
        Scene("quiet 4MP", "4MP", 5, faces_px=(24, 120), seconds=5),
        Scene("crowd", "4K", 30, motion="sitting", faces_px=(24, 150), seconds=5),
        Scene("still 4K", "4K", 6, motion="still", seconds=5),
        Scene("still night, appears", "1080p", 4, "night", "still", appear_s=3.0, seconds=7),
        Scene("empty 4K", "4K", 0, seconds=10),
        Scene("empty trees", "1080p", 0, "trees", seconds=10),
        Scene("empty rain", "1080p", 0, "rain", seconds=10),
        Scene("empty pumping", "1080p", 0, "pumping", seconds=10),
        Scene("empty night", "1080p", 0, "night", seconds=10),
        Scene("empty small", "360p", 0, seconds=30),
        Scene("one walking small", "360p", 1, faces_px=(45, 45), seconds=16),
    ]
    return scenes


class Build:
    """One build's detection stage in a process of its own."""

    def __init__(self, name: str, checkout: Path, options: dict[str, Any]) -> None:
        self.name = name
        environment = os.environ | {"PYTHONPATH": f"{checkout / 'src'}{os.pathsep}{checkout}"}
        script = Path(__file__).with_name("contender.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script), json.dumps(options)],
            env=environment, cwd=checkout, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ask(self, **question: object) -> dict[str, Any]:
        """Send one question and return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(question), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"the process of the build '{self.name}' ended")
        found: dict[str, Any] = json.loads(answer)
        return found

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)


class Tally:
    """What one build found in one scene."""

    def __init__(self) -> None:
        self.ms: list[float] = []
        self.wanted: defaultdict[int, int] = defaultdict(int)
        self.found: defaultdict[int, int] = defaultdict(int)
        self.false = 0
        self.first_s: dict[int, float] = {}
        self.processed = 0

    def add(self, frame: SceneFrame, oracle: Sequence[Box], answer: dict[str, Any]) -> None:
        """Compare one frame's faces."""
        self.ms.append(answer["ms"])
        self.processed += answer["processed"]
        faces: list[Box] = [tuple(face[:4]) for face in answer["faces"]]
        for person, true in frame.faces.items():
            seen = next((box for box in oracle if same_face(box, true, 0.3)), None)
            found = any(same_face(face, true if seen is None else seen, SAME_IOU) for face in faces)
            if found:
                self.first_s.setdefault(person, frame.pts_s)
            if seen is not None:
                size = max(low for low in (0, *BINS) if low <= true[2] - true[0])
                self.wanted[size] += 1
                self.found[size] += found
        self.false += false_faces(frame, faces)

    def row(self, scene: Scene) -> dict[str, Any]:
        """Figures of the scene."""
        return {
            "scene": scene.name,
            "ms_per_frame": round(float(np.mean(self.ms[WARM_FRAMES:])), 2),
            "ms_max": round(max(self.ms), 1),
            "ms_begin": round(float(np.mean(self.ms[:WARM_FRAMES])), 2),
            "wanted": dict(self.wanted),
            "found": dict(self.found),
            "false": self.false,
            "frames": len(self.ms),
            "delay_s": {person: round(at - scene.appear_s, 2) for person, at in sorted(self.first_s.items())},
        }


def false_faces(frame: SceneFrame, faces: Sequence[Box]) -> int:
    """Number of detections that are nowhere near a face."""
    true = [*frame.faces.values(), *frame.others]
    return sum(not any(same_face(face, box, 0.1) for box in true) for face in faces)


def run_scene(scene: Scene, people: list[Cutout], builds: list[Build], oracle: Oracle) -> dict[str, Any]:
    """Play a scene to every build in turn."""
    width, height = SIZES[scene.size]
    memory = SharedMemory(create=True, size=width * height * 3)
    tallies = {build.name: Tally() for build in builds}
    native_ms: list[float] = []
    seen: defaultdict[int, int] = defaultdict(int)
    oracle_false = 0
    try:
        for build in builds:
            build.ask(begin=True)
        known = oracle.of(scene)
        for number, frame in enumerate(play(scene, people)):
            np.ndarray(frame.image.shape, np.uint8, memory.buf)[:] = frame.image
            if known is None or number % 8 == 5:
                start = process_time()
                oracle.search(number, frame.image)
                native_ms.append(1000 * (process_time() - start))
            faces = oracle.faces(number)
            for person, true in frame.faces.items():
                seen[person] += any(same_face(box, true, 0.3) for box in faces)
            oracle_false += false_faces(frame, faces)
            for build in builds if number % 2 else reversed(builds):
                answer = build.ask(memory=memory.name, shape=frame.image.shape, pts_s=frame.pts_s)
                tallies[build.name].add(frame, faces, answer)
        oracle.keep(scene)
    finally:
        memory.close()
        memory.unlink()
    row: dict[str, Any] = {
        "scene": asdict(scene),
        "native_ms": round(float(np.mean(native_ms)), 1) if native_ms else None,
    }
    row["oracle_false"] = oracle_false
    row["oracle_sees"] = [
        person for person, count in seen.items() if count * 2 >= scene.frames * (1 - scene.appear_s / scene.seconds)
    ]
    for name, tally in tallies.items():
        row[name] = tally.row(scene)
    return row


def show(row: dict[str, Any], names: list[str]) -> None:
    """Print a scene's figures."""
    scene = row["scene"]
    print(
        f"{scene['name']} ({scene['size']}, {scene['people']} people, {scene['background']}, {scene['motion']}; "
        f"native search {row['native_ms']} ms, {row['oracle_false']} false)"
    )
    for name in names:
        figures = row[name]
        recall = {
            size: f"{figures['found'].get(size, 0)}/{count}" for size, count in sorted(figures["wanted"].items())
        }
        late = [round(figures["delay_s"].get(person, 99.0), 1) for person in row["oracle_sees"]]
        print(
            f"   {name:7} {figures['ms_per_frame']:6.1f} ms a frame (begin {figures['ms_begin']}, "
            f"worst {figures['ms_max']}), recall {recall}, false {figures['false']}, first found after {late} s",
            flush=True,
        )


def summarize(rows: list[dict[str, Any]], names: list[str]) -> dict[str, Any]:
    """Recall per size of picture and face, false faces, the latest still person, ratios of cost."""
    summary: dict[str, Any] = {}
    for name in names:
        wanted: defaultdict[str, int] = defaultdict(int)
        found: defaultdict[str, int] = defaultdict(int)
        latest: dict[str, float] = {}
        for row in rows:
            scene = row["scene"]
            for size, count in row[name]["wanted"].items():
                key = f"{scene['size']} from {size} px"
                wanted[key] += count
                found[key] += row[name]["found"].get(size, 0)
            if scene["motion"] == "still":
                late = [row[name]["delay_s"].get(person, 99.0) for person in row["oracle_sees"]]
                latest[scene["name"]] = max(late, default=0.0)
        summary[name] = {
            "recall": {key: [round(found[key] / count, 3), count] for key, count in sorted(wanted.items())},
            "false": sum(row[name]["false"] for row in rows),
            "latest_still_s": latest,
        }
    for row in rows:
        ours = row["now"]["ms_per_frame"]
        ratios = {"native": ours / row["native_ms"]} if row["native_ms"] else {}
        if "before" in names:
            ratios["before"] = ours / row["before"]["ms_per_frame"]
        summary.setdefault("cost", {})[row["scene"]["name"]] = {
            key: round(value, 3) for key, value in ratios.items()
        }
    return summary


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--yunet", type=Path, help="Cuts people out of the clips; in the data folder by default.")
    parser.add_argument("--detector", default="mtcnn", help="mtcnn, or a YuNet file.")
    parser.add_argument("--before", type=Path, help="Checkout of the build to compare with.")
    parser.add_argument("--quick", action="store_true", help="A few scenes only.")
    parser.add_argument("--only", help="Scenes whose name contains this.")
    parser.add_argument("--cache", type=Path, default=ROOT / "runs" / "cctv")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    share_cores()
    cutter = load_detector("yunet", args.yunet or args.data / "models" / "yunet_n_640_640.onnx")
    people = load_people(args.data, cutter, args.cache)
    kind, path = ("mtcnn", None) if args.detector == "mtcnn" else ("yunet", args.detector)
    options: dict[str, Any] = {"kind": kind, "path": path, "camera": {}}
    print(f"{cpu()}; {len(people)} people; {kind}", flush=True)
    builds = [Build("now", ROOT, options)]
    if args.before is not None:
        builds.append(Build("before", args.before.resolve(), options))
    names = [build.name for build in builds]
    rows = []
    for scene in QUICK if args.quick else all_scenes():
        if args.only is None or args.only in scene.name:
            rows.append(run_scene(scene, people, builds, Oracle(kind, path, args.cache)))
            show(rows[-1], names)
    for build in builds:
        build.close()
    summary = summarize(rows, names)
    print(json.dumps(summary, indent=1))
    if args.json is not None:
        args.json.write_text(json.dumps({"cpu": cpu(), "summary": summary, "scenes": rows}, indent=1))


if __name__ == "__main__":
    main()
