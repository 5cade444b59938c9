"""Loads a model by name or weight file; torch is imported only when the network itself is needed."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from facegate.errors import ModelError, os_errors
from facegate.extras import TORCH_SUFFIXES, require
from facegate.scoring.families import (
    ARCHITECTURE_KEYS,
    CARD_KEY,
    DEFAULT_MODEL,
    IDENTITY,
    Model,
    ModelCard,
    builtin_card,
    card_names,
    check_readable,
    decode_embedded,
    file_sha256,
    read_card,
)
from facegate.scoring.network.architecture import Architecture

if TYPE_CHECKING:
    from facegate.scoring.network.vit import FaceViT


def load_shipped(name: str = DEFAULT_MODEL) -> Model:
    """Load one of :data:`~facegate.scoring.families.SHIPPED_MODELS` and its card.

    Raises:
        ModelError: its weights are missing or do not match the card.
    """
    path = Path(str(resources.files("facegate.scoring") / "models" / f"{name}.safetensors"))
    card = builtin_card(name)
    if not path.is_file():
        raise ModelError(f"the built-in model '{name}' is missing at {path}: reinstall facegate")
    digest = file_sha256(path)
    if digest != card.sha256:
        raise ModelError(f"{path} does not match its model card (SHA-256 {digest}): reinstall facegate")
    return _model(card, path, digest)


def load_file(path: Path, card_name: str | None = None) -> Model:
    """Load a weight file's model.

    Args:
        path: ``.safetensors``, or a torch file of tensors only (``.pt``, ``.pth``, ``.bin``).
        card_name: a built-in card, or a YAML file. A safetensors file whose metadata contain its card or its
            architecture needs none.

    Raises:
        ModelError: unreadable, or without a card; its ``network`` raises where the weights do not fit.
    """
    if path.suffix in TORCH_SUFFIXES:
        require("torch", str(path))
    check_readable(path)
    metadata = {} if path.suffix in TORCH_SUFFIXES else _metadata(path)
    if card_name is not None:
        card = read_card(card_name)
    elif CARD_KEY in metadata:
        card = decode_embedded(metadata[CARD_KEY], str(path))
    elif all(key in metadata for key in ARCHITECTURE_KEYS):
        card = _own_card(path, metadata)
    else:
        require("torch", f"{path} without a model card")
        from facegate.scoring.checkpoints import fitting_cards

        fitting = fitting_cards(path)
        raise ModelError(
            f"{path} does not contain its architecture, and head counts cannot be inferred from weights: "
            + (
                f"its shapes match --model-card {' or --model-card '.join(fitting)}"
                if fitting
                else f"give its card as YAML, or one of {', '.join(card_names())}"
            )
        )
    with os_errors(ModelError, f"cannot read {path}"):
        return _model(card, path, file_sha256(path))


def _model(card: ModelCard, path: Path, digest: str) -> Model:
    def build() -> FaceViT:
        require("torch", f"model '{card.name}'")
        from facegate.scoring.checkpoints import build_network

        return build_network(card.architecture, path)

    return Model(card, path, digest[:16], build)


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(str(path), "np") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} is not a readable safetensors file: {error}") from error


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
        raise ModelError(f"the metadata of {path} contain an invalid architecture: {error}") from error
    return ModelCard(
        name=path.stem,
        architecture=arch,
        blocks=tuple(range(arch.depth)),
        calibration={"vitnt": IDENTITY},
        calibration_version="identity",
    )
