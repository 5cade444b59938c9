"""What comes from a URL decides what it is: streams, snapshots, files; logins, transports, several pictures."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from time import sleep

import av
import cv2
import numpy as np
import pytest

from facegate.demo.rtsp.listener import Listener
from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.server import RtspServer
from facegate.demo.rtsp.session import Credentials
from facegate.errors import ConfigError, SourceError
from facegate.pipeline.cameras.probe import probe
from facegate.pipeline.config import build_config
from facegate.pipeline.login.digest import UnauthorizedError
from facegate.pipeline.login.relay import LoginRelay, SharedSocket, offered_challenge
from facegate.pipeline.observability.report import CameraState
from facegate.pipeline.records import Frame
from facegate.pipeline.sources.base import RefusedError
from facegate.pipeline.sources.factory import open_source
from facegate.pipeline.sources.file import FileSource
from facegate.pipeline.sources.network import NetworkSource

from ...helpers import free_port, transcode, wait_until
from ..life import config, running
from .test_sources import AT_ONCE, cam, read_all

LOGIN = Credentials("m@e", "s3c/r:et")


def first(source: NetworkSource) -> Frame:
    frames = source.frames(Event())
    frame = next(iter(frames))
    frames.close()  # type: ignore[attr-defined]
    return frame


@pytest.mark.parametrize("algorithms", [("SHA-256",), ("MD5", "SHA-256"), ("SHA-256", "MD5")], ids="+".join)
def test_a_camera_that_offers_digest_with_sha_256_is_logged_in_at(
    algorithms: tuple[str, ...], short_clip: Path
) -> None:
    with RtspServer(Movie(short_clip), credentials=LOGIN, algorithms=algorithms, playback=AT_ONCE) as server:
        source = NetworkSource(cam(server.url, user=LOGIN.user, password=LOGIN.password))
        for _ in range(2):  # the second connection knows how
            assert len(read_all(source)) == 50
        with pytest.raises(UnauthorizedError, match="check user and password"):
            read_all(NetworkSource(cam(server.url, user=LOGIN.user, password="wrong")))


def test_the_relay_of_a_login_serves_nobody_else(short_clip: Path) -> None:
    tls = ssl.create_default_context()
    with RtspServer(Movie(short_clip), credentials=LOGIN, algorithms=("SHA-256",)) as server:
        url = server.url.replace("rtsp://", "rtsp://m%40e:s3c%2Fr%3Aet@")
        challenge = offered_challenge(url, tls, 5.0)
        assert challenge is not None
        with LoginRelay(url, challenge, tls, 5.0) as relay:
            port = int(relay.url.split(":")[2].split("/")[0])
            with socket.create_connection(("127.0.0.1", port)) as other:
                other.sendall(f"DESCRIBE rtsp://127.0.0.1:{port}/live RTSP/1.0\r\nCSeq: 1\r\n\r\n".encode())
                assert other.recv(100) == b""
            with av.open(relay.url, options={"rtsp_transport": "tcp"}) as container:
                assert container.streams.video[0].codec_context.width == 640


@pytest.mark.parametrize("offered", ["tcp", "udp"])
def test_the_transport_that_the_server_offers_is_found_and_told(offered: str, short_clip: Path) -> None:
    other = {"tcp": "udp", "udp": "tcp"}[offered]
    with RtspServer(Movie(short_clip), transports=(offered,), loop=True) as server:
        source = NetworkSource(cam(server.url))
        assert first(source).ref.width == 640 and source.info().transport == offered
        with pytest.raises(RefusedError, match=f"does not offer {other.upper()}; set 'transport: auto'"):
            read_all(NetworkSource(cam(server.url, transport=other)))


def test_of_two_video_lines_the_larger_is_used_and_probe_tells_both(short_clip: Path, tmp_path: Path) -> None:
    small = transcode(short_clip, tmp_path / "small.mp4", size=(320, 180))
    for movies in ((small, short_clip), (short_clip, small)):
        with RtspServer(Movie(movies[0]), beside=Movie(movies[1]), loop=True) as server:
            found = probe(cam(server.url), 0.5, Event())
        assert (found.width, found.height) == (640, 360)
        assert found.video_streams == ("h264 640x360", "h264 320x180")


def test_a_stream_that_never_existed_has_failed_and_comes_when_it_is_there(
    short_clip: Path, tiny_model: Path
) -> None:
    port = free_port()
    url = f"rtsp://127.0.0.1:{port}/live"
    with running(config(url, weights=tiny_model)) as runner:
        with RtspServer(Movie(short_clip), path="/other", port=port):
            wait_until(lambda: runner.report().cameras[0].state is CameraState.FAILED)
            assert "404 not found" in str(runner.report().cameras[0].problem)
        with RtspServer(Movie(short_clip), loop=True, port=port):
            wait_until(lambda: runner.report().cameras[0].state is CameraState.LIVE)
        with RtspServer(Movie(short_clip), path="/other", port=port):
            wait_until(lambda: "404" in str(runner.report().cameras[0].problem))
            assert runner.report().cameras[0].state is CameraState.STALLED, "it was there"


@contextmanager
def http(serve: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            serve(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def remuxed(source: Path, target: Path, kind: str, **options: str) -> bytes:
    with av.open(str(source)) as reader, av.open(str(target), "w", format=kind, options=options) as writer:
        stream = writer.add_stream_from_template(reader.streams.video[0])
        for packet in reader.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                writer.mux(packet)
    return target.read_bytes()


KINDS = {
    "mp4": {"movflags": "frag_keyframe+empty_moov"},
    "matroska": {},
    "mpegts": {},
    "flv": {},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["/stream.mp4?src=door", "/live", "/clip.avi"])
def test_whether_a_body_has_a_length_decides_whether_it_is_live_and_not_its_name(
    kind: str, path: str, short_clip: Path, tmp_path: Path
) -> None:
    body = remuxed(short_clip, tmp_path / "body", kind, **KINDS[kind])

    def serve(request: BaseHTTPRequestHandler, *, length: bool) -> None:
        request.send_response(200)
        if length:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    for length in (True, False):
        with http(lambda request, length=length: serve(request, length=length)) as address:  # type: ignore[misc]
            source, frames = NetworkSource(cam(address + path)), 0
            try:
                frames = sum(1 for _ in source.frames(Event()))
            except SourceError as error:
                assert "was interrupted" in str(error) and not length, "a stream does not end"
            assert frames == 50 or not length
            assert source.live is source.reconnectable is not length


def test_a_playlist_is_live_until_it_has_an_end(short_clip: Path, tmp_path: Path) -> None:
    remuxed(short_clip, tmp_path / "list.m3u8", "hls")
    ended = (tmp_path / "list.m3u8").read_text()
    goes_on = ended.replace("#EXT-X-ENDLIST", "")
    for text, live in ((ended, False), (goes_on, True)):

        def serve(request: BaseHTTPRequestHandler, text: str = text) -> None:
            body = (tmp_path / request.path[1:]).read_bytes() if request.path.endswith(".ts") else text.encode()
            request.send_response(200)
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            request.wfile.write(body)

        with http(serve) as address:
            source = NetworkSource(cam(f"{address}/list.m3u8"))
            assert first(source).ref.width == 640 and source.live is live


def snapshot_of(picture: np.ndarray) -> Callable[[BaseHTTPRequestHandler], None]:
    jpeg = cv2.imencode(".jpg", picture)[1].tobytes()

    def serve(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "image/jpeg")
        request.send_header("Content-Length", str(len(jpeg)))
        request.end_headers()
        request.wfile.write(jpeg)

    return serve


def test_a_snapshot_is_fetched_again_and_again_and_the_camera_stays_live(tiny_model: Path) -> None:
    asked: list[str] = []
    answer = snapshot_of(np.full((120, 160, 3), 90, np.uint8))

    def serve(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.path)
        answer(request)

    with http(serve) as address:
        settings = config(f"{address}/frame.jpeg?src=door", weights=tiny_model)
        camera = settings.cameras[0].model_copy(update={"max_fps": 20.0})
        with running(settings.model_copy(update={"cameras": (camera,)})) as runner:
            wait_until(lambda: runner.report().cameras[0].frames_received > 5)
            report = runner.report().cameras[0]
            assert report.state is CameraState.LIVE and report.reconnects == 0
        frames = NetworkSource(cam(f"{address}/frame.jpeg", max_fps=5.0)).frames(Event())
        times = [next(frames).ref.pts_s for _ in range(4)]
        frames.close()  # type: ignore[attr-defined]
    assert min(np.diff(times)) > 0.1 and len(asked) >= 9


def test_a_snapshot_that_fails_is_a_lost_camera() -> None:
    answers = iter([snapshot_of(np.zeros((120, 160, 3), np.uint8))])

    def serve(request: BaseHTTPRequestHandler) -> None:
        next(answers, lambda request: request.send_error(503))(request)

    with http(serve) as address:
        source = NetworkSource(cam(f"{address}/frame", max_fps=50.0))
        with pytest.raises(RefusedError, match="server returned 5xx"):
            read_all(source)
    assert source.live and source.reconnectable


def test_a_file_behind_http_loses_no_frame_whatever_its_name(
    short_clip: Path, tiny_model: Path, tmp_path: Path
) -> None:
    body = remuxed(short_clip, tmp_path / "body", "matroska")

    def serve(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    with http(serve) as address, running(config(f"{address}/recording", weights=tiny_model)) as runner:
        wait_until(lambda: runner.report().cameras[0].state is CameraState.ENDED)
        wait_until(lambda: runner.report().cameras[0].frames_processed == 50)
        report = runner.report().cameras[0]
    assert report.frames_received == 50 and report.frames_overwritten == 0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    made, key = folder / "camera.pem", folder / "key.pem"
    name = ["-subj", "/CN=camera", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            key,
            "-out",
            made,
            "-days",
            "2",
            *name,
        ],
        check=True,
        capture_output=True,
    )
    return made, key


@contextmanager
def encrypted(port: int, certificate: tuple[Path, Path]) -> Iterator[int]:
    """TLS in front of a server on loopback."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    pairs: list[SharedSocket] = []

    def serve(client: socket.socket) -> None:
        with suppress(OSError):
            outer = SharedSocket(context.wrap_socket(client, server_side=True))
            inner = SharedSocket(socket.create_connection(("127.0.0.1", port)))
            pairs.extend((outer, inner))
            listener.spawn(pump, inner, outer)
            pump(outer, inner)

    def pump(source: SharedSocket, target: SharedSocket) -> None:
        with suppress(OSError, ValueError):
            while data := source.recv(65_536):
                target.sendall(data)
        source.end()
        target.end()

    with (listener := Listener(serve)):
        yield listener.port
        for sock in pairs:
            sock.end()
    for sock in pairs:
        sock.close()


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_a_certificate_is_checked_where_that_is_asked_for(
    algorithm: str, certificate: tuple[Path, Path], short_clip: Path
) -> None:
    login = {"user": LOGIN.user, "password": LOGIN.password}
    with (
        RtspServer(Movie(short_clip), credentials=LOGIN, algorithms=(algorithm,), loop=True) as server,
        encrypted(server.port, certificate) as port,
    ):
        url = f"rtsps://127.0.0.1:{port}/live"
        believed = NetworkSource(cam(url, **login))
        assert first(believed).ref.width == 640
        assert first(NetworkSource(cam(url, verify=True, ca_file=certificate[0], **login))).ref.width == 640
        with pytest.raises(SourceError, match="certificate"):
            read_all(NetworkSource(cam(url, verify=True, **login)))
        assert probe(cam(url, **login), 0.2, Event()).certificate == "not checked"
    with pytest.raises(ConfigError, match="ca_file needs 'verify: true'"):
        build_config({"cameras": [{"name": "c", "source": url, "ca_file": "x.pem"}]})


