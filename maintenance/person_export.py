"""Export of everything that is kept of one person (GDPR, Art. 15 and 20)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from facegate.errors import ConfigError, FacegateError, os_errors
from facegate.pipeline.images import write_png
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.enrollment.names import name_key
from facegate.recognition.enrollment.records import Picture
from facegate.recognition.enrollment.stored_visits import store_of
from facegate.recognition.enrollment.watch_lists import WatchListStore
from facegate.sinks import wire
from facegate.store.reader import StoreReader, VisitFilter
from facegate.store.records import StoredVisit
from facegate.store.templates import TemplateReader

Write = Callable[[str, Callable[[Path], object]], str]
FORMAT = 1
NOT_EXPORTED = (
    "whole pictures and video of visits, which may show others: the console's page of a visit exports them",
    "recordings, which show everybody",
    "automatic backups and waiting events, which repeat what is exported",
    "the audit log: 'facegate audit export'",
)


class PersonExport(msgspec.Struct, frozen=True):
    """Numbers of what was exported."""

    pictures: int
    visits: int
    shots: int


def export_person(gallery: Path, name: str, to: Path, data: Path | None = None) -> PersonExport:
    """Write everything that is kept of a person to a new folder, all or nothing.

    ``person.json`` has what is known, with the names of its files in ``pictures/`` and ``visits/``.

    Args:
        gallery: the gallery's file.
        name: an enrolled person.
        to: the folder.
        data: a console's data folder, for the stored visits.

    Raises:
        GalleryError: no such gallery or person.
        ConfigError: the folder exists and is not empty, or cannot be written.
        FacegateError: a file cannot be read.
    """
    with os_errors(ConfigError, f"cannot write to {to}", "give a new folder"):
        is_new = not to.exists()
        if not is_new and any(to.iterdir()):
            raise ConfigError(f"{to} is not empty: give a new folder")
        to.mkdir(parents=True, exist_ok=True, mode=0o700)

    def write(path: str, save: Callable[[Path], object]) -> str:
        with os_errors(ConfigError, f"cannot write {to / path}"):
            (to / path).parent.mkdir(exist_ok=True, mode=0o700)
            save(to / path)
        return path

    try:
        with WatchListStore(gallery) as people:
            name = people.spelling(name)
            pictures = [_picture(people, each, write) for each in people.pictures(name)]
            found: dict[str, Any] = {
                "format": FORMAT,
                "name": name,
                "added": next(each.added for each in people.people() if each.name == name),
                "pictures": pictures,
                "legal_basis": next(each for each in people.legal_bases() if each.person == name),
                "templates": [
                    {"picture": row, "recognizer": version, "vector": vector.tolist()}
                    for row, version, vector in people.embeddings_of(name)
                ],
                "watch_lists": [each for each in people.members() if each.person == name],
                "corrected_visits": [visit for visit, who in people.corrections().items() if who == name],
            }
        visits = [] if data is None or not store_of(data).is_file() else list(_visits(store_of(data), name, write))
        found |= {"visits": visits, "not_exported": NOT_EXPORTED}
        document = msgspec.json.format(msgspec.json.encode(found), indent=2)
        write("person.json", lambda path: path.write_bytes(document))
    except FacegateError:  # a part would pass for everything
        shutil.rmtree(to, ignore_errors=True)
        raise
    return PersonExport(len(pictures), len(visits), sum(len(each["shots"]) for each in visits))


def _picture(people: GalleryStore, picture: Picture, write: Write) -> dict[str, Any]:
    crop = people.crop(picture.row)
    file = write(f"pictures/{picture.row}.png", lambda path: write_png(path, crop))
    return msgspec.structs.asdict(picture) | {"file": file}


def _visits(store: Path, name: str, write: Write) -> Iterator[dict[str, Any]]:
    with StoreReader(store) as reader, TemplateReader(store) as templates:
        for spelling in [each for each in reader.names() if name_key(each) == name_key(name)]:
            before: int | None = None
            while True:
                page = reader.visits(VisitFilter(name=spelling), before)
                for visit in page.items:
                    yield _visit(reader, templates, visit, write)
                before = page.next
                if before is None:
                    break


def _visit(
    reader: StoreReader,
    templates: TemplateReader,
    visit: StoredVisit,
    write: Write,
) -> dict[str, Any]:
    shots = []
    for shot in reader.shots_of(visit.visit):
        header = msgspec.structs.replace(wire.decode_header(shot.header), embedding=None)
        jpeg = reader.crop(shot.shot_id)
        file = None if jpeg is None else write(f"visits/{shot.shot_id}.jpg", partial(Path.write_bytes, data=jpeg))
        shots.append({"header": header, "file": file})
    template = templates.of_visit(visit.visit)
    return msgspec.structs.asdict(visit) | {
        "shots": shots,
        "track": reader.track(visit.visit),
        "template": None
        if template is None
        else {"recognizer": template.recognizer, "vector": template.embedding().tolist()},
        "whole_picture": reader.scene_of(visit.visit) is not None,
        "video": reader.clip(visit.visit, video=False) is not None,
    }
