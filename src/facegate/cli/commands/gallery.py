"""``facegate gallery``: enrolled people and unknown visitors."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facegate.cli.exit_codes import ExitCode
from facegate.cli.options import (
    CardOption,
    DataOption,
    DetectorKind,
    DetectorOption,
    DetectorPathOption,
    EmbedderOption,
)
from facegate.cli.output.lines import print_faults, print_json
from facegate.cli.signals import end_at_once_while_loading
from facegate.errors import ConfigError, GalleryError
from facegate.pipeline.plurals import count

if TYPE_CHECKING:
    from facegate.recognition.enrollment.gallery_store import GalleryStore
    from facegate.recognition.enrollment.unknowns import UnknownCluster, UnknownStore

app = typer.Typer(no_args_is_help=True, help="Manage enrolled people and unknown visitors.")

GalleryArgument = Annotated[Path, typer.Argument(metavar="GALLERY.db", help="Gallery file (SQLite).")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the person.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
PageOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE.html", help="Write a page with the faces to this file.", show_default=False),
]


@app.command()
def add(
    gallery: GalleryArgument,
    pictures: Annotated[
        list[Path],
        typer.Argument(
            metavar="PICTURES",
            help="Folder with one subfolder per person; with --name, pictures or folders of one person.",
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Name of the pictured person.", show_default=False)] = None,
    accept: Annotated[
        list[Path] | None, typer.Option(help="Enroll this picture even if a check rejects it. Repeatable.")
    ] = None,
    embedder: EmbedderOption = "auto",
    card: CardOption = None,
    detector: DetectorOption = DetectorKind.AUTO,
    detector_path: DetectorPathOption = None,
    as_json: JsonOption = False,
) -> None:
    """Enroll people from pictures; rejected pictures are listed with reason and remedy.

    \b
    facegate gallery add people.db staff/
    facegate gallery add people.db ann-1.jpg ann-2.jpg --name "Ann Smith"
    facegate gallery add people.db staff/ --accept staff/bob/old.jpg
    """
    end_at_once_while_loading()
    from facegate.cli.output.progress import counting
    from facegate.recognition.enrollment.enroller import find_new
    from facegate.recognition.loading import enrolling
    from facegate.recognition.matching.gallery_watcher import gallery_path

    files = find_new(pictures, name)
    accepted = {path.resolve() for path in accept or []}
    if unknown := accepted - {file.path.resolve() for file in files}:
        raise ConfigError(f"--accept {min(unknown)} is not one of the pictures to add")
    with (
        enrolling(gallery_path(gallery), embedder, card, detector, detector_path, create=True) as enroller,
        counting("pictures") as progress,
    ):
        enrolled = enroller.add(files, lambda path: path.resolve() in accepted, progress)
    if as_json:
        print_json(enrolled)
    else:
        known = f", {enrolled.known} already enrolled" if enrolled.known else ""
        sys.stdout.write(f"{count(enrolled.added, 'picture')} added{known}\n")
        for picture, degrees in enrolled.rotated.items():
            sys.stdout.write(f"{picture}: rotated by {degrees} degrees, as its face was not upright\n")
        print_faults(enrolled.faults)
    raise typer.Exit(ExitCode.REFUSED if enrolled.faults else ExitCode.DONE)


@app.command("list")
def list_people(gallery: GalleryArgument, as_json: JsonOption = False) -> None:
    """List enrolled people.

    \b
    facegate gallery list people.db
    """
    with _opened(gallery) as people:
        found = people.people()
    if as_json:
        print_json(found)
        return
    for person in found:
        negatives = f", {count(person.negatives, 'counterexample')}" if person.negatives else ""
        sys.stdout.write(f"{person.name}: {count(person.pictures, 'picture')}{negatives}\n")


@app.command()
def show(gallery: GalleryArgument, name: NameArgument, as_json: JsonOption = False) -> None:
    """List the pictures of a person.

    \b
    facegate gallery show people.db "Ann Smith"
    """
    with _opened(gallery) as people:
        found = people.pictures(name)
    if as_json:
        print_json(found)
        return
    for picture in found:
        words = ["counterexample"] * (picture.kind == "negative") + ["accepted"] * picture.accepted
        sys.stdout.write(f"{picture.source}: quality {picture.quality}{''.join(f', {word}' for word in words)}\n")


@app.command()
def check(
    gallery: Annotated[
        Path, typer.Argument(metavar="GALLERY", help="Gallery file, or folder with one subfolder per person.")
    ],
    page: PageOption = None,
    accept: Annotated[
        list[str] | None, typer.Option(help="Accept this picture, named as printed by this command. Repeatable.")
    ] = None,
    embedder: EmbedderOption = "auto",
    card: CardOption = None,
    detector: DetectorOption = DetectorKind.AUTO,
    detector_path: DetectorPathOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check for poor, mislabeled and duplicate pictures and similar people; exits with 1 if any are found.

    \b
    facegate gallery check people.db --page check.html
    facegate gallery check staff/
    """
    end_at_once_while_loading()
    from tempfile import TemporaryDirectory

    from facegate.cli.files import check_writable, write_whole
    from facegate.cli.output.gallery_page import gallery_page
    from facegate.cli.output.progress import counting
    from facegate.recognition.enrollment.enroller import find_people
    from facegate.recognition.loading import enrolling

    if accept and gallery.is_dir():
        raise ConfigError("--accept needs a gallery file: 'facegate gallery add' makes one from a folder")
    check_writable(page)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "people.db" if gallery.is_dir() else gallery
        with enrolling(path, embedder, card, detector, detector_path, create=gallery.is_dir()) as enroller:
            if gallery.is_dir():
                with counting("pictures") as progress:
                    faults = enroller.examine(find_people(gallery), progress)
            else:
                _accept(enroller.people, accept or [])
                faults = enroller.check()
            if page is not None:
                write_whole(page, gallery_page(enroller.people, faults).encode())
    if as_json:
        print_json(faults)
    elif faults:
        print_faults(faults)
    else:
        sys.stdout.write("no problems found\n")
    raise typer.Exit(ExitCode.REFUSED if faults else ExitCode.DONE)


