"""Logs uses of the recognizer for an audit: when it ran, against which gallery, and each match with its input."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from time import time

import msgspec
import structlog

from facegate.audit.log import AuditLog, Use
from facegate.errors import StoreError
from facegate.recognition.embedders import Embedder, recognizer_id
from facegate.recognition.matching.decision_rule import DecisionRule
from facegate.recognition.matching.gallery import Gallery
from facegate.recognition.worker.visits import VisitEvent, VisitKey

WORKER = "worker"

log = structlog.get_logger(__name__)


class UseLog:
    """Appends to an :class:`AuditLog` before a match is published. For one thread.

    A full disk does not stop recognition: how many entries are missing is appended once it can be.
    """

    def __init__(
        self, audit: AuditLog, embedder: Embedder, rule: DecisionRule, wall: Callable[[], float] = time
    ) -> None:
        """``wall`` returns the Unix time."""
        self._log, self._embedder, self._rule, self._wall = audit, embedder, rule, wall
        self._inputs: dict[VisitKey, tuple[str, str]] = {}
        """Id and SHA-256 of the newest crop of each open visit."""
        self._gallery = ""
        self._threshold = 0.0
        self.missing = 0
        """Number of entries that could not be appended."""

    def start(self, gallery: Gallery) -> None:
        """Log the begin of a use, and the gallery."""
        recognizer = {"recognizer": self._embedder.name, "recognizer_id": recognizer_id(self._embedder)}
        self._append("START", "", {**recognizer, **self._against(gallery)})

    def gallery(self, gallery: Gallery) -> None:
        """Log a change of the gallery."""
        self._append("GALLERY", "", self._against(gallery))

    def input(self, key: VisitKey, shot_id: str, crop: bytes) -> None:
        """Remember the newest input of a visit."""
        self._inputs[key] = shot_id, hashlib.sha256(crop).hexdigest()

    def events(self, events: Sequence[VisitEvent]) -> None:
        """Log each match, also one that is withdrawn, among new events of visits."""
        uses = [
            Use(
                self._wall(), WORKER, event.camera, "MATCH", event.visit,
                _json(
                    {
                        "name": event.name, "before": event.before, "corrected": event.corrected,
                        "similarity": event.similarity, "fpir": event.fpir, "threshold": self._threshold,
                        "gallery": self._gallery, **self._input(event.key),
                    }
                ),
            )
            for event in events
            if event.event in ("named", "changed")
        ]  # fmt: skip
        self._write(uses)
        for event in events:
            if event.event == "ended":
                self._inputs.pop(event.key, None)

    def end(self) -> None:
        """Log the end of a use."""
        self._append("END", "", {})

    def _input(self, key: VisitKey) -> dict[str, str]:
        shot_id, digest = self._inputs.get(key, ("", ""))
        return {"shot_id": shot_id, "sha256": digest} if shot_id else {}

    def _against(self, gallery: Gallery) -> dict[str, object]:
        people = len(gallery.names)
        content = hashlib.sha256("\n".join(gallery.names).encode())
        content.update(gallery.templates.tobytes())
        self._gallery = content.hexdigest()[:16]
        self._threshold = round(self._rule.threshold(people), 4)
        rule = self._rule.describe(people)
        return {"gallery": self._gallery, "people": people, "rule": rule, "threshold": self._threshold}

    def _append(self, method: str, path: str, details: dict[str, object]) -> None:
        self._write([Use(self._wall(), WORKER, "", method, path, _json(details))])

    def _write(self, uses: Sequence[Use]) -> None:
        if not uses:
            return
        late = (
            [] if not self.missing else [Use(self._wall(), WORKER, "", "GAP", "", _json({"missing": self.missing}))]
        )
        try:
            self._log.append(*late, *uses)
        except StoreError as error:
            if not self.missing:
                log.error("audit log cannot be written", reason=str(error), remedy="matches go on without it")
            self.missing += len(uses)
            return
        self.missing = 0


def _json(details: dict[str, object]) -> str:
    return msgspec.json.encode({key: value for key, value in details.items() if value is not None}).decode()