def test_a_rate_that_is_a_clock_is_not_told_as_a_rate(short_clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "clock.mkv"
    with av.open(str(short_clip)) as reader, av.open(str(path), "w") as writer:
        out = writer.add_stream("libx264", rate=90_000, options={"preset": "ultrafast"})
        out.width, out.height, out.pix_fmt = 320, 180, "yuv420p"
        for index, picture in enumerate(reader.decode(video=0)):
            picture = picture.reformat(320, 180, "yuv420p")
            picture.pts = index * 3600
            writer.mux(out.encode(picture))
        writer.mux(out.encode())
    found = probe(cam(path), 5.0, Event())
    assert found.fps_declared is None or found.fps_declared <= 240
    assert found.fps_measured == pytest.approx(25, abs=1)


def test_of_several_video_tracks_the_longest_real_one_is_read(short_clip: Path, tmp_path: Path) -> None:
    """A small preview of a second first, then the film; and a cover picture in either place."""
    for name, cover in (("tracks.mkv", False), ("tracks.mp4", False), ("cover.mp4", True)):
        path = tmp_path / name
        with av.open(str(short_clip)) as reader, av.open(str(path), "w") as writer:
            preview = writer.add_stream("mjpeg" if cover else "libx264", rate=25)
            film = writer.add_stream_from_template(reader.streams.video[0])
            preview.width, preview.height = (1280, 720)
            preview.pix_fmt = "yuvj420p" if cover else "yuv420p"
            if cover:
                preview.disposition = av.stream.Disposition.attached_pic
            for index in range(1 if cover else 10):
                picture = av.VideoFrame(1280, 720, preview.pix_fmt)
                picture.pts = index
                writer.mux(preview.encode(picture))
            writer.mux(preview.encode())
            for packet in reader.demux(video=0):
                if packet.dts is not None:
                    packet.stream = film
                    writer.mux(packet)
        frames = list(FileSource(cam(path)).frames(Event()))
        assert len(frames) == 50 and frames[0].image.shape == (360, 640, 3), name


def test_a_realtime_setting_leaves_a_stream_as_it_is(short_clip: Path) -> None:
    with RtspServer(Movie(short_clip), loop=True) as server:
        source = open_source(cam(server.url, realtime=True))
        frames = source.frames(Event())
        next(frames)
        assert source.live and source.reconnectable
        frames.close()  # type: ignore[attr-defined]
        sleep(0)
