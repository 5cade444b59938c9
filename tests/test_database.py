"""SQLite files are opened in one way, which leaves the locks of other connections alone."""

from __future__ import annotations

import ast
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest

from facegate import database
from facegate.console.security.accounts import Accounts
from facegate.errors import DeliveryError
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.enrollment.unknowns import UnknownStore
from facegate.sinks.spool import Spool
from facegate.store.reader import StoreReader
from facegate.store.writer import StoreWriter

from .test_structure import ROOT, modules

OPENERS: dict[str, tuple[Callable[[Path], Any], ...]] = {
    "gallery": (lambda path: GalleryStore(path, create=True), lambda path: UnknownStore(path, create=True)),
    "store": (lambda path: StoreWriter(path, create=True), lambda path: StoreReader(path, create=True)),
    "accounts": (lambda path: Accounts(path, create=True), lambda path: Accounts(path, create=True)),
    "spool": (Spool, Spool),
}
CHANGE = """
import sys
from facegate.database import connect
db = connect(__import__("pathlib").Path(sys.argv[1]))
db.execute("CREATE TABLE IF NOT EXISTS probe (x)")
db.execute("INSERT INTO probe VALUES (1)")
db.close()
"""


@pytest.mark.parametrize("kind", OPENERS)
def test_no_process_takes_the_log_away_beneath_another(kind: str, tmp_path: Path) -> None:
    """The whole kind: one process has several connections, others open, change and close the file in between."""
    path = tmp_path / f"{kind}.db"
    with closing(OPENERS[kind][0](path)) as first, closing(OPENERS[kind][1](path)):
        log = Path(f"{path}-wal")
        before = log.stat().st_ino
        for changes in range(1, 4):
            subprocess.run([sys.executable, "-c", CHANGE, str(path)], check=True)
            assert log.is_file() and log.stat().st_ino == before, "the last one to close deletes it: it was not"
            assert first._db.execute("SELECT count(*) FROM probe").fetchone()[0] == changes
        assert first._db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("kind", OPENERS)
def test_files_are_made_for_their_user_alone(kind: str, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with closing(OPENERS[kind][0](tmp_path / "file")):
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("file*")}
    finally:
        os.umask(before)
    assert set(modes.values()) == {0o600} and "file-wal" in modes


def test_many_threads_make_the_same_file(tmp_path: Path) -> None:
    """Whoever makes it closes it before anybody here has it open."""
    path, barrier, kept = tmp_path / "people.db", Barrier(8), []

    def open_it() -> None:
        barrier.wait()
        kept.append(GalleryStore(path, create=True))

    threads = [Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    subprocess.run([sys.executable, "-c", CHANGE, str(path)], check=True)
    assert Path(f"{path}-wal").is_file()
    for people in kept:
        people.close()


def test_it_is_known_which_files_are_open(tmp_path: Path) -> None:
    path = tmp_path / "people.db"
    assert not database.is_open(path)
    with GalleryStore(path, create=True):
        (tmp_path / "link.db").hardlink_to(path)
        assert database.is_open(path) and database.is_open(tmp_path / "link.db")
        with pytest.raises(AssertionError, match="by other means"):
            path.read_bytes()  # the suite's own guard
    assert not database.is_open(path)
    assert path.read_bytes()


def test_sqlite_is_used_through_one_module() -> None:
    """``connect`` and ``touch`` of others would bring the fault back."""
    for module, path in modules():
        if module == "facegate.database":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sqlite3":
                assert node.attr != "connect", f"{module}: use facegate.database.connect"
            if isinstance(node, ast.ImportFrom):
                assert node.module != "sqlite3", module
    assert (ROOT / "src" / "facegate" / "database.py").is_file()


def test_another_database_is_no_spool(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store.db", create=True) as store:
        columns = store._db.execute("PRAGMA table_info(shots)").fetchall()
    with pytest.raises(DeliveryError, match="is a database but not a spool"):
        Spool(tmp_path / "store.db")
    with StoreWriter(tmp_path / "store.db") as store:
        assert store._db.execute("PRAGMA table_info(shots)").fetchall() == columns, "and it was not changed"
