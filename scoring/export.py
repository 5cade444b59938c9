"""One ONNX graph for any runtime: crops in, score, quality and embedding out.

Normalisation, the network, the ViTNT-FIQA formula and the calibration are all inside, so that TensorRT, OpenVINO,
Triton or a browser need nothing of facegate.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from facegate.errors import ModelError
from facegate.scoring.engine import CROP_SHAPE, Scorer
from facegate.scoring.families import CARD_KEY

MAX_BATCH = 1024


class QualityGraph(nn.Module):
    """What is exported: uint8 RGB crops ``(B, 112, 112, 3)`` to raw, quality and embedding."""

    mean: Tensor
    std: Tensor
    start: Tensor
    width: Tensor
    slope: Tensor

    def __init__(self, scorer: Scorer) -> None:
        super().__init__()
        self.network = scorer.network
        self._scorer = scorer
        card = scorer.card
        self.register_buffer("mean", torch.tensor(card.mean).view(1, 3, 1, 1) * 255.0)
        self.register_buffer("std", torch.tensor(card.std).view(1, 3, 1, 1) * 255.0)
        table = torch.tensor(card.calibration, dtype=torch.float64)
        steps = table[1:] - table[:-1]
        self.register_buffer("start", table[:-1, 0].float())
        self.register_buffer("width", steps[:, 0].float())
        self.register_buffer("slope", (steps[:, 1] / steps[:, 0]).float())
        self._lowest = float(table[0, 1])

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run on uint8 crops."""
        images = (crops.permute(0, 3, 1, 2).float() - self.mean) / self.std
        scorer = self._scorer
        out = self.network(images, scorer.blocks, scorer.aggregation, scorer.alpha, True)
        # The table as a sum of ramps, which every runtime knows; a search in a table not every one does.
        rise = torch.minimum((out.raw[:, None] - self.start).clamp_min(0.0), self.width)
        return out.raw, (rise * self.slope).sum(1) + self._lowest, out.embedding


def export_onnx(scorer: Scorer, target: Path) -> None:
    """Write ``scorer``'s network (fp32, on the CPU) as ONNX with a dynamic batch; the card goes into its metadata.

    Raises:
        ModelError: the exporter is not installed.
    """
    if importlib.util.find_spec("onnxscript") is None:
        raise ModelError("exporting needs the 'onnxscript' package: pip install 'facegate[export]'")
    import onnx

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    graph = QualityGraph(scorer).eval()
    example = torch.zeros((2, *CROP_SHAPE), dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program: Any = torch.onnx.export(
            graph,
            (example,),
            None,
            dynamo=True,
            verbose=False,
            input_names=["crops"],
            output_names=["raw", "quality", "embedding"],
            dynamic_shapes={"crops": {0: batch}},
        )
    model = program.model_proto
    onnx.helper.set_model_props(
        model, {CARD_KEY: msgspec.json.encode(scorer.card).decode(), "algorithm": scorer.algorithm}
    )
    part = target.with_name(target.name + ".part")
    onnx.save(model, str(part))
    part.replace(target)
