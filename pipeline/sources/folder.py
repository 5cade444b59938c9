"""A folder of pictures: separate ones, or the frames of a film."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from time import monotonic

import structlog

from facegate.errors import SourceError
from facegate.pipeline.config import CameraConfig
from facegate.pipeline.images import read_image
from facegate.pipeline.records import Frame, FrameRef
from facegate.pipeline.sources.aspect_ratio import with_aspect
from facegate.pipeline.sources.backlog import sampler
from facegate.pipeline.sources.base import StreamInfo

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
TIMES = "timestamps.csv"
FPS = 25.0

STILL_S = 3600.0
"""Media time from one picture to the next, if they are separate."""

log = structlog.get_logger(__name__)


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder in order of their names."""
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)


class ImageFolderSource:
    """The pictures of a folder in order of their names.

    A film at the seconds of ``timestamps.csv``, or at 25 fps with ``film``; otherwise separate
    pictures, each an hour after the one before, so that nothing carries over.
    """

    live = False
    reconnectable = False
    packets_skipped = 0
    packets_idle = 0

    def __init__(self, config: CameraConfig) -> None:
        self._config = config
        self._folder = Path(config.source)

    def info(self) -> StreamInfo:
        """See :class:`facegate.pipeline.sources.base.Source`."""
        return StreamInfo()

    def frames(self, stop: Event) -> Iterator[Frame]:
        """See :class:`facegate.pipeline.sources.base.Source`."""
        keep = sampler(self._config.max_fps)
        still = not (self._config.film or self._config.realtime) and not (self._folder / TIMES).is_file()
        seq = 0
        for pts_s, path in self._pictures():
            if stop.is_set():
                return
            if not keep(pts_s):
                continue
            try:
                image = with_aspect(read_image(path), self._config.aspect_ratio)
            except SourceError as error:
                log.warning("picture skipped", camera=self._config.name, reason=str(error))
                continue
            size = image.shape[1], image.shape[0]
            yield Frame(FrameRef(self._config.name, seq, pts_s, monotonic(), None, *size), image, still=still)
            seq += 1
        if seq == 0:
            raise SourceError(f"no readable picture in {self._folder}: use {', '.join(SUFFIXES)}")

    def _pictures(self) -> list[tuple[float, Path]]:
        times = self._folder / TIMES
        if not times.is_file():
            step_s = 1 / FPS if self._config.film or self._config.realtime else STILL_S
            return [(index * step_s, file) for index, file in enumerate(pictures_in(self._folder))]
        try:
            with times.open(newline="", encoding="utf-8") as file:
                rows = [(float(seconds), self._folder / Path(name).name) for name, seconds in csv.reader(file)]
        except (ValueError, OSError) as error:
            raise SourceError(f"{times} is not valid: each line must be 'file,seconds'") from error
        seconds = [row[0] for row in rows]
        if not all(map(math.isfinite, seconds)) or seconds != sorted(seconds):
            raise SourceError(f"{times} is not valid: the seconds must be finite and must not decrease")
        return rows
