"""A camera at rest is hardly decoded, and what then moves is seen at once."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.server import RtspServer
from facegate.pipeline.detection.scheduler import MAX_DISCOVERY_DELAY_S, DetectionMode, DetectionScheduler
from facegate.pipeline.records import Detection
from facegate.pipeline.sources.idle_decoding import (
    MAX_HELD_BYTES,
    MAX_HELD_PACKETS,
    WARM_UP_PACKETS,
    KeyframeOnlyMode,
    OnDemandMode,
    PacketAction,
)
from facegate.pipeline.sources.network import NetworkSource

from .fake_time import OwnTime
from .test_sources import AT_ONCE

FPS, KEY_EVERY, SECONDS, APPEARS_S = 25, 100, 11, 9.3
PLACE = (slice(60, 110), slice(200, 240))
SOMEBODY = Detection((200.0, 60.0, 240.0, 110.0), 0.99, np.full((5, 2), 80, np.float32))


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> Movie:
    """A corridor with a camera's noise; somebody stands in it from ``APPEARS_S`` on, far from any key frame."""
    path, rng = tmp_path_factory.mktemp("rest") / "corridor.mp4", np.random.default_rng(0)
    base = 100 + rng.normal(0, 15, (45, 80)).repeat(4, 0).repeat(4, 1)
    somebody = rng.integers(40, 220, (10, 8)).repeat(5, 0).repeat(5, 1)
    with av.open(str(path), "w") as container:
        options = {"preset": "veryfast", "g": str(KEY_EVERY), "sc_threshold": "0"}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        stream.codec_context.max_b_frames = 0
        for index in range(FPS * SECONDS):
            picture = base + rng.normal(0, 2, base.shape)
            if index >= FPS * APPEARS_S:
                picture[PLACE] = somebody
            gray = np.clip(picture, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(gray[:, :, None].repeat(3, 2), format="rgb24")))
        container.mux(stream.encode())
    return Movie(path)


def test_a_scene_at_rest_is_hardly_decoded_and_what_moves_is_looked_at_in_time(movie: Movie) -> None:
    attention, looks = DetectionScheduler(), dict[float, bool]()
    with RtspServer(movie, playback=AT_ONCE) as server:
        source = OwnTime(AT_ONCE).watch(server.url, lambda: attention.is_idle, max_fps=5.0)
        for frame in source.frames(Event()):
            pts_s, look = frame.ref.pts_s, attention.step(frame.image, frame.ref.pts_s)
            there = bool(np.abs(frame.image[PLACE].astype(int) - 100).mean() > 30)
            if look is not DetectionMode.SKIP:
                looks[pts_s] = there
            if look is not DetectionMode.SKIP:
                attention.update([SOMEBODY] * there, pts_s, searched=look is DetectionMode.SEARCH)
    assert source.packets_idle > 0.4 * FPS * SECONDS
    assert source.packets_skipped == 0
    first = min(pts_s for pts_s, somebody in looks.items() if somebody)
    assert first - APPEARS_S <= MAX_DISCOVERY_DELAY_S
    assert sum(pts_s > first for pts_s in looks) >= 0.9 * 5 * (SECONDS - first - 0.2), "then it is awake"


@given(
    sizes=st.lists(st.integers(900, 1100), min_size=WARM_UP_PACKETS, max_size=WARM_UP_PACKETS + MAX_HELD_PACKETS),
    jump=st.integers(2000, 100_000),
    since=st.integers(0, WARM_UP_PACKETS),
)
def test_every_packet_that_is_not_decoded_comes_before_a_key_frame(sizes: list[int], jump: int, since: int) -> None:
    rest, undecoded = KeyframeOnlyMode(), 0
    for size in sizes:
        how = rest.step(size, key=False, is_idle=True)
        undecoded = undecoded + 1 if how is PacketAction.HOLD else 0
        assert undecoded <= MAX_HELD_PACKETS
    assert rest.step(jump, key=False, is_idle=True) is PacketAction.DECODE, "what stands out is decoded"
    for size in sizes[:since]:
        assert rest.step(size, key=False, is_idle=False) is PacketAction.DECODE, "awake, all is"
    assert rest.step(20_000, key=True, is_idle=True) is PacketAction.DECODE_KEYFRAME


def test_what_would_take_long_to_decode_is_not_held_for_long() -> None:
    rest = KeyframeOnlyMode()
    for _ in range(100):
        rest.record_decoded(0.03, 1)
    decided = [rest.step(1000, key=False, is_idle=True) for _ in range(WARM_UP_PACKETS + 90)]
    runs = "".join("h" if how is PacketAction.HOLD else " " for how in decided[WARM_UP_PACKETS:]).split()
    assert max(map(len, runs)) <= 8 and len(runs) > 5


