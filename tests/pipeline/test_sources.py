"""Sources on real files, streams and servers: every frame of a file, the newest of a stream, typed refusals."""

from __future__ import annotations

import socket
from pathlib import Path
from threading import Event

import cv2
import numpy as np
import pytest

from facegate.demo.rtsp_server import Credentials, Movie, RtspServer
from facegate.errors import ConfigError, SourceError
from facegate.pipeline.config import CameraConfig
from facegate.pipeline.sources.base import Source, UnauthorisedError
from facegate.pipeline.sources.file import FileSource
from facegate.pipeline.sources.network import NetworkSource
from facegate.pipeline.sources.open import open_source
from facegate.pipeline.sources.webcam import WebcamSource

from ..helpers import free_port, transcode


def cam(source: object, **settings: object) -> CameraConfig:
    return CameraConfig.model_validate({"name": "cam", "source": str(source)} | settings)


def read_all(source: Source) -> list[tuple[int, float]]:
    return [(frame.ref.seq, frame.ref.pts_s) for frame in source.frames(Event())]


def test_a_file_gives_every_frame_in_order_with_its_time(short_clip: Path) -> None:
    frames = read_all(FileSource(cam(short_clip)))
    assert [seq for seq, _ in frames] == list(range(50))
    np.testing.assert_allclose([pts for _, pts in frames], np.arange(50) / 25, atol=1e-3)


def test_frames_are_rgb(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "red.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(3):
        writer.write(np.full((48, 64, 3), (0, 0, 255), np.uint8))
    writer.release()
    frame = next(iter(FileSource(cam(tmp_path / "red.avi")).frames(Event())))
    assert frame.image.shape == (48, 64, 3) and frame.image.flags.c_contiguous
    red, green, blue = frame.image.reshape(-1, 3).mean(0)
    assert red > 240 and green < 20 and blue < 20


def test_a_set_stop_ends_a_file_early(short_clip: Path) -> None:
    stop = Event()
    frames = FileSource(cam(short_clip)).frames(stop)
    next(frames)
    stop.set()
    assert list(frames) == []


def test_missing_damaged_and_pictureless_files_are_refused(tmp_path: Path, short_clip: Path) -> None:
    with pytest.raises(SourceError, match="no video file"):
        read_all(FileSource(cam(tmp_path / "none.mp4")))
    text = tmp_path / "text.mp4"
    text.write_text("this is not a video")
    with pytest.raises(SourceError, match="not a video"):
        read_all(FileSource(cam(text)))
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(short_clip.read_bytes()[:2000])
    with pytest.raises(SourceError, match="not a video"):
        read_all(FileSource(cam(cut)))


def test_a_damaged_packet_costs_its_frames_and_no_more(tmp_path: Path, short_clip: Path) -> None:
    data = bytearray(short_clip.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(data)
    assert len(read_all(FileSource(cam(damaged)))) > 25


def test_rtsp_gives_the_whole_stream_with_its_times(short_clip: Path) -> None:
    with RtspServer(Movie(short_clip)) as server:
        frames = read_all(NetworkSource(cam(server.url)))
    assert len(frames) == 50
    np.testing.assert_allclose([pts for _, pts in frames], np.arange(50) / 25, atol=0.01)


@pytest.mark.parametrize("digest", [True, False])
def test_rtsp_credentials_open_the_door_and_wrong_ones_do_not(short_clip: Path, digest: bool) -> None:
    with RtspServer(Movie(short_clip), credentials=Credentials("me", "s3cret"), digest=digest) as server:
        address = server.url.removeprefix("rtsp://")
        frames = NetworkSource(cam(f"rtsp://me:s3cret@{address}")).frames(Event())
        assert next(frames).ref.width == 640
        frames.close()  # type: ignore[attr-defined]
        with pytest.raises(UnauthorisedError) as caught:
            read_all(NetworkSource(cam(f"rtsp://me:wr0ng@{address}")))
    assert "wr0ng" not in str(caught.value) and "check user and password" in str(caught.value)


def test_an_unreachable_camera_is_refused_without_its_password() -> None:
    with pytest.raises(SourceError) as caught:
        read_all(NetworkSource(cam(f"rtsp://me:s3cret@127.0.0.1:{free_port()}/x")))
    assert "s3cret" not in str(caught.value) and "connection refused" in str(caught.value)


def test_a_camera_that_never_answers_is_given_up() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(SourceError, match=r"no answer within 0\.5 s"),
    ):
        read_all(NetworkSource(cam(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/x", timeout_s=0.5)))


def test_the_webcam_source_reads_what_opencv_opens(tmp_path: Path, short_clip: Path) -> None:
    """No webcam here: OpenCV's capture is given a file, which takes the same path through our code."""
    video = transcode(short_clip, tmp_path / "cam.mp4", frames=10)
    frames = list(WebcamSource(cam(video)).frames(Event()))
    assert len(frames) == 10
    times = [frame.ref.pts_s for frame in frames]
    assert times == sorted(times) and frames[0].image.shape == (360, 640, 3)
    reference = next(iter(FileSource(cam(video)).frames(Event())))
    assert np.abs(frames[0].image.astype(int) - reference.image).mean() < 8


def test_a_webcam_that_is_not_there_is_refused() -> None:
    with pytest.raises(SourceError, match="no webcam at 99"):
        read_all(WebcamSource(cam(99)))


def test_the_source_follows_from_the_text() -> None:
    assert isinstance(open_source(cam("0")), WebcamSource)
    assert isinstance(open_source(cam("/dev/video3")), WebcamSource)
    assert isinstance(open_source(cam("rtsp://h/x")), NetworkSource)
    assert isinstance(open_source(cam("clip.mp4")), FileSource)
    with pytest.raises(ConfigError, match=r"only rtsp://, rtsps://, http:// and https:// URLs"):
        open_source(cam("ftp://me:secret@host/x"))
