"""Watch lists: people in them have a rate of their own, and leave by date."""

from __future__ import annotations

import json
from pathlib import Path
from time import time

import numpy as np
import pytest

from facegate.errors import GalleryError
from facegate.pipeline.records import Floats
from facegate.recognition.embedders import load_embedder, unit
from facegate.recognition.enrollment.records import FaceSample
from facegate.recognition.enrollment.watch_lists import Membership, WatchList, WatchListStore
from facegate.recognition.matching import gallery_watcher as module
from facegate.recognition.matching.decision_rule import FixedThresholdRule, FpirRule
from facegate.recognition.matching.gallery import Gallery, ListedPeople
from facegate.recognition.matching.gallery_watcher import GalleryWatcher
from facegate.recognition.matching.score_tail import find_impostor_model

from ...helpers import facegate
from .test_face_search import ADA, BO, ColorEmbedder, crop


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with WatchListStore(tmp_path / "people.db", create=True) as people:
        for name, color in (("Ada", ADA), ("Bo", BO)):
            people.add(name, [FaceSample(f"{name}.png", name * 20, crop(color), 80, 90.0, 0.1, 1)])
    return tmp_path / "people.db"


def test_a_list_has_a_threshold_of_its_own_for_its_people_alone() -> None:
    model = load_embedder("builtin")
    impostors = find_impostor_model(model.version, model.name)
    assert impostors is not None
    rng = np.random.default_rng(0)
    templates: Floats = unit(rng.standard_normal((50, 128), dtype=np.float32))
    names = [f"p{number}" for number in range(50)]
    rule = FpirRule(impostors, 1e-4)
    strict, loose = rule.threshold(50), rule.at_rate(0.01).threshold(1)
    assert loose < strict
    score = (strict + loose) / 2
    orthogonal = rng.standard_normal(128).astype(np.float32)
    orthogonal = unit(orthogonal - templates[0] * (orthogonal @ templates[0]))

    def probe(whose: int) -> Floats:
        """A face with that score."""
        for similarity in np.linspace(0.2, 0.9, 400, dtype=np.float32):
            face = unit(similarity * templates[whose] + np.sqrt(1 - similarity**2) * orthogonal)
            if float(face @ templates[whose]) - float(rule.normalization(face[None])[0]) >= score:
                return face
        raise AssertionError("no such face")

    lists = [ListedPeople("banned", 0.01, frozenset({"p0"})), ListedPeople("staff", None, frozenset({"p0", "p1"}))]
    gallery = Gallery(names, templates, lists=lists)
    match = gallery.match(probe(0), rule)
    assert (match.name, match.lists) == ("p0", ("banned", "staff"))
    match = Gallery(names, templates).match(probe(0), rule)
    assert (match.name, match.lists) == (None, ())
    assert gallery.match(templates[1], rule).lists == ("staff",) and gallery.match(templates[2], rule).lists == ()


def test_a_person_leaves_a_list_by_date(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now = [time()]
    monkeypatch.setattr(module, "time", lambda: now[0])
    probe = ColorEmbedder().embed([crop(ADA)])[0]
    rule = FixedThresholdRule(0.9)
    with WatchListStore(path) as people:
        watcher = GalleryWatcher(path, ColorEmbedder(), rule, lambda: None, tmp_path)  # type: ignore[arg-type, return-value]
        assert watcher.gallery.match(probe, rule).lists == ()
        people.put_list(WatchList("banned", "#c00000", 0.01))
        people.put_member(Membership("banned", "ada", "theft", now[0] + 100))
        assert watcher.refresh() and watcher.gallery.match(probe, rule).lists == ("banned",)
        now[0] += 99
        assert not watcher.refresh()
        now[0] += 2
        assert watcher.refresh()
        match = watcher.gallery.match(probe, rule)
        assert (match.name, match.lists) == ("Ada", ())
        assert not watcher.refresh()
        assert people.members()[0].reason == "theft" and not people.members(now[0])
        watcher.close()


def test_lists_follow_people_who_are_merged_renamed_and_removed(path: Path) -> None:
    with WatchListStore(path) as people:
        people.put_list(WatchList("banned", "#c00000", None))
        people.put_member(Membership("banned", "Ada", "", None))
        people.rename("Ada", "Ann")
        assert [member.person for member in people.members()] == ["Ann"]
        people.merge("Ann", "Bo")
        assert [member.person for member in people.members()] == ["Bo"]
        people.remove("Bo")
        assert people.members() == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (WatchList("", "#c00000", None), "list name"),
        (WatchList("x", "red", None), "color"),
        (WatchList("x", "#c00000", 0.9), "rate"),
    ],
)
def test_a_list_cannot_be_anything(path: Path, wrong: WatchList, words: str) -> None:
    with WatchListStore(path) as people, pytest.raises(GalleryError, match=words):
        people.put_list(wrong)


def test_the_commands_set_add_show_and_remove(path: Path) -> None:
    for arguments in (
        ("set", path, "banned", "--color", "#c00000", "--rate", "0.01"),
        ("add", path, "banned", "Ada", "--reason", "theft", "--until", "2099-01-01"),
    ):
        done = facegate("lists", *arguments)
        assert done.returncode == 0, done.stderr
    shown = json.loads(facegate("lists", "show", path, "--json").stdout)
    assert shown["lists"] == [{"name": "banned", "color": "#c00000", "fpir": 0.01}]
    assert [(each["person"], each["reason"]) for each in shown["people"]] == [("Ada", "theft")]
    assert "Ada" in facegate("lists", "show", path).stdout
    assert facegate("lists", "remove", path, "banned", "Ada").returncode == 0
    assert "is not in list" in facegate("lists", "remove", path, "banned", "Ada").stderr
    assert facegate("lists", "remove", path, "banned").returncode == 0
    assert "there is no list banned" in facegate("lists", "add", path, "banned", "Ada").stderr
