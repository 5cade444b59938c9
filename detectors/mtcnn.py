"""The built-in detector: MTCNN (Zhang et al., arXiv 1604.02878), batched over images.

The weights arrive inside the ``mtcnn`` wheel (MIT) as joblib files, which are pickles; they are loaded only after
their SHA-256 matches the release this code was written against. That package's own TensorFlow code is not used.

Three small networks: P-Net proposes boxes on an image pyramid, R-Net rejects most, O-Net refines and adds the
landmarks. Coordinates follow the original 12-24-48 design, with a stride of two in P-Net.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import joblib
import numpy as np
from numpy.typing import NDArray

from facegate.cpu import threads
from facegate.detectors import face_window
from facegate.detectors.atlas import P_SIDE, Atlas, Tile, pack
from facegate.detectors.base import make_detection, same_face
from facegate.detectors.torch_free_graph import Network, build
from facegate.errors import ModelError
from facegate.inference.devices import Device
from facegate.pipeline.images import shrink, shrink_to
from facegate.pipeline.records import Box, Detection, Floats, Image, contiguous

SHA256 = {
    "pnet": "ea6b0c3e685ebee3165326ad6484acc95f2ef78f1c94fbf40a55704fa989f7b5",
    "rnet": "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee",
    "onet": "94f6ea2f4cf985275ee958cdd762d17b6009348a4fb9d8c6be39ba73ffd22ca3",
}
PYRAMID_STEP = 0.709
P_THRESHOLD, R_THRESHOLD, O_THRESHOLD = 0.6, 0.7, 0.7
SAME_IOU = 0.4
"""Overlap (IoU) above which two boxes are of one face."""
MAX_DRIFT = 0.8
"""Overlap (IoU) with its expected box below which a face is refined again at its new box."""
KNOWN_THRESHOLD = 0.5
"""O-Net score of a face near its expected place: known faces are not lost for a score that varies around 0.7."""
MIN_STAGE_SCORE = 0.1
"""O-Net score below which no face is near."""
OUTSIDE = (127.0, 127.0, 127.0)
"""Padding beyond the picture: zero input for these networks."""
P_WINDOW = np.array([0, 0, P_SIDE, P_SIDE], np.float32)
"""Receptive field of P-Net at each position."""
KNOWN_IOU = 0.3
"""Overlap (IoU) with a known face from which a proposal is not examined."""
MAX_PROPOSALS = 512
"""Per image, after P-Net: bounds the work that a noisy picture can cause."""

Owners = NDArray[np.int64]
"""``(K,)`` index of each box's image."""


def weights_directory() -> Path:
    """Return the directory of the weights inside the installed ``mtcnn`` package (which is not imported)."""
    spec = importlib.util.find_spec("mtcnn")
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            "the built-in detector needs the 'mtcnn' package for its weights: pip install mtcnn==1.0.0"
        )
    return Path(spec.submodule_search_locations[0]) / "assets" / "weights"


def load_weights(name: str, directory: Path) -> list[NDArray[np.float32]]:
    """Load one network's arrays after checking the file's SHA-256.

    Raises:
        ModelError: the file is missing or is not the pinned release.
    """
    path = directory / f"{name}.lz4"
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(
            f"cannot read {path}: reinstall with pip install --force-reinstall mtcnn==1.0.0"
        ) from error
    if digest != SHA256[name]:
        raise ModelError(f"{path} is not the pinned release (SHA-256 {digest[:12]}...): pip install mtcnn==1.0.0")
    arrays: list[NDArray[np.float32]] = joblib.load(path)
    return arrays


