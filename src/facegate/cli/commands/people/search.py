"""``facegate search``: visits whose face fits a photograph, a visit or a person."""

from __future__ import annotations

import sys
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facegate.cli.exit_codes import ExitCode
from facegate.cli.options import CardOption, DetectorKind, DetectorOption, DetectorPathOption, EmbedderOption
from facegate.errors import ConfigError

if TYPE_CHECKING:
    from facegate.pipeline.records import Floats
    from facegate.recognition.loading import Recognition
    from facegate.recognition.search.face_search import SearchResult
    from facegate.store.templates import TemplateReader


class SearchOrder(StrEnum):
    """Values of ``--order``."""

    NEWEST = "newest"
    BEST = "best"


TIME_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]


def search(
    photo: Annotated[
        Path | None, typer.Argument(metavar="PHOTO", help="Picture file with one face.", show_default=False)
    ] = None,
    visit: Annotated[
        str | None,
        typer.Option(metavar="RUN/CAMERA/TRACK", help="Search for the person of this visit.", show_default=False),
    ] = None,
    person: Annotated[
        str | None, typer.Option(metavar="NAME", help="Search for this enrolled person.", show_default=False)
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Data folder of 'facegate serve'.", show_default="~/.local/share/facegate"),
    ] = None,
    gallery: Annotated[
        Path | None, typer.Option(help="Gallery file of --person.", show_default="as last served")
    ] = None,
    camera: Annotated[str | None, typer.Option(help="Only visits at this camera.", show_default=False)] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            formats=TIME_FORMATS, help="Only visits that began since this local time.", show_default=False
        ),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(
            formats=TIME_FORMATS, help="Only visits that began before this local time.", show_default=False
        ),
    ] = None,
    order: Annotated[SearchOrder, typer.Option(help="Order of the visits.")] = SearchOrder.NEWEST,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of visits listed.")] = 100,
    fpir: Annotated[
        float,
        typer.Option(
            min=1e-6, max=0.5, help="Maximum share of searches for somebody who was never here that find a visit."
        ),
    ] = 0.01,
    embedder: EmbedderOption = "auto",
    card: CardOption = None,
    detector: DetectorOption = DetectorKind.AUTO,
    detector_path: DetectorPathOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """List stored visits whose face fits a photograph, a visit or an enrolled person.

    \b
    facegate search suspect.jpg --order best
    facegate search --person Ada --camera door --since 2026-11-01
    facegate search --visit 01JDX/door/17 --fpir 0.001 --json
    """
    from facegate.cli.output.lines import print_json
    from facegate.paths import data_folder
    from facegate.recognition.embedders import recognizer_id
    from facegate.recognition.loading import load_recognition
    from facegate.recognition.search.face_search import search_rule, search_visits
    from facegate.recognition.search.template_index import FOLDER, TemplateIndex
    from facegate.store.reader import VisitFilter
    from facegate.store.templates import TemplateReader

    if sum(each is not None for each in (photo, visit, person)) != 1:
        raise ConfigError("nothing to search for: give one of PHOTO, --visit and --person")
    where = data or data_folder()
    with TemplateReader(where / "store.db") as store:
        parts = load_recognition(embedder, card, detector, detector_path)
        probe = _probe(parts, store, photo, visit, person, where, gallery)
        with TemplateIndex(store, where / FOLDER, recognizer_id(parts.embedder), writable=False) as index:
            index.refresh()
            if not index.count and (other := store.newest_recognizer()) is not None:
                raise ConfigError(
                    f"the stored templates are of recognizer {other}, not of {parts.embedder.name}: give the "
                    "--embedder with which the visits were recognized"
                )
            found = search_visits(
                index,
                store,
                probe,
                search_rule(parts.impostors, fpir, parts.embedder),
                VisitFilter(
                    camera=camera,
                    since=None if since is None else since.timestamp(),
                    until=None if until is None else until.timestamp(),
                ),
                order=order.value,
                limit=limit,
                without=visit,
            )
    if json:
        print_json(found)
    else:
        _print_table(found)
    raise typer.Exit(ExitCode.DONE)


def _probe(
    parts: Recognition,
    store: TemplateReader,
    photo: Path | None,
    visit: str | None,
    person: str | None,
    data: Path,
    gallery: Path | None,
) -> Floats:
    """Embedding of the face to search for."""
    from facegate.maintenance.files import locate
    from facegate.recognition.loading import person_template
    from facegate.recognition.search.template_keeper import embed_visit

    if photo is not None:
        try:
            content = photo.read_bytes()
        except OSError as error:
            raise ConfigError(f"cannot read {photo}: give a picture file") from error
        crop = parts.face_extractor().extract(content, photo.name).crop
        probe: Floats = parts.embedder.embed([crop])[0]
        return probe
    if visit is not None:
        template = embed_visit(store, parts.embedder, visit)
        if template is None:
            raise ConfigError(f"no visit {visit} with a stored shot: 'facegate search PHOTO --json' lists visits")
        return template.embedding()
    assert person is not None
    return person_template(locate(data, gallery).gallery, parts, person)


def _print_table(found: SearchResult) -> None:
    rate = (
        "no rate of false hits is known for this recognizer"
        if found.fpir is None
        else f"somebody who was never here is found in {found.fpir:.2g} of such searches"
    )
    sys.stdout.write(
        f"{len(found.hits)} of {found.searched} visits fit, from similarity {found.min_similarity:.3f}; {rate}\n"
    )
    for hit in found.hits:
        when = datetime.fromtimestamp(hit.visit.first).strftime("%Y-%m-%d %H:%M:%S")
        sys.stdout.write(
            f"{when}  {hit.visit.camera}  {hit.visit.name or 'unknown'}  similarity {hit.similarity:.3f}  "
            f"{hit.visit.visit}\n"
        )
    if not found.complete:
        sys.stdout.write("there are more hits: choose a --camera, or a shorter period with --since and --until\n")
