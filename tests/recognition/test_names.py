"""Names: one spelling of each, nobody twice, and galleries of before open with everybody in them."""

from __future__ import annotations

import sqlite3
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from facegate.demo.clip import DemoClip
from facegate.detectors.base import Detector
from facegate.errors import GalleryError
from facegate.recognition.enrollment import schema
from facegate.recognition.enrollment.enroller import Enroller, find_people, find_pictures
from facegate.recognition.enrollment.face_extraction import FaceExtractor
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.enrollment.names import MAX_NAME, closest_name, is_person_name, name_key, person_name
from facegate.recognition.enrollment.records import FaceSample
from facegate.scoring.engine import load_scorer

from .test_gallery import LIMIT, MeanColor, keeper

JOSE = unicodedata.normalize("NFC", "José"), unicodedata.normalize("NFD", "José")
ONE = [["Ann", "ann", "ANN ", " Ann", "Ann\u200b", "A\u00adnn", "\u202aAnn\u202c", "Ann\ufe0f"], [*JOSE, "JOSÉ "]]
TEXT = st.text(st.characters(exclude_characters='/\\:*?"<>|.', exclude_categories=["Cc", "Cs"]), max_size=30)


def look(number: int) -> FaceSample:
    return FaceSample(f"{number}.png", str(number), np.full((112, 112, 3), number, np.uint8), 50, 80.0, 0.1, 1)


@given(TEXT)
@example("\u200b \u200d.")
@example("e\u200b\u0301")
@example("\u0345\u0345")
@example("\ufe0f \ufe0f")
def test_a_name_has_one_form_and_names_that_look_alike_have_one_key(text: str) -> None:
    try:
        name = person_name(text)
    except GalleryError:
        return
    assert person_name(name) == name and unicodedata.is_normalized("NFC", name) and name == name.strip()
    assert name_key(name) == name_key(text) != ""
    for other in (
        unicodedata.normalize("NFD", text),
        f" {text}\u3000",
        f"\u200b{text}\ufeff",
        name.casefold(),
        name_key(text),
    ):
        assert name_key(other) == name_key(text), ascii(other)


@pytest.mark.parametrize(
    "name", ["", " ", "\u200b", "\u200d\ufe0f", "\ufe0f \ufe0f", ".", "..", "x/y", "a\tb", "x" * 101, "\udcff"]
)
def test_what_cannot_be_a_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match="invalid name"):
        person_name(name)
    with GalleryStore(tmp_path / "p.db", create=True) as people, pytest.raises(GalleryError):
        people.add(name, [])


@pytest.mark.parametrize("spelled", ONE)
def test_one_person_is_found_by_every_spelling_and_made_once(spelled: Sequence[str], tmp_path: Path) -> None:
    with GalleryStore(tmp_path / "p.db", create=True) as people:
        for number, name in enumerate(spelled):
            people.add(name, [look(number)])
        assert [(person.name, person.pictures) for person in people.people()] == [(spelled[0], len(spelled))]
        people.add("Bob", [look(99)])
        for name in spelled:
            assert len(people.pictures(name)) == len(spelled) and people.spelling(name) == spelled[0]
            with pytest.raises(GalleryError, match="merge"):
                people.rename("Bob", name)
        people.rename(spelled[-1], spelled[1])
        assert [person.name for person in people.people()] == sorted(["Bob", person_name(spelled[1])])
        assert people.remove(spelled[-1]) == len(spelled)


def test_words_of_the_interfaces_and_names_of_all_scripts_are_names(tmp_path: Path) -> None:
    names = ["faults", "pictures", "-rf", "50%", "a%20b", "O'Brien; DROP", "李雷", "👩‍🦰", "[test]", "é" * MAX_NAME]
    with GalleryStore(tmp_path / "p.db", create=True) as people:
        for number, name in enumerate(names):
            people.add(name, [look(number)])
        assert sorted(person.name for person in people.people()) == sorted(names)
        for name in names:
            people.remove(name)


