"""Keeps templates and index of a store current: new visits, removed ones, another recognizer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock

import msgspec
import numpy as np
import structlog

from facegate.background import BackgroundThread
from facegate.errors import FacegateError, SourceError
from facegate.pipeline.images import decode_image
from facegate.recognition.embedders import Embedder, recognizer_id, unit
from facegate.recognition.matching.gallery import quality_weight
from facegate.recognition.search.template_index import MAX_EXACT, TemplateIndex
from facegate.store.records import VisitTemplate, packed
from facegate.store.templates import TemplateReader
from facegate.store.writer import StoreWriter

POLL_INTERVAL_S = 1.0
STALE_INTERVAL_S = 30.0
"""Interval at which visits without a current template are looked for."""
BATCH_SIZE = 8
MAX_SHOTS = 8
"""Best shots of a visit that are embedded again."""

log = structlog.get_logger(__name__)


class EmbeddingProgress(msgspec.Struct, frozen=True):
    """Progress of embedding the shots of visits that have no template of the current recognizer."""

    done: int
    total: int


def embed_visit(store: TemplateReader, embedder: Embedder, visit: str) -> VisitTemplate | None:
    """Compute the template of a visit from its best stored shots; ``None`` if none is stored."""
    shots = sorted(store.shots_of(visit), key=lambda shot: -shot.quality)[:MAX_SHOTS]
    qualities, crops = [], []
    for shot in shots:
        if (jpeg := store.crop(shot.shot_id)) is not None:
            with suppress(SourceError):
                crops.append(decode_image(jpeg, shot.shot_id))
                qualities.append(shot.quality)
    if not crops:
        return None
    embeddings = embedder.embed(crops)
    weights = quality_weight(np.array(qualities))[:, None]
    return VisitTemplate(visit, recognizer_id(embedder), packed(unit((embeddings * weights).sum(0))))


class TemplateKeeper(BackgroundThread):
    """Owns the index of a store. The recognizer is loaded when shots have to be embedded or searched for."""

    def __init__(self, store: Path, folder: Path, load: Callable[[], Embedder]) -> None:
        """Configure.

        Args:
            store: file of the store.
            folder: folder of the index.
            load: returns the recognizer.

        Raises:
            StoreError: the store cannot be used.
        """
        super().__init__("facegate-templates")
        self.store = TemplateReader(store, create=True)
        self._writer = StoreWriter(store)
        self._folder = folder
        self._load = load
        self._opening = Lock()
        self._index: TemplateIndex | None = None
        self._progress = EmbeddingProgress(0, 0)

    def progress(self) -> EmbeddingProgress:
        """Progress of embedding."""
        return self._progress

    def index(self) -> TemplateIndex:
        """The current index.

        Raises:
            FacegateError: recognizer or store cannot be used.
        """
        return self._opened(recognizer_id(self._load()))

    def _opened(self, recognizer: str) -> TemplateIndex:
        with self._opening:
            if self._index is None or self._index.recognizer != recognizer:
                self._index = TemplateIndex(self.store, self._folder, recognizer)
            index = self._index
        index.refresh()
        return index

    def close(self) -> None:
        """Stop, and close the store."""
        super().close()
        self._writer.close()
        self.store.close()

    def _run(self) -> None:
        reported, wait_s = "", 0.0
        while not self._stop.wait(POLL_INTERVAL_S):
            try:
                wait_s -= POLL_INTERVAL_S
                if wait_s <= 0:
                    self._embed_stale()
                    wait_s = STALE_INTERVAL_S
                if self._index is None and self.store.has_more_than(MAX_EXACT):
                    self._opened(self.store.newest_recognizer() or "")  # takes a while, so not in the first search
                elif self._index is not None and self.store.touched():
                    self._index.refresh()
                reported = ""
            except FacegateError as error:
                if str(error) != reported:
                    log.error("cannot update templates", reason=str(error))
                reported = str(error)

    def _embed_stale(self) -> None:
        """Embed visits that have no template of the current recognizer."""
        known = self.store.newest_recognizer() if self._index is None else self._index.recognizer
        if not self.store.stale(known or "", 0, 1):
            return
        embedder = self._load()
        recognizer = recognizer_id(embedder)
        total, done, row = self.store.count_stale(recognizer), 0, 0
        self._progress = EmbeddingProgress(0, total)
        while batch := self.store.stale(recognizer, row, BATCH_SIZE):
            row = batch[-1][0]
            found = [embed_visit(self.store, embedder, visit) for _, visit in batch]
            self._writer.put_templates([template for template in found if template is not None])
            done += len(batch)
            self._progress = EmbeddingProgress(done, max(total, done))
            if self._stop.is_set():
                return
        if done:
            log.info("visits embedded again", visits=done, recognizer=embedder.name)
