"""Cameras as somebody else's server plays them: H.264, H.265, MJPEG, with sound, and a server that is too slow."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import av
import numpy as np
import pytest

from facegate.demo.clip import DemoClip
from facegate.pipeline.records import FrameRef
from facegate.pipeline.sources.backlog import CAUGHT_UP_S
from facegate.pipeline.sources.network import NetworkSource

from ..helpers import Delays, transcode
from ..pipeline.sources.test_sources import cam

SYSTEM_PYTHON = "/usr/bin/python3"
PACKAGES = (
    "gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-good gstreamer1.0-plugins-bad "
    "gstreamer1.0-plugins-ugly gstreamer1.0-libav"
)
ASK = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    asked = [SYSTEM_PYTHON, "-c", ASK]
    if not Path(SYSTEM_PYTHON).exists() or subprocess.run(asked, capture_output=True, check=False).returncode:
        pytest.skip(f"GStreamer's RTSP server is not installed: apt-get install {PACKAGES}")


@contextmanager
def serving(pipeline: str) -> Iterator[str]:
    script = Path(__file__).with_name("gst_server.py")
    child = subprocess.Popen([SYSTEM_PYTHON, str(script), pipeline], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        yield f"rtsp://127.0.0.1:{child.stdout.readline().strip()}/live"
    finally:
        child.kill()
        child.wait()


def with_sound(source: Path, target: Path) -> Path:
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        video = writer.add_stream_from_template(reader.streams.video[0])
        sound = writer.add_stream("aac", rate=48_000, layout="mono")
        for packet in reader.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                writer.mux(packet)
        samples = np.zeros((1, 1024), np.float32)
        for index in range(12 * 48_000 // 1024):
            frame = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
            frame.sample_rate, frame.pts = 48_000, 1024 * index
            writer.mux(sound.encode(frame))
        writer.mux(sound.encode())
    return target


def played(kind: str, clip: Path, folder: Path) -> str:
    """The pipeline that plays the demo's clip in this way."""
    if kind == "H.264":
        return f"filesrc location={clip} ! qtdemux ! h264parse ! rtph264pay name=pay0 pt=96"
    if kind == "H.265":
        options = {"x265-params": "log-level=none:bframes=0"}
        path = transcode(clip, folder / "hevc.mp4", codec="libx265", size=(320, 180), **options)
        return f"filesrc location={path} ! qtdemux ! h265parse ! rtph265pay name=pay0 pt=96"
    if kind == "MJPEG":
        return (
            f"filesrc location={clip} ! qtdemux ! avdec_h264 ! videoconvert ! jpegenc ! rtpjpegpay name=pay0 pt=26"
        )
    both = with_sound(clip, folder / "both.mp4")
    return (
        f"filesrc location={both} ! qtdemux name=d d.video_0 ! queue ! h264parse ! rtph264pay name=pay0 pt=96 "
        "d.audio_0 ! queue ! aacparse ! rtpmp4gpay name=pay1 pt=97"
    )


@pytest.mark.parametrize("kind", ["H.264", "H.265", "MJPEG", "H.264 and sound"])
def test_a_stream_of_gstreamers_server_is_seen_whole(kind: str, clip: DemoClip, tmp_path: Path) -> None:
    with serving(played(kind, clip.path, tmp_path)) as url, Delays() as delays:
        source = NetworkSource(cam(url, timeout_s=10.0))
        refs = [frame.ref for frame in source.frames(Event())]
    media, received = (np.array([getattr(ref, name) for ref in refs]) for name in ("pts_s", "received_s"))
    print(f"\n{kind}: {len(refs)} of 300 frames, codec {source.info().codec}, undecoded {source.packets_skipped}")
    assert len(refs) + source.packets_skipped >= 290 and (
        source.packets_skipped == 0 or delays.worst_s > CAUGHT_UP_S
    )
    assert (np.diff(media) > 0).all()
    assert abs(media[-1] - (received[-1] - received[0])) < 1.0 + delays.worst_s


def test_a_server_that_encodes_too_slowly_costs_no_look_of_what_it_sends() -> None:
    """It stamps 25 frames a second and delivers what its encoder can."""
    pipeline = (
        "videotestsrc is-live=true pattern=ball ! video/x-raw,width=1280,height=720,framerate=25/1 ! "
        "x265enc speed-preset=slow key-int-max=100 ! h265parse ! rtph265pay name=pay0 pt=96"
    )
    stop, refs = Event(), list[FrameRef]()
    with serving(pipeline) as url, Delays() as delays:
        source = NetworkSource(cam(url, max_fps=5, timeout_s=20.0))
        for frame in source.frames(stop):
            refs.append(frame.ref)
            if frame.ref.received_s - refs[0].received_s > 16:
                stop.set()
    settled = [ref for ref in refs if ref.received_s - refs[0].received_s > 4]
    looks = (len(settled) - 1) / (settled[-1].received_s - settled[0].received_s)
    sent = 1 / np.median(np.diff([ref.received_s for ref in unlimited(pipeline)]))
    print(f"\nslow server: sends {sent:.1f} frames/s, {looks:.2f} looks/s, undecoded {source.packets_skipped}")
    assert source.packets_skipped == 0 or delays.worst_s > CAUGHT_UP_S
    assert max(ref.behind_s for ref in settled) < 1.0 + delays.worst_s
    assert looks > 0.9 * min(5.0, float(sent))


def unlimited(pipeline: str) -> list[FrameRef]:
    """What the server sends in eight seconds, once it is going."""
    stop, refs = Event(), list[FrameRef]()
    with serving(pipeline) as url:
        for frame in NetworkSource(cam(url, timeout_s=20.0)).frames(stop):
            refs.append(frame.ref)
            if frame.ref.received_s - refs[0].received_s > 8:
                stop.set()
    return [ref for ref in refs if ref.received_s - refs[0].received_s > 2]
