"""Servers and devices of others: aio-rtsp-toolkit, rtsp-rs, Node's rtsp-streaming-server, ipycam, go2rtc.

Each says what is missing where it cannot run. ``GO2RTC=`` names go2rtc's binary; ``RTSP_STREAMING_SERVER=`` the
folder in which ``npm install rtsp-streaming-server`` was called.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread

import av
import pytest

from facegate.demo.clip import DemoClip
from facegate.pipeline.discovery.finder import discover
from facegate.pipeline.records import Frame
from facegate.pipeline.sources.network import NetworkSource

from ..helpers import free_port, wait_until
from ..pipeline.sources.test_sources import cam

FOLDER = Path(__file__).parent
NODE = (
    "const Server = require('rtsp-streaming-server').default;"
    "const [serverPort, clientPort] = process.argv.slice(1).map(Number);"
    "new Server({serverPort, clientPort, rtpPortStart: 20000, rtpPortCount: 100}).start();"
)


def need(module: str, package: str) -> None:
    if find_spec(module) is None:
        pytest.skip(f"{package} is not installed: pip install {package}")


@contextmanager
def child(*command: object, **options: object) -> Iterator[None]:
    started = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, **options)  # type: ignore[call-overload]
    try:
        yield
    finally:
        started.kill()
        started.wait()


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def some_frames(url: str, count: int = 10, **settings: object) -> tuple[NetworkSource, list[Frame]]:
    """The source, and its first frames; until the server has the stream, it is asked again."""
    source, frames = NetworkSource(cam(url, timeout_s=10.0, **settings)), list[Frame]()

    def begins() -> bool:
        with contextlib.suppress(Exception):
            watching = source.frames(Event())
            for frame in watching:
                frames.append(frame)
                if len(frames) == count:
                    watching.close()  # type: ignore[attr-defined]
                    return True
            frames.clear()
        return False

    wait_until(begins, f"frames of {url}", every_s=0.5)
    print(f"\n{url}: {source.info()}")
    return source, frames


def test_aio_rtsp_toolkits_server_which_offers_tcp_alone(clip: DemoClip) -> None:
    need("aio_rtsp_toolkit", "aio-rtsp-toolkit[server]")
    port = free_port()
    serve = "import sys, server_demo; server_demo.main()"
    options = ["-d", clip.path.parent, "-H", "127.0.0.1", "-p", port, "-cp", free_port()]
    with child(sys.executable, "-c", serve, *options):
        wait_until(lambda: listens(port))
        source, frames = some_frames(f"rtsp://127.0.0.1:{port}/{clip.path.name}")
    assert source.info().transport == "tcp" and frames[0].ref.width == 640


def test_rtsp_rs_which_offers_udp_alone(clip: DemoClip) -> None:
    need("rtsp", "rtsp-rs")
    port = free_port()
    with child(sys.executable, FOLDER / "rtsp_rs_server.py", clip.path, f"127.0.0.1:{port}"):
        wait_until(lambda: listens(port))
        source, frames = some_frames(f"rtsp://127.0.0.1:{port}/stream")
    assert source.info().transport == "udp" and frames[0].ref.width == 640


def test_rtsp_streaming_server_of_node(clip: DemoClip) -> None:
    where = os.environ.get("RTSP_STREAMING_SERVER")
    if shutil.which("node") is None or where is None:
        pytest.skip("rtsp-streaming-server is not installed: npm install it, RTSP_STREAMING_SERVER=FOLDER")
    publish, watch = free_port(), free_port()
    with child("node", "-e", NODE, publish, watch, cwd=where):
        wait_until(lambda: listens(publish) and listens(watch))
        done = Event()
        publisher = Thread(target=published, args=(clip.path, f"rtsp://127.0.0.1:{publish}/door", done, "udp"))
        publisher.start()
        try:
            _, frames = some_frames(f"rtsp://127.0.0.1:{watch}/door")
        finally:
            done.set()
            publisher.join()
    assert frames[0].ref.width == 640


def published(path: Path, url: str, done: Event, transport: str = "tcp") -> None:
    """Publish a clip in real time, again and again."""
    with av.open(url, "w", format="rtsp", options={"rtsp_transport": transport}) as writer:
        stream, at = None, 0.0
        while not done.is_set():
            with av.open(str(path)) as reader:
                stream = stream or writer.add_stream_from_template(reader.streams.video[0])
                base_s = at
                for packet in reader.demux(video=0):
                    if packet.dts is None or packet.pts is None or done.is_set():
                        continue
                    assert packet.time_base is not None
                    at = base_s + float(packet.dts * packet.time_base) + 0.04
                    shift = round(base_s / packet.time_base)
                    packet.dts, packet.pts, packet.stream = packet.dts + shift, packet.pts + shift, stream
                    writer.mux(packet)
                    done.wait(0.04)


def test_ipycam_is_listed_with_its_streams() -> None:
    need("ipycam", "ipycam")
    onvif, login = free_port(), ("viewer", "s3cret-word")
    script = FOLDER / "ipycam_device.py"
    with child(sys.executable, script, onvif, free_port(), free_port(), *login):
        wait_until(lambda: listens(onvif))
        (found,) = discover([f"127.0.0.1:{onvif}"], login, 10.0, multicast=[])
        print(f"\n{found}")
        assert found.problem is None and found.main is not None and found.sub is not None
        assert found.serial and found.main.width > found.sub.width and (found.main.url or "").startswith("rtsp://")
        (refused,) = discover([f"127.0.0.1:{onvif}"], (login[0], "wrong"), 10.0, multicast=[])
        assert "rejected the credentials" in str(refused.problem)


@pytest.fixture
def go2rtc(clip: DemoClip, tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Its ports for HTTP and RTSP; its stream ``hall`` is published here."""
    binary = os.environ.get("GO2RTC")
    if binary is None:
        pytest.skip("no go2rtc: GO2RTC=/path/to/go2rtc make interop")
    api, rtsp = free_port(), free_port()
    settings = tmp_path / "go2rtc.yaml"
    settings.write_text(
        f"api: {{listen: '127.0.0.1:{api}'}}\nrtsp: {{listen: '127.0.0.1:{rtsp}'}}\nwebrtc: {{listen: ''}}\n"
        "streams: {hall: ''}\n"
    )
    with child(binary, "-config", settings):
        wait_until(lambda: listens(rtsp) and listens(api))
        done = Event()
        publisher = Thread(target=published, args=(clip.path, f"rtsp://127.0.0.1:{rtsp}/hall", done))
        publisher.start()
        try:
            yield api, rtsp
        finally:
            done.set()
            publisher.join()


@pytest.mark.parametrize("kind", ["rtsp", "udp", "stream.mp4", "stream.ts", "stream.m3u8"])
def test_go2rtc(kind: str, go2rtc: tuple[int, int]) -> None:
    api, rtsp = go2rtc
    over_rtsp = kind in ("rtsp", "udp")
    url = f"rtsp://127.0.0.1:{rtsp}/hall" if over_rtsp else f"http://127.0.0.1:{api}/api/{kind}?src=hall"
    source, frames = some_frames(url, transport="udp" if kind == "udp" else "auto")
    assert source.live and source.reconnectable and frames[0].ref.width == 640