class MtcnnDetector:
    """MTCNN with landmarks; images of one size share every network call."""

    name = "mtcnn"

    def __init__(
        self,
        *,
        max_side: int | None = 640,
        min_face_px: int = 32,
        weights: Path | None = None,
        device: Device = "cpu",
    ) -> None:
        directory = weights or weights_directory()
        self._max_side = max_side
        self.smallest_px = float(min_face_px)
        graphs = (
            build(load_weights("pnet", directory), [(2, True), None, None], None),
            build(load_weights("rnet", directory), [(3, True), (3, False), None], 24),
            build(load_weights("onet", directory), [(3, True), (3, False), (2, True), None], 48),
        )
        self._pnet, self._rnet, self._onet = (Network(graph, threads(), device) for graph in graphs)

    def detect(
        self, images: Sequence[Image], known: Sequence[Sequence[Box]] | None = None
    ) -> list[list[Detection]]:
        """See :class:`facegate.detectors.base.Detector`."""
        results: list[list[Detection]] = [[] for _ in images]
        if not images:
            return results
        shrunk = [shrink_to(image, self._max_side) for image in images]
        group = [small for small, _ in shrunk]
        boxes, owner = self._propose(group)
        if known is not None and any(known):
            places = [(i, np.array(box) * shrunk[i][1]) for i, boxes in enumerate(known) for box in boxes]
            new = _apart(boxes, owner, np.array([i for i, _ in places]), np.stack([box for _, box in places]))
            boxes, owner = boxes[new], owner[new]
        boxes, owner = self._refine(group, boxes, owner)
        boxes, points, scores = self._finalize(group, boxes, owner)
        sure = np.flatnonzero(scores > O_THRESHOLD)
        for i in sure[_best(boxes[sure], scores[sure], owner[sure], SAME_IOU)].tolist():
            index = int(owner[i])
            scale, shape = shrunk[index][1], images[index].shape
            results[index].append(make_detection(boxes[i], float(scores[i]), points[i], scale, shape))
        return results

    def detect_near(
        self, images: Sequence[Image], expected: Sequence[Sequence[Box]]
    ) -> list[list[Detection | None]]:
        """See :class:`facegate.detectors.base.Detector`.

        O-Net only, and once more if the box has moved; if in doubt, a window around the placed box is searched.
        """
        shrunk = [shrink_to(image, self._max_side) for image in images]
        group = [small for small, _ in shrunk]
        places = [(i, box) for i, boxes in enumerate(expected) for box in boxes]
        owner = np.array([i for i, _ in places], np.int64)
        scales = np.array([scale for _, scale in shrunk], np.float32)[owner][:, None]
        placed = np.array([box for _, box in places], np.float32).reshape(-1, 4) * scales
        boxes, points, scores = self._finalize(group, _square(placed), owner)
        away = np.flatnonzero(_overlaps(boxes, placed) < MAX_DRIFT)
        boxes[away], points[away], scores[away] = self._finalize(group, _square(boxes[away]), owner[away])
        sure = np.flatnonzero(scores > KNOWN_THRESHOLD)
        kept = set(sure[_best(boxes[sure], scores[sure], owner[sure], SAME_IOU)].tolist())
        results: list[list[Detection | None]] = [[] for _ in images]
        for row, (i, box) in enumerate(places):
            found = None
            if row in kept:
                found = make_detection(boxes[row], float(scores[row]), points[row], shrunk[i][1], images[i].shape)
            if found is not None and not same_face(found.box, box):
                found = None
            if found is None and scores[row] > MIN_STAGE_SCORE:
                found = face_window.near(images[i], box, lambda part: self.detect([part])[0])
            results[i].append(found)
        return results

    def _propose(self, images: list[Image]) -> tuple[Floats, Owners]:
        """P-Net over the pyramids: return square boxes ``(K, 4)`` and their images ``(K,)``."""
        tiles: list[Tile] = []
        for index, image in enumerate(images):
            height, width = image.shape[:2]
            scale, level = 12.0 / self.smallest_px, image
            while min(height, width) * scale >= P_SIDE:
                size = (max(P_SIDE, round(width * scale)), max(P_SIDE, round(height * scale)))
                level = shrink(level, size)
                tiles.append(Tile(index, level, size[0] / width, size[1] / height))
                scale *= PYRAMID_STEP
        found = [self._propose_in(atlas) for atlas in pack(tiles)]
        if not found:
            return np.empty((0, 4), np.float32), np.empty(0, np.int64)
        box, score, owner = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
        keep = _best(box, score, owner, 0.7)
        keep = np.concatenate([keep[owner[keep] == i][:MAX_PROPOSALS] for i in range(len(images))])
        return _square(box[keep]), owner[keep]

    def _propose_in(self, atlas: Atlas) -> tuple[Floats, Floats, Owners]:
        """P-Net over one atlas: return boxes, scores and their images."""
        offset_map, logits = self._pnet([atlas.picture])
        row, column = np.nonzero(_probability(logits)[0] > P_THRESHOLD)
        tile = atlas.tile_at(column * 2, row * 2)
        row, column, tile = (values[tile >= 0] for values in (row, column, tile))
        corner = np.stack([column, row, column, row], 1).astype(np.float32) * 2 - atlas.corners[tile] + P_WINDOW
        box = (corner + offset_map[0, :, row, column] * 12) / atlas.scales[tile]
        score = _probability(logits)[0, row, column]
        keep = _best(box, score, tile, 0.5)
        return box[keep], score[keep], atlas.owners[tile[keep]]

    def _refine(self, images: list[Image], boxes: Floats, owner: Owners) -> tuple[Floats, Owners]:
        """R-Net: reject and adjust boxes."""
        if not len(boxes):
            return boxes, owner
        offsets, logits = self._rnet(_patches(images, boxes, owner, 24))
        score = _probability(logits)
        keep = np.flatnonzero(score > R_THRESHOLD)
        boxes, owner, score = boxes[keep], owner[keep], score[keep]
        boxes = boxes + offsets[keep] * _sizes(boxes)
        keep = _best(boxes, score, owner, 0.7)
        return _square(boxes[keep]), owner[keep]

    def _finalize(self, images: list[Image], boxes: Floats, owner: Owners) -> tuple[Floats, Floats, Floats]:
        """O-Net: return final boxes, landmarks ``(K, 5, 2)`` and scores, one of each per square box."""
        if not len(boxes):
            return boxes, np.empty((0, 5, 2), np.float32), np.empty(0, np.float32)
        offsets, marks, logits = self._onet(_patches(images, boxes, owner, 48))
        sizes = _sizes(boxes)
        x = marks[:, :5] * sizes[:, 0:1] + boxes[:, 0:1]
        y = marks[:, 5:] * sizes[:, 1:2] + boxes[:, 1:2]
        return boxes + offsets * sizes, np.stack([x, y], -1), _probability(logits)


