"""Faces in pictures that somebody sends, judged as the gate judges them; who comes together shares a batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from itertools import pairwise
from threading import Condition, Thread
from types import TracebackType
from typing import Self

import msgspec
import numpy as np

from facegate.console.pictures import MAX_PIXELS, pixels_of
from facegate.detectors.align import align, aligned_landmarks
from facegate.detectors.base import Detector
from facegate.errors import FacegateError, SourceError
from facegate.pipeline.config import DetectorConfig, RunConfig, ScorerConfig
from facegate.pipeline.images import decode_image
from facegate.pipeline.quality.explain import QualityReasons, reasons
from facegate.pipeline.records import Detection, Image, QualityInfo
from facegate.pipeline.runtime.models import detector_of, scorer_of
from facegate.scoring.engine import Scorer

BATCH_SIZE = 8
"""Pictures in one go."""
MAX_WAITING = 64
MAX_FACES = 100
"""Of a picture, those that the detector is surest of."""


class BusyError(FacegateError):
    """More is asked than can be done."""


class ScoredPictureFace(msgspec.Struct, frozen=True, eq=False):
    """A face of a picture."""

    detection: Detection
    """In pixels of the picture."""
    crop: Image
    """``(112, 112, 3)`` RGB, aligned."""
    raw_score: float
    quality: int
    """0..100."""
    reasons: QualityReasons


class ScoredPicture(msgspec.Struct, frozen=True, eq=False):
    """What there is in a picture."""

    width: int
    height: int
    info: QualityInfo
    """What measured the quality."""
    faces: tuple[ScoredPictureFace, ...]
    """The surest first."""


class _Asked(msgspec.Struct, frozen=True, eq=False):
    source: str
    content: bytes
    pixels: int
    answer: Future[ScoredPicture]


class ScoringService:
    """Judges pictures, for any thread; models are loaded once somebody asks. Its owner closes it."""

    def __init__(self, config: Callable[[], RunConfig | None]) -> None:
        """Take what says how the gate detects and scores; read when the models are loaded."""
        self._config = config
        self._waiting: deque[_Asked] = deque()
        self._changed = Condition()
        self._closed = False
        self._thread: Thread | None = None
        self._models: tuple[Detector, Scorer] | None = None

    def __enter__(self) -> Self:
        """The desk."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Refuse what still waits, and end."""
        with self._changed:
            self._closed = True
            left = list(self._waiting)
            self._waiting.clear()
            self._changed.notify()
            thread = self._thread
        for asked in left:
            asked.answer.set_exception(BusyError("this console is ending; ask again"))
        if thread is not None:
            thread.join()

    def score(self, source: str, content: bytes) -> ScoredPicture:
        """Find and judge the faces of a picture.

        Args:
            source: what messages call it.
            content: of the file.

        Raises:
            SourceError: not a picture, more than one, or too large.
            BusyError: too many ask.
            FacegateError: a model cannot be loaded.
        """
        asked = _Asked(source, content, pixels_of(source, content), Future())
        with self._changed:
            if self._closed or len(self._waiting) >= MAX_WAITING:
                raise BusyError(f"{MAX_WAITING} pictures wait to be scored; ask again in a second")
            self._waiting.append(asked)
            self._changed.notify()
            if self._thread is None:
                self._thread = Thread(target=self._run, name="score-desk", daemon=True)
                self._thread.start()
        return asked.answer.result()

    def _run(self) -> None:
        while True:
            batch = self._take()
            if not batch:
                return
            try:
                self._answer(batch)
            except Exception as error:
                for asked in batch:
                    if not asked.answer.done():
                        asked.answer.set_exception(error)

    def _take(self) -> list[_Asked]:
        """What waits, as far as it fits into memory together; nothing once it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            batch: list[_Asked] = []
            room = MAX_PIXELS
            while self._waiting and len(batch) < BATCH_SIZE and self._waiting[0].pixels <= room:
                batch.append(self._waiting.popleft())
                room -= batch[-1].pixels
            return batch

    def _answer(self, batch: list[_Asked]) -> None:
        detector, scorer = self._loaded()
        images: list[tuple[_Asked, Image]] = []
        for asked in batch:
            try:
                images.append((asked, decode_image(asked.content, asked.source)))
            except SourceError as error:
                asked.answer.set_exception(error)
        if not images:
            return
        found = [faces[:MAX_FACES] for faces in detector.detect([image for _, image in images])]
        crops = [
            align(image, face.landmarks) for (_, image), faces in zip(images, found, strict=True) for face in faces
        ]
        landmarks = aligned_landmarks([face.landmarks for faces in found for face in faces])
        stacked = np.stack(crops) if crops else np.empty((0, 112, 112, 3), np.uint8)
        scores = scorer.score(stacked, landmarks=landmarks, embedding=False)
        info = QualityInfo(scorer.algorithm, scorer.card.name, scorer.calibration)
        ends = np.cumsum([0, *map(len, found)]).tolist()
        for (asked, image), faces, (start, end) in zip(images, found, pairwise(ends), strict=True):
            height, width = image.shape[:2]
            judged = tuple(
                ScoredPictureFace(
                    detection=face,
                    crop=crops[row],
                    raw_score=float(scores.raw_score[row]),
                    quality=int(scores.quality[row]),
                    reasons=reasons(
                        crops[row], face, (width, height), scores.patches[row], int(scores.quality[row]), info.model
                    ),
                )
                for face, row in zip(faces, range(start, end), strict=True)
            )
            asked.answer.set_result(ScoredPicture(width, height, info, judged))

    def _loaded(self) -> tuple[Detector, Scorer]:
        if self._models is None:
            config = self._config()
            detector, scorer = (config.detector, config.scorer) if config else (DetectorConfig(), ScorerConfig())
            self._models = detector_of(detector), scorer_of(scorer, 0)
        return self._models
