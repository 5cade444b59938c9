"""``facegate try``: gate, recognition and a page of the results, in one process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facegate.cli.options import CardOption, DetectorKind, EmbedderOption, FilmOption, FpirOption
from facegate.cli.signals import Interrupt, end_at_once_while_loading

if TYPE_CHECKING:
    from rich.console import Console

    from facegate.cli.output.best_shots import ShotOverview, TrackKey
    from facegate.pipeline.config import RunConfig
    from facegate.pipeline.records import Shot
    from facegate.recognition.worker.visit_state import VisitEvent


def try_source(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="Video file, folder of pictures, stream URL or webcam (0).", show_default=False
        ),
    ],
    gallery: Annotated[
        Path | None,
        typer.Option(help="Gallery file, or folder with one subfolder of pictures per person.", show_default=False),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="Write best shots and the page to this folder.", show_default="facegate-shots"),
    ] = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open the page in the browser.")] = False,
    film: FilmOption = False,
    embedder: EmbedderOption = "auto",
    card: CardOption = None,
    fpir: FpirOption = 1e-3,
) -> None:
    """Try facegate on a source: show best shots, name known people, and open a page of the results.

    \b
    facegate try clip.mp4
    facegate try clip.mp4 --gallery people/
    facegate try pictures/ --gallery people.db --no-open
    facegate try 0 --gallery people/

    Everything runs in this process; nothing listens on the network. Ctrl-C ends a camera.
    """
    end_at_once_while_loading()
    import webbrowser

    from rich.console import Console

    from facegate.cli.output.best_shots import DEFAULT_FOLDER, ShotOverview, page_opener
    from facegate.cpu import share_cores
    from facegate.logs import show_warnings_only
    from facegate.pipeline.config import config_for

    config = config_for(source)
    config = config.model_copy(
        update={"cameras": tuple(camera.model_copy(update={"film": film}) for camera in config.cameras)}
    )
    share_cores()
    show_warnings_only()
    screen = Console(highlight=False)
    best = ShotOverview(source, film=film)
    names: dict[TrackKey, str] = {}
    if gallery is None:
        code = _watch(config, best, lambda shot: None)
    else:
        with _recognition(gallery, embedder, card, fpir, lambda event: _tell(event, names, best, screen)) as take:
            code = _watch(config, best, take)
    known = None if gallery is None else names
    best.show(screen, known)
    page = best.write(save or DEFAULT_FOLDER, known)
    screen.print(f"page: {page}", soft_wrap=True)
    if gallery is None:
        screen.print(f"to add names: facegate try {source} --gallery people/ (a folder of pictures per person)")
    has_screen = sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    page_opener(wanted=not no_open, has_screen=has_screen, open_url=webbrowser.open)(page)
    raise typer.Exit(code)


def _watch(config: RunConfig, best: ShotOverview, take: Callable[[Shot], None]) -> int:
    """Run until the source ends or a signal arrives; return the exit code."""
    from facegate.pipeline.runner import Runner
    from facegate.pipeline.watch import ShotQueue

    queue = ShotQueue()
    with Runner(config, lambda: queue, on_decision=best.add, on_finished=queue.end) as runner:
        interrupted = Interrupt(runner.stop)
        for shot in queue:
            take(shot)
        runner.close(linger_s=0.0)
    return interrupted.exit_code


@contextmanager
def _recognition(
    gallery: Path, embedder: str, card: Path | None, fpir: float, tell: Callable[[VisitEvent], None]
) -> Iterator[Callable[[Shot], None]]:
    """A recognition worker in this process: yields what takes a shot; events of visits go to ``tell``."""
    from facegate.cli.output.progress import counting
    from facegate.recognition.loading import load_recognition
    from facegate.recognition.matching.gallery_watcher import GalleryWatcher
    from facegate.recognition.worker.recognizer import Recognizer
    from facegate.scoring.backend_selection import cache_folder
    from facegate.sinks import wire

    parts = load_recognition(embedder, card, DetectorKind.AUTO, None, fpir=fpir)
    with ExitStack() as opened:
        progress = opened.enter_context(counting("enrolling"))
        people = opened.enter_context(
            GalleryWatcher(gallery, parts.embedder, parts.rule, parts.face_extractor, cache_folder(), progress)
        )
        lines = opened.enter_context(Path(os.devnull).open("w", encoding="utf-8"))

        def tell_all(events: Sequence[VisitEvent]) -> None:
            for event in events:
                tell(event)

        recognizer = Recognizer(lambda: people.gallery, parts.embedder, parts.rule, lines, on_events=tell_all)

        def take(shot: Shot) -> None:
            packed = wire.pack(shot)
            recognizer.recognize([(wire.decode_header(packed.header), packed.crop)])

        yield take
        recognizer.finish()


def _tell(event: VisitEvent, names: dict[TrackKey, str], best: ShotOverview, screen: Console) -> None:
    """Remember the name of a visit, and print it when it is new."""
    key = (event.camera, event.track_id)
    if event.name is None:
        names.pop(key, None)
    elif names.get(key) != event.name:
        names[key] = event.name
        screen.print(f"{best.when(event.first_pts_s)}  {event.name}  similarity {event.similarity:.2f}")
