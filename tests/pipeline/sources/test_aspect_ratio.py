"""Squeezed pictures are seen with square pixels, by the stream's word or the configuration's; probe says which."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from threading import Event

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.server import RtspServer
from facegate.detectors.align import align
from facegate.detectors.base import Detector
from facegate.errors import ConfigError
from facegate.pipeline.cameras.probe import probe
from facegate.pipeline.config import build_config
from facegate.pipeline.records import Frame
from facegate.pipeline.sources.aspect_ratio import MAX_PX, aspect_ratio_advice, square_width
from facegate.pipeline.sources.file import FileSource
from facegate.pipeline.sources.network import NetworkSource
from facegate.scoring.engine import Scorer

from ...helpers import facegate
from .test_sources import cam


def squeezed(source: Path, target: Path, pixel: Fraction | None) -> Path:
    """The clip at half its width, with or without a word about it in the stream."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        out = writer.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "10", "g": "10"})
        out.width, out.height, out.pix_fmt = 320, 360, "yuv420p"
        out.codec_context.max_b_frames = 0
        if pixel is not None:
            out.codec_context.sample_aspect_ratio = pixel
        for picture in reader.decode(video=0):
            writer.mux(out.encode(picture.reformat(320, 360, "yuv420p")))
        writer.mux(out.encode())
    return target


def first(source: FileSource | NetworkSource) -> Frame:
    frames = source.frames(Event())
    frame = next(iter(frames))
    frames.close()  # type: ignore[attr-defined]
    return frame


@pytest.fixture(scope="module")
def silent(short_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return squeezed(short_clip, tmp_path_factory.mktemp("squeezed") / "silent.mp4", None)


@pytest.fixture(scope="module")
def telling(short_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return squeezed(short_clip, tmp_path_factory.mktemp("squeezed") / "telling.mp4", Fraction(2))


def test_a_face_of_a_squeezed_camera_is_the_face_it_is(
    short_clip: Path, silent: Path, telling: Path, mtcnn: Detector, scorer: Scorer
) -> None:
    """Two to one, over RTSP: quality within 5 points of the square camera's, embeddings alike."""

    def largest(movie: Path, **settings: object) -> tuple[float, np.ndarray]:
        with RtspServer(Movie(movie)) as server:
            frame = first(NetworkSource(cam(server.url, **settings)))
        assert (frame.ref.width, frame.ref.height) == frame.image.shape[1::-1]
        faces = mtcnn.detect([frame.image])[0]
        crop = align(frame.image, max(faces, key=lambda face: face.width).landmarks)
        scores = scorer.score(crop[None])
        assert scores.embedding is not None
        return float(scores.quality[0]), scores.embedding[0] / np.linalg.norm(scores.embedding[0])

    quality, who = largest(short_clip)
    blind, _ = largest(silent)
    for movie, settings in (
        (telling, {}),
        (silent, {"display_aspect_ratio": "16:9"}),
        (telling, {"display_aspect_ratio": 1.7778}),
    ):
        found, other = largest(movie, **settings)
        assert abs(found - quality) <= 5, (movie.name, settings)
        assert float(who @ other) >= 0.9, (movie.name, settings)
    assert blind < quality - 10, "squeezed, it is another face"


def test_boxes_crops_and_sizes_are_in_square_pixels_also_after_a_turn(silent: Path, telling: Path) -> None:
    assert first(FileSource(cam(telling))).image.shape == (360, 640, 3)
    assert first(FileSource(cam(silent))).image.shape == (360, 320, 3)
    frame = first(FileSource(cam(silent, display_aspect_ratio="4:3")))
    assert frame.image.shape == (360, 480, 3) and (frame.ref.width, frame.ref.height) == (480, 360)


@given(
    st.integers(16, 8192), st.integers(16, 8192), st.none() | st.fractions(0, 100), st.none() | st.floats(0.2, 5)
)
def test_whatever_a_header_says_a_picture_stays_a_picture(
    width: int, height: int, pixel: Fraction | None, aspect: float | None
) -> None:
    wanted = square_width(width, height, pixel, aspect)
    assert 1 <= wanted <= MAX_PX
    if aspect is None and (not pixel or pixel < Fraction(1, 4) or pixel > 4):
        assert wanted == width


def test_known_squeezed_sizes_are_named_with_what_to_set() -> None:
    assert aspect_ratio_advice(960, 1080, None) == "16:9" and aspect_ratio_advice(704, 480, Fraction(1)) == "4:3"
    assert aspect_ratio_advice(960, 1080, Fraction(2)) is None and aspect_ratio_advice(1920, 1080, None) is None


def test_probe_tells_coded_size_shape_and_what_to_set(telling: Path, short_clip: Path, tmp_path: Path) -> None:
    told = facegate("probe", telling, "--seconds", "0.2")
    assert "320 x 360, SAR 2:1, displayed as 640 x 360" in told.stdout
    with av.open(str(tmp_path / "n.mp4"), "w") as writer:
        out = writer.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        out.width, out.height, out.pix_fmt = 960, 1080, "yuv420p"
        for _ in range(5):
            writer.mux(out.encode(av.VideoFrame(960, 1080, "yuv420p")))
        writer.mux(out.encode())
    advised = facegate("probe", tmp_path / "n.mp4", "--seconds", "0.1")
    assert 'set display_aspect_ratio: "16:9"' in " ".join(advised.stdout.split())
    config = build_config({"cameras": [{"name": "p", "source": str(telling)}]}).cameras[0]
    found = probe(config, 0.1, Event())
    assert (found.coded_width, found.width, found.pixel, found.advice) == (320, 640, "2:1", None)


@pytest.mark.parametrize("wrong", ["wide", "16:0", 969, "-1.5", "16:9:4", ":", "1e3"])
def test_a_shape_that_is_none_is_refused_with_an_example(wrong: object) -> None:
    with pytest.raises(
        ConfigError, match=r'cameras\[0\]\.display_aspect_ratio: must be "WIDTH:HEIGHT" in quotes, such as'
    ):
        build_config({"cameras": [{"name": "a", "source": "x.mp4", "display_aspect_ratio": wrong}]})
