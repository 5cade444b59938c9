"""Streams of every kind that cameras send end up as RGB frames; the clips are made here."""

from __future__ import annotations

import struct
from fractions import Fraction
from itertools import product
from pathlib import Path
from threading import Event

import av
import numpy as np
import pytest

from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.server import RtspServer
from facegate.pipeline.observability.report import CameraState
from facegate.pipeline.records import Frame
from facegate.pipeline.sources.file import FileSource

from ...camera_faults import Faults
from ...helpers import free_port, transcode, wait_until
from ..life import config, running
from .fake_time import OwnTime
from .test_sources import AT_ONCE, cam

KINDS = {
    "gray (4:0:0)": {"pixels": "gray"},
    "4:4:4": {"pixels": "yuv444p"},
    "ten bits": {"pixels": "yuv420p10le"},
    "an odd size": {"pixels": "yuv444p", "size": (321, 181)},
    "interlaced": {"flags": "+ildct+ilme", "x264-params": "tff=1"},
    "H.265": {"codec": "libx265", "x265-params": "log-level=none"},
    "MJPEG": {"codec": "mjpeg", "pixels": "yuvj420p"},
}


@pytest.fixture(scope="module")
def expected(short_clip: Path) -> Frame:
    return next(iter(FileSource(cam(short_clip)).frames(Event())))


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_of_this_kind_shows_what_was_filmed(
    kind: str, short_clip: Path, expected: Frame, tmp_path: Path
) -> None:
    path = transcode(short_clip, tmp_path / "clip.mkv", frames=8, **KINDS[kind])  # type: ignore[arg-type]
    frames = list(FileSource(cam(path)).frames(Event()))
    assert len(frames) == 8 and frames[0].image.dtype == np.uint8 and frames[0].image.flags.c_contiguous
    height, width = frames[0].image.shape[:2]
    assert (width, height) == KINDS[kind].get("size", (640, 360))
    if (width, height) == (640, 360):
        seen, meant = (image.astype(float).mean(2) for image in (frames[0].image, expected.image))
        assert np.abs(seen - meant).mean() < 12


def test_frames_of_a_variable_rate_keep_their_times(short_clip: Path, tmp_path: Path) -> None:
    times = [0, 40, 200, 240, 900, 1000]
    with av.open(str(short_clip)) as reader, av.open(str(tmp_path / "v.mkv"), "w") as writer:
        out = writer.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        out.width, out.height, out.pix_fmt = 640, 360, "yuv420p"
        out.codec_context.time_base, out.codec_context.max_b_frames = Fraction(1, 1000), 0
        for picture, at in zip(reader.decode(video=0), times, strict=False):
            picture.pts, picture.time_base = at, Fraction(1, 1000)
            writer.mux(out.encode(picture))
        writer.mux(out.encode())
    frames = list(FileSource(cam(tmp_path / "v.mkv")).frames(Event()))
    assert [round(1000 * frame.ref.pts_s) for frame in frames] == times


MATRICES = [
    (a, b, c, d) for a, b, c, d in product((-1, 0, 1), repeat=4) if abs(a * d - b * c) == 1 and a * c == b * d == 0
]
"""The eight rotations and reflections by right angles: x' = a x + c y, y' = b x + d y."""


@pytest.mark.parametrize("matrix", MATRICES)
def test_a_picture_is_turned_upright_by_its_display_matrix(
    matrix: tuple[int, int, int, int], short_clip: Path, tmp_path: Path
) -> None:
    path = transcode(short_clip, tmp_path / "turned.mp4", frames=2)
    plain = next(iter(FileSource(cam(path)).frames(Event()))).image
    data, (a, b, c, d) = bytearray(path.read_bytes()), matrix
    place = data.index(b"tkhd") + 4 + 40  # ISO/IEC 14496-12: after version, times, ids, layer and volume
    one = 1 << 16
    data[place : place + 36] = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    frame = next(iter(FileSource(cam(path)).frames(Event())))
    y, x = np.indices(plain.shape[:2])
    to_x, to_y = a * x + c * y, b * x + d * y
    shown = np.zeros_like(frame.image)
    shown[to_y - to_y.min(), to_x - to_x.min()] = plain
    assert (
        (frame.ref.height, frame.ref.width)
        == frame.image.shape[:2]
        == (to_y.max() - to_y.min() + 1, np.ptp(to_x) + 1)
    )
    assert np.abs(frame.image.astype(int) - shown).mean() < 3


