"""What detection costs when known faces are tracked and only what changed is searched, and what is missed.

    python -m benchmarks.gate_cost.detection --yunet yunet_n_640_640.onnx clip.mp4 multi_face.avi
    python -m benchmarks.gate_cost.detection --yunet yunet_n_640_640.onnx --fps 25 clip.mp4

Every clip is looked at three times in turn, frame by frame: MTCNN searches every look; MTCNN searches and follows
as the pipeline does; YuNet searches every look. Recall counts the faces of the first that the second has too
(overlap 0.5), of those the scorer gives a quality of 20 or more. Late is a face of the first without one of the
second near its place within 0.4 s.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median
from time import process_time

import av
import numpy as np

from benchmarks.host_info import cpu
from facegate.cpu import share_cores
from facegate.detectors.align import align
from facegate.detectors.base import Detector, load_detector, same_face
from facegate.pipeline.config import DetectorConfig
from facegate.pipeline.detection.regions import Regions
from facegate.pipeline.detection.scheduler import MAX_DISCOVERY_DELAY_S
from facegate.pipeline.detection.search_plan import SearchPlan
from facegate.pipeline.observability.ledger import Ledger
from facegate.pipeline.records import Box, Detection, Frame, FrameRef, Image, contiguous
from facegate.pipeline.runtime.models import window_detector_of
from facegate.pipeline.stages.detect import CameraDetection, DetectStage
from facegate.scoring.engine import Scorer, load_scorer

MIN_QUALITY = 20
Timed = tuple[float, Image]


def sampled_frames(path: Path, fps: float) -> list[Timed]:
    """The frames that a camera limited to ``fps`` would be looked at."""
    kept: list[Timed] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            pts_s = float(frame.time or 0.0)
            if not kept or pts_s - kept[-1][0] > 1 / fps - 0.01:
                kept.append((pts_s, contiguous(frame.to_ndarray(format="rgb24"))))
    return kept


class GateRun:
    """Runs the detect stage of one camera."""

    def __init__(self, detector: Detector) -> None:
        plan = SearchPlan(smallest_px=detector.smallest_px, min_face_px=detector.smallest_px)
        self.camera = CameraDetection(regions=Regions(), min_face_px=0.0, plan=plan)
        self._stage = DetectStage(detector, Ledger(), live={"clip"}, batch=1)
        self._stage.watch("clip", self.camera)
        self._frames = 0

    def look(self, image: Image, pts_s: float) -> list[Detection]:
        """The faces of one frame."""
        ref = FrameRef("clip", self._frames, pts_s, pts_s, None, image.shape[1], image.shape[0])
        self._frames += 1
        return [face.detection for item in self._stage.detect([Frame(ref=ref, image=image)]) for face in item.faces]


def measure(path: Path, fps: float, mtcnn: Detector, yunet: Detector, scorer: Scorer) -> dict[str, object]:
    """One clip's figures."""
    gate = GateRun(window_detector_of(DetectorConfig(kind="mtcnn")))
    frames = sampled_frames(path, fps)
    spent: dict[str, list[float]] = {"search": [], "gate": [], "yunet": []}
    searched: list[list[Detection]] = []
    gated: list[list[Detection]] = []
    for pts_s, image in frames:
        start = process_time()
        searched.append(mtcnn.detect([image])[0])
        spent["search"].append(process_time() - start)
        start = process_time()
        gated.append(gate.look(image, pts_s))
        spent["gate"].append(process_time() - start)
        start = process_time()
        yunet.detect([image])
        spent["yunet"].append(process_time() - start)
    wanted = found = late = 0
    moved: list[float] = []
    for index, ((pts_s, image), faces) in enumerate(zip(frames, searched, strict=True)):
        if not faces:
            continue
        crops = np.stack([align(image, face.landmarks) for face in faces])
        for face, quality in zip(faces, scorer.score(crops, embedding=False).quality, strict=True):
            if quality < MIN_QUALITY:
                continue
            wanted += 1
            same = [other for other in gated[index] if same_face(other.box, face.box, 0.5)]
            found += bool(same)
            if same:
                apart = float(np.abs(same[0].landmarks - face.landmarks).mean()) / face.width
                moved.append(apart)
            late += not same and not _soon(face.box, pts_s, frames[index:], gated[index:])
    ms = {name: 1000 * float(np.mean(values)) for name, values in spent.items()}
    return {
        "clip": path.name,
        "frames": len(frames),
        "searched_frames": gate.camera.frames_searched,
        "searched_share": round(gate.camera.plan.counts.searched_px / gate.camera.plan.counts.picture_px, 3),
        "ms_per_frame": {name: round(value, 2) for name, value in ms.items()},
        "gate_over_yunet": round(ms["gate"] / ms["yunet"], 3),
        "search_over_yunet": round(ms["search"] / ms["yunet"], 3),
        "faces": wanted,
        "found": found,
        "late": late,
        "landmarks_apart": round(median(moved), 4) if moved else None,
    }


def _soon(box: Box, pts_s: float, frames: list[Timed], faces: list[list[Detection]]) -> bool:
    """Whether a face near that place is found within the promised time."""
    return any(
        same_face(face.box, box, 0.1)
        for (at_s, _), found in zip(frames, faces, strict=True)
        if at_s - pts_s <= MAX_DISCOVERY_DELAY_S + 0.02
        for face in found
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--yunet", type=Path, required=True)
    parser.add_argument("--fps", type=float, default=5.0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    share_cores(stages=2)
    mtcnn, yunet = load_detector("mtcnn"), load_detector("yunet", args.yunet)
    scorer = load_scorer()
    print(cpu())
    rows = []
    for clip in args.clips:
        rows.append(measure(clip, args.fps, mtcnn, yunet, scorer))
        print(json.dumps(rows[-1]))
    faces, found, late = (sum(int(str(row[key])) for row in rows) for key in ("faces", "found", "late"))
    print(f"recall {found / max(faces, 1):.4f} of {faces} faces with quality >= {MIN_QUALITY}, {late} late")
    if args.json is not None:
        args.json.write_text(json.dumps({"cpu": cpu(), "fps": args.fps, "clips": rows}, indent=2))


if __name__ == "__main__":
    main()
