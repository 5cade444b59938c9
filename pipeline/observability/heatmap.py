"""Patch qualities of a face as a heat map."""

from __future__ import annotations

import cv2
import numpy as np

from facegate.pipeline.records import Floats, Image

HEATMAP_SCALE = 4


def heatmap(crop: Image, patches: Floats) -> Image:
    """Return the crop next to its patch qualities, from blue (the crop's lowest) to red (its highest)."""
    side = crop.shape[0] * HEATMAP_SCALE
    large = cv2.resize(crop, (side, side), interpolation=cv2.INTER_CUBIC)
    grid = round(len(patches) ** 0.5)
    low, high = float(patches.min()), float(patches.max())
    scaled = (patches.reshape(grid, grid) - low) / max(high - low, 1e-12)
    colors = cv2.applyColorMap(np.rint(scaled * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    colors = cv2.cvtColor(colors, cv2.COLOR_BGR2RGB)
    blocks = cv2.resize(colors, (side, side), interpolation=cv2.INTER_NEAREST)
    blended = cv2.addWeighted(large, 0.45, blocks, 0.55, 0)
    return np.hstack([large, np.full((side, 8, 3), 255, dtype=np.uint8), blended]).astype(np.uint8)