@given(
    st.lists(
        st.sampled_from(["Ann", "ann", "ann ", "Ann\u200b", "\u200b", " .", "Ann (2)", *JOSE]) | TEXT, unique=True
    )
)
def test_a_gallery_of_before_opens_with_everybody_in_it(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    path = tmp_path_factory.mktemp("old") / "p.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(schema._SCHEMA)
        db.executemany("INSERT INTO people (name, added) VALUES (?, 0)", [(name,) for name in names])
        db.execute(f"PRAGMA application_id={schema.APPLICATION}")
        db.execute("PRAGMA user_version=1")
        db.commit()
    with capture_logs() as logs, GalleryStore(path) as people:
        found = [person.name for person in people.people()]
    assert len(found) == len(names) == len({name_key(name) for name in found})
    assert all(person_name(name) == name for name in found)
    first: dict[str, str] = {}
    for name in filter(is_person_name, names):
        first.setdefault(name_key(name), name)
    assert set(found) >= set(first.values()), "who can, keeps the name"
    told = [entry for entry in logs if entry["event"] == "duplicate name renamed"]
    nameable = [name_key(name) for name in names if name_key(name)]
    assert len(told) >= len(nameable) - len(set(nameable))
    assert all(entry["renamed_to"] in found and "merge" in entry["remedy"] for entry in told)
    with capture_logs() as logs, GalleryStore(path) as people:
        assert [person.name for person in people.people()] == found and not logs


def test_folders_that_spell_one_name_are_one_person_and_a_folder_may_change_its_spelling(
    clip: DemoClip, yunet: Detector, tmp_path: Path
) -> None:
    pictures = sorted(path.read_bytes() for path in clip.gallery.rglob("*.png"))
    staff = tmp_path / "staff"
    for name, picture in zip((JOSE[1], " josé", "Eve"), pictures, strict=False):
        (staff / name).mkdir(parents=True)
        (staff / name / "1.png").write_bytes(picture)
    with keeper(staff, yunet, tmp_path / "cache") as kept:
        assert [name_key(name) for name in kept.gallery.names] == ["eve", name_key(JOSE[0])]
    (staff / " josé" / "1.png").rename(staff / JOSE[1] / "2.png")
    (staff / " josé").rmdir()
    (staff / JOSE[1]).rename(staff / "JOSÉ")
    with keeper(staff, None, tmp_path / "cache") as kept:  # type: ignore[arg-type]
        assert kept.gallery.names == ["Eve", "JOSÉ"], "no picture was looked at twice"
    with enrolling_file(tmp_path / "p.db", yunet) as enroller:
        first = enroller.add(find_people(staff))
        for name in ("Eve ", "eve"):
            again = enroller.add(find_pictures([staff / "Eve"], name))
            assert (again.added, again.known, again.faults) == (0, 1, [])
        assert first.added == 3 and len(enroller.people.people()) == 2


@contextmanager
def enrolling_file(path: Path, detector: Detector) -> Iterator[Enroller]:
    with GalleryStore(path, create=True) as people:
        yield Enroller(people, lambda: FaceExtractor(detector, load_scorer()), MeanColor(), LIMIT)


NAMES = ("Jos\u00e9 M\u00fcller", "Ada Lovelace", "Adam", "Grace Hopper", "\u5c0f\u6797 \u82b1\u5b50")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("ADA LOVELACE", "Ada Lovelace"), ("jose", "Jos\u00e9 M\u00fcller"),
        ("jose mueller", "Jos\u00e9 M\u00fcller"),
        ("ada", "Ada Lovelace"), ("adda lovlace", "Ada Lovelace"), ("hoper", "Grace Hopper"),
        ("\u5c0f\u6797", "\u5c0f\u6797 \u82b1\u5b50"), ("Xavier", None), ("", None), ("...", None),
    ],
)  # fmt: skip
def test_a_name_is_found_however_it_is_spelled(typed: str, meant: str | None) -> None:
    assert closest_name(typed, NAMES) == meant
