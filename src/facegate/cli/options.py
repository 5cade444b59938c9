"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from facegate.inference.devices import Device


class DetectorKind(StrEnum):
    """Values of ``--detector``."""

    AUTO = "auto"
    MTCNN = "mtcnn"
    YUNET = "yunet"
    SCRFD = "scrfd"


class SettingDefault(str):
    """Default of a setting (``section.field`` or ``field``) as help shows it.

    Read from the configuration's model when it is formatted: importing that takes 0.3 s, which only help needs.
    """

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        """The value, a number as short as possible."""
        from pydantic import BaseModel

        from facegate.pipeline.config import RunConfig

        section, _, name = self.rpartition(".")
        model = RunConfig.model_fields[section].annotation if section else RunConfig
        assert isinstance(model, type) and issubclass(model, BaseModel), self
        default = model.model_fields[name].default
        return format(f"{default:g}" if isinstance(default, float) else str(default), spec)


FilmOption = Annotated[
    bool,
    typer.Option(
        "--film", help="Take the pictures of a folder as the frames of a film, not as independent pictures."
    ),
]
DetectorOption = Annotated[
    DetectorKind,
    typer.Option(
        "--detector", help="Face detector; auto uses SCRFD or YuNet if --detector-path is given, else MTCNN."
    ),
]
DetectorPathOption = Annotated[
    Path | None,
    typer.Option(help="ONNX file of YuNet, or directory of an insightface pack (SCRFD).", show_default=False),
]


CacheOption = Annotated[
    Path | None,
    typer.Option(
        help="Cache folder for crops, scores and embeddings.", show_default="$FACEGATE_CACHE or ~/.cache/facegate"
    ),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option(
        help="Quality model: a .safetensors or .pt file, or the name of a model that ships.", show_default=False
    ),
]
ModelCardOption = Annotated[
    str | None,
    typer.Option("--model-card", help="Model card of the weights: a name or a YAML file.", show_default=False),
]
DeviceOption = Annotated[
    Device | None,
    typer.Option(
        help="Device of the networks; auto takes CUDA where it is available, else the CPU.",
        show_default=SettingDefault("device"),
    ),
]
EmbedderOption = Annotated[
    str,
    typer.Option(help="Recognizer: auto, builtin, dlib, an .onnx or .xml (OpenVINO) file, or an insightface pack."),
]
CardOption = Annotated[
    Path | None, typer.Option(help="YAML card of the recognizer's ONNX or OpenVINO file.", show_default=False)
]
FpirOption = Annotated[
    float,
    typer.Option(
        min=1e-9, max=0.5, help="Maximum share of unknown visits that get a name (FPIR, ISO/IEC 19795-1)."
    ),
]
MinShotsOption = Annotated[
    int,
    typer.Option(
        min=1,
        max=10,
        help="Number of shots of a visit that must each match the same person before it is named. Higher: fewer "
        "false names, and names come later or not at all.",
    ),
]
TemplatesOption = Annotated[
    bool,
    typer.Option(
        "--templates/--no-templates",
        help="Keep the face template of each visit in the store, for 'facegate search'.",
    ),
]
AuditDaysOption = Annotated[
    float,
    typer.Option(
        min=183, help="Retention of the audit log in days; the EU AI Act asks for six months or more (Art. 26)."
    ),
]
JsonFileOption = Annotated[
    Path | None, typer.Option("--json", help="Write the results to this file as JSON.", show_default=False)
]
PlotOption = Annotated[
    Path | None, typer.Option("--plot", help="Write a plot to this image file.", show_default=False)
]
FootageConfigOption = Annotated[
    Path | None, typer.Option(help="Configuration of gate, tracker and scorer.", show_default=False)
]
MetricsOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Serve /healthz and /metrics at HOST:PORT; :PORT binds loopback.",
        show_default=False,
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option(help="Data folder of 'facegate serve' whose stored visits are updated too.", show_default=False),
]
