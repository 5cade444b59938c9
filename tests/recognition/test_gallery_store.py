"""people.db: changes by several hands, killed ones, and files that are damaged or something else."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from facegate.errors import GalleryError
from facegate.pipeline.records import Image
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.enrollment.records import FaceSample

EACH = 5
WRITER = f"""
import os, random, sys
from tests.recognition.test_gallery_store import look
from facegate.errors import GalleryError
from facegate.recognition.enrollment.gallery_store import GalleryStore

if os.fork() == 0:  # at once: the imports are paid once, and the fork dies alone
    chance = random.Random(int(sys.argv[2]))
    with GalleryStore(sys.argv[1] and __import__("pathlib").Path(sys.argv[1])) as people:
        print("ready", flush=True)
        while True:
            name = f"p{{chance.randrange(6)}}"
            try:
                if chance.random() < 0.6:
                    people.add(name, [look(chance.randrange(10**9)) for _ in range({EACH})])
                elif chance.random() < 0.5:
                    people.remove(name)
                else:
                    people.merge(name, f"p{{chance.randrange(6)}}")
            except GalleryError:
                pass
os.wait()
"""


def look(number: int, quality: int = 80) -> FaceSample:
    crop: Image = np.random.default_rng(number).integers(0, 255, (112, 112, 3)).astype(np.uint8)
    return FaceSample(f"{number}.png", f"{number:064x}", crop, quality, 90.0, 0.1, 1)


def test_people_are_added_shown_renamed_merged_and_removed(tmp_path: Path) -> None:
    with GalleryStore(tmp_path / "people.db", create=True) as people:
        assert people.add("ann", [look(1), look(2)]) == 2
        assert people.add("ann", [look(2), look(3)]) == 1, "the same file is there once"
        people.add("bob", [look(3), look(4)])
        assert [(person.name, person.pictures) for person in people.people()] == [("ann", 3), ("bob", 2)]
        assert np.array_equal(people.crop(people.pictures("bob")[1].row), look(4).crop), "crops are lossless"
        with pytest.raises(GalleryError, match="name bob is taken"):
            people.rename("ann", "bob")
        people.rename("ann", "Ann Smith")
        assert people.merge("bob", "Ann Smith") == 1
        assert [picture.source for picture in people.pictures()] == ["1.png", "2.png", "3.png", "4.png"]
        people.add("Ann Smith", [look(9)], kind="negative")
        assert people.people()[0].negatives == 1
        assert people.remove("Ann Smith") == 5 and not people.people()
        with pytest.raises(GalleryError, match="no person 'Ann Smith'"):
            people.remove("Ann Smith")
        for name in ("", " ", ".x", "a/b", "a\nb", "x" * 101, 'a"b'):
            with pytest.raises(GalleryError, match="invalid name"):
                people.add(name, [look(1)])
    assert (tmp_path / "people.db").stat().st_mode & 0o077 == 0, "faces are for their owner alone"


def test_embeddings_are_kept_by_recognizer(tmp_path: Path) -> None:
    with GalleryStore(tmp_path / "people.db", create=True) as people:
        people.add("ann", [look(1), look(2)])
        rows = people.missing("a")
        people.keep_embeddings("a", {rows[0]: np.array([1, 0], np.float32), 99: np.array([0, 1], np.float32)})
        assert people.missing("a") == rows[1:] and people.missing("b") == rows
        people.use([rows[0]])
        embedded = people.embedded("a")
        assert embedded.rows.tolist() == rows[:1] and embedded.vectors.tolist() == [[1, 0]]
        assert not embedded.used[0] and embedded.names == ["ann"]
        people.keep_embeddings("a", {rows[1]: np.array([1, 0, 0], np.float32)})
        with pytest.raises(GalleryError, match="differ in length"):
            people.embedded("a")
        people.keep_embeddings("a", {rows[1]: np.array([np.nan, 0], np.float32)})
        with pytest.raises(GalleryError, match="not finite"):
            people.embedded("a")


def test_what_is_removed_leaves_no_pixels(tmp_path: Path) -> None:
    path = tmp_path / "people.db"
    with GalleryStore(path, create=True) as people:
        people.add("ann", [look(1)])
        people.add("bob", [look(2)])
        people.remove("ann")
    left = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    coded = [cv2.imencode(".png", look(number).crop[:, :, ::-1])[1].tobytes()[200:400] for number in (1, 2)]
    assert [part in left for part in coded] == [False, True]


def test_a_killed_writer_leaves_whole_people(tmp_path: Path) -> None:
    path, chance = tmp_path / "people.db", random.Random(0)
    with GalleryStore(path, create=True) as reader:
        reader.add("kept", [look(number) for number in range(EACH)])
        changes = 0
        for kill in range(25):
            child = subprocess.Popen(
                [sys.executable, "-c", WRITER, str(path), str(kill)], stdout=subprocess.PIPE, start_new_session=True
            )
            assert child.stdout is not None and child.stdout.readline() == b"ready\n"
            wanted = changes + chance.randrange(1, 4)
            while changes < wanted:  # read on while it writes
                assert all(person.pictures % EACH == 0 for person in reader.people())
                changes += reader.changed()
            subprocess.run(["kill", "-9", "--", f"-{child.pid}"], check=True)
            child.wait()
            child.stdout.close()
            people = {person.name: person.pictures for person in reader.people()}
            assert people["kept"] == EACH and all(count % EACH == 0 and count for count in people.values())
            assert reader._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_what_is_no_gallery_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "people.db"
    with pytest.raises(GalleryError, match="no gallery at"):
        GalleryStore(path)
    path.write_bytes(b"no database at all, but long enough to be looked at" * 40)
    with pytest.raises(GalleryError, match="file is not a database"):
        GalleryStore(path)
    path.unlink()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE shots (id)")
    other.close()
    with pytest.raises(GalleryError, match="is a database but not a gallery"):
        GalleryStore(path)
    path.unlink()
    GalleryStore(path, create=True).close()
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version=9")
    other.close()
    with pytest.raises(GalleryError, match=f"has version 9, above {len(GalleryStore.steps)}"):
        GalleryStore(path)


def test_a_damaged_file_is_refused_or_read_but_never_breaks_anything(tmp_path: Path) -> None:
    path, chance = tmp_path / "people.db", random.Random(1)
    with GalleryStore(path, create=True) as people:
        for name in ("ann", "bob"):
            people.add(name, [look(number) for number in range(3)])
        people.keep_embeddings("a", {row: np.ones(8, np.float32) for row in people.missing("a")})
    whole = path.read_bytes()
    refused = 0
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(chance.choice((1, 20, 400))):
            content[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(content[: chance.choice((len(content), chance.randrange(len(content))))])
        for side in ("-wal", "-shm"):
            Path(f"{path}{side}").unlink(missing_ok=True)
        try:
            with GalleryStore(path) as people:
                for picture in people.pictures():
                    people.crop(picture.row)
                people.embedded("a")
                people.add("eve", [look(7)])
                people.merge("ann", "bob")
        except GalleryError:
            refused += 1
    assert refused > 30
