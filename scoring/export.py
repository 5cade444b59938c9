"""Exports one ONNX graph for any runtime, from crops to score, quality and embedding.

Normalization, the network, the formula and the calibration are all inside, so that TensorRT, OpenVINO, Triton or a
browser need no code of facegate.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor, nn

from facegate.errors import ModelError
from facegate.paths import replacing
from facegate.scoring.backends import CROPS, LANDMARKS, OUTPUTS
from facegate.scoring.families import CARD_KEY, ModelCard
from facegate.scoring.one_pass import OnePass
from facegate.scoring.score_reading import ScoreReading
from facegate.scoring.shipped_graph import GRAPH, STRUCTURE, Initializer, Structure, lowest_quality, ramps

OPSET = 18


class QualityGraph(nn.Module):
    """The exported module: uint8 RGB crops ``(B, 112, 112, 3)`` to :data:`OUTPUTS`."""

    start: Tensor
    width: Tensor
    slope: Tensor

    def __init__(self, one_pass: OnePass, card: ModelCard) -> None:
        super().__init__()
        self.one_pass = one_pass
        for name, values in ramps(card.calibration[one_pass.quality]).items():
            self.register_buffer(name, torch.from_numpy(values))
        self._lowest = lowest_quality(card, one_pass.quality)

    def forward(self, crops: Tensor, landmarks: Tensor | None = None) -> tuple[Tensor | None, ...]:
        """Run on uint8 crops, and on landmarks if the network uses them."""
        out = self.one_pass(crops, landmarks=landmarks)
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


def write_structure(reading: ScoreReading, folder: Path) -> None:
    """Write the graph of ``reading`` without its weights, for :mod:`facegate.scoring.shipped_graph`.

    Raises:
        ModelError: an initializer is no tensor of the weight file, so that it cannot be taken from there.
    """
    import onnx
    from onnx import numpy_helper

    card = reading.card
    whole = folder / f"{GRAPH}.part"
    export_onnx(reading.one_pass, card, card.name, whole)
    model = onnx.load(str(whole))
    whole.unlink()
    with safe_open(str(reading.model.weights), "np") as file:
        tensors = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
    found = []
    for each in model.graph.initializer:
        values = numpy_helper.to_array(each)
        if each.name not in ramps(card.calibration[reading.quality]):
            found.append(_source(each.name, values, tensors))
    del model.graph.initializer[:]
    del model.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
    structure = Structure(
        architecture=card.architecture,
        settings=reading.settings,
        quality=reading.quality,
        mean=card.mean,
        std=card.std,
        lowest=lowest_quality(card, reading.quality),
        initializers=tuple(found),
    )
    (folder / GRAPH).write_bytes(model.SerializeToString())
    (folder / STRUCTURE).write_bytes(msgspec.json.format(msgspec.json.encode(structure), indent=1) + b"\n")


def _source(name: str, values: NDArray[np.float32], tensors: dict[str, NDArray[np.float32]]) -> Initializer:
    for tensor, weights in tensors.items():
        if weights.size != values.size:
            continue
        if np.array_equal(weights.ravel(), values.ravel()):
            return Initializer(name, tensor, values.shape)
        if weights.ndim == 2 and np.array_equal(weights.T, values):
            return Initializer(name, tensor, values.shape, transposed=True)
    raise ModelError(f"initializer '{name}' is no tensor of the weight file: it cannot be left out of the graph")
