"""Detectors side by side on small faces: recall by size, landmark error, false alarms, cost.

    python -m benchmarks.cctv.detectors --pictures 240

Photographs of LFW, each shrunk so that its face has a given width, are laid side by side in pictures of about half
a megapixel. The truth is the mean of what MTCNN and YuNet find in the photograph at its full size, where both find
one face in the middle. Landmark error is the mean distance in percent of the width of the face. False alarms lie on
no face that either finds at full size. Costs are CPU time of one thread, in pictures full of faces.
"""

from __future__ import annotations

import argparse
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from time import process_time
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.host_info import cpu
from facegate.cpu import compiled, limit_threads
from facegate.detectors.base import Detector, load_detector, make_detection, same_face
from facegate.pipeline.records import Box, Detection, Image

ROOT = Path(__file__).parent.parent.parent
WIDTHS = (24, 32, 48, 64, 96)
SIDE = 720
"""Side of the pictures in pixels."""
RETAIL_CONFIDENCE = 0.5
SAME_IOU = 0.4


class Shrunk:
    """A detector that sees the picture at another scale."""

    def __init__(self, detector: Detector, scale: float) -> None:
        self._detector, self._scale = detector, scale
        self.name = f"{detector.name} at {scale:.2g}"

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        """Shrink, or enlarge, and detect."""
        found = []
        for image in images:
            size = round(image.shape[1] * self._scale), round(image.shape[0] * self._scale)
            way = cv2.INTER_AREA if self._scale < 1 else cv2.INTER_LINEAR
            small = np.asarray(cv2.resize(image, size, interpolation=way), np.uint8)
            faces = self._detector.detect([small])[0]
            found.append(
                [
                    make_detection(face.box, face.confidence, face.landmarks, self._scale, image.shape)
                    for face in faces
                ]
            )
        return found


class Retail:
    """Intel's face-detection-retail-0004 in tiles of 300x300, and landmarks-regression-retail-0009."""

    name = "retail-0004 with landmarks-0009"
    TILE, STEP = 300, 210

    def __init__(self, folder: Path, scale: float) -> None:
        self._net = compiled(folder / "face-detection-retail-0004.xml", 1)
        self._marks = compiled(folder / "landmarks-regression-retail-0009.xml", 1)
        self._scale = scale
        self.name = f"retail-0004 with landmarks-0009 at {scale:.2g}"

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        """Detect in overlapping tiles."""
        return [self._detect(image) for image in images]

    def _detect(self, image: Image) -> list[Detection]:
        size = round(image.shape[1] * self._scale), round(image.shape[0] * self._scale)
        big = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)[:, :, ::-1]
        boxes: list[Box] = []
        scores: list[float] = []
        for y in range(0, max(1, size[1] - self.TILE + self.STEP), self.STEP):
            for x in range(0, max(1, size[0] - self.TILE + self.STEP), self.STEP):
                tile = np.zeros((self.TILE, self.TILE, 3), np.uint8)
                part = big[y : y + self.TILE, x : x + self.TILE]
                tile[: part.shape[0], : part.shape[1]] = part
                rows = self._net(tile.transpose(2, 0, 1)[None].astype(np.float32))[0].reshape(-1, 7)
                for _, _, score, x1, y1, x2, y2 in rows[rows[:, 2] > RETAIL_CONFIDENCE].tolist():
                    side = self.TILE
                    boxes.append((x + x1 * side, y + y1 * side, x + x2 * side, y + y2 * side))
                    scores.append(score)
        if not boxes:
            return []
        wide = [(x1, y1, x2 - x1, y2 - y1) for x1, y1, x2, y2 in boxes]
        kept = np.asarray(cv2.dnn.NMSBoxes(wide, scores, 0.0, SAME_IOU), np.int64).reshape(-1).tolist()
        return [
            make_detection(boxes[i], scores[i], self._landmarks(big, boxes[i]), self._scale, image.shape)
            for i in kept
        ]

    def _landmarks(self, bgr: NDArray[Any], box: Box) -> NDArray[np.float32]:
        left, top = max(0, int(box[0])), max(0, int(box[1]))
        part = bgr[top : max(top + 2, int(box[3])), left : max(left + 2, int(box[2]))]
        crop = cv2.resize(np.ascontiguousarray(part), (48, 48))
        points = self._marks(crop.transpose(2, 0, 1)[None].astype(np.float32))[0].reshape(5, 2)
        placed = points * np.array(part.shape[1::-1]) + (left, top)
        return np.asarray(placed, np.float32)


