"""The index of a store's templates: nearest templates of a probe.

The store is the truth, and the index is derived from it. Up to ``MAX_EXACT`` templates are compared exactly;
beyond, codes give candidates. Codes of each ``SEGMENT_ROWS`` templates are a segment, whose file never changes;
those of newer templates are made again when the index is opened. A missing or damaged file is made again from the
store.

A removed template must not stay in a file either: the store lists the removed ones that files may hold, and the
segments with them are made again.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Self

import numpy as np
import structlog

from facegate.cpu import cores
from facegate.errors import StoreError, os_errors
from facegate.pipeline.records import Floats
from facegate.recognition.search.scan import (
    SUFFIX,
    CodedPart,
    ExactPart,
    Ids,
    Origin,
    Segment,
    has_faiss,
    read_segment,
    segment_range,
)
from facegate.store.templates import TemplateReader

FOLDER = "search-index"
"""Folder of the index in a data folder."""
MAX_EXACT = 50_000
SEGMENT_ROWS = 131_072
LOADED_ROWS = 16_384
"""Templates read from the store at once."""
CANDIDATES = 800
"""Templates compared exactly per search."""
SEGMENT_CANDIDATES = 200

log = structlog.get_logger(__name__)


class TemplateIndex:
    """The index of one recognizer's templates; thread-safe."""

    def __init__(
        self,
        store: TemplateReader,
        folder: Path,
        recognizer: str,
        *,
        writable: bool = True,
        max_exact: int = MAX_EXACT,
        segment_rows: int = SEGMENT_ROWS,
    ) -> None:
        """Open the index; :meth:`refresh` loads what is new in the store.

        Args:
            store: the store; its owner closes it.
            folder: folder of the index's files; only one writer may use it.
            recognizer: see :func:`facegate.recognition.embedders.recognizer_id`.
            writable: write files; if not, existing ones are used.
            max_exact: number of templates up to which all are compared exactly.
            segment_rows: number of templates per segment.

        Raises:
            StoreError: the folder or the store cannot be used.
        """
        self._store, self._folder, self._recognizer = store, folder, recognizer
        self._writable, self._max_exact, self._segment_rows = writable, max_exact, segment_rows
        self._refreshing = Lock()
        self._changing = Lock()
        """Held while the newest part is changed or searched."""
        self._segments: tuple[Segment, ...] = ()
        self._newest: ExactPart | CodedPart = ExactPart()
        self._last = 0
        """Id of the newest template loaded."""
        self._origin: Origin | None = None
        self._pool = ThreadPoolExecutor(cores(), "facegate-search", _one_thread)
        self._warned = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._pool.shutdown()

    @property
    def recognizer(self) -> str:
        """Its recognizer."""
        return self._recognizer

    @property
    def count(self) -> int:
        """Number of templates."""
        return sum(segment.part.count for segment in self._segments) + self._newest.count

    def refresh(self) -> None:
        """Follow the store: add new templates, and forget removed ones.

        Raises:
            StoreError: the store or a file cannot be used.
        """
        with self._refreshing, os_errors(StoreError, f"cannot use search index {self._folder}"):
            if self._origin is None or self._store.indexed()[1] != self._origin.generation:
                self._load()
            if self._writable:
                self._forget_removed()
            while True:
                ids, templates = self._store.after(self._recognizer, self._last, LOADED_ROWS)
                if not len(ids):
                    return
                with self._changing:
                    self._newest.add(ids, templates)
                    self._last = int(ids[-1])
                if isinstance(self._newest, ExactPart):
                    self._begin_codes()
                if isinstance(self._newest, CodedPart) and self._newest.count >= self._segment_rows:
                    self._seal(self._newest)

    def search(self, probe: Floats, limit: int = CANDIDATES) -> tuple[Ids, Floats]:
        """Ids and exact similarities of the templates nearest to a unit embedding ``(D,)``, best first."""
        segments = self._segments
        share = -(-len(segments) // cores())
        groups = [segments[start : start + share] for start in range(0, len(segments), max(share, 1))]
        waiting = [self._pool.submit(_search_all, group, probe) for group in groups]
        with self._changing:
            exact = isinstance(self._newest, ExactPart)
            found = [self._newest.search(probe, limit)]
        found += [each for done in waiting for each in done.result()]
        ids, similarities = (np.concatenate(column) for column in zip(*found, strict=True))
        if len(ids) > limit:
            best = np.argpartition(similarities, -limit)[-limit:]
            ids, similarities = ids[best], similarities[best]
        if segments or not exact:
            ids, templates = self._store.vectors(self._recognizer, ids.tolist())
            similarities = templates @ probe if len(ids) else np.empty(0, np.float32)
        order = np.argsort(-similarities)
        return ids[order], similarities[order]

    def _load(self) -> None:
        """Read the segments, and make missing ones."""
        through, generation = self._store.indexed()
        origin = self._origin = Origin(self._recognizer, generation)
        segments: list[Segment] = []
        if self._writable:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in sorted(self._folder.glob(f"*{SUFFIX}"), key=lambda path: segment_range(path) or (0, 0)):
            segment = read_segment(path, origin) if has_faiss() else None
            end = segments[-1].last if segments else 0
            if segment is None or segment.after < end or segment.last > through:
                if self._writable:
                    path.unlink()
                continue
            # A lost file, or one of templates that were all removed: then there are none between.
            segments += [*self._segments_between(end, segment.after), segment]
        with self._changing:
            self._segments = tuple(segments)
            self._last, self._newest = 0, ExactPart()
            if segments:
                self._last, self._newest = segments[-1].last, segments[-1].part.empty()

    def _segments_between(self, after: int, last: int, codes: CodedPart | None = None) -> Iterator[Segment]:
        """Make the segments of templates with ids above ``after`` and up to ``last``, and write their files."""
        while after < last and (segment := self._segment(after, last, codes)) is not None:
            self._write(segment)
            yield segment
            after = segment.last

    def _segment(self, after: int, last: int, codes: CodedPart | None) -> Segment | None:
        """Make a segment from the store; ``None`` if there are no templates in this range."""
        ids, templates = self._store.between(self._recognizer, after + 1, last, self._segment_rows)
        if not len(ids):
            return None
        part = CodedPart.train(templates) if codes is None else codes.empty()
        part.add(ids, templates)
        return Segment(after, last if len(ids) < self._segment_rows else int(ids[-1]), part)

    def _write(self, segment: Segment) -> None:
        if self._writable and self._origin is not None:
            segment.write(self._folder, self._origin)

    def _forget_removed(self) -> None:
        """Make segments again from which templates were removed."""
        removed = np.array(self._store.removed(), np.int64)
        if not len(removed):
            return
        segments: list[Segment] = []
        for segment in self._segments:
            if not ((removed > segment.after) & (removed <= segment.last)).any():
                segments.append(segment)
                continue
            new = list(self._segments_between(segment.after, segment.last, segment.part))
            if segment.file_name not in {each.file_name for each in new}:
                (self._folder / segment.file_name).unlink(missing_ok=True)
            segments += new
        self._segments = tuple(segments)
        self._store.clear_removed(removed.tolist())

    def _begin_codes(self) -> None:
        """Replace the exact part by codes if it has become large."""
        assert isinstance(self._newest, ExactPart)
        if self._newest.count <= self._max_exact:
            return
        if not has_faiss():
            if not self._warned:
                log.warning(
                    "exhaustive search of many templates",
                    templates=self._newest.count,
                    remedy="pip install 'facegate[large]'",
                )
            self._warned = True
            return
        ids, templates = self._newest.content()
        coded = CodedPart.train(templates)
        coded.add(ids, templates)
        with self._changing:
            self._newest = coded

    def _seal(self, part: CodedPart) -> None:
        """Make a segment of the newest part, read again from the store: some templates may have been removed."""
        after = self._segments[-1].last if self._segments else 0
        if self._writable:
            self._store.set_indexed(self._last)  # from now on the store lists what is removed
        segment = self._segment(after, self._last, part)
        if segment is None or segment.part.count < self._segment_rows:
            with self._changing:
                self._newest = part.empty() if segment is None else segment.part
            return
        self._write(segment)
        with self._changing:
            self._segments, self._newest, self._last = (*self._segments, segment), part.empty(), segment.last


def drop_removed(store: TemplateReader, folder: Path) -> None:
    """Delete the segments' files that may hold removed templates; the index makes them again.

    Raises:
        OSError: a file cannot be deleted.
        StoreError: the store cannot be read.
    """
    removed = store.removed()
    for path in folder.glob(f"*{SUFFIX}"):
        found = segment_range(path)
        if found is not None and any(found[0] < row <= found[1] for row in removed):
            path.unlink(missing_ok=True)


def _search_all(segments: tuple[Segment, ...], probe: Floats) -> list[tuple[Ids, Floats]]:
    return [segment.part.search(probe, SEGMENT_CANDIDATES) for segment in segments]


def _one_thread() -> None:
    if has_faiss():
        import faiss

        faiss.omp_set_num_threads(1)  # the groups of segments run in parallel already
