"""Reloads a gallery when its file or folder changes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from math import inf
from pathlib import Path
from time import monotonic, time
from typing import Self

import msgspec
import numpy as np
import structlog

from facegate.background import BackgroundThread
from facegate.clock import FileClock, elapsed_s
from facegate.errors import FacegateError, GalleryError
from facegate.recognition.embedders import Embedder
from facegate.recognition.enrollment.enroller import Enroller, Progress
from facegate.recognition.enrollment.face_extraction import FaceExtractor
from facegate.recognition.enrollment.folder_sync import Stamp, sync
from facegate.recognition.enrollment.unknowns import UnknownStore
from facegate.recognition.enrollment.watch_lists import WatchListStore
from facegate.recognition.matching.decision_rule import DecisionRule
from facegate.recognition.matching.gallery import Gallery, ListedPeople

REFRESH_S = 1.0
TIDY_S = 60.0
GALLERY_SUFFIX = ".db"

log = structlog.get_logger(__name__)


class GalleryWatcher(BackgroundThread):
    """Owns the gallery's file; ``gallery`` is consistent, and at most ``REFRESH_S`` old while watched."""

    def __init__(
        self,
        path: Path,
        embedder: Embedder,
        rule: DecisionRule,
        make_extractor: Callable[[], FaceExtractor],
        cache: Path,
        progress: Progress = lambda done, total: None,
        *,
        strict: bool = False,
    ) -> None:
        """Load the gallery.

        Args:
            path: a ``people.db``, or a folder with one subfolder of pictures per person.
            embedder: embedder of the worker; thread-safe.
            rule: decides which pairs of people look alike.
            make_extractor: creates the face extractor for new pictures of a folder.
            cache: folder for the gallery files made from folders.
            progress: called with the number of pictures done and in total.
            strict: raise instead of skipping pictures of a folder.

        Raises:
            GalleryError: missing, damaged, or a folder without a usable picture.
        """
        super().__init__("facegate-gallery")
        self._folder = path if path.is_dir() or path.suffix != GALLERY_SUFFIX else None
        self._path = path
        self._stamp = None if self._folder is None else Stamp.of(path)
        self._embedder = embedder
        self._expires = inf
        """Unix time at which the next person leaves a watch list, or may no longer be recognized."""
        self._people = (
            WatchListStore(path)
            if self._folder is None
            else WatchListStore(_kept(path, embedder, cache), create=True)
        )
        self._enroller = Enroller(self._people, make_extractor, embedder, rule)
        self._on_change: Callable[[Collection[str]], None] = lambda names: None
        try:
            if self._folder is not None:
                sync(self._folder, self._people, self._enroller, progress, strict=strict)
            self._gallery = self._load(progress)
        except BaseException:
            self._people.close()
            raise
        if not self._gallery.names:
            log.warning("gallery empty", gallery=str(path), remedy="add people with 'facegate gallery add'")

    def unknowns(self) -> UnknownStore | None:
        """Open the unknown faces in the gallery's file, for the caller to close; ``None`` for a folder."""
        return None if self._folder is not None else UnknownStore(self._path)

    @property
    def gallery(self) -> Gallery:
        """The current gallery."""
        return self._gallery

    def watch(self, on_change: Callable[[Collection[str]], None] = lambda names: None) -> None:
        """Reload on changes until ``close``; ``on_change`` gets the names, now and after each reload."""
        on_change(self._gallery.names)
        self._on_change = on_change
        self._thread.start()

    def close(self) -> None:
        """Stop watching and close the file."""
        super().close()
        self._people.close()

    def __enter__(self) -> Self:
        return self

    def refresh(self) -> bool:
        """Reload if the gallery has changed; return whether it had.

        Raises:
            FacegateError: it cannot be loaded; the previous one stays in use.
        """
        if self._folder is not None:
            stamp = Stamp.of(self._folder)
            if stamp == self._stamp:
                return False
            self._stamp = stamp
            sync(self._folder, self._people, self._enroller)
        elif not self._people.changed() and time() < self._expires:
            return False
        self._gallery = self._load()
        log.info("gallery reloaded", people=len(self._gallery.names))
        return True

    def _run(self) -> None:
        logged = ""
        tidy_s = 0.0
        clock = FileClock("unknown faces")
        while not self._stop.wait(REFRESH_S):
            try:
                if self.refresh():
                    self._on_change(self._gallery.names)
                if self._folder is None and monotonic() >= tidy_s:
                    with UnknownStore(self._path) as unknowns:
                        unknowns.tidy(clock, time(), elapsed_s())
                    tidy_s = monotonic() + TIDY_S
                logged = ""
            except FacegateError as error:
                if str(error) != logged:
                    log.error("gallery not reloaded, keeping the previous one", reason=str(error))
                logged = str(error)

    def _load(self, progress: Progress = lambda done, total: None) -> Gallery:
        self._enroller.embed_missing(progress)
        now = time()
        members = self._people.members(now)
        bases = self._people.legal_bases()
        ends = [each.expires for each in members] + [each.until for each in bases]
        self._expires = min((each for each in ends if each is not None and each > now), default=inf)
        expired = [each.person for each in bases if each.until is not None and each.until <= now]
        if expired:
            log.warning(
                "people not recognized, their legal basis has ended",
                people=expired,
                remedy="'facegate gallery basis' sets another period, 'facegate gallery remove' removes them",
            )
        lists = [
            ListedPeople(
                each.name, each.fpir, frozenset(member.person for member in members if member.list == each.name)
            )
            for each in self._people.watch_lists()
        ]
        embedded = self._people.embedded(self._embedder.version)
        allowed = ~np.isin(embedded.people, [embedded.names.index(name) for name in expired])
        embedded = msgspec.structs.replace(embedded, used=embedded.used & allowed)
        return Gallery.of(embedded, self._people.corrections(), lists)


def _kept(folder: Path, embedder: Embedder, cache: Path) -> Path:
    key = hashlib.sha256(f"{folder.resolve()}\n{embedder.version}".encode()).hexdigest()[:16]
    return cache / "galleries" / f"{key}.db"


def gallery_path(path: Path) -> Path:
    """Check that a path can be a gallery's file, and return it.

    Raises:
        GalleryError: it has another suffix.
    """
    if path.suffix != GALLERY_SUFFIX:
        raise GalleryError(
            f"{path} is {'a folder' if path.is_dir() else 'not a gallery file'}: give a gallery file such as "
            f"people{GALLERY_SUFFIX}; 'facegate gallery add people{GALLERY_SUFFIX} FOLDER' creates one"
        )
    return path
