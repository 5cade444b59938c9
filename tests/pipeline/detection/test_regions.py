"""Masks, regions, turning and shrinking, on pictures and through a whole run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facegate.errors import ConfigError
from facegate.pipeline.config import (
    CameraConfig,
    DeliveryConfig,
    GateConfig,
    RunConfig,
    ScorerConfig,
    StoreConfig,
    build_config,
)
from facegate.pipeline.detection.regions import Regions, rotated
from facegate.pipeline.images import shrink_to
from facegate.pipeline.observability.report import RunReport
from facegate.pipeline.records import Detection, Frame, FrameRef, Image, Outcome
from facegate.pipeline.runner import Runner
from facegate.pipeline.watch import ShotQueue, watch
from facegate.sinks import wire

LEFT = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))


def face(x: float, y: float) -> Detection:
    return Detection((x - 10, y - 10, x + 10, y + 10), 0.9, np.full((5, 2), [x, y], np.float32))


def run(clip: Path, weights: Path, **settings: object) -> RunReport:
    camera = CameraConfig.model_validate({"name": "cam", "source": str(clip)} | settings)
    config = RunConfig(cameras=(camera,), scorer=ScorerConfig(weights=weights), gate=GateConfig(min_quality=0))
    queue = ShotQueue()
    with Runner(config, lambda: queue, on_finished=queue.end) as runner:
        for _ in queue:
            pass
        return runner.close(linger_s=0)


@given(st.sampled_from([0, 90, 180, 270]), st.integers(1, 20), st.integers(1, 20))
def test_turning_is_counter_clockwise_and_four_quarters_change_nothing(
    degrees: int, width: int, height: int
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    frame = Frame(FrameRef("c", 0, 0, 0, None, width, height), image)
    once = rotated(frame, degrees)
    assert (once.ref.width, once.ref.height) == (once.image.shape[1], once.image.shape[0])
    assert np.array_equal(once.image, np.rot90(image, degrees // 90)) and once.image.flags.c_contiguous
    back = rotated(once, (360 - degrees) % 360)
    assert np.array_equal(back.image, image)


@given(st.floats(0, 0.6), st.floats(0, 0.6), st.floats(10, 80), st.floats(10, 80))
def test_a_face_found_in_the_searched_part_lies_where_it_is_in_the_whole(
    left: float, top: float, x: float, y: float
) -> None:
    image = np.zeros((300, 400, 3), np.uint8)
    view = Regions(detect_region=(left, top, 1.0, 1.0))
    part = view.crop_to_roi(image)
    dx, dy = 400 - part.shape[1], 300 - part.shape[0]
    moved = view.to_frame_coords([face(x, y)], image)[0]
    assert moved.box == pytest.approx((x - 10 + dx, y - 10 + dy, x + 10 + dx, y + 10 + dy))
    np.testing.assert_allclose(moved.landmarks, face(x + dx, y + dy).landmarks, rtol=1e-6)


def test_masks_are_black_and_the_original_is_untouched() -> None:
    image = np.full((100, 200, 3), 200, np.uint8)
    masked = Regions(mask=(LEFT,)).masked(image)
    assert masked[:, :99].max() == 0 and masked[:, 102:].min() == 200 and image.min() == 200


def test_faces_count_by_their_middle() -> None:
    view = Regions(zones=(LEFT,))
    assert view.in_zone(face(50, 50), 200, 100) and not view.in_zone(face(150, 50), 200, 100)
    assert Regions().in_zone(face(150, 50), 200, 100)


def test_a_run_counts_what_lies_outside_and_sees_nothing_behind_a_mask(short_clip: Path, tiny_model: Path) -> None:
    plain = run(short_clip, tiny_model)
    reported = run(short_clip, tiny_model, zones=[LEFT])
    outside = reported.outcomes.get(Outcome.OUTSIDE, 0)
    assert 0 < outside < reported.observed == plain.observed == sum(reported.outcomes.values())
    masked = run(short_clip, tiny_model, mask=[LEFT])
    searched = run(short_clip, tiny_model, detect_region=(0.5, 0, 1, 1))
    for part in (masked, searched):
        assert 0 < part.observed < plain.observed


def test_the_picture_that_goes_with_a_shot_is_small_and_masked_too(short_clip: Path, tiny_model: Path) -> None:
    camera = CameraConfig.model_validate({"name": "cam", "source": str(short_clip), "mask": [LEFT]})
    config = RunConfig(
        cameras=(camera,),
        scorer=ScorerConfig(weights=tiny_model),
        gate=GateConfig(min_quality=0),
        delivery=DeliveryConfig(context_px=200),
    )
    with watch(config) as shots:
        pictures = [shot.scored.face.context for shot in shots]
    assert pictures
    for picture in pictures:
        assert picture is not None and picture.shape[1] == 200
        assert not picture[:, :98].any() and picture[:, 102:].any()


def test_the_other_faces_of_a_picture_are_blurred_and_its_own_is_not(short_clip: Path, tiny_model: Path) -> None:
    config = RunConfig(
        cameras=(CameraConfig.model_validate({"name": "cam", "source": str(short_clip)}),),
        scorer=ScorerConfig(weights=tiny_model),
        gate=GateConfig(min_quality=0),
        delivery=DeliveryConfig(context_px=640),
        store=StoreConfig(blur_others=True),
    )
    with watch(config) as shots:
        faces = [(shot.scored.face, wire.pack(shot)) for shot in shots]
    seen = 0
    for face, packed in faces:
        assert face.context is not None
        sent = wire.unpack_context(wire.decode_header(packed.header), packed.context)
        scale = face.context.shape[1] / face.frame.width
        own = [value * scale for value in face.detection.box]
        assert _detail(sent, own) > 0.8 * _detail(face.context, own)
        for box in face.blurred:
            assert _detail(sent, box) < 0.35 * _detail(face.context, box)
            seen += 1
    assert seen > 3


def _detail(image: Image, box: Sequence[float]) -> float:
    """Mean absolute Laplacian within a box."""
    left, top, right, bottom = (max(0, round(value)) for value in box)
    gray = cv2.cvtColor(image[top:bottom, left:right], cv2.COLOR_RGB2GRAY)
    return float(np.abs(cv2.Laplacian(gray, cv2.CV_32F)).mean())


@given(st.integers(1, 400), st.integers(1, 400), st.integers(64, 300))
def test_a_picture_is_shrunk_as_a_whole_and_never_enlarged(height: int, width: int, longer_side: int) -> None:
    image = np.full((height, width, 3), 77, np.uint8)
    small, scale = shrink_to(image, longer_side)
    assert (small == 77).all() and small.flags.c_contiguous
    if max(height, width) <= longer_side:
        assert small is image
    else:
        assert scale == longer_side / max(height, width)
        assert max(small.shape) == longer_side
        assert abs(small.shape[0] - height * scale) <= 1 and abs(small.shape[1] - width * scale) <= 1


def test_pictures_on_their_side_are_turned_back(short_clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    with av.open(str(short_clip)) as reader:
        for index, frame in enumerate(reader.decode(video=0)):
            if index % 5 == 0:
                image = frame.to_ndarray(format="bgr24")
                for name, picture in (("upright", image), ("lying", np.rot90(image))):
                    (tmp_path / name).mkdir(exist_ok=True)
                    cv2.imwrite(str(tmp_path / name / f"{index:03d}.png"), picture)
    upright, lying = run(tmp_path / "upright", tiny_model), run(tmp_path / "lying", tiny_model, rotate=270)
    assert upright.observed == lying.observed > 10


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"detect_region": [0.5, 0, 0.5, 1]}, "left < right"),
        ({"mask": [[[0, 0], [1, 1]]]}, "3 or more entries"),
        ({"zones": [[[0, 0], [1, 1], [2, 0]]]}, "must be at most 1"),
        ({"rotate": 45}, "0, 90, 180 or 270"),
        ({"max_fps": 0}, "must be greater than 0"),
    ],
)
def test_a_view_that_cannot_be_is_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build_config({"cameras": [{"name": "c", "source": "x.mp4"} | settings]})
