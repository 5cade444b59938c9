"""What a checkpoint is: model cards, and strict loading of weights into a :class:`FaceViT`.

A model is an architecture, weights and a card that travels with them. A safetensors file whose metadata carry the
architecture's numbers is its own card.
"""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import torch
from torch import Tensor

from facegate.errors import ModelError
from facegate.scoring.checkpoints import read_weights
from facegate.scoring.network.architecture import Architecture
from facegate.scoring.network.vit import FaceViT

DEFAULT_MODEL = "facegate-mobile-s"
"""The model that ships: gates score with it where nothing else is asked for, and it is the built-in recogniser."""
Quality = Literal["vitnt", "attention", "norm", "estimate"]
QUALITIES: tuple[Quality, ...] = get_args(Quality)
Table = tuple[tuple[float, float], ...]
ARCHITECTURE_KEYS = ("patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio")

FACE_MEAN = (0.5, 0.5, 0.5)
"""Face recognisers normalise with (pixel / 255 - 0.5) / 0.5."""


class ModelCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything needed to use a set of weights, and what they may be used for."""

    name: str
    architecture: Architecture
    blocks: tuple[int, ...]
    """Scored blocks, increasing, 0-based."""
    calibration: dict[Quality, Table]
    """For each number that may stand for quality, a monotone table raw -> 0..100."""
    calibration_version: str
    quality: Quality = "vitnt"
    """The number that stands for quality: ``vitnt`` (ViTNT-FIQA), ``attention`` (ATTN-FIQA), ``norm`` (of the
    embedding) or ``estimate`` (read from the tokens by a small head)."""
    fusion: tuple[float, ...] = ()
    """How the architecture's estimates add up to one number."""
    spread: tuple[float, ...] = ()
    """Mean squared step of each token dimension, for the ``mahalanobis`` distance."""
    people: tuple[float, float] | None = None
    """Cosines of the embedding: below the first, two faces of a track are different people; from the second on, two
    faces of different tracks are the same person. ``None``: the embedding does not tell people apart."""
    bf16: bool = True
    """Whether scores and embeddings in bf16 agree with fp32's (``scoring.choice``); else ``auto`` takes another."""
    mean: tuple[float, float, float] = FACE_MEAN
    std: tuple[float, float, float] = FACE_MEAN
    alpha: float = 8.0
    licence: str = "unknown"
    source: str = ""
    note: str = ""
    hub: str = ""
    """Repository on the Hugging Face hub from which ``facegate models pull`` gets the weights."""
    sha256: str = ""
    """Of the weight file, where known."""


IDENTITY: Table = ((0.0, 0.0), (1.0, 100.0))
"""Raw score in percent: what an uncalibrated model has."""

CARD_KEY = "facegate_card"
"""Metadata key under which a safetensors file of our own carries its card as JSON."""


def decode_embedded(text: str, where: str) -> ModelCard:
    """Read a card from a file's metadata.

    Raises:
        ModelError: it is not valid.
    """
    try:
        return msgspec.json.decode(text, type=ModelCard)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"the card inside {where} is not valid: {error}") from error


def builtin_card(name: str) -> ModelCard:
    """Read a card that ships with the package.

    Raises:
        ModelError: there is no such card.
    """
    path = resources.files("facegate.scoring") / "cards" / f"{name}.yaml"
    if not path.is_file():
        raise ModelError(
            f"no model card named '{name}': choose one of {', '.join(card_names())}, or give a YAML file"
        )
    return _decode_card(path.read_bytes(), str(path))


def _decode_card(content: bytes, where: str) -> ModelCard:
    try:
        return msgspec.yaml.decode(content, type=ModelCard)
    except msgspec.DecodeError as error:
        raise ModelError(f"model card {where} is not valid: {error}") from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_shipped() -> tuple[FaceViT, ModelCard]:
    """Load :data:`DEFAULT_MODEL`, and its card.

    Raises:
        ModelError: its weights are missing, or not those that the card describes.
    """
    path = Path(str(resources.files("facegate.scoring") / "models" / f"{DEFAULT_MODEL}.safetensors"))
    card = builtin_card(DEFAULT_MODEL)
    if not path.is_file():
        raise ModelError(f"the model that ships with facegate is not at {path}: install facegate again")
    digest = file_sha256(path)
    if digest != card.sha256:
        raise ModelError(
            f"{path} is not the model that its card describes (SHA-256 {digest}): install facegate again"
        )
    state, _ = read_weights(path)
    return _build(card.architecture, state, DEFAULT_MODEL), card