@given(
    packets=st.lists(
        st.tuples(
            st.sampled_from([0, 0, 0, 0, 1]), st.booleans(), st.sampled_from([900, 90_000, MAX_HELD_BYTES // 3])
        ),
        max_size=400,
    )
)
def test_on_demand_whatever_is_decoded_follows_a_key_frame_without_a_gap(
    packets: list[tuple[int, bool, int]],
) -> None:
    mode, held, decoded = OnDemandMode(), list[int](), list[int]()
    keys = {index for index, (key, _, _) in enumerate(packets) if key}
    for index, (key, is_idle, size) in enumerate(packets):
        action = mode.step(size, key=bool(key), is_idle=is_idle)
        if action in (PacketAction.HOLD_KEYFRAME, PacketAction.DROP):
            held.clear()
        if action in (PacketAction.HOLD, PacketAction.HOLD_KEYFRAME):
            held.append(index)
            assert is_idle and len(held) <= MAX_HELD_PACKETS
            assert sum(packets[each][2] for each in held) <= MAX_HELD_BYTES
        elif action in (PacketAction.DECODE, PacketAction.DECODE_KEYFRAME):
            assert not is_idle or not decoded, "idle, only the first key frame"
            decoded += [*held, index]
            mode.record_decoded(0.0, pictures=1)
            held.clear()
    assert all(index in keys or index - 1 in decoded for index in decoded)


KINDS = {
    "periodic intra refresh": ("libx264", {"x264-params": "intra-refresh=1:keyint=25:bframes=0:scenecut=0"}),
    "open groups with B pictures": ("libx264", {"x264-params": "open-gop=1:keyint=25:bframes=3:scenecut=0"}),
    "closed groups with B pictures": ("libx264", {"x264-params": "keyint=25:bframes=3:scenecut=0"}),
    "H.265, open groups": ("libx265", {"x265-params": "log-level=none:open-gop=1:keyint=25:bframes=3:scenecut=0"}),
    "no B pictures": ("libx264", {"x264-params": "keyint=25:bframes=0:scenecut=0"}),
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Movie]:
    """Ten seconds in which the number of the picture is its gray."""
    path = tmp_path_factory.mktemp("kind") / "kind.mp4"
    codec, options = KINDS[request.param]
    noise = np.random.default_rng(1).normal(0, 3, (180, 320, 1))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"preset": "medium", "crf": "20", **options})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for index in range(250):
            picture = np.broadcast_to(40 + index * 0.7 + noise, (180, 320, 3))
            frame = av.VideoFrame.from_ndarray(np.clip(picture, 0, 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return request.param, Movie(path)


def seen(
    movie: Movie, is_idle: Callable[[], bool], **settings: object
) -> tuple[NetworkSource, list[tuple[float, float]]]:
    """The source, and time and gray of its frames, which must be of one picture each."""
    with RtspServer(movie, playback=AT_ONCE) as server:
        source = OwnTime(AT_ONCE).watch(server.url, is_idle, **settings)
        frames = list(source.frames(Event()))
    columns = [frame.image.mean(axis=(0, 2)).std() for frame in frames]
    assert max(columns) < 2, "a part of an older picture is darker"
    return source, [(frame.ref.pts_s, float(frame.image.mean())) for frame in frames]


def test_an_idle_camera_shows_whole_pictures_in_order_at_least_once_per_key_frame(kind: tuple[str, Movie]) -> None:
    name, movie = kind
    source, frames = seen(movie, lambda: True)
    times, grays = np.array(frames).T
    assert (np.diff(grays) > 0).all() and np.diff(grays).max() < 2.5 * 25 * 0.7, "in order, none long awaited"
    assert np.abs(grays - grays[0] - 0.7 * 25 * times).max() < 4, "at their times"
    if name != "periodic intra refresh":
        assert source.packets_idle > 20, "little, as pictures before and after differ in size"


def test_what_wakes_a_camera_is_seen_whole_from_then_on(kind: tuple[str, Movie]) -> None:
    _, movie = kind
    number = 0

    def is_idle() -> bool:
        nonlocal number
        number += 1
        return number < 300  # it is asked twice for a packet

    _, frames = seen(movie, is_idle)
    late = [gray for _, gray in frames if gray > 40 + 0.7 * 170]
    assert len(late) >= 70 and (np.diff(late) > 0).all()
