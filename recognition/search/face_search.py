"""Search by face: visits whose template fits a face, at a stated rate of false hits."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from facegate.pipeline.records import Floats
from facegate.recognition.embedders import Embedder
from facegate.recognition.matching.decision_rule import DecisionRule, FixedThresholdRule, FpirRule
from facegate.recognition.matching.score_tail import ImpostorModel
from facegate.recognition.search.template_index import CANDIDATES, MAX_EXACT, TemplateIndex
from facegate.store.reader import VisitFilter
from facegate.store.records import StoredVisit
from facegate.store.templates import TemplateReader

SEARCH_FPIR = 0.01
"""Default rate of false hits: one search in 100 for somebody who was never here finds a visit."""
EVERY_VISIT = VisitFilter()
Order = Literal["newest", "best"]


class SearchHit(msgspec.Struct, frozen=True):
    """A visit that fits."""

    visit: StoredVisit
    similarity: float
    """Cosine of the face to the visit's template."""
    fpir: float | None
    """Probability that a search for somebody who was never here finds a hit this similar; ``None`` if unknown."""


class SearchResult(msgspec.Struct, frozen=True):
    """Result of a search."""

    searched: int
    """Number of visits searched."""
    fpir: float | None
    """Rate of false hits: share of searches for somebody who was never here that find any; ``None`` if unknown."""
    min_similarity: float
    """Similarity from which a visit is a hit."""
    complete: bool
    """Whether all hits are listed."""
    hits: list[SearchHit]


def search_rule(impostors: ImpostorModel | None, fpir: float, embedder: Embedder) -> DecisionRule:
    """The rule of a search: a threshold for a rate, or without an impostor model a fixed one."""
    return FixedThresholdRule(embedder.threshold) if impostors is None else FpirRule(impostors, fpir)


def search_visits(
    index: TemplateIndex,
    store: TemplateReader,
    probe: Floats,
    rule: DecisionRule,
    visit_filter: VisitFilter = EVERY_VISIT,
    *,
    order: Order = "newest",
    limit: int = 100,
    without: str | None = None,
) -> SearchResult:
    """Search the visits of a store for a face.

    Few visits that fit the filter are compared exactly; otherwise those nearest to the face are filtered.

    Args:
        index: index of the store.
        store: the store.
        probe: ``(D,)`` unit embedding.
        rule: see :func:`search_rule`.
        visit_filter: which visits to search.
        order: of the hits.
        limit: maximum number of hits.
        without: id of a visit to leave out.

    Raises:
        StoreError: the store cannot be read.
    """
    searched = index.count
    narrowed = None
    if visit_filter != EVERY_VISIT:
        narrowed = store.fitting(index.recognizer, visit_filter, MAX_EXACT + 1)
        if len(narrowed) > MAX_EXACT:
            narrowed = None
    if narrowed is None:
        ids, similarities = index.search(probe)
    else:
        ids, templates = store.vectors(index.recognizer, narrowed)
        similarities = templates @ probe if len(ids) else np.empty(0, np.float32)
        searched = len(ids)
    normalization = float(rule.normalization(probe[None])[0])
    threshold = rule.threshold(searched)
    fits = similarities - normalization >= threshold
    visits = store.visits_with(ids[fits].tolist(), visit_filter)
    found = [
        SearchHit(visits[row], round(float(similarity), 4), rule.fpir(float(similarity) - normalization, searched))
        for row, similarity in zip(ids[fits].tolist(), similarities[fits], strict=True)
        if row in visits and visits[row].visit != without
    ]
    found.sort(key=lambda hit: -(hit.visit.last if order == "newest" else hit.similarity))
    return SearchResult(
        searched=searched,
        fpir=rule.fpir(threshold, searched),
        min_similarity=round(threshold + normalization, 4),
        complete=len(found) <= limit and (narrowed is not None or int(fits.sum()) < CANDIDATES),
        hits=found[:limit],
    )
