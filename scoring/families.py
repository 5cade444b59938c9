"""What a checkpoint is: model cards, and strict loading of weights into a :class:`FaceViT`.

A model is an architecture, weights and a card that travels with them. A safetensors file whose metadata carry the
architecture's numbers is its own card.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from facegate.errors import ModelError
from facegate.scoring.packed import unpack
from facegate.scoring.vit import Architecture, FaceViT

DEFAULT_MODEL = "dinov2-vits14"

FACE_MEAN = (0.5, 0.5, 0.5)
"""Face recognisers normalise with (pixel / 255 - 0.5) / 0.5."""


class ModelCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything needed to use a set of weights, and what they may be used for."""

    name: str
    architecture: Architecture
    blocks: tuple[int, ...]
    """Scored blocks, increasing, 0-based."""
    calibration: tuple[tuple[float, float], ...]
    """Monotone table raw -> quality 0..100."""
    calibration_version: str
    mean: tuple[float, float, float] = FACE_MEAN
    std: tuple[float, float, float] = FACE_MEAN
    alpha: float = 8.0
    licence: str = "unknown"
    source: str = ""
    note: str = ""


CARD_KEY = "facegate_card"
"""Metadata key under which a safetensors file of our own carries its card as JSON."""


def decode_embedded(text: str, where: str) -> ModelCard:
    """Read a card from a file's metadata.

    Raises:
        ModelError: it is not valid.
    """
    try:
        return msgspec.json.decode(text, type=ModelCard)
    except msgspec.DecodeError as error:
        raise ModelError(f"the card inside {where} is not valid: {error}") from error


def builtin_card(name: str) -> ModelCard:
    """Read a card that ships with the package.

    Raises:
        ModelError: there is no such card.
    """
    path = resources.files("facegate.scoring") / "cards" / f"{name}.yaml"
    if not path.is_file():
        raise ModelError(f"no model card named '{name}' in this package: give a .safetensors file")
    return _decode_card(path.read_bytes(), str(path))


def _decode_card(content: bytes, where: str) -> ModelCard:
    try:
        return msgspec.yaml.decode(content, type=ModelCard)
    except msgspec.DecodeError as error:
        raise ModelError(f"model card {where} is not valid: {error}") from error


def load_builtin() -> tuple[FaceViT, ModelCard]:
    """Load the default network and its card.

    Raises:
        ModelError: its weights are not on this machine; the message says how to get them.
    """
    from facegate.training.dinov2_start import load_start_state

    card = builtin_card(DEFAULT_MODEL)
    return _build(card.architecture, load_start_state(card.architecture), DEFAULT_MODEL), card


def load_file(path: Path) -> tuple[FaceViT, ModelCard]:
    """Load a safetensors file that carries its card, or at least its architecture, in its metadata.

    Raises:
        ModelError: not a safetensors file, incomplete metadata, or weights that do not fit.
    """
    try:
        with safe_open(str(path), "pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} is not a readable safetensors file: {error}") from error
    if CARD_KEY in metadata:
        card = decode_embedded(metadata[CARD_KEY], str(path))
        return _build(card.architecture, unpack(state), str(path)), card
    needed = ("patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio")
    missing = [key for key in needed if key not in metadata]
    if missing:
        raise ModelError(f"{path} has no {', '.join(missing)} in its metadata: head counts cannot be guessed")
    arch = Architecture(
        patch_size=int(metadata["patch_size"]),
        embed_dim=int(metadata["embed_dim"]),
        depth=int(metadata["depth"]),
        num_heads=int(metadata["num_heads"]),
        mlp_ratio=float(metadata["mlp_ratio"]),
        img_size=int(metadata.get("img_size", 112)),
        embedding_dim=int(metadata.get("num_classes", 512)),
    )
    card = ModelCard(
        name=path.stem,
        architecture=arch,
        blocks=tuple(range(arch.depth)),
        calibration=((0.0, 0.0), (1.0, 100.0)),
        calibration_version="identity",
    )
    return _build(arch, state, str(path)), card


def _build(arch: Architecture, state: dict[str, Tensor], where: str) -> FaceViT:
    with torch.device("meta"):
        network = FaceViT(arch)
    try:
        incompatible: Any = network.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        raise ModelError(f"the weights of {where} do not fit their card: {' '.join(str(error).split())}") from error
    del incompatible
    return network.eval().requires_grad_(False)
