"""Reading weight files: safetensors, or torch files with nothing but tensors, cleaned to our parameter names.

Files of other architectures are refused by name, because their keys would otherwise fail with a riddle.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from facegate.errors import ModelError

PREFIXES = ("module.", "net.", "model.", "backbone.")
"""Wrappers that training code leaves in front of every key."""
IGNORED = ("mask_token",)
"""Present in some insightface files, used in their training only."""
FOREIGN = {
    "KP-RPE": ("kprpe", "rpe_", "keypoint_linear", "rel_keys"),
    "iRPE": ("lookup_table_weight",),
    "Swin": ("relative_position_bias_table", "relative_coords_table", "layers.0.blocks"),
    "part-fViT": ("stn.", "landmarkcnn", "part_embed"),
}
"""Architectures that share the ViT's name but not its design, and pieces of their keys."""


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the cleaned state dict and the metadata (empty for torch files).

    Raises:
        ModelError: unreadable, not a state dict of tensors, or of an architecture that is not supported.
    """
    metadata: dict[str, str] = {}
    if path.suffix in (".pt", ".pth", ".bin"):
        state = _read_torch(path)
    else:
        state, metadata = _read_safetensors(path)
    for name, marks in FOREIGN.items():
        if any(mark in key.lower() for key in state for mark in marks):
            raise ModelError(f"{path} is a {name} model, which is another architecture: use a plain ViT checkpoint")
    return _cleaned(state), metadata


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(str(path), "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} is not a readable safetensors file: {error}") from error


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0][:160]
        raise ModelError(f"{path} is not a torch file that holds tensors alone: {reason}") from error
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise ModelError(f"{path} holds no state dict: save it with torch.save(model.state_dict(), ...)")
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
