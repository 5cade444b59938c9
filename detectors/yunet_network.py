"""YuNet's network in a session of ours, for the devices that OpenCV's ``FaceDetectorYN`` does not know.

Gives what ``FaceDetectorYN`` gives for the same file, within rounding.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from facegate.cpu import threads
from facegate.errors import ModelError
from facegate.inference.devices import Device
from facegate.inference.onnx_format import with_any_size
from facegate.inference.session import session
from facegate.pipeline.records import Floats, Image

STRIDES = (8, 16, 32)
SIDE = 32
"""Height and width of the network's input are multiples of this many pixels."""
OUTPUTS = tuple(f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in STRIDES)


class YuNetNetwork:
    """Runs YuNet on one picture at a time."""

    def __init__(self, path: Path, device: Device, min_confidence: float, max_iou: float) -> None:
        """Load.

        Raises:
            ModelError: the file is not YuNet's.
        """
        self._min_confidence, self._max_iou = min_confidence, max_iou
        try:
            graph = with_any_size(path.read_bytes())
        except (OSError, ValueError) as error:
            raise ModelError(f"{path} is not a YuNet ONNX file ({error}): give another file") from error
        self._session = session(graph, threads(), device)
        self._input = self._session.get_inputs()[0].name

    def detect(self, image: Image) -> Floats:
        """Return rows ``(N, 15)`` of an RGB image, in its pixels: x, y, width, height, ten of landmarks, score."""
        height, width = image.shape[:2]
        down, right = -height % SIDE, -width % SIDE
        bgr = cv2.copyMakeBorder(image[:, :, ::-1], 0, down, 0, right, cv2.BORDER_CONSTANT, value=0)
        tensor = np.ascontiguousarray(bgr.transpose(2, 0, 1)[None], dtype=np.float32)
        found = dict(zip(OUTPUTS, self._session.run(OUTPUTS, {self._input: tensor}), strict=True))
        rows = np.concatenate([_rows(found, stride, (width + right) // stride) for stride in STRIDES])
        rows = rows[rows[:, 14] >= self._min_confidence]
        boxes, scores = rows[:, :4].astype(np.float64), rows[:, 14].astype(np.float32)
        kept = cv2.dnn.NMSBoxes(boxes, scores, self._min_confidence, self._max_iou)  # type: ignore[arg-type]
        chosen: Floats = rows[np.asarray(kept, np.int64).reshape(-1)]
        return chosen


def _rows(found: dict[str, Floats], stride: int, columns: int) -> Floats:
    """Decode the outputs of one stride: offsets are in strides from a cell's corner, sizes are logarithms."""
    chance, object_chance, box, points = (found[f"{kind}_{stride}"][0] for kind in ("cls", "obj", "bbox", "kps"))
    cell = np.arange(len(chance))
    corner = np.stack([cell % columns, cell // columns], 1).astype(np.float32)
    score = np.sqrt(np.clip(chance, 0, 1) * np.clip(object_chance, 0, 1))
    size = np.exp(box[:, 2:]) * stride
    center = (corner + box[:, :2]) * stride
    marks = (np.tile(corner, 5) + points) * stride
    rows: Floats = np.concatenate([center - size / 2, size, marks, score], 1).astype(np.float32)
    return rows
