"""``facegate gallery``: who can be named."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from facegate.cli.options import (
    CardOption,
    DataOption,
    DetectorKind,
    DetectorOption,
    DetectorPathOption,
    EmbedderOption,
)
from facegate.cli.signals import end_at_once_while_loading
from facegate.errors import ConfigError

if TYPE_CHECKING:
    from facegate.recognition.enrollment.checks import Fault
    from facegate.recognition.enrollment.gallery_store import GalleryStore
    from facegate.recognition.enrollment.unknowns import UnknownCluster, UnknownStore

app = typer.Typer(no_args_is_help=True, help="Who can be named, and who came without being known.")

GalleryArgument = Annotated[Path, typer.Argument(metavar="GALLERY.db", help="The gallery's file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def add(
    gallery: GalleryArgument,
    pictures: Annotated[
        list[Path],
        typer.Argument(
            help="A folder with one sub-folder per person; with --name, pictures or folders of one person."
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Whose pictures these are.", show_default=False)] = None,
    accept: Annotated[
        list[Path] | None, typer.Option(help="A picture that is right whatever is found; may be repeated.")
    ] = None,
    embedder: EmbedderOption = "auto",
    card: CardOption = None,
    detector: DetectorOption = DetectorKind.AUTO,
    detector_path: DetectorPathOption = None,
    as_json: JsonOption = False,
) -> None:
    """Enroll people. What would spoil recognition is refused, each picture with its reason and remedy.

    \b
    facegate gallery add people.db staff/
    facegate gallery add people.db ann-1.jpg ann-2.jpg --name "Ann Smith"
    facegate gallery add people.db staff/ --accept staff/bob/old.jpg
    """
    end_at_once_while_loading()
    from facegate.cli.output.progress import counting
    from facegate.recognition.enrollment.enroller import find_people, find_pictures
    from facegate.recognition.loading import enrolling
    from facegate.recognition.matching.gallery_watcher import gallery_path

    if name is None and len(pictures) > 1:
        raise ConfigError("give one folder with a sub-folder per person, or --name for pictures of one person")
    files = find_people(pictures[0]) if name is None else find_pictures(pictures, name)
    right = {path.resolve() for path in accept or []}
    if unknown := right - {file.path.resolve() for file in files}:
        raise ConfigError(f"--accept {min(unknown)}: that is none of the pictures to be added")
    with (
        enrolling(gallery_path(gallery), embedder, card, detector, detector_path, create=True) as enroller,
        counting("pictures") as progress,
    ):
        enrolled = enroller.add(files, lambda path: path.resolve() in right, progress)
    if as_json:
        _print_json(enrolled)
    else:
        known = f", {enrolled.known} there already" if enrolled.known else ""
        sys.stdout.write(f"{enrolled.added} pictures added{known}\n")
        _print_faults(enrolled.faults)
    raise typer.Exit(1 if enrolled.faults else 0)


@app.command("list")
def list_people(gallery: GalleryArgument, as_json: JsonOption = False) -> None:
    """List who can be named.

    \b
    facegate gallery list people.db
    """
    with _opened(gallery) as people:
        found = people.people()
    if as_json:
        _print_json(found)
        return
    for person in found:
        negatives = f", {person.negatives} of others" if person.negatives else ""
        sys.stdout.write(f"{person.name}: {person.pictures} picture{'s' * (person.pictures != 1)}{negatives}\n")


@app.command()
def show(
    gallery: GalleryArgument, name: Annotated[str, typer.Argument(help="Who.")], as_json: JsonOption = False
) -> None:
    """List somebody's pictures.

    \b
    facegate gallery show people.db "Ann Smith"
    """
    with _opened(gallery) as people:
        found = people.pictures(name)
    if as_json:
        _print_json(found)
        return
    for picture in found:
        words = ["not this person"] * (picture.kind == "negative") + ["accepted"] * picture.accepted
        sys.stdout.write(f"{picture.source}: quality {picture.quality}{''.join(f', {word}' for word in words)}\n")


@app.command()
def check(
    gallery: Annotated[
        Path, typer.Argument(help="The gallery's file, or a folder with one sub-folder per person.")
    ],
    page: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a page with the pictures.", show_default=False)
    ] = None,
    accept: Annotated[
        list[str] | None, typer.Option(help="A picture, as this command prints it, that is right; may be repeated.")
    ] = None,
    embedder: EmbedderOption = "auto",
    card: CardOption = None,
    detector: DetectorOption = DetectorKind.AUTO,
    detector_path: DetectorPathOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find poor, wrong and doubled pictures, and people who look alike. Exits 1 where something is wrong.

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
        raise ConfigError("--accept is noted in a gallery's file: 'facegate gallery add' makes one of a folder")
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
        _print_json(faults)
    elif faults:
        _print_faults(faults)
    else:
        sys.stdout.write("nothing is wrong\n")
    raise typer.Exit(1 if faults else 0)


@app.command()
def unknowns(
    gallery: GalleryArgument,
    page: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a page with the faces.", show_default=False)
    ] = None,
    embedder: EmbedderOption = "auto",
    card: CardOption = None,
    as_json: JsonOption = False,
) -> None:
    """List who came without being known, as workers with this gallery have seen them: put together by person.

    \b
    facegate gallery unknowns people.db --page unknowns.html
    """
    from facegate.cli.files import check_writable, write_whole
    from facegate.cli.output.gallery_page import unknowns_page
    from facegate.recognition.enrollment.unknowns import UnknownStore

    check_writable(page)
    with UnknownStore(gallery) as opened:
        found = _clusters(opened, embedder, card)
        if page is not None:
            write_whole(page, unknowns_page(opened, found).encode())
    if as_json:
        _print_json(found)
        return
    for cluster in found:
        visits, days = len(cluster.visits), cluster.days
        sys.stdout.write(
            f"{cluster.id}: {visits} visit{'s' * (visits > 1)} on {days} day{'s' * (days > 1)}, "
            f"{', '.join(cluster.cameras)}\n"
        )


@app.command("name")
def name_unknown(
    gallery: GalleryArgument,
    number: Annotated[int, typer.Argument(help="Of the unknown person, as 'gallery unknowns' lists it.")],
    name: Annotated[str, typer.Argument(help="Who it is: somebody new or known.")],
    without: Annotated[
        list[int] | None, typer.Option(help="A visit's face ('row' of --json) that is not this person's.")
    ] = None,
    embedder: EmbedderOption = "auto",
    card: CardOption = None,
) -> None:
    """Say who an unknown person is: the best faces are enrolled.

    \b
    facegate gallery name people.db 17 "Ann Smith"
    facegate gallery name people.db 17 "Ann Smith" --without 23
    """
    from facegate.recognition.enrollment.unknowns import UnknownStore, enroll_cluster

    with UnknownStore(gallery) as opened, _opened(gallery) as people:
        found = [cluster for cluster in _clusters(opened, embedder, card) if cluster.id == number]
        if not found:
            raise ConfigError(f"there is no unknown person {number}: 'facegate gallery unknowns' lists them")
        wrong = set(without or [])
        if strange := wrong - {visit.row for visit in found[0].visits}:
            raise ConfigError(f"--without {min(strange)}: that is no face of unknown person {number}")
        added = enroll_cluster(opened, people, found[0], name, wrong)
    sys.stdout.write(f"{added} pictures of {name} added\n")


@app.command("reject")
def not_this_person(
    gallery: GalleryArgument,
    name: Annotated[str, typer.Argument(help="Whose name was given.")],
    pictures: Annotated[list[Path], typer.Argument(help="Faces that got it and are somebody else's.")],
    detector: DetectorOption = DetectorKind.AUTO,
    detector_path: DetectorPathOption = None,
) -> None:
    """Say that a face is not this person's: faces more like it than like the person get no name any more.

    \b
    facegate gallery reject people.db "Ann Smith" shots/door-12-1.jpg
    """
    end_at_once_while_loading()
    from facegate.detectors.base import load_detector
    from facegate.pipeline.images import read_picture_file
    from facegate.recognition.enrollment.face_extraction import FaceExtractor
    from facegate.scoring.engine import load_scorer

    with _opened(gallery) as people:
        people.pictures(name)  # there is such a person
        looker = FaceExtractor(load_detector(detector, detector_path), load_scorer())
        looks = [looker.extract(read_picture_file(path), str(path)) for path in pictures]
        added = people.add(name, looks, kind="negative")
    sys.stdout.write(f"{added} faces are not {name}'s\n")


@app.command()
def remove(
    gallery: GalleryArgument,
    name: Annotated[str, typer.Argument(help="Who.")],
    everywhere: Annotated[
        bool, typer.Option("--everywhere", help="From unknown faces, --spool, --results and --data too.")
    ] = False,
    spool: Annotated[list[Path] | None, typer.Option(help="Of a gate or worker; may be repeated.")] = None,
    results: Annotated[list[Path] | None, typer.Option(help="Lines of a worker; may be repeated.")] = None,
    data: DataOption = None,
    embedder: EmbedderOption = "auto",
    card: CardOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove somebody with all pictures.

    \b
    facegate gallery remove people.db "Ann Smith"
    facegate gallery remove people.db "Ann Smith" --everywhere --spool gate.spool --results names.jsonl
    """
    if not everywhere:
        with _opened(gallery) as people:
            sys.stdout.write(f"{name} removed, with {people.remove(name)} pictures\n")
        return
    from facegate.maintenance.backups import FOLDER, forget_in_backups
    from facegate.recognition.embedders import load_embedder
    from facegate.recognition.enrollment.erasure import erase_everywhere
    from facegate.recognition.enrollment.records import Erased

    model = load_embedder(embedder, card)
    erased = erase_everywhere(gallery, name, model, model.threshold, spool or (), results or (), data)
    copies = gallery.absolute().parent / FOLDER
    erased.insert(0, Erased(str(copies), forget_in_backups(copies, name), "automatic backups"))
    if as_json:
        _print_json(erased)
        return
    for place in erased:
        sys.stdout.write(f"{place.place}: {place.found} {place.what} removed\n")


