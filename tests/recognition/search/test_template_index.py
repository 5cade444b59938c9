"""The index of templates finds what an exact search finds, forgets what was removed, and survives its files."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import time

import numpy as np
import pytest

from facegate.maintenance.backups import install
from facegate.maintenance.files import STORE
from facegate.pipeline.records import Floats
from facegate.recognition.embedders import unit
from facegate.recognition.search.scan import Origin, read_segment
from facegate.recognition.search.template_index import TemplateIndex, drop_removed
from facegate.store.records import VisitTemplate, VisitUpdate, packed
from facegate.store.retention import Retention, RetentionLimits
from facegate.store.templates import TemplateReader
from facegate.store.writer import StoreWriter

ROWS, EXACT, NUMBERS = 64, 200, 16
WHO = "recognizer-1"


def faces(count: int, seed: int = 0) -> Floats:
    return unit(np.random.default_rng(seed).standard_normal((count, NUMBERS), dtype=np.float32))


def add(store: StoreWriter, vectors: Floats, first: int = 0, name: str | None = None) -> None:
    visits = [f"r/door/{first + number}" for number in range(len(vectors))]
    store.update_visits(
        [
            VisitUpdate(visit, "door", first + row, name, 0.5, 0.1, None, time(), "ended")
            for row, visit in enumerate(visits)
        ]
    )
    store.put_templates(
        [VisitTemplate(visit, WHO, packed(face)) for visit, face in zip(visits, vectors, strict=True)]
    )


class Searched:
    """A store and its index."""

    def __init__(self, folder: Path, rows: int = ROWS) -> None:
        self.folder, self.path, self.rows = folder / "index", folder / "store.db", rows
        self.writer = StoreWriter(self.path, create=True)
        self.store = TemplateReader(self.path)

    def open(self, *, writable: bool = True) -> TemplateIndex:
        index = TemplateIndex(
            self.store, self.folder, WHO, writable=writable, max_exact=EXACT, segment_rows=self.rows
        )
        index.refresh()
        return index

    def ids(self) -> set[int]:
        """Of all files."""
        origin = Origin(WHO, self.store.indexed()[1])
        segments = [read_segment(path, origin) for path in self.folder.glob("*")]
        return {row for segment in segments if segment is not None for row in segment.part.ids.tolist()}

    def files(self) -> set[str]:
        return {path.name for path in self.folder.glob("*")}


@pytest.fixture
def searched(tmp_path: Path) -> Iterator[Searched]:
    found = Searched(tmp_path)
    yield found
    found.store.close()
    found.writer.close()


def assert_finds(index: TemplateIndex, vectors: Floats) -> None:
    """Everybody is found by another picture, with the exact similarity, and nobody nearer is missed."""
    probes = unit(vectors + 0.05 * faces(len(vectors), 7))
    for probe, face in zip(probes, vectors, strict=True):
        ids, similarities = index.search(probe)
        assert similarities[0] == pytest.approx(float((vectors @ probe).max()), abs=2e-3)
        assert similarities[0] >= float(face @ probe) - 2e-3 and len(ids)


@pytest.mark.parametrize("count", [0, 1, EXACT, EXACT + 1, 5 * ROWS + 7])
def test_it_finds_the_nearest_exact_or_not(searched: Searched, count: int) -> None:
    vectors = faces(count)
    add(searched.writer, vectors)
    with searched.open() as index:
        assert index.count == count
        assert_finds(index, vectors)
        assert len(index.search(faces(1)[0])[0]) == min(count, 800)
    assert len(searched.files()) == (0 if count <= EXACT else count // ROWS)


def test_templates_are_added_one_by_one_and_found_at_once_by_writer_and_reader(searched: Searched) -> None:
    vectors = faces(6 * ROWS)
    with searched.open() as index:
        for start in range(0, len(vectors), 25):
            add(searched.writer, vectors[start : start + 25], start)
            index.refresh()
            assert index.count == min(start + 25, len(vectors))
        assert_finds(index, vectors)
        with searched.open(writable=False) as reader:
            assert reader.count == len(vectors)
            assert_finds(reader, vectors)


def test_a_new_shot_replaces_the_template_of_a_visit(searched: Searched) -> None:
    vectors = faces(5 * ROWS)
    add(searched.writer, vectors)
    with searched.open() as index:
        add(searched.writer, -vectors[:3])
        index.refresh()
        found = index.search(vectors[0])
        assert found[1][0] < 0.99 and index.search(-vectors[0])[1][0] == pytest.approx(1, abs=2e-3)
        assert index.count == len(vectors) and not searched.store.removed()


def test_what_is_removed_leaves_memory_and_files(searched: Searched) -> None:
    """By erasure, with and without a running index, and by retention."""
    vectors = faces(6 * ROWS)
    add(searched.writer, vectors[:10], name="Ada")
    add(searched.writer, vectors[10:], 10)
    with searched.open() as index:
        before = searched.files()
        ids = set(index.search(vectors[3])[0].tolist())
        searched.writer.erase_person("Ada")
        assert index.search(vectors[3])[1][0] < 0.99, "also before the next refresh"
        gone = ids - set(index.search(vectors[3])[0].tolist())
        index.refresh()
        assert index.count == len(vectors) - 10 and not searched.store.removed()
        assert len(gone) == 10 and not gone & searched.ids()
        assert searched.files() == before, "made again"
        assert_finds(index, vectors[10:])
    searched.writer.erase_person(also=["r/door/40"])
    drop_removed(searched.store, searched.folder)
    assert len(before - searched.files()) == 1, "the segment that had it"
    with searched.open() as index:
        assert index.count == len(vectors) - 11 and searched.files() == before
    with Retention(searched.path) as retention:
        retention.apply(searched.folder.parent / "recordings", RetentionLimits(1, 10_000), time() + 86_400 * 2)
    with searched.open() as index:
        assert index.count == 0 and not searched.files()


@pytest.mark.parametrize("fault", ["cut", "changed", "lost", "foreign"])
def test_a_damaged_file_is_made_again_from_the_store(searched: Searched, fault: str) -> None:
    vectors = faces(6 * ROWS)
    add(searched.writer, vectors)
    with searched.open():
        pass
    chosen = sorted(searched.folder.glob("*"))[1]
    content = chosen.read_bytes()
    if fault == "cut":
        chosen.write_bytes(content[: len(content) // 2])
    elif fault == "changed":
        chosen.write_bytes(content[:-100] + bytes(80) + content[-20:])
    elif fault == "lost":
        chosen.unlink()
    else:
        chosen.write_bytes(content.replace(WHO.encode(), WHO.encode()[::-1]))
    with searched.open() as index:
        assert index.count == len(vectors)
        assert_finds(index, vectors)
    assert chosen.exists()


def test_a_restored_store_is_indexed_anew(searched: Searched, tmp_path: Path) -> None:
    """Ids of a backup may mean other templates than those in the files."""
    other = tmp_path / "other"
    other.mkdir()
    old = Searched(other)
    add(old.writer, faces(6 * ROWS, 1))
    old.writer.close()
    old.store.close()
    add(searched.writer, faces(6 * ROWS))
    with searched.open() as index:
        install(old.path, searched.path, STORE)
        index.refresh()
        assert_finds(index, faces(6 * ROWS, 1))


CHILD = """
import sys
from pathlib import Path
from tests.recognition.search.test_template_index import Searched, add, faces
searched = Searched(Path(sys.argv[1]))
with searched.open() as index:
    number = 0
    while True:
        add(searched.writer, faces(1, number), number)
        index.refresh()
        print(number, flush=True)
        number += 1
"""


def test_nothing_that_was_acknowledged_is_lost_by_a_kill(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    acknowledged = -1
    for line in child.stdout:
        acknowledged = int(line)
        if acknowledged == EXACT + 2 * ROWS + 5:
            child.send_signal(signal.SIGKILL)
    child.wait()
    searched = Searched(tmp_path)
    with searched.open() as index:
        assert index.count >= acknowledged + 1
        assert_finds(index, np.concatenate([faces(1, number) for number in range(acknowledged + 1)]))
    assert any(searched.folder.glob("*.segment"))
    searched.store.close()
    searched.writer.close()
