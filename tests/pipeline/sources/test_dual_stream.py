"""Two streams of one camera: found in the small one, cut from the large one."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from threading import Event

import av
import numpy as np
import pytest

from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.server import RtspServer
from facegate.detectors.align import align
from facegate.errors import ConfigError, SourceError
from facegate.pipeline.config import CameraConfig, build_config
from facegate.pipeline.records import FrameRef, ScoredFrame
from facegate.pipeline.runner import Runner
from facegate.pipeline.runtime.assembly import Pipeline
from facegate.pipeline.sources.dual_stream import DualStreamSource, nearest
from facegate.pipeline.sources.factory import open_source
from facegate.pipeline.watch import ShotQueue

from ...helpers import PATIENCE_S, free_port


@pytest.fixture(scope="module")
def small_clip(short_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "small.mp4"
    with av.open(str(short_clip)) as reader, av.open(str(path), "w") as writer:
        out = writer.add_stream("libx264", rate=25, options={"preset": "ultrafast", "g": "15"})
        out.width, out.height, out.pix_fmt = 320, 180, "yuv420p"
        out.codec_context.max_b_frames = 0
        out.codec_context.time_base = Fraction(1, 90_000)
        for index, frame in enumerate(reader.decode(video=0)):
            picture = frame.reformat(320, 180, "yuv420p")
            picture.pts, picture.time_base = index * 3600, Fraction(1, 90_000)
            writer.mux(out.encode(picture))
        writer.mux(out.encode())
    return path


def ref(received_s: float, captured_at: float | None) -> FrameRef:
    return FrameRef("c", 0, 0.0, received_s, captured_at, 4, 4)


def test_pictures_pair_by_the_cameras_clock_and_else_by_arrival() -> None:
    kept = [(ref(10.0, 100.0), "a"), (ref(10.04, 100.04), "b"), (ref(10.3, None), "c")]
    assert nearest(ref(99.0, 100.03), kept[:2]) == kept[1]
    assert nearest(ref(10.01, None), kept) == kept[0]
    assert nearest(ref(10.17, None), kept) is None


def test_faces_are_found_small_and_cut_large(short_clip: Path, small_clip: Path, tiny_model: Path) -> None:
    with RtspServer(Movie(short_clip), loop=True) as large, RtspServer(Movie(small_clip), loop=True) as small:
        camera = {"name": "cam", "source": small.url, "main_stream": large.url, "max_fps": 10}
        config = build_config({"cameras": [camera], "scorer": {"weights": str(tiny_model)}})
        seen: list[ScoredFrame] = []
        queue, enough = ShotQueue(), Event()

        def see(frame: ScoredFrame) -> None:
            seen.append(frame)
            if sum(bool(item.faces) and item.frame.width == 640 for item in seen) >= 10:
                enough.set()

        with Runner(config, lambda: queue, on_scored=see, on_finished=queue.end) as runner:
            assert enough.wait(PATIENCE_S)
            runner.stop()
            for _ in queue:
                pass
            runner.close(linger_s=0)
    paired = [face for frame in seen if frame.frame.width == 640 for face in frame.faces]
    widths = [face.face.detection.width for face in paired]
    assert 60 < np.median(widths) < 300, "boxes are in pixels of the large stream"
    with av.open(str(short_clip)) as reader:
        images = [frame.to_ndarray(format="rgb24") for frame in reader.decode(video=0)]
    exact = 0
    for face in paired:
        cut = [align(image, face.face.detection.landmarks).astype(int) for image in images]
        exact += min(np.abs(crop - face.face.crop).max() for crop in cut) <= 1
    assert exact >= 5, "cut from a picture of the large stream, once a face was found"


def test_a_large_stream_that_is_not_there_is_the_cameras_problem(small_clip: Path) -> None:
    with RtspServer(Movie(small_clip), loop=True) as small:
        camera = CameraConfig(name="c", source=small.url, main_stream=f"rtsp://me:s3cret@127.0.0.1:{free_port()}/x")
        with pytest.raises(SourceError, match="connection refused") as caught:
            for _ in open_source(camera).frames(Event()):
                pass
    assert "s3cret" not in str(caught.value)


def test_two_streams_need_two_urls() -> None:
    with pytest.raises(ConfigError, match="must both be URLs"):
        build_config({"cameras": [{"name": "c", "source": "clip.mp4", "main_stream": "rtsp://h/x"}]})


@pytest.fixture(scope="module")
def walks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Somebody walks to and fro, in a small stream and in large ones that begin later or earlier."""
    folder, rng = tmp_path_factory.mktemp("walks"), np.random.default_rng(5)
    path = 300 + np.cumsum(rng.normal(0, 6, 400)).clip(-200, 200)
    sizes = {"small": (320, 180, 20), "early": (640, 360, 27), "late": (640, 360, 13)}
    for name, (width, height, first) in sizes.items():
        with av.open(str(folder / f"{name}.mp4"), "w") as writer:
            out = writer.add_stream("libx264", rate=25, options={"preset": "ultrafast", "g": "50"})
            out.width, out.height, out.pix_fmt = width, height, "yuv420p"
            out.codec_context.max_b_frames = 0
            for index in range(first, 320):
                picture = 90 + rng.normal(0, 2, (360, 640))
                picture[100:260, int(path[index]) : int(path[index]) + 40] = 220
                gray = np.clip(picture, 0, 255).astype(np.uint8)[:, :, None].repeat(3, 2)
                frame = av.VideoFrame.from_ndarray(gray, format="rgb24").reformat(width, height, "yuv420p")
                frame.pts, frame.time_base = index - first, Fraction(1, 25)
                writer.mux(out.encode(frame))
            writer.mux(out.encode())
    return {name: folder / f"{name}.mp4" for name in sizes}


