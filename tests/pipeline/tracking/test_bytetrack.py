"""Tracking: a second sighting makes a track, gaps are bridged, absence and cuts end it, ids never repeat."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from facegate.pipeline.detection.scene_cuts import CutDetector
from facegate.pipeline.records import Detection, Face, FrameRef
from facegate.pipeline.tracking.bytetrack import FaceTracker

FRAME_S = 0.1


def make_tracker(lost_s: float = 1.0) -> FaceTracker:
    return FaceTracker(lost_s=lost_s, high_confidence=0.7, min_iou=0.1)


def face(seq: int, x: float, confidence: float = 0.95) -> Face:
    ref = FrameRef("cam", seq, seq * FRAME_S, 0.0, None, 640, 480)
    detection = Detection((x, 100.0, x + 60, 180.0), confidence, np.zeros((5, 2), np.float32))
    return Face(f"{seq}-{x}", ref, detection, np.zeros((112, 112, 3), np.uint8))


def test_a_face_becomes_a_track_at_its_second_sighting() -> None:
    tracker = make_tracker()
    assert tracker.step([face(0, 10)], 0.0) == ([None], ())
    ids, _ = tracker.step([face(1, 12)], 0.1)
    assert ids[0] is not None


def test_two_people_keep_their_own_ids_whatever_the_order_of_detections() -> None:
    tracker = make_tracker()
    for seq in range(3):
        ids, _ = tracker.step([face(seq, 10 + seq), face(seq, 400 + seq)], seq * FRAME_S)
    swapped, _ = tracker.step([face(3, 403), face(3, 13)], 3 * FRAME_S)
    assert None not in ids and swapped == ids[::-1] and ids[0] != ids[1]


def test_a_short_gap_is_bridged_and_a_long_absence_ends_the_track() -> None:
    tracker = make_tracker(lost_s=1.0)
    for seq in range(4):
        ids, _ = tracker.step([face(seq, 10)], seq * FRAME_S)
    for seq in range(4, 8):
        assert tracker.step([], seq * FRAME_S) == ([], ())
    again, _ = tracker.step([face(8, 10)], 0.8)
    assert again == ids
    ended: tuple[int, ...] = ()
    for seq in range(9, 30):
        ended += tracker.step([], seq * FRAME_S)[1]
    assert ended == (ids[0],)


def test_a_camera_that_sent_nothing_for_long_ends_the_track_of_somebody_who_is_still_there() -> None:
    tracker = make_tracker(lost_s=1.0)
    for seq in range(4):
        ids, _ = tracker.step([face(seq, 10)], seq * FRAME_S)
    bridged, _ = tracker.step([face(10, 10)], 1.0)
    assert bridged == ids
    _, ended = tracker.step([face(180, 10)], 18.0)
    assert ended == (ids[0],)
    again, _ = tracker.step([face(181, 10)], 18.1)
    assert again != ids and again[0] is not None


@pytest.mark.parametrize("gap_s", [0.2, 1.0, 1.4, 3.0])
def test_a_slow_camera_has_tracks(gap_s: float) -> None:
    """Under overload frames may be farther apart than the time after which a track ends."""
    tracker = make_tracker(lost_s=1.0)
    steps = [tracker.step([face(seq, 10)], seq * gap_s) for seq in range(5)]
    assert [ids for ids, _ in steps] == [[None], [0], [0], [0], [0]]
    _, ended = tracker.step([], 5 * gap_s)
    later = [tracker.step([], 5 * gap_s + 0.5 * number)[1] for number in range(1, 4)]
    assert (0,) in (ended, *later), "and they end"


def test_a_weak_detection_continues_a_track_but_never_starts_one() -> None:
    tracker = make_tracker()
    for seq in range(3):
        ids, _ = tracker.step([face(seq, 10)], seq * FRAME_S)
    weak, _ = tracker.step([face(3, 10, 0.5), face(3, 400, 0.5)], 0.3)
    later, _ = tracker.step([face(4, 10, 0.5), face(4, 400, 0.5)], 0.4)
    assert weak == later == [ids[0], None]


def test_a_cut_ends_every_track_and_ids_go_on() -> None:
    tracker = make_tracker()
    for seq in range(3):
        before, _ = tracker.step([face(seq, 10)], seq * FRAME_S)
    ids, ended = tracker.step([face(3, 10)], 0.3, cut=True)
    assert (ids, ended) == ([None], (before[0],))
    after, _ = tracker.step([face(4, 10)], 0.4)
    assert after[0] is not None and before[0] is not None and after[0] > before[0]


def test_finishing_ends_what_is_alive() -> None:
    tracker = make_tracker()
    for seq in range(3):
        ids, _ = tracker.step([face(seq, 10)], seq * FRAME_S)
    assert tracker.finish() == (ids[0],)
    assert tracker.finish() == ()


def test_a_new_scene_is_a_cut_and_a_pan_is_not() -> None:
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.integers(0, 256, (5, 12, 3)), np.ones((80, 80, 1))).astype(np.uint8)
    wide = cv2.GaussianBlur(blocks, (0, 0), 40)
    other = 255 - wide
    detector = CutDetector()
    pan = [detector.step(np.ascontiguousarray(wide[:, x : x + 640])) for x in range(0, 200, 10)]
    assert not any(pan)
    assert detector.step(np.ascontiguousarray(other[:, 190:830]))
    assert not detector.step(np.ascontiguousarray(other[:, 195:835]))


def test_faces_of_a_still_are_tracks_at_once_and_nothing_continues_them() -> None:
    tracker = make_tracker()
    ids, ended = tracker.step([face(0, 10), face(0, 200), face(0, 400, confidence=0.5)], 0.0, cut=True, still=True)
    assert ids == [0, 1, None] and ended == ()
    ids, ended = tracker.step([face(1, 10)], 3600.0, cut=True, still=True)
    assert ids == [2] and ended == (0, 1)
    assert tracker.finish() == (2,)
