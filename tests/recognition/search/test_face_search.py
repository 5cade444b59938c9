"""Search by face: templates beside shots, what fits is found, nothing is left of those who are erased."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from facegate.maintenance.erasure import erase_person
from facegate.pipeline.records import Floats, Image
from facegate.recognition.embedders import load_embedder, recognizer_id, unit
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.enrollment.records import FaceSample
from facegate.recognition.matching.decision_rule import FixedThresholdRule, FpirRule
from facegate.recognition.matching.gallery import Gallery
from facegate.recognition.matching.score_tail import find_impostor_model
from facegate.recognition.publishers.factory import PublisherSet
from facegate.recognition.search.face_search import EVERY_VISIT, search_visits
from facegate.recognition.search.template_index import TemplateIndex
from facegate.recognition.search.template_keeper import TemplateKeeper
from facegate.recognition.worker.recognizer import Recognizer
from facegate.sinks import wire
from facegate.sinks.spool import Spool
from facegate.sinks.wire import EncodedShot
from facegate.store.reader import VisitFilter
from facegate.store.records import VisitUpdate
from facegate.store.templates import TemplateReader
from facegate.store.writer import StoreWriter

from ...helpers import facegate, wait_until
from ...sinks.test_wire import make_shot
from .test_template_index import WHO, add


class ColorEmbedder:
    """Tells people apart by the color of their crops, which a JPEG keeps."""

    threshold = 0.98

    def __init__(self, version: str = "colors") -> None:
        self.name = self.version = version

    def embed(self, crops: Sequence[Image]) -> Floats:
        rows = np.array([crop.mean((0, 1)) - 128 for crop in crops], np.float32).reshape(-1, 3)
        if self.version != "colors":
            rows = rows[:, ::-1] @ np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 1]], np.float32)
        return unit(rows)


ADA, BO, CAROL = (220, 60, 60), (60, 220, 60), (60, 60, 220)


def crop(color: tuple[int, int, int]) -> Image:
    return np.full((112, 112, 3), color, np.uint8)


def shot(number: int, track: int, color: tuple[int, int, int], camera: str = "door") -> EncodedShot:
    made = make_shot(number)
    ref = msgspec.structs.replace(made.scored.face.frame, camera=camera)
    face = msgspec.structs.replace(made.scored.face, crop=crop(color), frame=ref)
    scored = msgspec.structs.replace(made.scored, face=face, track_id=track)
    return wire.pack(msgspec.structs.replace(made, scored=scored, camera=camera, track_id=track))


def worker(
    folder: Path,
    shots: Sequence[EncodedShot],
    gallery: Gallery,
    *,
    templates: bool = True,
    embedder: ColorEmbedder | None = None,
) -> None:
    """A gate that stores these shots, and a worker that recognizes them and ends their visits."""
    with StoreWriter(folder / "store.db", create=True) as store:
        store.add_shots(shots)
    places = PublisherSet([f"store://{folder / 'store.db'}"], folder / "names")
    recognizer = Recognizer(
        lambda: gallery,
        embedder or ColorEmbedder(),
        FixedThresholdRule(0.98),
        io.StringIO(),
        on_events=places.publish,
        on_templates=places.put_templates if templates else None,
    )
    for entry in shots:
        recognizer.recognize([(wire.decode_header(entry.header), entry.crop)])
    recognizer.finish()
    assert not any(report.kept for report in places.close().values())


SHOTS = [shot(0, 1, ADA), shot(1, 2, BO), shot(2, 2, BO), shot(3, 3, ADA, "hall"), shot(4, 4, CAROL)]


def files_with(folder: Path, content: bytes) -> list[str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [str(path.relative_to(folder)) for path in files if content in path.read_bytes()]


def found(folder: Path, color: tuple[int, int, int], visits: VisitFilter = EVERY_VISIT) -> list[str]:
    with (
        TemplateReader(folder / "store.db") as store,
        TemplateIndex(store, folder / "index", recognizer_id(ColorEmbedder()), writable=False) as index,
    ):
        index.refresh()
        probe = ColorEmbedder().embed([crop(color)])[0]
        result = search_visits(index, store, probe, FixedThresholdRule(0.98), visits)
    return [hit.visit.visit for hit in result.hits]


def test_a_worker_keeps_a_template_of_each_visit_beside_its_shots(tmp_path: Path) -> None:
    worker(tmp_path, SHOTS, Gallery(["Bo"], ColorEmbedder().embed([crop(BO)])))
    assert sorted(found(tmp_path, ADA)) == ["run/door/1", "run/hall/3"]
    assert found(tmp_path, BO) == ["run/door/2"] and found(tmp_path, ADA, VisitFilter(camera="hall")) == [
        "run/hall/3"
    ]
    assert found(tmp_path, ADA, VisitFilter(until=1.0)) == []
    with TemplateReader(tmp_path / "store.db") as store:
        assert len(store.after(recognizer_id(ColorEmbedder()), 0, 99)[0]) == 4, "one of a visit with two shots"


def test_a_switch_keeps_none(tmp_path: Path) -> None:
    worker(tmp_path, SHOTS, Gallery([], np.zeros((0, 3), np.float32)), templates=False)
    with TemplateReader(tmp_path / "store.db") as store:
        assert store.newest_recognizer() is None


def test_an_erased_person_leaves_no_template_in_any_file(tmp_path: Path) -> None:
    """Named or not, stored or waiting in a spool, in backups too; those of others stay."""
    data = tmp_path / "data"
    data.mkdir()
    gallery = data / "people.db"
    with GalleryStore(gallery, create=True) as people:
        for name, color in (("Ada", ADA), ("Bo", BO)):
            people.add(name, [FaceSample(f"{name}.png", name * 20, crop(color), 80, 90.0, 0.1, 1)])
    worker(data, SHOTS[:3], Gallery(["Ada", "Bo"], ColorEmbedder().embed([crop(ADA), crop(BO)])))
    worker(data, SHOTS[3:], Gallery(["Bo"], ColorEmbedder().embed([crop(BO)])))  # Ada's second visit has no name
    held = PublisherSet([f"store://{data / 'store.db'}"], data / "names", hold=True)
    recognizer = Recognizer(
        lambda: Gallery([], np.zeros((0, 3), np.float32)),
        ColorEmbedder(),
        FixedThresholdRule(0.98),
        io.StringIO(),
        on_templates=held.put_templates,
    )
    waiting = shot(9, 9, ADA)
    recognizer.recognize([(wire.decode_header(waiting.header), waiting.crop)])
    held.close()
    template = ColorEmbedder().embed([wire.unpack_crop(wire.decode_header(waiting.header), waiting.crop)])[0]
    sought = template.astype("<f2").tobytes()
    assert len(files_with(data, sought)) == 2
    facegate("backup", data / "backups" / "000001-20260101T000000Z", "--data", data)
    erased = erase_person(gallery, "Ada", ColorEmbedder(), data=data)
    assert {each.what: each.found for each in erased}["stored visits"] == 2
    assert not files_with(data, sought)
    assert not files_with(data, SHOTS[0].crop)
    assert found(data, BO) == ["run/door/2"] and found(data, CAROL) == ["run/door/4"] and not found(data, ADA)
    spool = next((data / "names").glob("*.spool"))
    opened = Spool(spool)
    assert not opened.after(0, 9)
    opened.close()


def test_another_recognizer_embeds_the_kept_crops_again(tmp_path: Path) -> None:
    worker(tmp_path, SHOTS, Gallery([], np.zeros((0, 3), np.float32)))
    other = ColorEmbedder("other")
    keeper = TemplateKeeper(tmp_path / "store.db", tmp_path / "index", lambda: other)
    with keeper:
        index = keeper.index()
        wait_until(lambda: keeper.progress().done == 4, "four visits embedded again")
        assert keeper.progress().total == 4
        index.refresh()
        assert index.count == 4
        probe = other.embed([crop(ADA)])[0]
        result = search_visits(index, keeper.store, probe, FixedThresholdRule(0.98))
        assert sorted(hit.visit.visit for hit in result.hits) == ["run/door/1", "run/hall/3"]


def test_visits_of_before_get_templates_too(tmp_path: Path) -> None:
    worker(tmp_path, SHOTS, Gallery([], np.zeros((0, 3), np.float32)), templates=False)
    with TemplateKeeper(tmp_path / "store.db", tmp_path / "index", ColorEmbedder) as keeper:
        wait_until(lambda: keeper.progress().done == 4, "four visits embedded")
    assert sorted(found(tmp_path, ADA)) == ["run/door/1", "run/hall/3"]


def test_hits_come_in_the_order_asked_for_with_the_rate_for_what_is_searched(tmp_path: Path) -> None:
    model = load_embedder("builtin")
    impostors = find_impostor_model(model.version, model.name)
    assert impostors is not None
    rng = np.random.default_rng(0)
    own = unit(impostors.cohort[:1] + 0.3 * unit(rng.standard_normal((1, 128), dtype=np.float32)))[0]
    again = unit(own + 0.06 * rng.standard_normal((3, 128)).astype(np.float32))
    with StoreWriter(tmp_path / "store.db", create=True) as store, TemplateReader(tmp_path / "store.db") as reader:
        add(store, np.concatenate([again, unit(rng.standard_normal((97, 128), dtype=np.float32))]))
        with TemplateIndex(reader, tmp_path / "index", WHO) as index:
            index.refresh()
            rule = FpirRule(impostors, 0.01)
            best = search_visits(index, reader, own, rule, order="best")
            assert best.searched == 100 and best.fpir == pytest.approx(0.01)
            expected = sorted((again @ own).tolist(), reverse=True)
            assert [hit.similarity for hit in best.hits] == pytest.approx(expected, abs=2e-3)
            newest = search_visits(index, reader, own, rule)
            assert [hit.visit.last for hit in newest.hits] == sorted(
                (h.visit.last for h in best.hits), reverse=True
            )
            assert all(hit.fpir is not None and hit.fpir <= 0.01 for hit in best.hits)
            few = search_visits(index, reader, own, rule, order="best", limit=1, without=best.hits[0].visit.visit)
            assert not few.complete and [hit.visit for hit in few.hits] == [best.hits[1].visit]
            assert search_visits(index, reader, own, FpirRule(impostors, 1e-4)).min_similarity > best.min_similarity


def test_the_command_searches_for_a_photograph_a_visit_and_a_person(tmp_path: Path) -> None:
    model = load_embedder("builtin")
    entries = [wire.pack(make_shot(number)) for number in range(3)]
    with StoreWriter(tmp_path / "store.db", create=True) as store:
        for track, entry in enumerate(entries):
            header = msgspec.structs.replace(wire.decode_header(entry.header), track_id=track)
            store.add_shots([msgspec.structs.replace(entry, header=wire.encode(header), track_id=track)])
            store.update_visits(
                [VisitUpdate(f"run/door/{track}", "door", track, None, 0.0, 0.0, None, 1.0, "ended")]
            )
    with TemplateKeeper(tmp_path / "store.db", tmp_path / "index", lambda: model) as keeper:
        wait_until(lambda: keeper.progress().done == 3, "three visits embedded")
    done = facegate("search", "--visit", "run/door/1", "--data", tmp_path, "--embedder", "builtin", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["searched"] == 3
    assert "run/door/1" not in done.stdout
    picture = tmp_path / "nobody.png"
    cv2.imwrite(str(picture), np.zeros((200, 200, 3), np.uint8))
    done = facegate("search", picture, "--data", tmp_path, "--embedder", "builtin")
    assert done.returncode == 1 and "no face found in nobody.png" in done.stderr
    done = facegate("search", "--data", tmp_path)
    assert done.returncode == 2 and "give one of PHOTO, --visit and --person" in done.stderr
