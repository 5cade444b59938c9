"""Options that several verbs share, and files written whole or not at all."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from facegate.errors import ConfigError


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
    typer.Option(help="A .safetensors or .pt model instead of the built-in one.", show_default=False),
]
ModelCardOption = Annotated[
    str | None,
    typer.Option("--model-card", help="Card of the weights: a name or a YAML file.", show_default=False),
]


def check_writable(path: Path | None) -> None:
    """Find out before the run, not after it, that the report cannot be written."""
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise ConfigError(f"cannot write {path}: give a file in an existing folder")


def write_whole(path: Path, content: bytes) -> None:
    """Write all or nothing."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {(error.strerror or 'unknown error').lower()}") from error
