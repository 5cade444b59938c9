"""A picture, or a folder of pictures: independent, or the frames of a film."""

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
from facegate.pipeline.images import PICTURE_SUFFIXES, read_image
from facegate.pipeline.records import Frame, FrameRef
from facegate.pipeline.sources.aspect_ratio import with_aspect
from facegate.pipeline.sources.backlog import sampler
from facegate.pipeline.sources.base import StreamInfo

TIMES = "timestamps.csv"
FPS = 25.0

STILL_S = 3600.0
"""Media time from one picture to the next, if each is independent."""

log = structlog.get_logger(__name__)


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder in order of their names; of a picture, itself."""
    files = [folder] if folder.is_file() else folder.iterdir()
    return sorted(file for file in files if file.suffix.lower() in PICTURE_SUFFIXES)


def is_picture(path: Path) -> bool:
    """Whether a path is that of one picture; a GIF is a film."""
    return path.suffix.lower() in PICTURE_SUFFIXES - {".gif"} and path.is_file()


class ImageFolderSource:
    """A picture, or the pictures of a folder in order of their names.

    A film at the seconds of ``timestamps.csv``, or at 25 fps with ``film``; otherwise each picture is
    independent, an hour after the one before, so that nothing carries over.
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
                if path == self._folder:
                    raise
                log.warning("picture skipped", camera=self._config.name, reason=str(error))
                continue
            size = image.shape[1], image.shape[0]
            yield Frame(FrameRef(self._config.name, seq, pts_s, monotonic(), None, *size), image, still=still)
            seq += 1
        if seq == 0:
            raise SourceError(f"no readable picture in {self._folder}: use JPEG or PNG")

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
