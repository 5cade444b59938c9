"""Backups are made while everything runs, put back, and take the place of what is damaged."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest

from facegate.audit.log import AuditLog
from facegate.console.alarms.journal import AlarmJournal
from facegate.console.notifications.outbox import Outbox
from facegate.console.security.accounts import Accounts
from facegate.console.server import make_folder
from facegate.database import connect
from facegate.errors import StoreError
from facegate.maintenance.backups import (
    FOLDER,
    INTERVAL_S,
    KEPT,
    automatic,
    back_up,
    make_backup,
    read_manifest,
    restore,
)
from facegate.maintenance.doctor import diagnose
from facegate.maintenance.files import (
    ACCOUNTS,
    ALARMS,
    AUDIT,
    GALLERY,
    NOTIFICATIONS,
    SPOOL,
    STORE,
    Locations,
    data_files,
    examine,
    notes,
    remember_locations,
    set_aside,
)
from facegate.maintenance.recovery import heal, heal_all, salvage
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.enrollment.records import FaceSample
from facegate.sinks.spool import Spool
from facegate.sinks.wire import SOFTWARE, EncodedShot
from facegate.store.reader import StoreReader
from facegate.store.records import VisitUpdate
from facegate.store.writer import StoreWriter

from ..helpers import facegate

NOW = 1_900_000_000.0


def look(number: int) -> FaceSample:
    crop = np.random.default_rng(number).integers(0, 255, (112, 112, 3), np.uint8)
    return FaceSample(f"{number}.png", f"digest{number}", crop, 80, 112.0, 0.0, 1)


def news(number: int, name: str | None = None) -> VisitUpdate:
    return VisitUpdate(f"r/door/{number}", "door", number, name, None, None, None, NOW + number, "ended")


def names(path: Path) -> list[str]:
    with GalleryStore(path) as people:
        return [person.name for person in people.people()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with something of everything."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    with GalleryStore(data / "people.db", create=True) as people:
        for number in range(30):
            people.add(f"person {number:02}", [look(number)])
    with StoreWriter(data / "store.db", create=True) as store:
        store.update_visits([news(number) for number in range(3000)])
    Accounts(data / "accounts.db", create=True).close()
    spool = Spool(data / "shots.spool")
    spool.put([EncodedShot(f"shot {number}", "door", 1, b"h", b"crop" * 500) for number in range(20)])
    spool.close()
    (data / "facegate.yaml").write_text("cameras: []\n")
    (data / "facegate.yaml").chmod(0o600)
    return data


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3 // 4096 * 4096)


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def scramble(path: Path) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 8192 * 8192
    content[middle : middle + 8192] = os.urandom(8192)
    path.write_bytes(bytes(content))


def test_kinds_are_what_the_files_say() -> None:
    for kind, file in ((ACCOUNTS, Accounts), (ALARMS, AlarmJournal), (AUDIT, AuditLog), (NOTIFICATIONS, Outbox)):
        assert (kind.application, kind.version) == (file.application, len(file.steps))


def test_a_backup_is_whole_while_the_gallery_and_store_change(folder: Path, tmp_path: Path) -> None:
    done = Event()

    def change() -> None:
        with GalleryStore(folder / "people.db") as people, StoreWriter(folder / "store.db") as store:
            for number in range(1000, 1200):
                people.add(f"new {number}", [look(number)])
                store.update_visits([news(number + 9000, f"new {number}")])
        done.set()

    thread = Thread(target=change)
    thread.start()
    made = 0
    while made < 3 or not done.is_set():
        manifest = make_backup(data_files(folder), tmp_path / f"backup{made}", NOW + made)
        assert {saved.name for saved in manifest.files} == {
            *("people.db", "store.db", "accounts.db", "shots.spool", "facegate.yaml")
        }
        copied = [name for name in names(tmp_path / f"backup{made}" / "people.db") if name.startswith("new")]
        assert copied == [f"new {number}" for number in range(1000, 1000 + len(copied))], "none missing in between"
        made += 1
    thread.join()
    before = names(folder / "people.db")
    make_backup(data_files(folder), tmp_path / "last", NOW)
    with GalleryStore(folder / "people.db") as people:
        for name in people.people()[:100]:
            people.remove(name.name)
        follower = GalleryStore(folder / "people.db")
        assert not follower.changed()
        lines = list(restore(tmp_path / "last", data_files(folder)))
        assert len(lines) == 5 and all(line.endswith(": restored") for line in lines)
        assert follower.changed(), "who follows the gallery takes the restored one over"
        follower.close()
    assert names(folder / "people.db") == before
    for file in data_files(folder):
        assert file.kind is None or examine(file.path, file.kind, full=True).state == "sound"


@pytest.mark.parametrize("harm", [truncate, zero, scramble])
@pytest.mark.parametrize("name", ["people.db", "store.db", "accounts.db", "shots.spool"])
def test_a_damaged_file_is_replaced_from_the_newest_backup(name: str, harm: object, folder: Path) -> None:
    assert callable(harm)
    if harm is scramble and name == "accounts.db":
        pytest.skip("three pages: the middle one is empty")
    backups = folder / FOLDER
    assert back_up(backups, data_files(folder), NOW) is not None
    if name == "store.db":
        with StoreWriter(folder / "store.db") as store:
            store.update_visits([news(number) for number in range(5000, 5020)])
    harm(folder / name)
    [file] = [file for file in data_files(folder) if file.name == name]
    assert file.kind is not None
    found = [line for line in diagnose(folder, [file], [backups], NOW) if line.level == "error"]
    assert len(found) == 1 and "damaged" in found[0].text and "\n" not in found[0].text
    [said] = heal_all(data_files(folder), [backups])
    assert name in said and "was damaged" in said and "\n" not in said
    assert notes(folder) == [said]
    assert list(folder.glob(f"{name}.damaged-*"))
    assert examine(file.path, file.kind, full=True).state in ("sound", "missing")
    if name == "people.db":
        assert len(names(file.path)) == 30
    if name == "store.db":
        with StoreReader(file.path) as store_reader:
            assert store_reader.count()["visits"] >= 3000, "nothing that the backup had is lost"


def test_what_can_be_read_is_kept_where_there_is_no_backup(folder: Path) -> None:
    truncate(folder / "store.db")
    [file] = [file for file in data_files(folder) if file.name == "store.db"]
    said = heal(file, [folder / FOLDER])
    assert said is not None and "there is no backup" in said
    assert "rows read from it: " in said and " of visits" in said and said.endswith("; the rest is lost")
    with StoreReader(file.path) as store:
        assert 1000 < store.count()["visits"] <= 3000
    with StoreWriter(file.path) as writer:
        writer.update_visits([news(9999)])


def test_rows_behind_a_page_that_cannot_be_read_are_found(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    spool = Spool(path)
    spool.put([EncodedShot(f"shot {number}", "door", 1, b"h", os.urandom(3000)) for number in range(200)])
    spool.close()
    scramble(path)
    assert examine(path, SPOOL).state == "damaged"
    salvage(path, tmp_path / "new.db")
    spool = Spool(tmp_path / "new.db")
    assert 150 < len(spool) < 200
    spool.close()


def test_a_foreign_file_is_left_alone(folder: Path) -> None:
    path = folder / "store.db"
    path.unlink()
    with closing(connect(path, create=True)) as db:
        db.execute("CREATE TABLE recipes (name TEXT)")
    assert examine(path, STORE).state == "foreign"
    before = path.read_bytes()
    lines = [line for line in diagnose(folder, data_files(folder), [], NOW, repair=True) if line.level == "error"]
    assert [line.text for line in lines] == [f"{path}: a database, but not a store; choose another file"]
    assert path.read_bytes() == before and not heal_all(data_files(folder), [])


def test_a_file_in_use_is_not_set_aside(folder: Path) -> None:
    path = folder / "people.db"
    with GalleryStore(path), pytest.raises(StoreError, match="in use by this process"):
        set_aside(path)
    with open_elsewhere(path), pytest.raises(StoreError, match="in use by another process: stop it"):
        set_aside(path)
    aside = set_aside(path)
    assert aside.is_file() and not path.exists()


def test_seven_automatic_backups_are_kept_one_a_day(folder: Path) -> None:
    backups = folder / FOLDER
    for day in range(10):
        assert back_up(backups, data_files(folder), NOW + day * INTERVAL_S) is not None
        assert back_up(backups, data_files(folder), NOW + day * INTERVAL_S + 60) is None
    assert len(automatic(backups)) == KEPT
    # A clock that leaps makes one more, and stops none.
    assert back_up(backups, data_files(folder), NOW + 70 * INTERVAL_S) is not None
    assert back_up(backups, data_files(folder), NOW + 10 * INTERVAL_S) is not None
    assert back_up(backups, data_files(folder), NOW + 10 * INTERVAL_S + 60) is None
    assert "backups" not in {file.path.parent.name for file in data_files(folder)}


def test_a_damaged_file_takes_no_good_backup_away(folder: Path) -> None:
    backups = folder / FOLDER
    kept = back_up(backups, data_files(folder), NOW)
    scramble(folder / "people.db")
    with pytest.raises(StoreError, match=r"cannot back up .*; see 'facegate doctor'"):
        back_up(backups, data_files(folder), NOW + 2 * INTERVAL_S)
    assert automatic(backups) == [kept] and not list(backups.glob("*.part"))


def test_the_verbs(folder: Path, tmp_path: Path) -> None:
    done = facegate("backup", str(tmp_path / "kept"), "--data", str(folder))
    assert done.returncode == 0 and "people.db: " in done.stdout
    again = facegate("backup", str(tmp_path / "kept"), "--data", str(folder))
    assert again.returncode == 1 and "is not empty: give a new folder" in again.stderr
    zero(folder / "people.db")
    (folder / "store.db").chmod(0o644)
    found = facegate("doctor", "--data", str(folder))
    assert found.returncode == 1 and "readable by other users (644)" in found.stdout
    assert "people.db: damaged (file is not a database); see 'facegate doctor --repair'" in found.stdout
    back = facegate("restore", str(tmp_path / "kept"), "--data", str(folder))
    assert back.returncode == 0, back.stderr
    assert "people.db: restored; the damaged file was renamed to people.db.damaged-" in back.stdout
    assert len(names(folder / "people.db")) == 30
    assert facegate("doctor", "--data", str(folder), "--repair").returncode == 0
    assert (folder / "store.db").stat().st_mode & 0o777 == 0o600
    scramble(tmp_path / "kept" / "store.db")
    refused = facegate("restore", str(tmp_path / "kept"), "--data", str(folder))
    assert refused.returncode == 1 and "nothing was restored" in refused.stderr
    assert GALLERY.what == "gallery"


def test_files_outside_the_data_folder_are_in_the_backup_and_the_check(folder: Path, tmp_path: Path) -> None:
    """As the console of this folder uses them, which are those of its last start."""
    gallery, config = tmp_path / "shared" / "people.db", tmp_path / "shared" / "cameras.yaml"
    gallery.parent.mkdir(mode=0o700)
    (folder / "people.db").rename(gallery)
    (folder / "facegate.yaml").rename(config)
    told = facegate("backup", tmp_path / "first", "--data", folder)
    assert told.returncode == 0 and "not in the backup" in told.stderr and "--gallery" in told.stderr
    assert "no gallery in the data folder; give it with --gallery" in facegate("doctor", "--data", folder).stdout
    remember_locations(folder, Locations(gallery, config))
    done = facegate("backup", tmp_path / "second", "--data", folder)
    assert done.returncode == 0 and not done.stderr, done.stderr
    saved = {file.name for file in read_manifest(tmp_path / "second").files}
    assert saved == {"people.db", "store.db", "accounts.db", "shots.spool", "facegate.yaml"}
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "second").iterdir()} == {0o600}
    assert f"{gallery}: sound gallery" in facegate("doctor", "--data", folder).stdout
    gallery.unlink()
    failed = facegate("doctor", "--data", folder)
    assert failed.returncode == 1 and f"error   {gallery}: no such file" in failed.stdout
    failed = facegate("backup", tmp_path / "third", "--data", folder)
    assert failed.returncode == 1 and f"not in the backup: {gallery}: no such file" in failed.stderr
    with GalleryStore(gallery, create=True), open_elsewhere(gallery):
        back = facegate("restore", tmp_path / "second", "--data", folder)
    assert f"{gallery}: restored; a running process that uses it takes it over" in back.stdout, back.stderr
    assert f"{config}: restored\n" in back.stdout and len(names(gallery)) == 30
    other = facegate("restore", tmp_path / "second", "--data", tmp_path / "other")
    assert f"{tmp_path / 'other' / 'people.db'}: restored\n" in other.stdout


@contextmanager
def open_elsewhere(path: Path) -> Iterator[None]:
    """Another process has a gallery open."""
    code = (
        "import sys, pathlib; from facegate.recognition.enrollment.gallery_store import GalleryStore\n"
        "people = GalleryStore(pathlib.Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == b"open\n"
        yield
        child.communicate()


def test_the_doctor_reports_a_wrong_folder_and_a_full_disk(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.yaml"
    file.touch()
    for wrong, text in ((tmp_path / "nodata", "no such folder"), (file, "not a folder")):
        found = facegate("doctor", "--data", wrong)
        assert found.returncode == 1 and f"error   {wrong}: {text}; give the --data" in found.stdout
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 4096}))
    lines = [line.text for line in diagnose(folder, data_files(folder), [], NOW) if line.level == "error"]
    assert lines == [f"{folder}: the disk is full, 0 MB free; free disk space"]


@pytest.mark.parametrize("name", ["shots.spool", "store.db", "people.db"])
@pytest.mark.parametrize("backed_up", [False, True])
def test_check_and_repair_agree_on_an_empty_file(name: str, backed_up: bool, folder: Path) -> None:
    if backed_up:
        assert back_up(folder / FOLDER, data_files(folder), NOW)
    (folder / name).write_bytes(b"")
    can_repair = backed_up and name != "shots.spool"  # spools are not backed up
    found = facegate("doctor", "--data", folder)
    assert found.returncode == can_repair, found.stdout
    assert (f"warning {folder / name}: empty, and there is no backup" in found.stdout) == (not can_repair)
    repaired = facegate("doctor", "--data", folder, "--repair")
    assert repaired.returncode == 0 and ("fixed   " in repaired.stdout) == can_repair
    assert facegate("doctor", "--data", folder).returncode == 0


def test_a_backup_that_is_not_whole_or_newer_is_reported(folder: Path, tmp_path: Path) -> None:
    make_backup(data_files(folder), tmp_path / "kept", NOW)
    manifest = tmp_path / "kept" / "backup.json"
    manifest.write_text(manifest.read_text().replace(f'"{SOFTWARE}"', '"99.1.0"'))
    done = facegate("restore", tmp_path / "kept", "--data", tmp_path / "other")
    assert done.returncode == 0 and "was made by facegate 99.1.0, newer than this one: upgrade it" in done.stderr
    for name in ("people.db", "facegate.yaml"):
        (tmp_path / "kept" / name).unlink()
        refused = facegate("restore", tmp_path / "kept", "--data", tmp_path / "other")
        assert refused.returncode == 1
        assert f"{tmp_path / 'kept' / name} is missing: nothing was restored" in refused.stderr
        (tmp_path / "kept" / name).write_bytes((folder / name).read_bytes())


def test_a_data_folder_is_private_also_if_it_existed(tmp_path: Path) -> None:
    new, own, foreign = (tmp_path / name for name in ("new", "own", "foreign"))
    for path in (own, foreign):
        path.mkdir(mode=0o755)
    (foreign / "photo.jpg").touch()
    modes = [make_folder(path).data.stat().st_mode & 0o777 for path in (new, own, foreign)]
    assert modes == [0o700, 0o700, 0o755], "a folder with other files is not taken over"
    own.chmod(0o755)
    assert make_folder(own).data.stat().st_mode & 0o777 == 0o700
