"""Sources on real files, streams and servers: every frame of a file, the newest of a stream, typed refusals."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from time import sleep, time

import av
import cv2
import numpy as np
import pytest

from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.server import RtspServer
from facegate.demo.rtsp.session import Credentials
from facegate.errors import ConfigError, SourceError
from facegate.pipeline.config import CameraConfig
from facegate.pipeline.login.digest import UnauthorizedError
from facegate.pipeline.sources.base import Source
from facegate.pipeline.sources.factory import open_source
from facegate.pipeline.sources.file import FileSource
from facegate.pipeline.sources.network import NetworkSource
from facegate.pipeline.sources.webcam import WebcamSource

from ...camera_faults import Faults
from ...helpers import free_port, transcode
from .fake_time import OwnTime

AT_ONCE = Faults(at_once=True)


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
    with pytest.raises(SourceError, match="not a readable video"):
        read_all(FileSource(cam(text)))
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(short_clip.read_bytes()[:2000])
    with pytest.raises(SourceError, match="not a readable video"):
        read_all(FileSource(cam(cut)))


def test_a_damaged_packet_costs_its_frames_and_no_more(tmp_path: Path, short_clip: Path) -> None:
    data = bytearray(short_clip.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(data)
    assert len(read_all(FileSource(cam(damaged)))) > 25


def test_rtsp_gives_the_whole_stream_with_its_times(short_clip: Path) -> None:
    with RtspServer(Movie(short_clip), playback=AT_ONCE) as server:
        frames = read_all(OwnTime(AT_ONCE).watch(server.url))
    assert len(frames) == 50
    np.testing.assert_allclose([pts for _, pts in frames], np.arange(50) / 25, atol=0.01)


@pytest.mark.parametrize("digest", [True, False])
def test_rtsp_credentials_open_the_door_and_wrong_ones_do_not(short_clip: Path, digest: bool) -> None:
    with RtspServer(Movie(short_clip), credentials=Credentials("me", "s3cret"), digest=digest) as server:
        address = server.url.removeprefix("rtsp://")
        frames = NetworkSource(cam(f"rtsp://me:s3cret@{address}")).frames(Event())
        assert next(frames).ref.width == 640
        frames.close()  # type: ignore[attr-defined]
        with pytest.raises(UnauthorizedError) as caught:
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
    with pytest.raises(ConfigError, match=r"use rtsp://, rtsps://, http:// or https://"):
        open_source(cam("ftp://me:secret@host/x"))


def test_rtsp_over_udp_gives_the_stream_too(short_clip: Path) -> None:
    with RtspServer(Movie(short_clip)) as server:
        frames = read_all(NetworkSource(cam(server.url, transport="udp")))
    assert frames, "what a machine loses that is too slow for UDP is not ours"


def test_the_cameras_own_clock_comes_with_each_frame(short_clip: Path) -> None:
    with RtspServer(Movie(short_clip), playback=AT_ONCE) as server:
        before = time()
        refs = [frame.ref for frame in OwnTime(AT_ONCE).watch(server.url).frames(Event())]
        after = time()
    told = [ref.captured_at for ref in refs if ref.captured_at is not None]
    assert len(told) > 40 and before - 0.1 < told[-1] - refs[-1].pts_s < after


def test_a_stream_may_change_its_size(short_clip: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.mp4"
    with av.open(str(short_clip)) as reader, av.open(str(small), "w") as writer:
        out = writer.add_stream("libx264", rate=25, options={"preset": "ultrafast", "g": "15"})
        out.width, out.height, out.pix_fmt = 320, 180, "yuv420p"
        out.codec_context.max_b_frames = 0
        for frame in reader.decode(video=0):
            writer.mux(out.encode(frame.reformat(320, 180, "yuv420p")))
        writer.mux(out.encode())
    with RtspServer(Movie(short_clip), then=Movie(small), playback=AT_ONCE) as server:
        sizes = [frame.ref.width for frame in OwnTime(AT_ONCE).watch(server.url).frames(Event())]
    assert sizes.count(640) == 50 and sizes.count(320) >= 45 and sizes == sorted(sizes, reverse=True)


def test_damaged_packets_cost_frames_and_garbage_is_given_up(short_clip: Path) -> None:
    with RtspServer(Movie(short_clip), playback=Faults(corrupt=0.1)) as server:
        assert read_all(NetworkSource(cam(server.url)))
    with (
        RtspServer(Movie(short_clip), loop=True, playback=Faults(corrupt=1.0)) as server,
        pytest.raises(SourceError, match=r"no answer within|no decodable frame|cannot open"),
    ):
        read_all(NetworkSource(cam(server.url, timeout_s=1.0)))


def test_a_camera_at_rest_that_sends_garbage_is_given_up_in_time(short_clip: Path) -> None:
    # At rest only key frames need decoding, so the patience is that of a stream joined before its first one.
    rest = Event()
    faults = Faults(corrupt=1.0, corrupt_at_s=1.0, at_once=True)
    with RtspServer(Movie(short_clip), playback=faults, loop=True) as server:
        source = OwnTime(faults).watch(server.url, rest.is_set, timeout_s=5.0)
        with pytest.raises(SourceError, match="sent no decodable frame for 20 s"):
            for _ in source.frames(Event()):
                rest.set()


def test_a_stall_is_noticed_within_the_time_out(short_clip: Path) -> None:
    faults = Faults(stall_at_s=1.0, at_once=True)
    with RtspServer(Movie(short_clip), loop=True, playback=faults) as server:
        got = 0
        with pytest.raises(SourceError, match=r"nothing received within the time-out|no decodable frame for 3 s"):
            for _ in NetworkSource(cam(server.url, timeout_s=3.0)).frames(Event()):
                got += 1
    assert got >= 20


@pytest.fixture
def web(short_clip: Path, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server's address and folder; ``/motion`` streams JPEGs as cameras do."""
    pictures = [frame.image for frame in FileSource(cam(short_clip)).frames(Event())][:20]

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/motion":
                super().do_GET()
                return
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            for image in pictures:
                jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                self.wfile.write(head.encode() + jpeg + b"\r\n")
                sleep(0.02)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path)))
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", tmp_path
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_behind_http_is_whole_and_mjpeg_is_live(web: tuple[str, Path], short_clip: Path) -> None:
    address, folder = web
    for name, kind in (("clip.mkv", "matroska"), ("live.m3u8", "hls")):
        with av.open(str(short_clip)) as reader, av.open(str(folder / name), "w", format=kind) as writer:
            stream = writer.add_stream_from_template(reader.streams.video[0])
            for packet in reader.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    writer.mux(packet)
    whole = NetworkSource(cam(f"{address}/clip.mkv"))
    assert len(read_all(whole)) == 50 and not whole.live
    hls = NetworkSource(cam(f"{address}/live.m3u8"))
    assert len(read_all(hls)) == 50 and not hls.live, "a playlist with an end"
    motion, times = NetworkSource(cam(f"{address}/motion")), []
    with pytest.raises(SourceError, match="was interrupted"):
        for frame in motion.frames(Event()):
            times.append(frame.ref.pts_s)
    assert motion.live and len(times) >= 15 and times[0] == 0.0 and times[-1] > 0.02 * len(times) * 0.9
    with pytest.raises(SourceError, match="not found"):
        read_all(NetworkSource(cam(f"{address}/nothing.mkv")))


