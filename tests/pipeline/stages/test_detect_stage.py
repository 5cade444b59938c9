"""The detect stage with a detector that counts its work: bounded in a crowd, fair over faces and cameras."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Thread

import cv2
import numpy as np

from facegate.detectors.base import same_face
from facegate.pipeline.detection.regions import Regions
from facegate.pipeline.detection.scheduler import MAX_TRACKED
from facegate.pipeline.detection.search_plan import MAX_BUDGET_PX, SearchPlan
from facegate.pipeline.detection.windows import MAX_SIDE
from facegate.pipeline.flow.channel import Channel, EndOfStream
from facegate.pipeline.observability.ledger import Ledger
from facegate.pipeline.records import Box, CameraEnded, Detection, Frame, FrameFaces, FrameRef, Image
from facegate.pipeline.stages.detect import CameraDetection, DetectStage

FPS = 5.0


def painted(count: int, seed: int) -> tuple[Image, list[Box]]:
    """A dark picture with bright squares of 24 to 150 pixels, each of its own shade: the fake detector's faces."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(20, 60, (9, 16, 3)).astype(np.uint8).repeat(240, 0).repeat(240, 1)
    boxes: list[Box] = []
    columns = int(np.ceil(np.sqrt(count * 16 / 9)))
    for index, side in enumerate(np.geomspace(24, 150, count).astype(int).tolist()):
        x, y = (index % columns) * 3840 // columns + 30, (index // columns) * 2160 // (-(-count // columns)) + 30
        picture[y : y + side, x : x + side] = 255
        boxes.append((x, y, x + side, y + side))
    return picture, boxes


class CountingDetector:
    """Finds white squares, and counts the pixels and faces it was given."""

    name = "counting"
    smallest_px = 24.0

    def __init__(self) -> None:
        self.pixels: list[int] = []
        self.tracked: list[int] = []

    def detect(
        self, images: Sequence[Image], known: Sequence[Sequence[Box]] | None = None
    ) -> list[list[Detection]]:
        self.pixels.append(sum(image.shape[0] * image.shape[1] for image in images))
        found = []
        for image in images:
            count, _, stats, _ = cv2.connectedComponentsWithStats((image[:, :, 0] > 200).astype(np.uint8))
            boxes = [stats[i, :4].tolist() for i in range(1, count)]
            found.append([square(x, y, w, h) for x, y, w, h in boxes if w >= 16 and 0.7 < w / h < 1.4])
        return found

    def detect_near(
        self, images: Sequence[Image], expected: Sequence[Sequence[Box]]
    ) -> list[list[Detection | None]]:
        self.tracked.append(sum(len(boxes) for boxes in expected))
        return [[near(image, box) for box in boxes] for image, boxes in zip(images, expected, strict=True)]


def near(image: Image, box: Box) -> Detection | None:
    """The white square that contains the middle of a box."""
    x, y = int(box[0] + box[2]) // 2, int(box[1] + box[3]) // 2
    if not (0 <= x < image.shape[1] and 0 <= y < image.shape[0]) or image[y, x, 0] <= 200:
        return None
    row, column = image[y, :, 0] > 200, image[:, x, 0] > 200
    left, right = x - int(np.argmin(row[x::-1])) + 1, x + int(np.argmin(row[x:]))
    top, bottom = y - int(np.argmin(column[y::-1])) + 1, y + int(np.argmin(column[y:]))
    return square(left, top, right - left, bottom - top)


def square(x: float, y: float, width: float, height: float) -> Detection:
    points = np.array([(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)], np.float32)
    landmarks = points * np.array([width, height], np.float32) + np.array([x, y], np.float32)
    return Detection(box=(x, y, x + width, y + height), confidence=0.99, landmarks=landmarks)


