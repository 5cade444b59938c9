"""Unknown visitors: best faces of visits without a name, clustered into people.

Clusters use complete linkage: any two faces of a cluster are similar enough to be one person, so that one face in
between never joins two people. A person may therefore have several clusters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence

import msgspec
import numpy as np

from facegate.clock import FileClock, expired_row
from facegate.detectors.align import CROP_SIZE
from facegate.pipeline.records import Floats, Image
from facegate.recognition.embedders import Embedder
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.enrollment.linkage import complete_linkage
from facegate.recognition.enrollment.records import FaceSample
from facegate.recognition.enrollment.schema import GalleryFile, decode_crop, encode_crop

MAX_VISITS = 2000
MAX_AGE_S = 30 * 86400.0
MAX_ENROLLED_SHOTS = 5
MIN_QUALITY = 30
"""Minimum quality; poorer faces are useless for enrollment."""


class UnknownVisit(msgspec.Struct, frozen=True):
    """The best face of a visit without a name."""

    row: int
    visit: str
    camera: str
    seen: float
    """Unix time (UTC)."""
    quality: int


class UnknownCluster(msgspec.Struct, frozen=True):
    """Visits of one unknown person."""

    id: int
    """Row of its first visit."""
    visits: list[UnknownVisit]
    """Oldest first."""
    cameras: list[str]
    days: int
    """Number of days (UTC) with a visit."""


class UnknownStore(GalleryFile):
    """Unknown faces in a gallery's file."""

    def keep(
        self, visit: str, camera: str, seen: float, quality: int, crop: Image, version: str, vector: Floats
    ) -> None:
        """Store the best face of a visit; beyond ``MAX_VISITS``, the oldest are deleted.

        Args:
            visit: id of the visit; replaces its earlier face.
            camera: name of the camera.
            seen: Unix time (UTC).
            quality: 0..100; a face below ``MIN_QUALITY`` is not stored.
            crop: ``(112, 112, 3)`` uint8 RGB.
            version: version of the embedder.
            vector: ``(D,)`` unit embedding.
        """
        if quality < MIN_QUALITY:
            return
        with self._transaction():
            self._db.execute(
                "INSERT INTO unknowns (visit, camera, seen, quality, crop, version, vector) "
                "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (visit) DO UPDATE SET quality = excluded.quality, "
                "crop = excluded.crop, version = excluded.version, vector = excluded.vector",
                (visit, camera, seen, quality, encode_crop(crop), version, np.asarray(vector, "<f4").tobytes()),
            )
            self._db.execute(
                "DELETE FROM unknowns WHERE id NOT IN (SELECT id FROM unknowns ORDER BY id DESC LIMIT ?)",
                (MAX_VISITS,),
            )

    def tidy(self, clock: FileClock, now: float, elapsed: float) -> int:
        """Delete faces older than ``MAX_AGE_S``, unless the host's clock was moved; return how many.

        Args:
            clock: the same instance at every call.
            now: Unix time.
            elapsed: see :func:`facegate.clock.elapsed_s`.
        """
        with self._errors():
            newest = self._db.execute("SELECT seen FROM unknowns ORDER BY id DESC LIMIT 1").fetchone()
            if not clock.check(self._db, None if newest is None else newest[0], now, elapsed):
                return 0
            old = expired_row(self._db, "unknowns", "seen", now - MAX_AGE_S, now)
        if old is None:
            return 0
        with self._transaction():
            return self._db.execute("DELETE FROM unknowns WHERE id <= ?", (old,)).rowcount

    def forget_before(self, oldest: Mapping[str, float]) -> int:
        """Delete faces that are older than their camera keeps them, Unix times; return how many."""
        with self._transaction():
            return sum(
                self._db.execute("DELETE FROM unknowns WHERE camera = ? AND seen < ?", limit).rowcount
                for limit in oldest.items()
            )

    def forget(self, rows: Sequence[int]) -> None:
        """Delete unknown faces."""
        with self._transaction():
            self._db.executemany("DELETE FROM unknowns WHERE id = ?", [(row,) for row in rows])

    def forget_all(self) -> None:
        """Delete every unknown face."""
        with self._transaction():
            self._db.execute("DELETE FROM unknowns")

    def crop(self, row: int) -> Image:
        """An unknown face, ``(112, 112, 3)`` uint8 RGB.

        Raises:
            GalleryError: it was deleted, or is damaged.
        """
        with self._errors():
            found = self._db.execute("SELECT crop FROM unknowns WHERE id = ?", (row,)).fetchone()
        return decode_crop(None if found is None else found[0], self._path)

    def clusters(self, embedder: Embedder, min_similarity: float) -> list[UnknownCluster]:
        """Cluster the unknown faces, largest clusters first.

        Args:
            embedder: computes missing embeddings of faces stored with another model.
            min_similarity: similarity from which two faces are one person.
        """
        with self._errors():
            rows = self._db.execute(
                "SELECT id, visit, camera, seen, quality, version, vector FROM unknowns ORDER BY seen, id"
            ).fetchall()
        found = [UnknownVisit(*row[:5]) for row in rows]
        vectors = self._vectors(embedder, [(row[0], *row[5:]) for row in rows])
        groups: dict[int, list[UnknownVisit]] = {}
        for unknown, label in zip(found, _labels(vectors, min_similarity), strict=True):
            groups.setdefault(label, []).append(unknown)
        clusters = [
            UnknownCluster(
                id=group[0].row,
                visits=group,
                cameras=sorted({unknown.camera for unknown in group}),
                days=len({int(unknown.seen // 86400) for unknown in group}),
            )
            for group in groups.values()
        ]
        return sorted(clusters, key=lambda cluster: (-len(cluster.visits), cluster.id))

    def vectors(self, embedder: Embedder) -> tuple[list[int], Floats]:
        """Rows and ``(N, D)`` unit embeddings of all unknown faces."""
        with self._errors():
            rows = self._db.execute("SELECT id, version, vector FROM unknowns ORDER BY id").fetchall()
        return [row[0] for row in rows], np.array(self._vectors(embedder, rows), np.float32)

    def _vectors(self, embedder: Embedder, rows: Sequence[tuple[int, str, bytes]]) -> list[Floats]:
        return [
            np.frombuffer(kept, "<f4") if version == embedder.version else embedder.embed([self.crop(row)])[0]
            for row, version, kept in rows
        ]


def _labels(vectors: Sequence[Floats], min_similarity: float) -> list[int]:
    if len(vectors) < 2:
        return list(range(len(vectors)))
    rows = np.stack(vectors).astype(np.float64)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return complete_linkage(1 - rows @ rows.T, 1 - min_similarity)


def enroll_cluster(
    unknowns: UnknownStore, people: GalleryStore, cluster: UnknownCluster, name: str, without: Collection[int]
) -> int:
    """Enroll the best faces of a cluster and delete its unknown faces; return how many pictures were new.

    Args:
        unknowns: unknown faces of the same file as ``people``.
        people: the gallery.
        cluster: the cluster.
        name: the person, created if missing.
        without: rows of faces of other people; they stay unknown.
    """
    right = [unknown for unknown in cluster.visits if unknown.row not in without]
    samples = []
    for unknown in sorted(right, key=lambda unknown: -unknown.quality)[:MAX_ENROLLED_SHOTS]:
        crop = unknowns.crop(unknown.row)
        digest = hashlib.sha256(crop.tobytes()).hexdigest()
        samples.append(
            FaceSample(f"visit {unknown.visit}", digest, crop, unknown.quality, float(CROP_SIZE), 0.0, 1)
        )
    added = people.add(name, samples, accepted=True)
    unknowns.forget([unknown.row for unknown in right])
    return added
