"""Who is removed everywhere is in no backup either, under whatever name, and everybody else is."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from facegate.console.notifications.outbox import Outbox
from facegate.console.people.service import EnrollmentService
from facegate.console.processes.supervisor import ConsoleFolder
from facegate.console.state import ConsoleState
from facegate.console.web.people import remove as remove_by_page
from facegate.maintenance.backups import FOLDER, back_up
from facegate.maintenance.files import GALLERY, DataFile, data_files, note, set_aside
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.enrollment.unknowns import UnknownStore
from facegate.sinks.spool import Spool
from facegate.sinks.wire import EncodedShot
from facegate.store.writer import StoreWriter

from ..helpers import facegate
from ..recognition.test_erasure import LINES
from .test_maintenance import NOW, look, names, news

OLD, PERSON, BO = "Angelina_Jolie", "Zoë Removed", "Bo Stays"


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    """Outside the data folder, as with 'serve --gallery', and backed up by the worker and the console."""
    path = tmp_path / "shared" / "people.db"
    path.parent.mkdir()
    with GalleryStore(path, create=True) as people, UnknownStore(path) as unknowns:
        people.add(OLD, [look(1), look(2)])
        people.add(BO, [look(3)])
        unknowns.keep("r/door/1", "door", NOW, 90, look(1).crop, "v", np.ones(3, np.float32))
    return path


@pytest.fixture
def data(tmp_path: Path, gallery: Path) -> Path:
    """Data of a console with that gallery: a store, a spool from which an event was delivered, and backups."""
    data = tmp_path / "data"
    (data / "names").mkdir(parents=True, mode=0o700)
    with StoreWriter(data / "store.db", create=True) as store:
        store.update_visits([news(1, OLD), news(2, BO)])
    make_backups(gallery, data)
    return data


def make_backups(gallery: Path, data: Path, now: float = NOW) -> None:
    assert back_up(data / FOLDER, data_files(data, gallery), now, at_once=True)
    assert back_up(gallery.parent / FOLDER, [DataFile("people.db", gallery, GALLERY)], now, at_once=True)


def remove(gallery: Path, name: str, data: Path) -> subprocess.CompletedProcess[str]:
    done = facegate("gallery", "remove", gallery, name, "--everywhere", "--data", data, "--embedder", "builtin")
    assert done.returncode == 0, done.stderr
    return done


def contents(*folders: Path) -> bytes:
    return b"".join(path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file())


def assert_gone(gallery: Path, data: Path, *gone: str) -> None:
    left = contents(gallery.parent, data)
    for name in gone:
        assert name.encode() not in left
    assert b"digest1" not in left and b"digest2" not in left
    backups = [*data.glob("backups/*/people.db"), *gallery.parent.glob("backups/*/people.db")]
    assert backups and all(names(path) == [BO] for path in backups), "everybody else stays"
    assert BO.encode() in contents(*data.glob("backups/*"))


def rename(gallery: Path, data: Path) -> None:
    assert facegate("gallery", "rename", gallery, OLD, PERSON, "--data", data).returncode == 0


def merge(gallery: Path, data: Path) -> None:
    with GalleryStore(gallery) as people:
        people.add(PERSON, [look(4)])
    make_backups(gallery, data, NOW + 1)
    assert facegate("gallery", "merge", gallery, OLD, PERSON, "--data", data).returncode == 0


def rename_by_itself(gallery: Path, data: Path) -> None:
    """The visits keep the former name, as --data was forgotten."""
    assert facegate("gallery", "rename", gallery, OLD, PERSON).returncode == 0


def replace_pictures(gallery: Path, data: Path) -> None:
    """No picture of the first backup is left: only the one in between connects them."""
    with GalleryStore(gallery) as people:
        people.add(OLD, [look(5)])
        make_backups(gallery, data, NOW + 1)
        people.remove_pictures([picture.row for picture in people.pictures(OLD) if picture.digest != "digest5"])
    rename(gallery, data)


@pytest.mark.parametrize("change", [rename, merge, rename_by_itself, replace_pictures])
def test_nobody_stays_under_a_former_name(change: object, gallery: Path, data: Path) -> None:
    assert callable(change)
    change(gallery, data)
    make_backups(gallery, data, NOW + 2)
    done = remove(gallery, PERSON, data)
    count = len([*data.glob("backups/*/people.db")])
    for folder in (data, gallery.parent):
        assert f"{folder / FOLDER}: copies in automatic backups removed: {count}" in done.stdout
    assert_gone(gallery, data, OLD, PERSON)


@pytest.mark.parametrize("spelling", ["angelina_jolie", "ANGELINA_JOLIE", "Angelina_\u200bJolie"])
def test_the_spelling_of_a_name_does_not_matter(spelling: str, gallery: Path, data: Path) -> None:
    remove(gallery, spelling, data)
    assert_gone(gallery, data, OLD)


@pytest.mark.parametrize("verb", ["rename", "merge"])
def test_the_spelling_does_not_matter_for_a_new_name(verb: str, gallery: Path, data: Path) -> None:
    new = "Angie" if verb == "rename" else BO.lower()
    assert facegate("gallery", verb, gallery, OLD.lower(), new, "--data", data).returncode == 0
    with StoreWriter(data / "store.db") as store:
        assert OLD not in store.names() and set(store.names()) <= {"Angie", BO}


def test_the_page_removes_from_the_backups_beside_the_gallery_as_well(gallery: Path, data: Path) -> None:
    people = EnrollmentService(gallery, "builtin")
    with Outbox(data / "notifications.db", create=True) as outbox:
        services = {"folder": ConsoleFolder(data), "people": people, "outbox": outbox}
        console = ConsoleState(**dict.fromkeys(ConsoleState.__struct_fields__) | services)  # type: ignore[arg-type]
        told = remove_by_page(console, OLD.lower())
    assert [each.found for each in told if each.what == "copies in automatic backups"] == [1, 1]
    assert_gone(gallery, data, OLD)


def test_who_has_the_former_name_now_stays(gallery: Path, data: Path) -> None:
    rename(gallery, data)
    with GalleryStore(gallery) as people:
        people.add(OLD, [look(6)])
    with StoreWriter(data / "store.db") as store:
        store.update_visits([news(3, OLD)])
    make_backups(gallery, data, NOW + 1)
    remove(gallery, PERSON, data)
    first, second = sorted(data.glob("backups/*/people.db"))
    assert names(first) == [BO] and names(second) == [OLD, BO]
    for path in (data, second.parent):
        with StoreWriter(path / "store.db") as store:
            assert sorted(store.names()) == [OLD, BO]


def test_what_was_set_aside_or_interrupted_goes_too(gallery: Path, data: Path) -> None:
    for path in (gallery, data / "store.db"):
        copy = path.read_bytes()
        note(set_aside(path), "was damaged")
        path.write_bytes(copy)
    part = data / FOLDER / "000009-20300101T000000Z.part"
    part.mkdir()
    (part / "people.db").write_bytes(gallery.read_bytes())
    done = remove(gallery, OLD, data)
    assert f"{data}: files set aside as damaged removed: 1" in done.stdout
    assert not [*data.rglob("*.damaged*"), *gallery.parent.rglob("*.damaged*")] and not part.exists()
    assert_gone(gallery, data, OLD)


def test_a_delivered_event_does_not_stay_in_the_log_of_an_open_spool(gallery: Path, data: Path) -> None:
    spool = Spool(data / "names" / "x.spool")
    spool.put([EncodedShot("a", "door", 1, json.dumps(LINES[2] | {"name": OLD}).encode(), b"")])
    assert spool.delete(spool.after(0, 9)) == 1
    search = ["grep", "-rlF", OLD, data / "names"]  # by another process, as the file is open in this one
    assert subprocess.run(search, check=False, capture_output=True).stdout, "what is tested needs an open file"
    remove(gallery, OLD, data)
    assert not subprocess.run(search, check=False, capture_output=True).stdout
    spool.close()


@pytest.mark.parametrize("verb", [["remove", OLD, "--everywhere"], ["rename", OLD, "New"], ["merge", OLD, BO]])
@pytest.mark.parametrize("place", ["missing", "shared"])
def test_a_wrong_data_folder_is_refused_before_anything_changes(
    verb: Sequence[str], place: str, gallery: Path
) -> None:
    before, folder = names(gallery), gallery.parent.parent / place
    refused = facegate("gallery", verb[0], gallery, *verb[1:], "--data", folder)
    assert refused.returncode == 1 and f"{folder} is not a data folder of 'facegate serve'" in refused.stderr
    assert names(gallery) == before and not (gallery.parent / FOLDER).exists()


@pytest.mark.parametrize("option", ["--data", "--spool", "--results"])
def test_places_without_everywhere_are_refused(option: str, gallery: Path, data: Path) -> None:
    refused = facegate("gallery", "remove", gallery, OLD, option, data)
    assert refused.returncode == 2 and "need --everywhere" in refused.stderr
    assert names(gallery) == [OLD, BO]
