"""Options that several verbs share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class DetectorKind(StrEnum):
    """Values of ``--detector``."""

    AUTO = "auto"
    MTCNN = "mtcnn"
    YUNET = "yunet"
    SCRFD = "scrfd"


DetectorOption = Annotated[
    DetectorKind,
    typer.Option("--detector", help="Face detector; auto: SCRFD or YuNet where given, else MTCNN."),
]
DetectorPathOption = Annotated[
    Path | None,
    typer.Option(help="YuNet's ONNX file, or the directory of an insightface pack.", show_default=False),
]


CacheOption = Annotated[
    Path | None,
    typer.Option(help="Keeps crops, scores and embeddings.", show_default="$FACEGATE_CACHE or ~/.cache/facegate"),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option(
        help="Another model: a .safetensors or .pt file, or the name of one that ships.", show_default=False
    ),
]
ModelCardOption = Annotated[
    str | None,
    typer.Option("--model-card", help="Card of the weights: a name or a YAML file.", show_default=False),
]
EmbedderOption = Annotated[
    str,
    typer.Option(help="auto, builtin, dlib, an .onnx or .xml (OpenVINO) file, or an insightface pack's directory."),
]
CardOption = Annotated[Path | None, typer.Option(help="YAML card of the ONNX or IR file.", show_default=False)]
FpirOption = Annotated[
    float,
    typer.Option(min=1e-9, max=0.5, help="Share of unknown visits that may get somebody's name (ISO/IEC 19795-1)."),
]
JsonFileOption = Annotated[Path | None, typer.Option("--json", help="Write everything here.", show_default=False)]
PlotOption = Annotated[Path | None, typer.Option("--plot", help="Draw it here.", show_default=False)]
FootageConfigOption = Annotated[
    Path | None, typer.Option(help="Configuration whose gate, tracker and scorer count.", show_default=False)
]
