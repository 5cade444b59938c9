"""Reads weight files (safetensors, or torch files of tensors only) and builds networks from them.

Files of known other architectures are rejected by name, because loading their keys would fail with an obscure
error.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from facegate.errors import ModelError
from facegate.extras import TORCH_SUFFIXES
from facegate.scoring.families import builtin_card, card_names, check_readable
from facegate.scoring.network.architecture import Architecture
from facegate.scoring.network.vit import FaceViT

PREFIXES = ("module.", "net.", "model.", "backbone.")
"""Prefixes that training code leaves in front of every key."""
IGNORED = ("mask_token",)
"""Keys of some insightface files that are used in training only."""
FOREIGN = {
    "KP-RPE": ("kprpe", "rpe_", "rel_keys"),
    "iRPE": ("lookup_table_weight",),
    "Swin": ("relative_position_bias_table", "relative_coords_table", "layers.0.blocks"),
    "part-fViT": ("stn.", "landmarkcnn", "part_embed"),
}
"""Other architectures with the ViT's name, and parts of their keys."""


def build_network(arch: Architecture, path: Path) -> FaceViT:
    """Build the network of a weight file, in fp32.

    Raises:
        ModelError: unreadable, of another architecture, or weights that do not fit ``arch``.
    """
    state = read_weights(path)
    if not arch.keypoints and any(key.startswith("keypoint_linear") for key in state):
        raise ModelError(
            f"{path} is a KP-RPE model, whose attention uses landmarks: give it a card with 'keypoints: true', "
            "such as --model-card cvlface-vit-base-kprpe"
        )
    if arch.class_token and "pos_embed" in state:
        prefix = arch.prefix_tokens if arch.prefix_position else 0
        if state["pos_embed"].shape[1] != arch.grid**2 + prefix:
            from timm.layers.pos_embed import resample_abs_pos_embed  # imports in two seconds, and is rarely needed

            state["pos_embed"] = resample_abs_pos_embed(
                state["pos_embed"], [arch.grid, arch.grid], num_prefix_tokens=prefix
            )
    with torch.device("meta"):
        network = FaceViT(arch)
    try:
        network.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        raise ModelError(f"the weights of {path} do not fit their card: {' '.join(str(error).split())}") from error
    return network.float().eval().requires_grad_(False)


def fitting_cards(path: Path) -> list[str]:
    """Return the names of the cards whose shapes match a file's weights.

    Raises:
        ModelError: unreadable, or of another architecture.
    """
    found = {key: value.shape for key, value in read_weights(path).items()}
    fitting = []
    for name in card_names():
        with torch.device("meta"):
            state = FaceViT(builtin_card(name).architecture).state_dict()
        if found == {key: value.shape for key, value in state.items()}:
            fitting.append(name)
    return fitting


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the cleaned state dict.

    Raises:
        ModelError: unreadable, not a state dict of tensors, or of an architecture that is not supported.
    """
    state = _read_torch(path) if path.suffix in TORCH_SUFFIXES else _read_safetensors(path)
    for name, marks in FOREIGN.items():
        if any(mark in key.lower() for key in state for mark in marks):
            raise ModelError(f"{path} is a {name} model, an unsupported architecture: use a plain ViT checkpoint")
    return _cleaned(state)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    check_readable(path)
    try:
        with safe_open(str(path), "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} is not a readable safetensors file: {error}") from error


def _read_torch(path: Path) -> dict[str, Tensor]:
    check_readable(path)
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0][:160]
        raise ModelError(f"{path} is not a torch file of tensors only: {reason}") from error
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise ModelError(f"{path} has no state dict: save it with torch.save(model.state_dict(), ...)")
    return loaded


def _cleaned(state: dict[str, Tensor]) -> dict[str, Tensor]:
    changed = True
    while changed:
        changed = False
        for prefix in PREFIXES:
            if all(key.startswith(prefix) for key in state):
                state = {key.removeprefix(prefix): value for key, value in state.items()}
                changed = True
    return {key: value for key, value in state.items() if key not in IGNORED}
