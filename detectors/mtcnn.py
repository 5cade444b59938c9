"""The built-in detector: MTCNN (Zhang et al., arXiv 1604.02878) in torch, batched over images.

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
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.ops import batched_nms, roi_align

from facegate.detectors.base import make_detection, shrink_to
from facegate.errors import ModelError
from facegate.pipeline.records import Detection, Image

SHA256 = {
    "pnet": "ea6b0c3e685ebee3165326ad6484acc95f2ef78f1c94fbf40a55704fa989f7b5",
    "rnet": "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee",
    "onet": "94f6ea2f4cf985275ee958cdd762d17b6009348a4fb9d8c6be39ba73ffd22ca3",
}
PYRAMID_STEP = 0.709
P_THRESHOLD, R_THRESHOLD, O_THRESHOLD = 0.6, 0.7, 0.7
MAX_PROPOSALS = 512
"""Per image, after P-Net: bounds the work that a noisy picture can cause."""


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


class _Net(nn.Module):
    """Convolutions with PReLU and pooling, then fully connected heads; layer sizes come from the weights."""

    def __init__(self, arrays: list[NDArray[np.float32]], pools: Sequence[tuple[int, bool] | None]) -> None:
        super().__init__()
        self._pools = list(pools)
        self.convs = nn.ModuleList()
        self.prelus = nn.ModuleList()
        index = 0
        for _ in pools:
            kernel = torch.from_numpy(np.array(arrays[index])).permute(3, 2, 0, 1).contiguous()
            conv = nn.Conv2d(kernel.shape[1], kernel.shape[0], tuple(kernel.shape[2:]))  # type: ignore[arg-type]
            conv.weight, conv.bias = (
                nn.Parameter(kernel),
                nn.Parameter(torch.from_numpy(np.array(arrays[index + 1]))),
            )
            self.convs.append(conv)
            self.prelus.append(_prelu(arrays[index + 2]))
            index += 3
        self.hidden: nn.Linear | None = None
        if arrays[index].ndim == 2:
            self.hidden = _linear(arrays[index], arrays[index + 1])
            self.hidden_prelu = _prelu(arrays[index + 2])
            index += 3
        self.heads = nn.ModuleList(
            _linear(arrays[i].reshape(-1, arrays[i].shape[-1]), arrays[i + 1]) for i in range(index, len(arrays), 2)
        )
        self.requires_grad_(False)
        # Pooling is several times quicker with a pixel's channels side by side.
        self.to(memory_format=torch.channels_last)

    def features(self, x: Tensor) -> Tensor:
        """What the heads read: ``(N, H, W, C)``, or ``(N, C)`` where there is a hidden layer."""
        for conv, prelu, pool in zip(self.convs, self.prelus, self._pools, strict=True):
            x = prelu(conv(x))
            if pool is not None:
                size, pad = pool
                x = _max_pool(_max_pool(x, 2, size, pad), 3, size, pad)
        if self.hidden is None:
            return x.permute(0, 2, 3, 1)
        # The original flattens column-major (width first), so the dense weights expect that order.
        hidden: Tensor = self.hidden_prelu(self.hidden(x.permute(0, 3, 2, 1).flatten(1)))
        return hidden

    def probability(self, features: Tensor) -> Tensor:
        """Of a face, from the last head's two logits."""
        head = self.heads[-1]
        assert isinstance(head, nn.Linear)
        difference = F.linear(features, head.weight[1:] - head.weight[:1], head.bias[1:] - head.bias[:1])
        return difference[..., 0].sigmoid_()


