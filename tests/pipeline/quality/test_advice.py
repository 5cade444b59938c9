"""Advice names what was done to a face, and leaves a good one alone; a shot carries it to its recognizer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facegate.demo.clip import DemoClip
from facegate.detectors.align import ARCFACE_TEMPLATE, align, similarity_transform
from facegate.detectors.base import Detector
from facegate.evaluation.research.defects import DEFECTS
from facegate.pipeline.images import read_image
from facegate.pipeline.quality.advice import (
    EYES,
    FAULTLESS,
    GOOD,
    MEASURED,
    MOUTH,
    SENTENCES,
    UNCLEAR,
    Defect,
    adviser_for,
)
from facegate.pipeline.quality.components import FaceMeasurements, components, measure
from facegate.pipeline.quality.explain import QualityReasons, reasons
from facegate.pipeline.records import (
    Detection,
    Face,
    FrameRef,
    Image,
    QualityInfo,
    Reason,
    ScoredFace,
    Shot,
)
from facegate.scoring.engine import Scorer
from facegate.sinks import wire

from ...helpers import facegate

Look = Callable[[Image], QualityReasons]


@pytest.fixture(scope="module")
def portrait_file(clip: DemoClip) -> Path:
    return clip.gallery / "guest-3" / "1.png"


@pytest.fixture(scope="module")
def portrait(portrait_file: Path) -> Image:
    return read_image(portrait_file)


@pytest.fixture(scope="module")
def look(mtcnn: Detector, scorer: Scorer) -> Look:
    def judged(image: Image) -> QualityReasons:
        face = mtcnn.detect([image])[0][0]
        crop = align(image, face.landmarks)
        scores = scorer.score(crop[None])
        quality, size = int(scores.quality[0]), (image.shape[1], image.shape[0])
        return reasons(crop, face, size, scores.patches[0], quality, scorer.card.name)

    return judged


def test_a_good_portrait_is_good(portrait: Image, look: Look) -> None:
    advice = look(portrait).advice
    assert advice is not None and (advice.text, advice.defect, advice.gain) == (GOOD, None, 0)


MILDER = {
    Defect.BLURRED: lambda image: cv2.GaussianBlur(image, (0, 0), 3.0),
    Defect.BRIGHT: lambda image: np.clip(image * 1.4 + 60.0, 0, 255).astype(np.uint8),
}
"""In a small picture, whose face the detector would miss otherwise."""


@pytest.mark.parametrize("defect", list(Defect))
def test_what_was_done_to_a_face_is_named(defect: Defect, portrait: Image, look: Look, mtcnn: Detector) -> None:
    landmarks = mtcnn.detect([portrait])[0][0].landmarks
    rng = np.random.default_rng(1)
    spoilt = MILDER[defect](portrait) if defect in MILDER else DEFECTS[defect](portrait, landmarks, rng)
    advice = look(spoilt).advice
    assert advice is not None and advice.defect is defect, advice
    assert advice.gain >= 4 and advice.text in (SENTENCES[defect], EYES, MOUTH)


def test_it_says_what_to_uncover(portrait: Image, look: Look, mtcnn: Detector) -> None:
    said = set()
    for top, bottom in ((46, 58), (76, 108)):
        image = portrait.copy()
        landmarks = mtcnn.detect([image])[0][0].landmarks
        back = cv2.invertAffineTransform(similarity_transform(landmarks, ARCFACE_TEMPLATE))
        corners = np.array([(22, top, 1), (90, top, 1), (90, bottom, 1), (22, bottom, 1)]) @ back.T
        cv2.fillPoly(image, [np.rint(corners).astype(np.int32)], (30, 30, 40))
        advice = look(image).advice
        said.add(None if advice is None else advice.text)
    assert said == {EYES, MOUTH}


def test_nothing_is_made_up() -> None:
    adviser = adviser_for("facegate-mobile-s")
    assert adviser is not None and adviser_for("another") is None
    crop = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (112, 112, 3)).astype(np.uint8), (0, 0), 2)
    face = Detection((0.0, 0.0, 112.0, 112.0), 0.9, ARCFACE_TEMPLATE)
    seen, patches = measure(crop, face, (112, 112)), np.full(49, 0.4, np.float32)
    plain = [adviser.advise(seen, components(seen), patches, quality) for quality in (99.0, 100.0)]
    assert {advice.text for advice in plain} == {GOOD}, "nothing can be won"
    assert UNCLEAR not in {advice.text for advice in plain}


@settings(max_examples=60)
@given(
    seed=st.integers(0, 1000),
    side=st.sampled_from((4, 7, 12, 14)),
    scale=st.floats(0.02, 30),
    x=st.floats(-500, 500),
    level=st.integers(0, 255),
)
def test_whatever_a_face_looks_like_something_is_said(
    seed: int, side: int, scale: float, x: float, level: int
) -> None:
    rng = np.random.default_rng(seed)
    crop = np.full((112, 112, 3), level, np.uint8) if seed % 3 == 0 else rng.integers(0, 256, (112, 112, 3))
    face = Detection((0.0, 0.0, 9.0, 9.0), 0.5, (ARCFACE_TEMPLATE * scale + x).astype(np.float32))
    patches = rng.uniform(0, 1, side * side).astype(np.float32)
    found = reasons(crop.astype(np.uint8), face, (320, 240), patches, int(rng.integers(101)), "facegate-mobile-s")
    assert all(0 <= value <= 100 for value in msgspec.structs.astuple(found.components))
    assert found.advice is not None and found.advice.text and 0 <= found.advice.gain <= 100


def test_landmarks_in_one_point_are_no_error() -> None:
    face = Detection((0.0, 0.0, 9.0, 9.0), 0.5, np.ones((5, 2), np.float32))
    found = reasons(
        np.zeros((112, 112, 3), np.uint8), face, (9, 9), np.ones(49, np.float32), 0, "facegate-mobile-s"
    )
    assert found.components.size == 0


def test_a_shot_says_why_on_the_wire(portrait: Image, mtcnn: Detector, scorer: Scorer) -> None:
    image = (portrait * 0.15).astype(np.uint8)
    detection = mtcnn.detect([portrait])[0][0]
    crop = align(image, detection.landmarks)
    scores = scorer.score(crop[None])
    ref = FrameRef("door", 0, 0.0, monotonic(), None, image.shape[1], image.shape[0])
    scored = ScoredFace(Face("0-0", ref, detection, crop), 1, int(scores.quality[0]), 0.5, scores.patches[0], None)
    for model, known in ((scorer.card.name, True), ("another", False)):
        info = QualityInfo("vitnt", model, "v1")
        shot = Shot("0" * 32, "run", "door", 1, 1, Reason.TRACK_ENDED, scored, info)
        why = wire.decode_header(wire.pack(shot).header).reasons
        assert why is not None and why.components["brightness"] < 40 and why.components["size"] == 100
        assert (why.advice, why.defect) == ((SENTENCES[Defect.DARK], "dark") if known else ("", None))


def test_score_says_what_would_help(portrait_file: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "dark.png"), (cv2.imread(str(portrait_file)) * 0.2).astype(np.uint8))
    (line,) = map(json.loads, facegate("score", tmp_path / "dark.png", "--reasons").stdout.splitlines())
    assert line["advice"]["defect"] == "dark" and line["advice"]["text"] == SENTENCES[Defect.DARK]
    assert line["components"]["brightness"] < 40


@settings(max_examples=300)
@given(
    seed=st.integers(0, 1000),
    lightness=st.floats(0.05, 0.95),
    yaw=st.floats(-40, 40),
    inside=st.sampled_from((0.8, 1.0)),
    quality=st.integers(0, 60),
)
def test_no_number_contradicts_the_advice(
    seed: int, lightness: float, yaw: float, inside: float, quality: int
) -> None:
    adviser = adviser_for("facegate-mobile-s")
    assert adviser is not None
    rng = np.random.default_rng(seed)
    seen = FaceMeasurements(
        eyes_px=float(rng.uniform(10, 80)), detail=float(rng.uniform(-6, -2.5)), lightness=lightness,
        contrast=float(rng.uniform(0.03, 0.3)), white=float(rng.uniform(0, 0.2)), sides=float(rng.uniform(0, 0.6)),
        yaw=yaw, pitch=float(rng.uniform(-30, 30)), roll=0.0, inside=inside,
    )  # fmt: skip
    own = components(seen)
    advice = adviser.advise(seen, own, rng.uniform(0.2, 0.9, 49).astype(np.float32), quality)
    if advice.defect in MEASURED:
        assert MEASURED[advice.defect](own) < FAULTLESS, advice