@app.command()
def rename(
    gallery: GalleryArgument,
    name: Annotated[str, typer.Argument(help="Who.")],
    new: Annotated[str, typer.Argument(help="How they are called from now on.")],
    data: DataOption = None,
) -> None:
    """Call somebody otherwise.

    \b
    facegate gallery rename people.db ann "Ann Smith" --data facegate-data
    """
    from facegate.recognition.enrollment.stored_visits import rename_stored

    with _opened(gallery) as people:
        people.rename(name, new)
    rename_stored(data, name, new)
    sys.stdout.write(f"{name} is called {new} now\n")


@app.command()
def merge(
    gallery: GalleryArgument,
    name: Annotated[str, typer.Argument(help="Who goes.")],
    into: Annotated[str, typer.Argument(help="Who gets the pictures.")],
    data: DataOption = None,
) -> None:
    """Give somebody's pictures to another person, where both are one.

    \b
    facegate gallery merge people.db "A. Smith" "Ann Smith"
    """
    from facegate.recognition.enrollment.stored_visits import rename_stored

    with _opened(gallery) as people:
        moved = people.merge(name, into)
    rename_stored(data, name, into)
    sys.stdout.write(f"{name} is {into} now, who got {moved} pictures\n")


@app.command()
def export(gallery: GalleryArgument, to: Annotated[Path, typer.Argument(help="A new folder.")]) -> None:
    """Write all aligned crops as PNG, one sub-folder per person, as 'gallery add' takes them.

    \b
    facegate gallery export people.db staff/
    """
    import cv2

    if to.exists() and any(to.iterdir()):
        raise ConfigError(f"{to} is not empty: give a new folder")
    with _opened(gallery) as people:
        pictures = [picture for picture in people.pictures() if picture.kind == "enrolled"]
        for picture in pictures:
            (folder := to / picture.person).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{picture.row}.png"), people.crop(picture.row)[:, :, ::-1])
    sys.stdout.write(f"{len(pictures)} crops written to {to}\n")


def _clusters(opened: UnknownStore, embedder: str, card: Path | None) -> list[UnknownCluster]:
    from facegate.recognition.loading import load_recognition

    parts = load_recognition(embedder, card, DetectorKind.AUTO, None)
    return opened.clusters(parts.embedder, parts.embedder.threshold)


def _accept(people: GalleryStore, sources: list[str]) -> None:
    rows = {picture.source: picture.row for picture in people.pictures()}
    for source in sources:
        if source not in rows:
            raise ConfigError(f"--accept {source}: there is no such picture in the gallery")
    people.accept([rows[source] for source in sources])


@contextmanager
def _opened(gallery: Path) -> Iterator[GalleryStore]:
    from facegate.recognition.enrollment.gallery_store import GalleryStore

    with GalleryStore(gallery) as people:
        yield people


def _print_json(found: object) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n")


def _print_faults(faults: list[Fault]) -> None:
    for fault in faults:
        where = "" if fault.source is None else f": {fault.source}"
        sys.stdout.write(f"{fault.person}{where}: {fault.reason}; {fault.remedy}\n")
