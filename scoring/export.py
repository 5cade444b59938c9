"""Exports one ONNX graph for any runtime, from crops to score, quality and embedding.

Normalization, the network, the formula and the calibration are all inside, so that TensorRT, OpenVINO, Triton or a
browser need no code of facegate.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn

from facegate.errors import ModelError
from facegate.paths import replacing
from facegate.scoring.backends import CROPS, LANDMARKS, OUTPUTS
from facegate.scoring.families import CARD_KEY, ModelCard
from facegate.scoring.one_pass import OnePass

OPSET = 18


class QualityGraph(nn.Module):
    """The exported module: uint8 RGB crops ``(B, 112, 112, 3)`` to :data:`OUTPUTS`."""

    start: Tensor
    width: Tensor
    slope: Tensor

    def __init__(self, one_pass: OnePass, card: ModelCard) -> None:
        super().__init__()
        self.one_pass = one_pass
        table = torch.tensor(card.calibration[one_pass.quality], dtype=torch.float64)
        steps = table[1:] - table[:-1]
        self.register_buffer("start", table[:-1, 0].float())
        self.register_buffer("width", steps[:, 0].float())
        self.register_buffer("slope", (steps[:, 1] / steps[:, 0]).float())
        self._lowest = float(table[0, 1])

    def forward(self, crops: Tensor, landmarks: Tensor | None = None) -> tuple[Tensor | None, ...]:
        """Run on uint8 crops, and on landmarks if the network uses them."""
        out = self.one_pass(crops, landmarks=landmarks)
        # The table as a sum of ramps, which every runtime supports, unlike a table search.
        rise = torch.minimum((out.raw[:, None] - self.start).clamp_min(0.0), self.width)
        quality = (rise * self.slope).sum(1) + self._lowest
        return out.raw, quality, out.embedding, out.patches, out.attention


def export_onnx(one_pass: OnePass, card: ModelCard, algorithm: str, target: Path) -> None:
    """Write ``one_pass`` (fp32, on the CPU) as ONNX with a dynamic batch; the card goes into its metadata.

    Raises:
        ModelError: the network cannot be exported to ONNX.
    """
    import onnx

    graph = QualityGraph(one_pass, card).eval()
    examples: dict[str, Tensor] = {CROPS: torch.zeros((2, 112, 112, 3), dtype=torch.uint8)}
    if card.architecture.keypoints:
        examples[LANDMARKS] = torch.zeros((2, 5, 2))
    with replacing(target) as part, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            # The tracing exporter takes a second; the newer one takes ten and needs another package.
            torch.onnx.export(
                graph,
                tuple(examples.values()),
                part,
                dynamo=False,
                opset_version=OPSET,
                input_names=list(examples),
                output_names=list(OUTPUTS),
                dynamic_axes={name: {0: "batch"} for name in (*examples, *OUTPUTS)},
            )
        except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
            raise ModelError(f"model '{card.name}' cannot be exported: {str(error).splitlines()[0]}") from error
        model = onnx.load(str(part))
        onnx.helper.set_model_props(model, {CARD_KEY: msgspec.json.encode(card).decode(), "algorithm": algorithm})
        onnx.save(model, str(part))


def quantize_onnx(source: Path, target: Path) -> None:
    """Write an int8 copy of an exported graph: weights quantized per channel, activations dynamically."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)  # it logs advice to the root logger that does not apply here
    try:
        with replacing(target) as part:
            quantize_dynamic(
                str(source),
                str(part),
                per_channel=True,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=["MatMul", "Gemm"],
            )
    finally:
        logging.getLogger().setLevel(level)