def test_a_playlist_does_not_lead_to_files_of_this_machine(web: tuple[str, Path], short_clip: Path) -> None:
    address, folder = web
    (folder / "evil.m3u8").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{short_clip}\n#EXT-X-ENDLIST\n"
    )
    with pytest.raises(SourceError):
        read_all(NetworkSource(cam(f"{address}/evil.m3u8", timeout_s=2.0)))


def test_a_folder_of_pictures_plays_by_name_or_by_its_times(tmp_path: Path, short_clip: Path) -> None:
    frames = [frame.image for frame in FileSource(cam(short_clip)).frames(Event())][:5]
    for index, image in enumerate(frames):
        cv2.imwrite(str(tmp_path / f"{index:03d}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    (tmp_path / "002.png").write_bytes(b"damaged")
    alone = list(open_source(cam(tmp_path)).frames(Event()))
    assert [frame.ref.pts_s for frame in alone] == [0, 3600, 3 * 3600, 4 * 3600]
    assert all(frame.still for frame in alone)
    source = open_source(cam(tmp_path, film=True))
    got = list(source.frames(Event()))
    assert [frame.ref.pts_s for frame in got] == pytest.approx([0, 0.04, 0.12, 0.16])
    assert not any(frame.still for frame in got)
    assert np.array_equal(got[2].image, frames[3])
    (tmp_path / "timestamps.csv").write_text("000.png,1.5\n003.png,7\n")
    assert [pts for _, pts in read_all(open_source(cam(tmp_path)))] == [1.5, 7.0]
    for wrong, words in (
        ("000.png,2\n003.png,1\n", "must not decrease"),
        ("000.png\n", "file,seconds"),
        ("a,nan\n", "finite"),
    ):
        (tmp_path / "timestamps.csv").write_text(wrong)
        with pytest.raises(SourceError, match=words):
            read_all(open_source(cam(tmp_path)))


def test_sampling_and_own_speed(short_clip: Path) -> None:
    sampled = read_all(FileSource(cam(short_clip, max_fps=5)))
    assert [pts for _, pts in sampled] == pytest.approx(np.arange(10) / 5, abs=0.001)
    assert [seq for seq, _ in sampled] == list(range(10))
    played = open_source(cam(short_clip, realtime=True))
    assert played.live and not played.reconnectable
    arrivals = [frame.ref.received_s - frame.ref.pts_s for frame in played.frames(Event())]
    assert len(arrivals) == 50 and min(arrivals) > arrivals[0] - 1e-3, "never before it is due"


@pytest.mark.parametrize("options", [{}, {"bf": "3", "preset": "fast"}], ids=["no B-frames", "B-frames"])
def test_parts_of_a_recording_joined_are_one_recording(
    options: dict[str, str], short_clip: Path, tmp_path: Path
) -> None:
    part = tmp_path / "part.ts"
    with av.open(str(short_clip)) as reader, av.open(str(part), "w") as writer:
        out = writer.add_stream("libx264", rate=25, options={"preset": "ultrafast", "g": "25"} | options)
        out.width, out.height, out.pix_fmt = 320, 180, "yuv420p"
        for index, frame in enumerate(reader.decode(video=0)):
            picture = frame.reformat(320, 180, "yuv420p")
            picture.pts, picture.time_base = index, Fraction(1, 25)
            writer.mux(out.encode(picture))
        writer.mux(out.encode())
    joined = tmp_path / "joined.ts"
    joined.write_bytes(3 * part.read_bytes())
    frames = read_all(FileSource(cam(joined)))
    assert len(frames) == 150 and frames == read_all(FileSource(cam(joined)))
    np.testing.assert_allclose(np.diff([pts_s for _, pts_s in frames]), 0.04, atol=1e-3)
