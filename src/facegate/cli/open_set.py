"""``facegate evaluate --open-set``: FPIR and FNIR of recognizers at a promised FPIR."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import numpy as np

from facegate.cli.files import check_writable, draw_whole, write_whole
from facegate.cli.output.progress import counting
from facegate.cli.output.tables import show_open_set
from facegate.detectors.base import load_detector
from facegate.errors import ConfigError, os_errors
from facegate.evaluation.datasets import load_set
from facegate.evaluation.evaluate import Results
from facegate.evaluation.open_set import Faces, OpenSet, evaluate_open_set, fit_impostor_model, plot
from facegate.paths import decode_yaml
from facegate.recognition.embedders import load_embedder
from facegate.recognition.matching.score_tail import write_impostor_model
from facegate.scoring.backend_selection import cache_folder
from facegate.scoring.engine import load_scorer


def run_open_set(
    dataset: Path,
    recognizers: list[str],
    sizes: str,
    same: Path | None,
    tail: Path | None,
    json_file: Path | None,
    plot_file: Path | None,
    cache: Path | None,
    detector: str,
    detector_path: Path | None,
) -> None:
    """Evaluate recognizers in open-set mode; the options of ``facegate evaluate``."""
    for path in (json_file, plot_file):
        check_writable(path)
    if tail is not None and not tail.is_dir():
        raise ConfigError(f"--tail {tail} is not a folder; create it first")
    enrolled = _numbers(sizes)
    aliases = {} if same is None else _aliases(same)
    embedders = [load_embedder(name) for name in recognizers]
    folder = cache or cache_folder()
    with counting("pictures") as progress:
        faces = load_set(dataset, load_detector(detector, detector_path), folder, progress)
    names = np.array([aliases.get(name, name) for name in faces.names])
    found: dict[str, list[OpenSet]] = {}
    with counting("crops") as progress:
        results = Results(folder, faces, lambda what, done, total: progress(done, total))
        quality = load_scorer().score(faces.crops, embedding=False).quality
        embeddings = [results.embeddings(embedder) for embedder in embedders]
    for spec, embedder, rows in zip(recognizers, embedders, embeddings, strict=True):
        known = Faces(names, rows, quality)
        if tail is not None:
            model = embedder.version.split(":")[0]
            impostors = fit_impostor_model(known, model=model, source=f"{len(set(names))} people of {dataset.name}")
            stem = Path(spec).stem if Path(spec).is_file() else embedder.name
            for file in write_impostor_model(impostors, tail, stem):
                sys.stderr.write(f"{file} written\n")
        with counting("divisions") as progress:
            found[embedder.name] = evaluate_open_set(known, enrolled, progress=progress)
        show_open_set(embedder.name, found[embedder.name])
    if json_file is not None:
        write_whole(json_file, msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    if plot_file is not None:
        draw_whole(plot_file, lambda part: plot(found, part))


def _numbers(text: str) -> list[int]:
    try:
        found = [int(word) for word in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise ConfigError(f"--sizes {text} is not a list of numbers; give numbers of people such as 50,500")
    return found


def _aliases(path: Path) -> dict[str, str]:
    try:
        with os_errors(ConfigError, f"cannot read {path}"):
            return decode_yaml(path.read_bytes(), dict[str, str])
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path} is not a mapping of names ({error}); write 'a: b', one per line") from error