def load_file(path: Path, card_name: str | None = None) -> tuple[FaceViT, ModelCard]:
    """Load a weight file.

    Args:
        path: ``.safetensors``, or a torch file that holds tensors alone (``.pt``, ``.pth``, ``.bin``).
        card_name: a card of this package, or a YAML file. A safetensors file whose metadata carry its card or its
            architecture needs none.

    Raises:
        ModelError: unreadable, of another architecture, without a card, or weights that do not fit their card.
    """
    state, metadata = read_weights(path)
    if card_name is not None:
        card = read_card(card_name)
    elif CARD_KEY in metadata:
        card = decode_embedded(metadata[CARD_KEY], str(path))
    elif all(key in metadata for key in ARCHITECTURE_KEYS):
        card = _own_card(path, metadata)
    else:
        raise ModelError(
            f"{path} does not say its architecture, and head counts cannot be read from weights: {_hint(state)}"
        )
    arch = card.architecture
    if arch.class_token and "pos_embed" in state:
        prefix = arch.prefix_tokens if arch.prefix_position else 0
        if state["pos_embed"].shape[1] != arch.grid**2 + prefix:
            from timm.layers.pos_embed import resample_abs_pos_embed  # two seconds, and seldom needed

            state["pos_embed"] = resample_abs_pos_embed(
                state["pos_embed"], [arch.grid, arch.grid], num_prefix_tokens=prefix
            )
    return _build(arch, state, str(path)), card


def read_card(name: str) -> ModelCard:
    """Read a card of this package by name, or from a YAML file.

    Raises:
        ModelError: there is none, or it is not valid.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        try:
            return _decode_card(path.read_bytes(), name)
        except OSError as error:
            raise ModelError(
                f"cannot read model card {path}: {(error.strerror or 'unknown error').lower()}"
            ) from error
    return builtin_card(name)


def card_names() -> list[str]:
    """Names of the cards that ship with the package."""
    files = (resources.files("facegate.scoring") / "cards").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def _own_card(path: Path, metadata: dict[str, str]) -> ModelCard:
    try:
        arch = Architecture(
            patch_size=int(metadata["patch_size"]),
            embed_dim=int(metadata["embed_dim"]),
            depth=int(metadata["depth"]),
            num_heads=int(metadata["num_heads"]),
            mlp_ratio=float(metadata["mlp_ratio"]),
            img_size=int(metadata.get("img_size", 112)),
            embedding_dim=int(metadata.get("num_classes", 512)),
        )
    except ValueError as error:
        raise ModelError(f"{path} carries an architecture that is not numbers: {error}") from error
    return ModelCard(
        name=path.stem,
        architecture=arch,
        blocks=tuple(range(arch.depth)),
        calibration={"vitnt": IDENTITY},
        calibration_version="identity",
    )


def _hint(state: dict[str, Tensor]) -> str:
    """Name the cards whose shapes fit the weights."""
    fitting = []
    for name in card_names():
        with torch.device("meta"):
            shapes = {
                key: value.shape for key, value in FaceViT(builtin_card(name).architecture).state_dict().items()
            }
        if shapes == {key: value.shape for key, value in state.items()}:
            fitting.append(name)
    if fitting:
        return f"its shapes fit --model-card {' or --model-card '.join(fitting)}"
    return f"give its card as YAML, or one of {', '.join(card_names())}"


def _build(arch: Architecture, state: dict[str, Tensor], where: str) -> FaceViT:
    with torch.device("meta"):
        network = FaceViT(arch)
    try:
        incompatible: Any = network.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        raise ModelError(f"the weights of {where} do not fit their card: {' '.join(str(error).split())}") from error
    del incompatible
    return network.float().eval().requires_grad_(False)