def _max_pool(x: Tensor, axis: int, size: int, pad: bool) -> Tensor:
    """Maximum over ``size`` neighbours along one axis, every second place; quicker than torch's own on a CPU."""
    length = x.shape[axis]
    places = ((length - size + 1) // 2 if pad else (length - size) // 2) + 1
    step = [slice(None)] * 4
    best: Tensor | None = None
    for first in range(size):
        step[axis] = slice(first, min(first + 2 * places - 1, length), 2)
        part = x[tuple(step)]
        if best is None:
            best = part.clone()
        else:
            reached = best.narrow(axis, 0, part.shape[axis])
            torch.maximum(reached, part, out=reached)
    assert best is not None
    return best


def _linear(weight: NDArray[np.float32], bias: NDArray[np.float32]) -> nn.Linear:
    layer = nn.Linear(weight.shape[0], weight.shape[1])
    layer.weight = nn.Parameter(torch.from_numpy(np.array(weight.T)))
    layer.bias = nn.Parameter(torch.from_numpy(np.array(bias)))
    return layer


def _prelu(slope: NDArray[np.float32]) -> nn.PReLU:
    layer = nn.PReLU(slope.size)
    layer.weight = nn.Parameter(torch.from_numpy(np.array(slope).reshape(-1)))
    return layer


class MtcnnDetector:
    """MTCNN with landmarks; images of one size share every network call."""

    name = "mtcnn"

    def __init__(self, *, max_side: int = 640, min_face_px: int = 32, weights: Path | None = None) -> None:
        directory = weights or weights_directory()
        self._max_side = max_side
        self._min_face_px = min_face_px
        self._pnet = _Net(load_weights("pnet", directory), [(2, True), None, None])
        self._rnet = _Net(load_weights("rnet", directory), [(3, True), (3, False), None])
        self._onet = _Net(load_weights("onet", directory), [(3, True), (3, False), (2, True), None])

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        """See :class:`facegate.detectors.base.Detector`."""
        results: list[list[Detection]] = [[] for _ in images]
        shrunk = [shrink_to(image, self._max_side) for image in images]
        by_size: dict[tuple[int, ...], list[int]] = {}
        for index, (small, _) in enumerate(shrunk):
            by_size.setdefault(small.shape, []).append(index)
        for indices in by_size.values():
            rows = self._detect_same_size([shrunk[i][0] for i in indices])
            for index, found in zip(indices, rows, strict=True):
                scale, shape = shrunk[index][1], images[index].shape
                results[index] = [make_detection(box, score, points, scale, shape) for box, score, points in found]
        return results

    @torch.inference_mode()
    def _detect_same_size(self, images: list[Image]) -> list[list[tuple[Any, float, Any]]]:
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().sub_(127.5).div_(128.0)
        boxes, owner = self._propose(images)
        if len(boxes):
            boxes, owner = self._refine(batch, boxes, owner)
        if not len(boxes):
            return [[] for _ in images]
        final, points, scores, owner = self._finish(batch, boxes, owner)
        order = scores.argsort(descending=True)
        results: list[list[tuple[Any, float, Any]]] = [[] for _ in images]
        for i in order.tolist():
            results[int(owner[i])].append((final[i].numpy(), float(scores[i]), points[i].numpy()))
        return results

    def _propose(self, images: list[Image]) -> tuple[Tensor, Tensor]:
        """P-Net over the pyramid: square boxes ``(K, 4)`` and the image each belongs to ``(K,)``."""
        height, width = images[0].shape[:2]
        scale = 12.0 / self._min_face_px
        boxes, scores, owners, levels = [], [], [], 0
        while min(height, width) * scale >= 12:
            size = (max(12, round(width * scale)), max(12, round(height * scale)))
            level = np.stack([cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in images])
            x = torch.from_numpy(level).permute(0, 3, 1, 2).float().sub_(127.5).div_(128.0)
            features = self._pnet.features(x)
            probability = self._pnet.probability(features)
            owner, row, column = torch.nonzero(probability > P_THRESHOLD, as_tuple=True)
            score = probability[owner, row, column]
            offsets = self._pnet.heads[0](features[owner, row, column])
            corner = torch.stack([column, row, column, row], 1) * 2.0 + torch.tensor([0.0, 0.0, 12.0, 12.0])
            box = (corner + offsets * 12.0) / torch.tensor([size[0] / width, size[1] / height] * 2)
            keep = batched_nms(box, score, owner, 0.5)
            boxes.append(box[keep])
            scores.append(score[keep])
            owners.append(owner[keep])
            scale *= PYRAMID_STEP
            levels += 1
        if not levels:
            return torch.empty(0, 4), torch.empty(0, dtype=torch.long)
        box, score, owner = torch.cat(boxes), torch.cat(scores), torch.cat(owners)
        keep = batched_nms(box, score, owner, 0.7)
        keep = torch.cat([keep[owner[keep] == i][:MAX_PROPOSALS] for i in range(len(images))])
        return _square(box[keep]), owner[keep]

    def _refine(self, batch: Tensor, boxes: Tensor, owner: Tensor) -> tuple[Tensor, Tensor]:
        """R-Net: reject and adjust."""
        features = self._rnet.features(_patches(batch, boxes, owner, 24))
        score = self._rnet.probability(features)
        keep = torch.nonzero(score > R_THRESHOLD)[:, 0]
        boxes, owner, score = boxes[keep], owner[keep], score[keep]
        boxes = boxes + self._rnet.heads[0](features[keep]) * _sizes(boxes)
        keep = batched_nms(boxes, score, owner, 0.7)
        return _square(boxes[keep]), owner[keep]

    def _finish(self, batch: Tensor, boxes: Tensor, owner: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """O-Net: final boxes, ``(K, 5, 2)`` landmarks, scores and owners."""
        features = self._onet.features(_patches(batch, boxes, owner, 48))
        score = self._onet.probability(features)
        offsets, marks = (head(features) for head in list(self._onet.heads)[:2])
        sizes = _sizes(boxes)
        points = torch.stack(
            [
                marks[:, :5] * sizes[:, 0:1] + boxes[:, 0:1],
                marks[:, 5:] * sizes[:, 1:2] + boxes[:, 1:2],
            ],
            -1,
        )
        boxes = boxes + offsets * sizes
        keep = torch.nonzero(score > O_THRESHOLD)[:, 0]
        keep = keep[batched_nms(boxes[keep], score[keep], owner[keep], 0.4)]
        return boxes[keep], points[keep], score[keep], owner[keep]


def _sizes(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)


def _square(boxes: Tensor) -> Tensor:
    """Grow boxes to squares around their centres."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).amax(1, keepdim=True) / 2
    return torch.cat([centre - half, centre + half], 1)


def _patches(batch: Tensor, boxes: Tensor, owner: Tensor, size: int) -> Tensor:
    """Cut and resample each box to ``size``; four bilinear samples per cell keep large faces from aliasing."""
    rois = torch.cat([owner[:, None].float(), boxes], 1)
    patches: Tensor = roi_align(batch, rois, (size, size), sampling_ratio=2, aligned=True)
    return patches.contiguous(memory_format=torch.channels_last)