def block_at(image: np.ndarray) -> float:
    """Where the block is, as a share of the width."""
    bright = image[image.shape[0] // 2, :, 0] > 160
    return float(np.flatnonzero(bright).mean() / len(bright)) if bright.any() else -1.0


@pytest.mark.parametrize("large", ["early", "late"])
def test_streams_that_are_a_quarter_second_apart_are_paired_by_what_they_show(
    large: str, walks: dict[str, Path]
) -> None:
    with RtspServer(Movie(walks["small"])) as small, RtspServer(Movie(walks[large])) as main:
        source = open_source(CameraConfig(name="c", source=small.url, main_stream=main.url, max_fps=10))
        assert isinstance(source, DualStreamSource)
        apart = []
        for frame in source.frames(stop := Event()):
            if frame.large is not None and frame.ref.pts_s > 7.0:
                apart.append(abs(block_at(frame.image) - block_at(frame.large)))
            if frame.ref.pts_s > 10.5:
                stop.set()
    assert len(apart) > 15
    assert np.median(apart) < 0.01 and np.quantile(apart, 0.9) < 0.025, "the same moment, within a frame"


def test_the_main_stream_is_decoded_only_while_wanted(walks: dict[str, Path]) -> None:
    wanted = [False]
    with RtspServer(Movie(walks["small"])) as small, RtspServer(Movie(walks["late"])) as main:
        config = CameraConfig(name="c", source=small.url, main_stream=main.url, max_fps=5)
        source = open_source(config, main_wanted=lambda: wanted[0])
        paired = []
        for frame in source.frames(stop := Event()):
            wanted[0] = 5.0 < frame.ref.pts_s < 7.0
            if frame.large is not None:
                paired.append(frame.ref.pts_s)
                assert frame.large.shape == (360, 640, 3)
            if frame.ref.pts_s > 9.5:
                stop.set()
    assert paired and 5.0 < paired[0] < 6.0 and paired[-1] < 7.5
    assert source.packets_idle > 100, "of the main stream, before and after"


def test_tracks_continue_whether_or_not_the_main_stream_is_decoded(
    short_clip: Path, small_clip: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Boxes are in pixels of the main stream also while crops come from the sub stream."""
    wanted = iter([False, False, True, True, True] * 40)
    monkeypatch.setattr(Pipeline, "_undecided", lambda *_: next(wanted, False))
    with RtspServer(Movie(short_clip), loop=True) as large, RtspServer(Movie(small_clip), loop=True) as small:
        camera = {"name": "cam", "source": small.url, "main_stream": large.url, "max_fps": 10}
        config = build_config({"cameras": [camera], "scorer": {"weights": str(tiny_model), "every_face": True}})
        seen: list[ScoredFrame] = []
        queue, enough = ShotQueue(), Event()

        def see(frame: ScoredFrame) -> None:
            seen.append(frame)
            if len(seen) >= 40:
                enough.set()

        with Runner(config, lambda: queue, on_scored=see, on_finished=queue.end) as runner:
            assert enough.wait(PATIENCE_S)
            runner.stop()
            for _ in queue:
                pass
            runner.close(linger_s=0)
    steady = [frame for frame in seen[5:] if frame.faces]
    assert all(frame.frame.width == 640 for frame in steady)
    widths = [face.face.detection.width for frame in steady for face in frame.faces]
    assert max(widths) < 1.6 * min(widths)
