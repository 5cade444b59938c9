"""Unknown visitors keep their number over visits, cameras and restarts; people are told apart, by hand too."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from facegate.console.people.service import EnrollmentService
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.enrollment.unknowns import UnknownStore
from facegate.recognition.loading import Recognition
from facegate.recognition.matching.decision_rule import FixedThresholdRule
from facegate.recognition.matching.gallery import Gallery
from facegate.recognition.publishers.factory import PublisherSet
from facegate.recognition.worker.recognizer import Recognizer
from facegate.sinks import wire
from facegate.store.reader import StoreReader
from facegate.store.writer import StoreWriter

from .test_face_search import ADA, BO, CAROL, ColorEmbedder, crop, shot

NOBODY = Gallery([], np.zeros((0, 3), np.float32))


class Entrance:
    """A worker with a gallery's file and a store, restarted at will."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.gallery, self.number = folder, folder / "people.db", 0
        self.names = NOBODY
        GalleryStore(self.gallery, create=True).close()
        StoreWriter(folder / "store.db", create=True).close()
        self.start()

    def start(self) -> None:
        self.unknowns, self.output = UnknownStore(self.gallery), io.StringIO()
        self.places = PublisherSet([f"store://{self.folder / 'store.db'}"], self.folder / "names")
        rule = FixedThresholdRule(0.95)
        self.worker = Recognizer(
            lambda: self.names,
            ColorEmbedder(),
            rule,
            self.output,
            self.unknowns,
            self.places.publish,
            strangers=rule,
        )

    def stop(self) -> None:
        self.worker.finish()
        assert not any(report.kept for report in self.places.close().values())
        self.unknowns.close()

    def shows(self, color: tuple[int, int, int], track: int | None = None, camera: str = "door") -> int:
        """A shot; of a new track by default. Its number is returned."""
        self.number += 1
        track = self.number if track is None else track
        entry = shot(self.number, track, color, camera)
        self.worker.recognize([(wire.decode_header(entry.header), entry.crop)])
        return track

    def leave(self) -> None:
        self.worker.finish()

    def visit(self, color: tuple[int, int, int], camera: str = "door") -> dict[str, object]:
        """A whole visit; its last event."""
        self.shows(color, camera=camera)
        self.leave()
        return self.events()[-1]

    def events(self, *kinds: str) -> list[dict[str, object]]:
        lines = [json.loads(line) for line in self.output.getvalue().splitlines()]
        return [line for line in lines if line["event"] != "shot" and (not kinds or line["event"] in kinds)]


@pytest.fixture
def house(tmp_path: Path) -> Entrance:
    return Entrance(tmp_path)


def who(event: dict[str, object]) -> tuple[object, object]:
    return event["unknown_id"], event["seen_before"]


def test_a_visitor_keeps_the_number_over_visits_cameras_and_restarts(house: Entrance) -> None:
    first = house.visit(ADA)
    assert who(first) == (1, 0)
    assert who(house.visit(BO)) == (2, 0)
    assert who(house.visit(ADA, "hall")) == (1, 1)
    house.stop()
    house.start()
    ended = house.visit(ADA)
    assert who(ended) == (1, 2) and ended["first_seen"] == first["seen_at"]
    assert who(house.events("seen")[-1]) == (1, 2), "told with the first shot"
    assert who(house.visit(CAROL)) == (3, 0)
    house.stop()
    with StoreReader(house.folder / "store.db") as store:
        visits = {visit.track_id: (visit.unknown_id, visit.seen_before) for visit in map(store.visit, IDS) if visit}
    assert visits == {1: (1, 0), 2: (2, 0), 3: (1, 1), 4: (1, 2), 5: (3, 0)}


IDS = ["run/door/1", "run/door/2", "run/hall/3", "run/door/4", "run/door/5"]


def test_two_cameras_at_once_see_one_visitor(house: Entrance) -> None:
    house.shows(ADA)
    house.shows(ADA, camera="hall")
    house.shows(BO)
    assert [who(event) for event in house.events("seen")] == [(1, 0), (1, 0), (2, 0)]
    house.leave()
    assert who(house.visit(ADA)) == (1, 2)


def test_a_better_shot_knows_the_visitor_again_and_says_so(house: Entrance) -> None:
    house.visit(ADA)
    track = house.shows((150, 150, 110))
    assert who(house.events("seen")[-1]) == (2, 0)
    for _ in range(6):
        house.shows(ADA, track)
    (returned,) = house.events("returned")
    assert who(returned) == (1, 1)
    house.leave()
    assert who(house.events("ended")[-1]) == (1, 1)
    assert [number for number, _, _ in house.unknowns.strangers()] == [1], "the other number was given up"


def test_who_gets_a_name_is_no_unknown_visitor(house: Entrance) -> None:
    house.names = Gallery(["Ada"], ColorEmbedder().embed([crop(ADA)]))
    ended = house.visit(ADA)
    assert (ended["name"], *who(ended)) == ("Ada", None, None)
    assert house.unknowns.strangers() == []


def desk(house: Entrance) -> EnrollmentService:
    """The service of the pages, with the same recognizer."""
    people = EnrollmentService(house.gallery)
    people._parts = Recognition(ColorEmbedder(), FixedThresholdRule(0.95), None, None, lambda: None)  # type: ignore[arg-type, return-value]
    return people


def test_split_and_merge_by_hand_are_learned(house: Entrance) -> None:
    """Two people who look alike are separated, and stay so; one person in two numbers is joined."""
    twin = (220, 60, 85)
    for color in (ADA, twin, ADA, twin):
        assert who(house.visit(color))[0] == 1, "taken for one"
    people = desk(house)
    (cluster,) = people.unknowns()
    assert (cluster.number, cluster.visit_count) == (1, 4)
    rows = [visit.row for visit in cluster.visits]
    assert people.split_unknown(cluster.id, rows[1::2], house.folder) == 2
    house.worker.expire_visits()
    assert [who(house.visit(color))[0] for color in (ADA, twin, ADA, twin)] == [1, 2, 1, 2]
    glasses = (180, 110, 60)
    assert who(house.visit(glasses)) == (3, 0), "the same person, unlike enough"
    clusters = {cluster.number: cluster.id for cluster in people.unknowns()}
    assert people.merge_unknowns(clusters[3], clusters[1], house.folder) == 1
    house.worker.expire_visits()
    assert [who(house.visit(color)) for color in (glasses, ADA, twin)] == [(1, 5), (1, 6), (2, 4)]
    house.stop()
    with StoreReader(house.folder / "store.db") as store:
        visits = [store.visit(f"run/door/{track}") for track in (1, 2, 3, 4, 9)]
    assert [visit.unknown_id for visit in visits if visit is not None] == [1, 2, 1, 2, 1]


def test_naming_a_visitor_names_all_visits(house: Entrance) -> None:
    for color in (ADA, BO, ADA):
        house.visit(color)
    house.stop()
    people = desk(house)
    ada = next(cluster for cluster in people.unknowns() if cluster.number == 1)
    assert people.name_unknown(ada.id, "Ada", (), house.folder) == 1, "the same picture twice"
    with StoreReader(house.folder / "store.db") as store:
        assert [store.visit(f"run/door/{track}").name for track in (1, 2, 3)] == ["Ada", None, "Ada"]  # type: ignore[union-attr]
    with UnknownStore(house.gallery) as unknowns:
        assert [number for number, _, _ in unknowns.strangers()] == [2]