def test_audio_and_b_frames_do_no_harm(short_clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(short_clip)) as reader, av.open(str(path), "w") as writer:
        out = writer.add_stream("libx264", rate=25, options={"preset": "fast", "bf": "3"})
        out.width, out.height, out.pix_fmt = 640, 360, "yuv420p"
        sound = writer.add_stream("aac", rate=8000, layout="mono")
        for index, picture in enumerate(reader.decode(video=0)):
            writer.mux(out.encode(picture.reformat(format="yuv420p")))
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 320), np.float32), "fltp", "mono")
            samples.sample_rate, samples.pts = 8000, 320 * index
            writer.mux(sound.encode(samples))
        writer.mux([*out.encode(), *sound.encode()])
    times = [frame.ref.pts_s for frame in FileSource(cam(path)).frames(Event())]
    assert len(times) == 50 and times == sorted(times)


def test_h265_over_rtsp_gives_the_whole_stream(short_clip: Path, tmp_path: Path) -> None:
    hevc = {"x265-params": "log-level=none:bframes=0"}
    path = transcode(short_clip, tmp_path / "hevc.mp4", codec="libx265", **hevc)
    with RtspServer(Movie(path), playback=AT_ONCE) as server:
        source = OwnTime(AT_ONCE).watch(server.url)
        assert len(list(source.frames(Event()))) == 50 and source.info().codec == "hevc"


def test_parameter_sets_may_come_in_the_stream_alone(short_clip: Path) -> None:
    faults = Faults(bare_sdp=True, at_once=True)
    with RtspServer(Movie(short_clip), playback=faults) as server:
        assert len(list(OwnTime(faults).watch(server.url).frames(Event()))) == 50


def test_a_camera_whose_first_key_frame_comes_after_ten_seconds_is_waited_for(
    short_clip: Path, tmp_path: Path
) -> None:
    """Joined in the middle of a group of pictures that is 10 s long, with a time-out of 5 s."""
    long = tmp_path / "long.mp4"
    with av.open(str(short_clip)) as reader, av.open(str(long), "w") as writer:
        options = {"preset": "ultrafast", "g": "250", "sc_threshold": "0"}
        out = writer.add_stream("libx264", rate=25, options=options)
        out.width, out.height, out.pix_fmt = 160, 90, "yuv420p"
        out.codec_context.max_b_frames = 0
        picture = next(reader.decode(video=0)).reformat(160, 90, "yuv420p")
        for index in range(275):
            picture.pts, picture.time_base, picture.pict_type = index, Fraction(1, 25), 0  # type: ignore[assignment]
            writer.mux(out.encode(picture))
        writer.mux(out.encode())
    faults = Faults(late_key=True, at_once=True)
    with RtspServer(Movie(long), playback=faults) as server:
        frames = list(OwnTime(faults).watch(server.url, timeout_s=5.0).frames(Event()))
    assert 20 <= len(frames) <= 26


def test_a_camera_that_comes_back_with_another_codec_and_size_goes_on(
    short_clip: Path, tiny_model: Path, tmp_path: Path
) -> None:
    hevc = {"x265-params": "log-level=none:bframes=0"}
    other = transcode(short_clip, tmp_path / "hevc.mp4", codec="libx265", size=(320, 180), **hevc)
    port = free_port()
    url = f"rtsp://127.0.0.1:{port}/live"
    with running(config(url, weights=tiny_model)) as runner:
        with RtspServer(Movie(short_clip), loop=True, port=port):
            wait_until(lambda: runner.report().cameras[0].frames_processed > 5)
        with RtspServer(Movie(other), loop=True, port=port):
            wait_until(lambda: runner.report().cameras[0].reconnects == 1)
            before = runner.report().cameras[0].frames_processed
            wait_until(lambda: runner.report().cameras[0].frames_processed > before + 5)
            assert runner.report().cameras[0].state is CameraState.LIVE