@app.command()
def unknowns(
    gallery: GalleryArgument,
    page: PageOption = None,
    embedder: EmbedderOption = "auto",
    card: CardOption = None,
    as_json: JsonOption = False,
) -> None:
    """List unknown visitors that workers with this gallery have seen, grouped by person.

    \b
    facegate gallery unknowns people.db --page unknowns.html
    """
    from facegate.cli.files import check_writable, write_whole
    from facegate.cli.output.gallery_page import unknowns_page
    from facegate.recognition.enrollment.unknowns import UnknownStore

    check_writable(page)
    with _opened(gallery), UnknownStore(gallery) as opened:
        found = _clusters(opened, embedder, card)
        if page is not None:
            write_whole(page, unknowns_page(opened, found).encode())
    if as_json:
        print_json(found)
        return
    for cluster in found:
        visits, days = len(cluster.visits), cluster.days
        sys.stdout.write(
            f"{cluster.id}: {count(visits, 'visit')} on {count(days, 'day')}, {', '.join(cluster.cameras)}\n"
        )


@app.command("name")
def name_unknown(
    gallery: GalleryArgument,
    number: Annotated[
        int, typer.Argument(metavar="NUMBER", help="Number of the unknown person, as listed by 'gallery unknowns'.")
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a new or enrolled person.")],
    without: Annotated[
        list[int] | None, typer.Option(help="Face to leave out ('row' in --json). Repeatable.")
    ] = None,
    data: DataOption = None,
    embedder: EmbedderOption = "auto",
    card: CardOption = None,
) -> None:
    """Name an unknown person and enroll their best faces.

    \b
    facegate gallery name people.db 17 "Ann Smith"
    facegate gallery name people.db 17 "Ann Smith" --without 23
    """
    from facegate.recognition.enrollment.stored_visits import check_data, name_stored
    from facegate.recognition.enrollment.unknowns import UnknownStore, enroll_cluster

    check_data(data)
    with _opened(gallery) as people, UnknownStore(gallery) as opened:
        if not (found := [each for each in _clusters(opened, embedder, card) if each.id == number]):
            raise GalleryError(f"there is no unknown person {number}; 'facegate gallery unknowns' lists them")
        excluded = set(without or [])
        if unknown := excluded - {visit.row for visit in found[0].visits}:
            raise GalleryError(f"--without {min(unknown)} is not a face of unknown person {number}")
        if excluded:
            opened.split(found[0], excluded)
        added = enroll_cluster(opened, people, found[0], name, excluded)
    name_stored(data, {each.visit for each in found[0].visits if each.row not in excluded}, found[0].number, name)
    sys.stdout.write(f"{count(added, 'picture')} of {name} added\n")


@app.command("reject")
def not_this_person(
    gallery: GalleryArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the person that was wrongly assigned.")],
    pictures: Annotated[list[Path], typer.Argument(metavar="PICTURES", help="Pictures of others with this name.")],
    detector: DetectorOption = DetectorKind.AUTO,
    detector_path: DetectorPathOption = None,
) -> None:
    """Add counterexamples: faces more similar to them than to the person are no longer named.

    \b
    facegate gallery reject people.db "Ann Smith" shots/door-12-1.jpg
    """
    end_at_once_while_loading()
    from facegate.detectors.base import load_detector
    from facegate.pipeline.images import read_picture_file
    from facegate.recognition.enrollment.face_extraction import FaceExtractor
    from facegate.scoring.engine import load_scorer

    with _opened(gallery) as people:
        people.pictures(name)  # raises GalleryError for an unknown name
        extractor = FaceExtractor(load_detector(detector, detector_path), load_scorer())
        samples = [extractor.extract(read_picture_file(path), str(path)) for path in pictures]
        added = people.add(name, samples, kind="negative")
    sys.stdout.write(f"{count(added, 'counterexample')} added to {name}\n")


@app.command()
def remove(
    gallery: GalleryArgument,
    name: NameArgument,
    everywhere: Annotated[
        bool,
        typer.Option(
            "--everywhere", help="Also erase unknown faces, backups, and entries in --spool, --results and --data."
        ),
    ] = False,
    spool: Annotated[list[Path] | None, typer.Option(help="Erase from this spool file. Repeatable.")] = None,
    results: Annotated[list[Path] | None, typer.Option(help="Erase from this results file. Repeatable.")] = None,
    data: DataOption = None,
    embedder: EmbedderOption = "auto",
    card: CardOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a person with all pictures.

    \b
    facegate gallery remove people.db "Ann Smith"
    facegate gallery remove people.db "Ann Smith" --everywhere --spool gate.spool --results names.jsonl
    """
    if not everywhere:
        if spool or results or data:
            raise ConfigError("--spool, --results and --data need --everywhere: add it, or omit them")
        with _opened(gallery) as people:
            sys.stdout.write(f"{name} removed with {count(people.remove(name), 'picture')}\n")
        return
    from facegate.console.notifications.outbox import erase_notified
    from facegate.maintenance.erasure import erase_person
    from facegate.recognition.embedders import load_embedder

    erased = erase_person(gallery, name, load_embedder(embedder, card), spool or (), results or (), data)
    erased += erase_notified(data, name)
    if as_json:
        print_json(erased)
    else:
        sys.stdout.writelines(f"{place.place}: {place.what} removed: {place.found}\n" for place in erased)


@app.command()
def rename(
    gallery: GalleryArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Current name of the person.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="New name of the person.")],
    data: DataOption = None,
) -> None:
    """Rename a person.

    \b
    facegate gallery rename people.db ann "Ann Smith" --data facegate-data
    """
    from facegate.console.notifications.outbox import renaming

    with renaming(data) as rename_stored, _opened(gallery) as people:
        name = people.spelling(name)
        people.rename(name, new)
        rename_stored(name, new)
    sys.stdout.write(f"{name} renamed to {new}\n")


@app.command()
def merge(
    gallery: GalleryArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Person to merge.")],
    into: Annotated[str, typer.Argument(metavar="INTO", help="Person to keep.")],
    data: DataOption = None,
) -> None:
    """Merge two entries of one person.

    \b
    facegate gallery merge people.db "A. Smith" "Ann Smith"
    """
    from facegate.console.notifications.outbox import renaming

    with renaming(data) as rename_stored, _opened(gallery) as people:
        name, into = people.spelling(name), people.spelling(into)
        moved = people.merge(name, into)
        rename_stored(name, into)
    sys.stdout.write(f"{name} merged into {into}: {count(moved, 'picture')} moved\n")


@app.command()
def export(
    gallery: GalleryArgument,
    to: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder for the new crops.")],
) -> None:
    """Export all aligned crops as PNG, one subfolder per person, as 'gallery add' reads them.

    \b
    facegate gallery export people.db staff/
    """
    from facegate.recognition.enrollment.crop_export import export_crops

    with _opened(gallery) as people:
        written = export_crops(people, to)
    sys.stdout.write(f"{count(written, 'crop')} written to {to}\n")


def _clusters(opened: UnknownStore, embedder: str, card: Path | None) -> list[UnknownCluster]:
    from facegate.recognition.loading import load_recognition

    parts = load_recognition(embedder, card, DetectorKind.AUTO, None)
    return opened.clusters(parts.embedder, parts.embedder.threshold)


def _accept(people: GalleryStore, sources: list[str]) -> None:
    rows = {picture.source: picture.row for picture in people.pictures()}
    for source in sources:
        if source not in rows:
            raise ConfigError(f"--accept {source} is not a picture of the gallery")
    people.accept([rows[source] for source in sources])


@contextmanager
def _opened(gallery: Path) -> Iterator[GalleryStore]:
    from facegate.recognition.enrollment.gallery_store import GalleryStore
    from facegate.recognition.matching.gallery_watcher import gallery_path

    with GalleryStore(gallery if gallery.is_file() else gallery_path(gallery)) as people:
        yield people
