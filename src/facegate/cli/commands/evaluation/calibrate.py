"""``facegate calibrate``: quality thresholds from footage."""

from __future__ import annotations

import sys
from datetime import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from facegate.cli.files import check_writable, draw_whole, write_whole
from facegate.cli.options import (
    DetectorKind,
    DetectorOption,
    DetectorPathOption,
    EmbedderOption,
    FootageConfigOption,
    FpirOption,
    JsonFileOption,
    ModelCardOption,
    PlotOption,
    WeightsOption,
)
from facegate.errors import ConfigError

if TYPE_CHECKING:
    from facegate.console.processes.config_file import ConfigFile
    from facegate.pipeline.gating.factory import CameraGates
    from facegate.pipeline.runner import Runner


def calibrate(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(metavar="SOURCES", help="Footage, one file per camera.", show_default=False),
    ] = None,
    gallery: Annotated[
        Path | None,
        typer.Option(help="Gallery file, or folder with one subfolder of pictures per person.", show_default=False),
    ] = None,
    keep: Annotated[float, typer.Option(min=0.5, max=0.9999, help="Share of identifications to keep.")] = 0.99,
    config: FootageConfigOption = None,
    embedder: EmbedderOption = "auto",
    fpir: FpirOption = 1e-3,
    began: Annotated[
        str | None,
        typer.Option(
            metavar="HH:MM",
            help="Start time of the footage; adds results by hour of the day.",
            show_default=False,
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            help="Save the learned thresholds to this folder, for gate.target_recall and gate.state.",
            show_default=False,
        ),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(help="Write the thresholds to the cameras of this configuration.", show_default=False),
    ] = None,
    forget: Annotated[
        str | None,
        typer.Option(
            metavar="CAMERA", help="Erase the learned thresholds of this camera in --state.", show_default=False
        ),
    ] = None,
    json_file: JsonFileOption = None,
    picture: PlotOption = None,
    weights: WeightsOption = None,
    model_card: ModelCardOption = None,
    detector: DetectorOption = DetectorKind.AUTO,
    detector_path: DetectorPathOption = None,
) -> None:
    """Find the min_quality that keeps a share of the identifications in footage, and its recognition calls.

    Scores and recognizes every face; needs no labels.

    \b
    facegate calibrate door.mp4 hall.mp4 --gallery people.db
    facegate calibrate door.mp4 --gallery people.db --keep 0.98 --state state/ --plot door.png
    facegate calibrate day.mp4 --gallery people.db --began 07:30
    facegate calibrate door.mp4 hall.mp4 --gallery people.db --write cameras.yaml
    facegate calibrate --forget door --state state/
    """
    if forget is not None:
        _forget(forget, state)
        return
    if not sources or gallery is None:
        raise ConfigError("SOURCES or --gallery is missing: give footage and a gallery")
    began_s = None if began is None else _seconds(began)
    from facegate.cli.evaluation_runs import footage_config, load_known, observed
    from facegate.cli.output.tables import show_calibration
    from facegate.evaluation.calibration import SHARES, CalibrationReport, plot
    from facegate.evaluation.calibration import calibrate as calibrate_camera
    from facegate.pipeline.config import build_config, load_config
    from facegate.pipeline.gating.factory import write_learned_state

    for path in (json_file, picture):
        check_writable(path)
    names = [source.stem for source in sources]
    file = None if write is None else _with_cameras(write, names)
    base = load_config(config) if config is not None else None
    learning = {
        "target_recall": keep,
        "exploration_rate": 1.0,
        "state": None,
    }  # no prior state: no visit counts twice
    configs = []
    for source in sources:
        own = footage_config(
            source, base, detector=detector, detector_path=detector_path, weights=weights, model_card=model_card
        )
        everything = own.scorer.model_copy(update={"every_face": True})
        plain = {"cameras": [{"name": "footage", "source": str(source)}]}
        asked = build_config(plain | {"gate": own.gate.model_dump(mode="json") | learning}, "--keep")
        configs.append(own.model_copy(update={"scorer": everything, "gate": asked.gate}))
    known = load_known(gallery, embedder, detector, detector_path, threshold=None, fpir=fpir)
    cameras = []
    for observer, runner in observed(list(zip([source.name for source in sources], configs, strict=True)), known):
        camera, learned = calibrate_camera(
            observer, runner.gates_for_replay(), partial(_fixed_gates, runner), began_s
        )
        cameras.append(camera)
        if state is not None:
            write_learned_state(state, camera.camera, runner.info, learned)
    found = CalibrationReport(known.embedder.name, known.words, keep, SHARES, tuple(cameras))
    if json_file is not None:
        write_whole(json_file, msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    if picture is not None:
        draw_whole(picture, lambda part: plot(found, part))
    show_calibration(found)
    if file is not None:
        chosen = {name: camera.chosen.min_quality for name, camera in zip(names, cameras, strict=True)}
        file.change(lambda content: _set_thresholds(content, chosen))
        sys.stderr.write(f"thresholds written to {write}; a running gate applies them on SIGHUP\n")


def _seconds(began: str) -> int:
    """Seconds after midnight."""
    try:
        at = time.fromisoformat(began)
    except ValueError:
        raise ConfigError(f"--began {began} is not a time of day; give HH:MM such as 07:30") from None
    return at.hour * 3600 + at.minute * 60 + at.second


def _with_cameras(path: Path, names: list[str]) -> ConfigFile:
    """The configuration file; raises ConfigError if a camera is missing."""
    from facegate.console.processes.config_file import ConfigFile

    if not path.is_file():
        raise ConfigError(f"cannot read {path}: no such file")
    file = ConfigFile(path)
    known = {str(camera["name"]) for camera in file.version().content.get("cameras") or []}
    missing = sorted(set(names) - known)
    if missing:
        raise ConfigError(f"{path} has no camera {missing[0]}; name footage after its camera, such as door.mp4")
    return file


def _set_thresholds(content: Any, chosen: dict[str, int]) -> None:
    for camera in content["cameras"]:
        if str(camera["name"]) in chosen:
            gate = camera.setdefault("gate", {})
            gate["min_quality"] = chosen[str(camera["name"])]


def _forget(camera: str, state: Path | None) -> None:
    if state is None:
        raise ConfigError("--forget needs --state: give the folder with the learned thresholds")
    found = [path for path in state.glob("*.keep.json") if path.name.rsplit(".", 3)[0] == camera]
    if not found:
        raise ConfigError(f"{state} has no learned threshold of camera {camera}")
    for path in found:
        path.unlink()
    sys.stderr.write(f"learned threshold of {camera} erased; a running gate keeps it until it stops\n")


def _fixed_gates(runner: Runner, min_quality: int) -> CameraGates:
    config = runner.config
    gate = config.gate.model_copy(update={"target_recall": None, "min_quality": min_quality})
    return runner.gates_for_replay(config.model_copy(update={"gate": gate}))
