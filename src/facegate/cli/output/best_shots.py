"""Best shots of a run for a person: a table on the screen, a folder of pictures, and a page."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from facegate.cli.output.gallery_page import STYLE
from facegate.errors import ConfigError, os_errors
from facegate.paths import replacing
from facegate.pipeline.gating.gate import Decision
from facegate.pipeline.images import encode_jpeg
from facegate.pipeline.records import Image
from facegate.pipeline.sources.folder import STILL_S, pictures_in

DEFAULT_FOLDER = Path("facegate-shots")
"""Where best shots are written if nothing else takes them."""
PAGE = "index.html"
MAX_TRACKS = 500
"""Maximum number of tracks of which a shot is kept; bounds memory and the size of the page."""
MAX_LINES = 20
"""Maximum number of lines on the screen."""

TrackKey = tuple[str, int]


class BestShot(msgspec.Struct, frozen=True, eq=False):
    """The best shot of a track."""

    camera: str
    track_id: int
    pts_s: float
    quality: int
    rank: float
    crop: Image


class ShotOverview:
    """Collects the best shot of each track."""

    def __init__(self, source: str, *, film: bool = False) -> None:
        """Create for a source; pictures of a folder that are no film are shown by their file names."""
        folder = Path(source)
        self._pictures = pictures_in(folder) if not film and "://" not in source and folder.is_dir() else []
        self._source = source
        self._best: dict[TrackKey, BestShot] = {}

    def add(self, decision: Decision) -> None:
        """Take one decision."""
        if decision.shot is None:
            return
        scored = decision.shot.scored
        frame = scored.face.frame
        key = (frame.camera, decision.shot.track_id)
        known = self._best.get(key)
        if known is None and len(self._best) >= MAX_TRACKS:
            return
        if known is not None and known.rank >= scored.rank[0]:
            return
        self._best[key] = BestShot(*key, frame.pts_s, scored.quality, scored.rank[0], scored.face.crop)

    @property
    def shots(self) -> list[BestShot]:
        """The best shots, by camera and time."""
        return sorted(self._best.values(), key=lambda shot: (shot.camera, shot.pts_s, shot.track_id))

    def when(self, pts_s: float) -> str:
        """Media time as ``minutes:seconds``, or the name of the picture."""
        if self._pictures:
            return self._pictures[min(round(pts_s / STILL_S), len(self._pictures) - 1)].name
        return f"{int(pts_s // 60):02d}:{pts_s % 60:04.1f}"

    def show(self, console: Console, names: Mapping[TrackKey, str] | None = None) -> None:
        """Print a line per shot; with ``names``, of the recognized people."""
        shots = self.shots
        table = Table(title="best shots", title_justify="left", box=SIMPLE_HEAD, padding=0, pad_edge=False)
        columns = ("camera", "track", "when", "quality")
        for column in columns if names is None else (*columns, "name"):
            table.add_column(column)
        for shot in shots[:MAX_LINES]:
            row = [shot.camera, str(shot.track_id), self.when(shot.pts_s), str(shot.quality)]
            table.add_row(*row, *([] if names is None else [names.get((shot.camera, shot.track_id), "unknown")]))
        if shots:
            console.print(table)
        if len(shots) > MAX_LINES:
            console.print(f"and {len(shots) - MAX_LINES} more")

    def write(self, folder: Path, names: Mapping[TrackKey, str] | None = None, *, crops: bool = True) -> Path:
        """Write the page, and the shots as pictures; return the page.

        Raises:
            ConfigError: the folder cannot be written.
        """
        page = folder / PAGE
        with os_errors(ConfigError, f"cannot write best shots to {folder}", "give --save a folder"):
            folder.mkdir(parents=True, exist_ok=True)
            for shot in self.shots if crops else ():
                name = f"{shot.camera}_track{shot.track_id:04d}_q{shot.quality:03d}.jpg"
                with replacing(folder / name) as part:
                    part.write_bytes(encode_jpeg(shot.crop, 95))
            with replacing(page) as part:
                part.write_text(self._page(names), encoding="utf-8")
        return page

    def _page(self, names: Mapping[TrackKey, str] | None) -> str:
        shots = self.shots
        title = escape(Path(self._source).name if "://" not in self._source else "camera")
        hint = (
            f"<p class=note>To add names: one folder of pictures per person, then <code>facegate try "
            f"{title} --gallery people/</code></p>"
        )
        figures = [self._figure(shot, None if names is None else names.get((shot.camera, shot.track_id)))
                   for shot in shots]  # fmt: skip
        people = sorted(set(names.values())) if names else []
        seen = f", recognized: {escape(', '.join(people))}" if people else ""
        return "\n".join(
            (
                f"<!doctype html><html lang=en><meta charset=utf-8><title>facegate: {title}</title>",
                f"<style>{STYLE}</style><h1>{title}</h1><p class=note>best shots: {len(shots)}{seen}</p>",
                hint if names is None else "",
                f"<div class=row>{''.join(figures)}</div></html>\n",
            )
        )

    def _figure(self, shot: BestShot, name: str | None) -> str:
        inline = "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(shot.crop, 90)).decode()
        lines = [f"<b>{escape(name)}</b>"] if name else []
        lines += [escape(self.when(shot.pts_s)), f"quality {shot.quality}"]
        alt = escape(name or f"track {shot.track_id}", quote=True)
        return f"<figure><img src='{inline}' alt='{alt}'><figcaption>{'<br>'.join(lines)}</figcaption></figure>"


def page_opener(*, wanted: bool, has_screen: bool, open_url: Callable[[str], object]) -> Callable[[Path], None]:
    """Return what opens a page in the user's browser, if there is a screen to open it on."""

    def opened(page: Path) -> None:
        if wanted and has_screen:
            open_url(page.absolute().as_uri())

    return opened
