"""The default model's graph without torch: its structure ships, its weights come from the weight file.

``make graph`` writes the structure: an ONNX graph without initializers, and a list of where
each initializer comes from. Weights of the same architecture, trained later, need no new structure.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from facegate.inference.onnx_format import constant, constants_only
from facegate.scoring.families import ModelCard, Quality, Table
from facegate.scoring.network.architecture import Architecture, ScoreSettings
from facegate.scoring.score_reading import ScoreReading

GRAPH, STRUCTURE = "graph.onnx", "graph.json"
"""File names in ``scoring/models``: the graph without initializers, and a :class:`Structure`."""


class Initializer(msgspec.Struct, frozen=True):
    """An initializer of the graph, and the tensor of the weight file that it is."""

    name: str
    tensor: str
    shape: tuple[int, ...]
    transposed: bool = False


class Structure(msgspec.Struct, frozen=True):
    """What the nodes of the graph depend on, and its initializers."""

    architecture: Architecture
    settings: ScoreSettings
    quality: Quality
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    lowest: float
    """First quality of the calibration table."""
    initializers: tuple[Initializer, ...]

    def fits(self, reading: ScoreReading) -> bool:
        """Whether the graph computes what ``reading`` asks for."""
        card = reading.card
        lowest = lowest_quality(card, reading.quality)
        wanted = (card.architecture, reading.settings, reading.quality, card.mean, card.std, lowest)
        return (self.architecture, self.settings, self.quality, self.mean, self.std, self.lowest) == wanted


def lowest_quality(card: ModelCard, quality: Quality) -> float:
    """First quality of the card's calibration table."""
    return card.calibration[quality][0][1]


def ramps(table: Table) -> dict[str, NDArray[np.float32]]:
    """A calibration table as a sum of ramps, ``(N,)`` each, which every runtime supports."""
    points = np.array(table, np.float64)
    steps = points[1:] - points[:-1]
    found = {"start": points[:-1, 0], "width": steps[:, 0], "slope": steps[:, 1] / steps[:, 0]}
    return {name: values.astype(np.float32) for name, values in found.items()}


def shipped_graph(reading: ScoreReading) -> bytes | None:
    """The graph of a model with its settings, or ``None`` if the shipped structure is of another."""
    folder = resources.files("facegate.scoring") / "models"
    structure = _structure()
    if reading.model.weights.suffix != ".safetensors" or not structure.fits(reading):
        return None
    constants = [constant(*each) for each in ramps(reading.card.calibration[reading.quality]).items()]
    with safe_open(str(reading.model.weights), "np") as file:
        for each in structure.initializers:
            values: NDArray[np.float32] = file.get_tensor(each.tensor).astype(np.float32)
            given = values.T if each.transposed else values
            constants.append(constant(each.name, given.reshape(each.shape)))
    return (folder / GRAPH).read_bytes() + constants_only(constants)


@cache
def _structure() -> Structure:
    path = Path(str(resources.files("facegate.scoring") / "models" / STRUCTURE))
    return msgspec.json.decode(path.read_bytes(), type=Structure)
