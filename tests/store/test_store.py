"""What is kept, how it is read in pages, and what goes when there is too much."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facegate.errors import StoreError
from facegate.pipeline.records import (
    Detection,
    Face,
    FrameRef,
    Outcome,
    QualityInfo,
    Reason,
    ScoredFace,
    Shot,
    make_shot_id,
)
from facegate.sinks import wire
from facegate.sinks.wire import EncodedShot
from facegate.store.reader import StoreReader, VisitFilter
from facegate.store.records import FaceOutcome, TrackRecord, VisitClip, VisitUpdate
from facegate.store.retention import CameraRetention, Retention, RetentionLimits
from facegate.store.writer import StoreWriter


def entry(
    number: int, *, camera: str = "door", track: int = 0, quality: int = 50, shadow: bool = False
) -> EncodedShot:
    ref = FrameRef(camera, number, number / 5, 0.0, None, 640, 360)
    landmarks = np.zeros((5, 2), np.float32)
    face = Face(f"{number}-0", ref, Detection((0, 0, 50, 50), 1.0, landmarks), np.zeros((112, 112, 3), np.uint8))
    scored = ScoredFace(face, track, quality, 0.5, np.zeros(64, np.float32), None)
    shot = Shot(
        make_shot_id("run", camera, track, face.face_id), "run", camera, track, 0 if shadow else 1,
        Reason.SHADOW if shadow else Reason.TRACK_ENDED, scored, QualityInfo("a", "m", "c"),
    )  # fmt: skip
    packed = wire.pack(shot)
    header = msgspec.structs.replace(wire.decode_header(packed.header), received_at=1000.0 + number)
    return msgspec.structs.replace(packed, header=wire.encode(header))


def news(track: int, name: str | None, *, ended: bool = False) -> VisitUpdate:
    return VisitUpdate(
        f"run/door/{track}", "door", track, name, 0.7, 0.3, 1e-4, 1000.0, "ended" if ended else "named"
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def test_shots_make_visits_and_names_reach_their_shots_whichever_comes_first(path: Path) -> None:
    with StoreWriter(path, create=True) as writer, StoreReader(path) as reader:
        writer.add_shots([entry(1, quality=40), entry(2, quality=60), entry(3, track=1), entry(4, shadow=True)])
        writer.update_visits([news(0, "Ada"), news(2, "Bob")])
        writer.add_shots([entry(5, track=2), entry(1, quality=40)])
        ada = reader.visit("run/door/0")
        assert ada is not None and (ada.name, ada.shots, ada.quality, ada.answered) == ("Ada", 2, 60, True)
        assert ada.best == entry(2).shot_id and (ada.first, ada.last) == (1001.0, 1002.0)
        assert [shot.name for shot in reader.shots(VisitFilter(name="Bob")).items] == ["Bob"]
        assert [shot.seen for shot in reader.shots(VisitFilter(shadow=True)).items] == [1004.0]
        assert {visit.visit for visit in reader.visits(VisitFilter()).items} == {f"run/door/{n}" for n in range(3)}
        assert reader.count() == {"shots": 5, "visits": 3}
        changed = reader.changes(0)
        assert [visit.revision for visit in changed] == sorted(visit.revision for visit in changed)
        assert reader.changes(reader.revision()) == []
        writer.rename("Ada", "Ada L.")
        assert [visit.name for visit in reader.changes(changed[-1].revision)] == ["Ada L."]
        assert writer.erase_person("Ada L.") == 1
        assert reader.crop(entry(2).shot_id) is None and reader.crop(entry(3, track=1).shot_id) is not None


SHOT = st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 100), st.booleans())


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 100), st.booleans()), max_size=40),
    st.integers(1, 7),
)
def test_pages_show_everything_that_is_wanted_once(
    tmp_path_factory: pytest.TempPathFactory, shots: list[tuple[str, int, bool]], limit: int
) -> None:
    path = tmp_path_factory.mktemp("pages") / "store.db"
    with StoreWriter(path, create=True) as writer, StoreReader(path) as reader:
        kept = [entry(n, camera=c, quality=q, track=n, shadow=s) for n, (c, q, s) in enumerate(shots)]
        writer.add_shots(kept)
        for visit_filter in (
            VisitFilter(),
            VisitFilter(camera="a"),
            VisitFilter(min_quality=50),
            VisitFilter(camera="b", shadow=False),
        ):
            seen: list[str] = []
            before = None
            while True:
                page = reader.shots(visit_filter, before, limit)
                seen += [shot.shot_id for shot in page.items]
                before = page.next
                if before is None:
                    break
            expected = [
                each.shot_id
                for each, (camera, quality, shadow) in zip(kept, shots, strict=True)
                if visit_filter.camera in (None, camera)
                and quality >= (visit_filter.min_quality or 0)
                and visit_filter.shadow in (None, shadow)
            ]
            assert seen == expected[::-1]


def test_the_whole_picture_of_the_best_shot_is_kept_and_goes_with_whoever_is_on_it(path: Path) -> None:
    def pictured(number: int, **settings: Any) -> EncodedShot:
        return msgspec.structs.replace(entry(number, **settings), context=b"picture %d" % number)

    with StoreWriter(path, create=True) as writer, StoreReader(path) as reader:
        writer.add_shots([pictured(1, quality=40), pictured(2, quality=60), pictured(3, quality=50)])
        assert reader.scene_of("run/door/0") == entry(2).shot_id and reader.scene(entry(2).shot_id) == b"picture 2"
        assert reader.scene(entry(1).shot_id) is None
        writer.add_shots([pictured(4, track=1), pictured(5, track=2, camera="yard"), pictured(100, track=3)])
        writer.update_visits([news(0, "Ada")])
        for at, began in (("door/0", 1000.0), ("door/1", 998.0), ("yard/2", 1000.0), ("door/3", 1097.0)):
            writer.add_clip(VisitClip(f"run/{at}", at[:4], began, 0.5, 6.0, "h264", b"video"))
        writer.erase_person("Ada")
        writer.add_clip(VisitClip("run/door/0", "door", 1000.0, 0.5, 6.0, "h264", b"late"))
        left = [reader.clip(f"run/{at}") is not None for at in ("door/0", "door/1", "yard/2", "door/3")]
        assert left == [False, False, True, True]
        # Ada may be on the picture of whoever was at the door at the same time, but not on any other.
        assert [reader.scene_of(f"run/{at}") is not None for at in ("door/1", "yard/2", "door/3")] == [0, 1, 1]
        assert reader.visit("run/door/1") is not None


def test_a_corrected_name_stays_until_it_is_undone_and_a_change_after_the_end_reopens_nothing(path: Path) -> None:
    with StoreWriter(path, create=True) as writer, StoreReader(path) as reader:
        writer.add_shots([entry(1)])
        writer.update_visits([news(0, "Ada"), news(0, "Ada", ended=True)])
        writer.correct("run/door/0", "Bob", 5000.0)
        writer.update_visits([msgspec.structs.replace(news(0, "Ada"), event="changed")])
        found = reader.visit("run/door/0")
        assert found is not None and (found.name, found.corrected, found.ended) == ("Bob", 5000.0, True)
        assert [shot.name for shot in reader.shots_of("run/door/0")] == ["Bob"]
        writer.correct("run/door/0", "Ada", None)
        assert [shot.name for shot in reader.shots(VisitFilter(name="Ada")).items] == ["Ada"]


def track(number: int, piece: str | None = None) -> TrackRecord:
    fate = FaceOutcome(f"{number}-0", 0.0, 50, Outcome.FORWARDED, (0, 0, 1, 1))
    return TrackRecord("run", "door", number, 1000.0, 1000.0 + number, 1, 50, {"forwarded": 1}, (fate,), piece)


def test_what_is_old_or_too_much_goes(path: Path, tmp_path: Path) -> None:
    recordings = tmp_path / "recordings"
    (recordings / "run").mkdir(parents=True)
    for number in range(4):
        piece = recordings / "run" / f"{number}.rec"
        piece.write_bytes(bytes(1_000_000))
        os.utime(piece, (1000 + number, 1000 + number))
    with StoreWriter(path, create=True) as writer, StoreReader(path) as reader, Retention(path) as retention:
        writer.add_shots([entry(n, track=n) for n in range(10)])
        writer.add_tracks([track(n) for n in range(10)])
        day = 86_400.0
        gone = retention.apply(recordings, RetentionLimits(days=1, max_mb=1000), 1005.0 + day)
        assert (gone.shots, gone.visits, gone.tracks, gone.segments) == (5, 5, 5, 4)
        assert reader.visit("run/door/4") is None and reader.visit("run/door/5") is not None
        assert not recordings.joinpath("run").exists()
        (recordings / "run").mkdir()
        for number in range(4):
            piece = recordings / "run" / f"{number}.rec"
            piece.write_bytes(bytes(1_000_000))
            os.utime(piece, (1000 + number, 1000 + number))
        writer.add_shots([entry(n, track=n) for n in range(10, 1300)])
        writer._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        size = path.stat().st_size
        gone = retention.apply(recordings, RetentionLimits(days=1000, max_mb=1), 2000.0)
        assert gone.shots == gone.visits > 0 and gone.segments == 3
        assert {shot.visit for shot in reader.shots(VisitFilter(), limit=5000).items} == {
            visit.visit for visit in reader.visits(VisitFilter(), limit=5000).items
        }
        assert [piece.name for piece in (recordings / "run").iterdir()] == ["3.rec"]
        assert reader.visit("run/door/1299") is not None
        assert retention.apply(recordings, RetentionLimits(days=1000, max_mb=1), 2000.0).shots == 0
        writer._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        assert path.stat().st_size < min(size, 1_100_000)


def test_each_camera_keeps_known_and_unknown_visitors_and_pictures_for_its_own_time(
    path: Path, tmp_path: Path
) -> None:
    day = 86_400.0
    with StoreWriter(path, create=True) as writer, StoreReader(path) as reader, Retention(path) as retention:
        writer.add_shots(
            [
                msgspec.structs.replace(entry(n, track=n, camera=camera), context=b"picture")
                for n, camera in enumerate(("door", "door", "yard", "yard"))
            ]
        )
        writer.update_visits([news(0, "Ada")])
        writer.add_tracks([track(n) for n in range(10)])
        assert retention.cameras() == ["door", "yard"]
        kept = {"door": CameraRetention(days=3, unknown_days=1, scene_days=0.5), "yard": CameraRetention(9, 9, 9)}
        limits = RetentionLimits(days=2, max_mb=1000)

        def left(days: float, *, by_age: bool = True) -> list[str]:
            retention.apply(tmp_path, limits, 1005 + days * day, by_age=by_age, cameras=kept)
            return [visit.visit for visit in reader.visits(VisitFilter()).items]

        assert len(left(0.6)) == 4
        assert [reader.scene_of(visit) is not None for visit in ("run/door/0", "run/yard/2")] == [False, True]
        assert len(left(30, by_age=False)) == 4
        assert left(1.5) == ["run/yard/3", "run/yard/2", "run/door/0"]
        assert reader.track("run/door/5") is None and reader.crop(entry(1, track=1).shot_id) is None
        assert left(3.5) == ["run/yard/3", "run/yard/2"]
        assert left(9.5) == []


def test_a_killed_writer_leaves_whole_shots(path: Path) -> None:
    StoreWriter(path, create=True).close()
    code = (
        "import sys; from pathlib import Path; from tests.store.test_store import entry, StoreWriter\n"
        "w = StoreWriter(Path(sys.argv[1])); n = int(sys.argv[2])\n"
        "while True:\n    w.add_shots([entry(n, track=n)]); print(n, flush=True); n += 1\n"
    )
    kept = 0
    for round_ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", code, str(path), str(1000 * round_)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            for _ in range(5):
                kept += bool(writer.stdout.readline())
            writer.kill()
    with StoreReader(path) as reader:
        assert reader.count()["shots"] >= kept == 25
        for shot in reader.shots(VisitFilter(), limit=200).items:
            assert reader.crop(shot.shot_id) and reader.visit(shot.visit)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="facegate serve"):
        StoreReader(tmp_path / "missing.db")
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"no database at all, but long enough to be looked at" * 10)
    with pytest.raises(StoreError, match="cannot use store"):
        StoreReader(damaged)
    newer = tmp_path / "newer.db"
    with StoreWriter(newer, create=True) as store:
        store._db.execute("PRAGMA user_version=99")
    with pytest.raises(StoreError, match="version 99"):
        StoreReader(newer)


def test_a_visit_lasts_as_long_as_its_track(path: Path) -> None:
    """Somebody may stay for minutes after the last shot."""
    with StoreWriter(path, create=True) as writer, StoreReader(path) as reader:
        writer.add_shots([entry(1), entry(2, track=1)])
        writer.add_tracks([TrackRecord("run", "door", 0, 990.0, 1300.0, 5, 50, {}, ())])
        found = {visit.visit: (visit.first, visit.last) for visit in reader.visits(VisitFilter()).items}
        assert found == {"run/door/0": (990.0, 1300.0), "run/door/1": (1002.0, 1002.0)}
        first = reader.visit("run/door/0")
        assert first is not None and (first.first, first.last) == (990.0, 1300.0)
        assert [visit.last for visit in reader.changes(0)] == [1300.0, 1002.0]


def test_poor_visits_of_unknown_people_are_shown_by_choice_and_go_after_a_day(path: Path, tmp_path: Path) -> None:
    with StoreWriter(path, create=True) as writer, StoreReader(path) as reader, Retention(path) as retention:
        writer.add_shots([entry(0, track=0, quality=2), entry(1, track=1, quality=2), entry(2, track=2)])
        writer.add_shots([entry(3, track=3, quality=2)])
        writer.update_visits([news(0, None, ended=True), news(1, "Ada", ended=True), news(2, None, ended=True)])
        writer.add_tracks([track(n) for n in range(4)])
        shown = reader.visits(VisitFilter(min_unknown_quality=20)).items
        assert [visit.track_id for visit in shown] == [2, 1], "a name counts whatever the quality"
        limits = RetentionLimits(days=30, max_mb=1000, poor_days=1)
        assert retention.apply(tmp_path, limits, 1010.0 + 86_000).visits == 0
        gone = retention.apply(tmp_path, limits, 1010.0 + 86_400)
        assert (gone.visits, gone.shots, gone.tracks) == (1, 1, 1)
        assert reader.crop(entry(0, track=0, quality=2).shot_id) is None
        assert [visit.track_id for visit in reader.visits(VisitFilter()).items] == [3, 2, 1], "3 has not ended"
        assert retention.apply(tmp_path, limits, 1010.0 + 86_400, by_age=False).visits == 0
