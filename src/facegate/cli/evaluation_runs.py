"""Runs footage and recognizes every face in it, for several commands."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from facegate.cli.options import DetectorKind
from facegate.pipeline.plurals import count
from facegate.recognition.embedders import Embedder
from facegate.recognition.loading import load_recognition
from facegate.recognition.matching.decision_rule import DecisionRule
from facegate.recognition.matching.gallery import Gallery

if TYPE_CHECKING:
    from facegate.evaluation.savings import Observer
    from facegate.pipeline.config import RunConfig
    from facegate.pipeline.runner import Runner


class LoadedRecognizer(msgspec.Struct, frozen=True):
    """A recognizer, its decision rule and its gallery."""

    embedder: Embedder
    rule: DecisionRule
    gallery: Gallery

    @property
    def words(self) -> str:
        """The decision rule in words."""
        return self.rule.describe(len(self.gallery.names))


def load_known(
    gallery: Path,
    embedder: str,
    detector: DetectorKind,
    detector_path: Path | None,
    *,
    threshold: float | None,
    fpir: float,
) -> LoadedRecognizer:
    """Load a recognizer and a gallery as ``facegate recognize`` does."""
    from facegate.cli.output.progress import counting
    from facegate.recognition.matching.gallery_watcher import GalleryWatcher
    from facegate.scoring.backend_selection import cache_folder

    parts = load_recognition(embedder, None, detector, detector_path, threshold=threshold, fpir=fpir)
    with (
        counting("enrolling") as progress,
        GalleryWatcher(
            gallery, parts.embedder, parts.rule, parts.face_extractor, cache_folder(), progress
        ) as people,
    ):
        return LoadedRecognizer(parts.embedder, parts.rule, people.gallery)


def footage_config(
    source: Path,
    base: RunConfig | None,
    *,
    detector: DetectorKind,
    detector_path: Path | None,
    weights: Path | None,
    model_card: str | None,
) -> RunConfig:
    """Configuration of one file: ``base`` with the options on top."""
    from facegate.pipeline.config import config_for

    own = config_for(source)
    if base is not None:
        own = base.model_copy(update={"cameras": own.cameras})
    return own.model_copy(
        update={
            "detector": own.detector.model_copy(update=_given(kind=detector.value, path=detector_path)),
            "scorer": own.scorer.model_copy(update=_given(weights=weights, card=model_card)),
        }
    )


def observed(
    configs: Sequence[tuple[str, RunConfig]], known: LoadedRecognizer
) -> Iterator[tuple[Observer, Runner]]:
    """Run each source and recognize every face; yields the faces and the runner with its gates."""
    from facegate.cpu import share_cores
    from facegate.evaluation.savings import Observer
    from facegate.logs import show_warnings_only

    show_warnings_only()  # the shots of these runs are not those of a gate
    share_cores()
    for name, config in configs:
        observer = Observer(name, known.embedder, known.gallery, known.rule)
        yield observer, _run(name, config, observer)
        observer.forget()


def _run(name: str, config: RunConfig, observer: Observer) -> Runner:
    from facegate.evaluation.savings import NeverSure
    from facegate.pipeline.runner import Runner

    queue = NeverSure()
    with Runner(config, lambda: queue, on_scored=observer.scored, on_finished=queue.end) as runner:
        for _ in queue:
            pass
        runner.close(linger_s=0)
    sys.stderr.write(f"{name}: {count(len(observer.faces), 'face')}\n")
    return runner


def _given(**values: object) -> dict[str, object]:
    return {key: value for key, value in values.items() if value is not None}