def photographs(data: Path, count: int, judges: list[Detector]) -> list[tuple[Image, Detection, list[Box]]]:
    """LFW photographs with the face in the middle and all faces that either judge finds."""
    found: list[tuple[Image, Detection, list[Box]]] = []
    with zipfile.ZipFile(data / "faces" / "lfw-folds-1-4.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        for name in names[:: max(1, len(names) // (2 * count))]:
            decoded = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR)
            assert decoded is not None, name
            image = np.ascontiguousarray(decoded[:, :, ::-1]).astype(np.uint8)
            every = [judge.detect([image])[0] for judge in judges]
            center = [
                next(
                    (face for face in faces if face.box[0] < 125 < face.box[2] and face.box[1] < 125 < face.box[3]),
                    None,
                )
                for faces in every
            ]
            a, b = center
            if a is None or b is None or not same_face(a.box, b.box, 0.4) or len(found) >= count:
                continue
            box = tuple(float(value) for value in np.mean([a.box, b.box], 0))
            truth = Detection(
                (box[0], box[1], box[2], box[3]), 1.0, ((a.landmarks + b.landmarks) / 2).astype(np.float32)
            )
            found.append((image, truth, [face.box for faces in every for face in faces]))
    return found


def picture(
    photos: Sequence[tuple[Image, Detection, list[Box]]], width: float
) -> tuple[Image, list[Detection], list[Box], int]:
    """Lay photographs side by side, faces ``width`` wide; return picture, truth, all faces and photographs used."""
    canvas = np.full((SIDE, SIDE, 3), 110, np.uint8)
    truth: list[Detection] = []
    every: list[Box] = []
    x = y = below = used = 0
    for image, face, boxes in photos:
        scale = width / face.width
        size = round(image.shape[1] * scale), round(image.shape[0] * scale)
        if x + size[0] > SIDE:
            x, y, below = 0, y + below, 0
        if y + size[1] > SIDE:
            break
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        canvas[y : y + size[1], x : x + size[0]] = cv2.resize(image, size, interpolation=way)
        shift = np.array([x, y], np.float32)
        corners = (np.array(face.box) * scale + np.array([x, y, x, y])).tolist()
        truth.append(Detection((*corners,), 1.0, face.landmarks * np.float32(scale) + shift))
        every += [tuple((np.array(box) * scale + np.array([x, y, x, y])).tolist()) for box in boxes]
        below, x, used = max(below, size[1]), x + size[0], used + 1
    return canvas, truth, every, used


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--pictures", type=int, default=240, help="Number of photographs.")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    limit_threads(1)
    models = args.data / "models"
    mtcnn = load_detector("mtcnn", max_side=None, min_face_px=24)
    yunet = load_detector("yunet", models / "yunet_n_640_640.onnx", max_side=None)
    judges = [load_detector("mtcnn"), yunet]
    photos = photographs(args.data, args.pictures, judges)
    candidates: list[Any] = [
        mtcnn,
        yunet,
        Shrunk(yunet, 0.67),
        Shrunk(yunet, 0.5),
        Retail(models, 1.0),
        Retail(models, 2.0),
    ]
    print(cpu(), f"{len(photos)} photographs", sep="; ", flush=True)
    rows: list[dict[str, Any]] = []
    for width in WIDTHS:
        pictures, start = [], 0
        while start < len(photos):
            canvas, truth, every, used = picture(photos[start:], width)
            pictures.append((canvas, truth, every))
            start += used
        found: dict[str, list[list[Detection]]] = {}
        spent: dict[str, float] = dict.fromkeys((candidate.name for candidate in candidates), 0.0)
        for candidate in candidates:
            candidate.detect([pictures[0][0]])
        for canvas, _, _ in pictures:
            for candidate in candidates:
                begin = process_time()
                found.setdefault(candidate.name, []).append(candidate.detect([canvas])[0])
                spent[candidate.name] += process_time() - begin
        pixels = len(pictures) * SIDE * SIDE / 1e6
        for name, pages in found.items():
            hits, errors, false, confidences = 0, [], 0, []
            for faces, (_, truth, every) in zip(pages, pictures, strict=True):
                for true in truth:
                    same = next((face for face in faces if same_face(face.box, true.box, SAME_IOU)), None)
                    if same is not None:
                        hits += 1
                        confidences.append(same.confidence)
                        apart = np.linalg.norm(same.landmarks - true.landmarks, axis=1).mean()
                        errors.append(100 * float(apart) / true.width)
                false += sum(not any(same_face(face.box, box, 0.1) for box in every) for face in faces)
            rows.append(
                {
                    "width": width,
                    "detector": name,
                    "recall": round(hits / len(photos), 3),
                    "landmark_error_percent": round(float(np.mean(errors)), 2) if errors else None,
                    "false_per_mpx": round(false / pixels, 2),
                    "ms_per_mpx": round(1000 * spent[name] / pixels, 1),
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    if args.json is not None:
        args.json.write_text(json.dumps({"cpu": cpu(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
