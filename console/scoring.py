"""Scores the faces of uploaded pictures; concurrent requests share a batch."""

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
"""Maximum number of pictures in a batch."""
MAX_WAITING = 64
"""Maximum number of pictures in the queue."""
MAX_FACES = 100
"""Maximum number of faces per picture, by falling confidence."""


class BusyError(FacegateError):
    """The queue is full, or the console is shutting down."""


class ScoredPictureFace(msgspec.Struct, frozen=True, eq=False):
    """A scored face of a picture."""

    detection: Detection
    """In pixels of the picture."""
    crop: Image
    """``(112, 112, 3)`` RGB, aligned."""
    raw_score: float
    quality: int
    """0..100."""
    reasons: QualityReasons


class ScoredPicture(msgspec.Struct, frozen=True, eq=False):
    """Size and scored faces of a picture."""

    width: int
    height: int
    info: QualityInfo
    """Model and algorithm of the quality."""
    faces: tuple[ScoredPictureFace, ...]
    """By falling confidence."""


class _Request(msgspec.Struct, frozen=True, eq=False):
    source: str
    content: bytes
    pixels: int
    result: Future[ScoredPicture]


class ScoringService:
    """Scores pictures in one thread; thread-safe. Models are loaded at the first request."""

    def __init__(self, config: Callable[[], RunConfig | None]) -> None:
        """Take a function that returns the gate's configuration; it is called when models are loaded."""
        self._config = config
        self._waiting: deque[_Request] = deque()
        self._changed = Condition()
        self._closed = False
        self._thread: Thread | None = None
        self._models: tuple[Detector, Scorer] | None = None

    def __enter__(self) -> Self:
        """The service."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Refuse queued requests and stop the thread."""
        with self._changed:
            self._closed = True
            left = list(self._waiting)
            self._waiting.clear()
            self._changed.notify()
            thread = self._thread
        for request in left:
            request.result.set_exception(BusyError("the console is shutting down; retry after it has restarted"))
        if thread is not None:
            thread.join()

    def score(self, source: str, content: bytes) -> ScoredPicture:
        """Detect and score the faces of a picture.

        Args:
            source: name of the picture for messages.
            content: encoded file.

        Raises:
            SourceError: not a picture, an animation, or too large.
            BusyError: the queue is full.
            FacegateError: a model cannot be loaded.
        """
        request = _Request(source, content, pixels_of(source, content), Future())
        with self._changed:
            if self._closed or len(self._waiting) >= MAX_WAITING:
                raise BusyError(f"{MAX_WAITING} pictures are queued; retry in a second")
            self._waiting.append(request)
            self._changed.notify()
            if self._thread is None:
                self._thread = Thread(target=self._run, name="scoring-service", daemon=True)
                self._thread.start()
        return request.result.result()

    def _run(self) -> None:
        while True:
            batch = self._take()
            if not batch:
                return
            try:
                self._score(batch)
            except Exception as error:
                for request in batch:
                    if not request.result.done():
                        request.result.set_exception(error)

    def _take(self) -> list[_Request]:
        """Next batch of queued pictures that fits into memory; empty once the service is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            batch: list[_Request] = []
            room = MAX_PIXELS
            while self._waiting and len(batch) < BATCH_SIZE and self._waiting[0].pixels <= room:
                batch.append(self._waiting.popleft())
                room -= batch[-1].pixels
            return batch

    def _score(self, batch: list[_Request]) -> None:
        detector, scorer = self._loaded()
        images: list[tuple[_Request, Image]] = []
        for request in batch:
            try:
                images.append((request, decode_image(request.content, request.source)))
            except SourceError as error:
                request.result.set_exception(error)
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
        for (request, image), faces, (start, end) in zip(images, found, pairwise(ends), strict=True):
            height, width = image.shape[:2]
            scored = tuple(
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
            request.result.set_result(ScoredPicture(width, height, info, scored))

    def _loaded(self) -> tuple[Detector, Scorer]:
        if self._models is None:
            config = self._config()
            detector, scorer = (config.detector, config.scorer) if config else (DetectorConfig(), ScorerConfig())
            device = config.device if config else "auto"
            self._models = detector_of(detector, device), scorer_of(scorer, 0, device)
        return self._models