def _sizes(boxes: Floats) -> Floats:
    return np.tile(boxes[:, 2:] - boxes[:, :2], 2)


def _square(boxes: Floats) -> Floats:
    """Grow boxes to squares around their centers."""
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True, initial=0) / 2
    return np.concatenate([center - half, center + half], 1)


def _best(boxes: Floats, scores: Floats, owner: Owners, iou: float) -> NDArray[np.int64]:
    """Non-maximum suppression per image: return the indices of the boxes kept, best first."""
    places: Any = boxes.astype(np.float64)
    places[:, 2:] -= places[:, :2]
    sure: Any = scores
    of: Any = owner.astype(np.int32)
    found = np.asarray(cv2.dnn.NMSBoxesBatched(places, sure, of, 0.0, iou), np.int64).reshape(-1)
    return found[np.argsort(-scores[found], kind="stable")]


def _apart(boxes: Floats, owner: Owners, known_owner: Owners, known: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which boxes are not of a known face of the same image."""
    size = np.minimum(boxes[:, None, 2:], known[None, :, 2:]) - np.maximum(boxes[:, None, :2], known[None, :, :2])
    common = np.clip(size, 0, None).prod(2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)[:, None] + (known[:, 2:] - known[:, :2]).prod(1)[None]
    same = (common > KNOWN_IOU * (areas - common)) & (owner[:, None] == known_owner[None])
    apart: NDArray[np.bool_] = ~same.any(1)
    return apart


def _overlaps(a: Floats, b: Floats) -> Floats:
    """Intersection over union of boxes, row by row."""
    size = np.clip(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0, None)
    common = size.prod(1)
    areas = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1)
    overlaps: Floats = common / np.maximum(areas - common, 1e-6)
    return overlaps


def _patches(images: list[Image], boxes: Floats, owner: Owners, size: int) -> list[Image]:
    """Cut and resample each box to ``size``; four bilinear samples per cell keep large faces from aliasing."""
    patches: list[Image] = []
    for (x1, y1, x2, y2), image in zip(boxes.tolist(), owner.tolist(), strict=True):
        step_x, step_y = (x2 - x1) / (2 * size), (y2 - y1) / (2 * size)
        # A pixel's center sits at +0.5, and so does a sample's.
        place = np.array([[step_x, 0, x1 + step_x / 2 - 0.5], [0, step_y, y1 + step_y / 2 - 0.5]])
        samples = cv2.warpAffine(
            images[image],
            place,
            (2 * size, 2 * size),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderValue=OUTSIDE,
        )
        patches.append(contiguous(cv2.resize(samples, (size, size), interpolation=cv2.INTER_AREA)))
    return patches


def _probability(logits: Floats) -> Floats:
    """Probability of a face from the two logits along the second axis."""
    found: Floats = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    return found