def run(
    pictures: dict[str, Sequence[Image]], detector: CountingDetector
) -> tuple[dict[str, list[FrameFaces]], DetectStage]:
    """Put the pictures of each camera through the stage, one of each camera at a time."""
    stage = DetectStage(detector, Ledger(), live=set(pictures), batch=len(pictures))
    inbox: Channel[Frame | CameraEnded] = Channel()
    out: Channel[FrameFaces | CameraEnded] = Channel()
    outbox = out.lane(10_000)
    for camera, images in pictures.items():
        plan = SearchPlan(smallest_px=24.0, min_face_px=24.0)
        stage.watch(camera, CameraDetection(regions=Regions(), min_face_px=0.0, plan=plan))
        lane = inbox.lane(len(images))
        for number, image in enumerate(images):
            ref = FrameRef(camera, number, number / FPS, 0.0, None, image.shape[1], image.shape[0])
            lane.put(Frame(ref=ref, image=image))
        lane.close()
    thread = Thread(target=stage.run, args=(inbox, outbox))
    thread.start()
    thread.join()
    outbox.close()
    found: dict[str, list[FrameFaces]] = {camera: [] for camera in pictures}
    try:
        while True:
            for item in out.take():
                assert isinstance(item, FrameFaces)
                found[item.frame.camera].append(item)
    except EndOfStream:
        return found, stage


def seen_at(frames: Sequence[FrameFaces], box: Box) -> list[float]:
    """Seconds at which the face at a place was found."""
    return [item.frame.pts_s for item in frames if any(same_face(f.detection.box, box, 0.5) for f in item.faces)]


def flickering(picture: Image, boxes: Sequence[Box], count: int) -> list[Image]:
    """Everything but the faces changes all the time."""
    rng, pictures = np.random.default_rng(1), []
    for _ in range(count):
        now = rng.integers(20, 190, (54, 96, 3)).astype(np.uint8).repeat(40, 0).repeat(40, 1)
        for x1, y1, x2, y2 in boxes:
            now[int(y1) : int(y2), int(x1) : int(x2)] = 255
        pictures.append(now)
    assert pictures[0].shape == picture.shape
    return pictures


def test_thirty_people_in_4k_are_found_in_time_and_each_frame_costs_no_more_than_its_budget() -> None:
    picture, boxes = painted(30, 0)
    detector = CountingDetector()
    found, stage = run({"a": [picture] * 20}, detector)
    first = [seen_at(found["a"], box)[0] for box in boxes]
    assert max(first) <= 3.0
    assert np.mean(first[20:]) <= np.mean(first[:10]), "larger faces first"
    assert max(detector.pixels) <= MAX_BUDGET_PX + MAX_SIDE**2
    counts = stage.watched("a").plan.counts
    assert abs(counts.searched_px - sum(detector.pixels)) < 0.01 * counts.searched_px
    assert counts.deferred_px > 0


def test_thirty_people_before_a_picture_that_changes_everywhere_all_have_their_turn() -> None:
    picture, boxes = painted(30, 0)
    detector = CountingDetector()
    found, _ = run({"a": flickering(picture, boxes, 25)}, detector)
    assert max(detector.pixels) <= MAX_BUDGET_PX + MAX_SIDE**2
    assert all(seen_at(found["a"], box) for box in boxes)


def test_of_more_faces_than_are_tracked_at_once_each_has_its_turn() -> None:
    picture, boxes = painted(70, 0)
    detector = CountingDetector()
    found, _ = run({"a": [picture] * 40}, detector)
    assert max(detector.tracked) == MAX_TRACKED
    for box in boxes:
        times = [t for t in seen_at(found["a"], box) if t >= 4.0]
        assert np.diff([4.0, *times, 7.8]).max() <= 0.8


def test_a_busy_camera_takes_nothing_from_a_quiet_one() -> None:
    picture, boxes = painted(4, 2)
    busy, _ = painted(30, 3)
    alone, _ = run({"b": [picture] * 12}, CountingDetector())
    beside, _ = run({"a": flickering(busy, [], 12), "b": [picture] * 12}, CountingDetector())
    for box in boxes:
        assert seen_at(alone["b"], box) == seen_at(beside["b"], box)
