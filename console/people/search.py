"""Search by face for the pages: the recognizer, the index and its upkeep."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

import msgspec

from facegate.console.people.service import EnrollmentService
from facegate.errors import ConfigError, StoreError, os_errors
from facegate.pipeline.records import Floats
from facegate.recognition.embedders import Embedder
from facegate.recognition.loading import OneAtATime
from facegate.recognition.matching.decision_rule import DecisionRule
from facegate.recognition.search.face_search import SEARCH_FPIR, Order, SearchResult, search_rule, search_visits
from facegate.recognition.search.template_index import FOLDER
from facegate.recognition.search.template_keeper import EmbeddingProgress, TemplateKeeper, embed_visit
from facegate.store.reader import VisitFilter
from facegate.store.writer import StoreWriter


class SearchOptions(msgspec.Struct, frozen=True):
    """What to search, and how."""

    visit_filter: VisitFilter
    fpir: float
    order: Order
    limit: int


class SearchService:
    """Searches the visits of a console's store; thread-safe."""

    def __init__(self, people: EnrollmentService, data: Path, store: Path, *, enabled: bool) -> None:
        """Open the store; without ``enabled``, templates and index are deleted.

        Raises:
            StoreError: the store or the index cannot be used.
        """
        self._people = people
        self._lock = Lock()
        self._embedder: Embedder | None = None
        self._keeper = TemplateKeeper(store, data / FOLDER, self._load) if enabled else None
        if not enabled:
            delete_templates(data, store)

    def __enter__(self) -> Self:
        if self._keeper is not None:
            self._keeper.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._keeper is not None:
            self._keeper.close()

    @property
    def enabled(self) -> bool:
        """Whether templates are kept."""
        return self._keeper is not None

    def progress(self) -> EmbeddingProgress:
        """Progress of embedding visits again, after a change of the recognizer."""
        return EmbeddingProgress(0, 0) if self._keeper is None else self._keeper.progress()

    def by_picture(self, content: bytes, source: str, options: SearchOptions) -> SearchResult:
        """Search for the largest face of a picture.

        Raises:
            SourceError: not a picture.
            GalleryError: no face found.
            FacegateError: the recognizer or the store cannot be used.
        """
        keeper = self._enabled()
        sample = self._people.extract(content, source)
        return self._search(keeper, self._load().embed([sample.crop])[0], options)

    def by_visit(self, visit: str, options: SearchOptions) -> SearchResult | None:
        """Search for the person of a visit, which is left out; ``None`` if it has no template and no crop."""
        keeper = self._enabled()
        index = keeper.index()
        probe = keeper.store.template_of(visit, index.recognizer)
        if probe is None:  # an open visit, or one that is about to be embedded again
            template = embed_visit(keeper.store, self._load(), visit)
            if template is None:
                return None
            probe = template.embedding()
        return self._search(keeper, probe, options, without=visit)

    def by_person(self, name: str, options: SearchOptions) -> SearchResult:
        """Search for an enrolled person.

        Raises:
            GalleryError: the person is not enrolled.
        """
        keeper = self._enabled()
        return self._search(keeper, self._people.template(name), options)

    def templates_of(self, rows: Sequence[int]) -> tuple[dict[int, Floats], DecisionRule | None]:
        """Templates of visits by their row ids, and the rule that decides on them, if templates are kept."""
        if self._keeper is None:
            return {}, None
        found = self._keeper.store.templates_of(self._keeper.index().recognizer, rows)
        return found, search_rule(self._people.recognition().impostors, SEARCH_FPIR, self._load())

    def _search(
        self, keeper: TemplateKeeper, probe: Floats, options: SearchOptions, without: str | None = None
    ) -> SearchResult:
        rule = search_rule(self._people.recognition().impostors, options.fpir, self._load())
        return search_visits(
            keeper.index(),
            keeper.store,
            probe,
            rule,
            options.visit_filter,
            order=options.order,
            limit=options.limit,
            without=without,
        )

    def _enabled(self) -> TemplateKeeper:
        if self._keeper is None:
            raise ConfigError("templates are not kept: start 'facegate serve' without --no-templates")
        return self._keeper

    def _load(self) -> Embedder:
        with self._lock:
            if self._embedder is None:
                self._embedder = OneAtATime(self._people.recognition().embedder)
            return self._embedder


def delete_templates(data: Path, store: Path) -> None:
    """Delete the templates of a store and their index.

    Raises:
        StoreError: they cannot be deleted.
    """
    with StoreWriter(store) as writer:
        writer.delete_templates()
    with os_errors(StoreError, f"cannot delete {data / FOLDER}"):
        if (data / FOLDER).exists():
            shutil.rmtree(data / FOLDER)
