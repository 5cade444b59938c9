"""Cameras whose clocks and rates are wrong, from a server that is wrong in that way: no look is lost to it.

Time is the tests' own, so that a slow machine gives the same figures as a quick one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.server import RtspServer
from facegate.pipeline.records import Detection, Face, FrameRef
from facegate.pipeline.tracking.bytetrack import FaceTracker

from ...camera_faults import Faults, wrong_clocks
from ...helpers import transcode
from .fake_time import OwnTime, on_time

LOOKS_PER_S, JOINING_S, SECONDS = 5.0, 2.0, 7.0
KINDS = {"good": Faults(), "delivers a fifth of what it stamps": Faults(slow=5.0), **wrong_clocks(3.0)}
HALT_S = 0.7
DELAYS_S = np.minimum(np.random.default_rng(0).exponential(0.02, 1000), 0.2)


def jitter(number: int) -> float:
    """Packets that come up to a fifth of a second late."""
    return float(DELAYS_S[number])


def halt(number: int) -> float:
    """A machine that stops for a while."""
    return HALT_S if number == 100 else 0.0


@pytest.fixture(scope="module")
def movie(short_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Movie:
    """Two seconds with one key frame, looped: what is lost in a group of pictures stays lost."""
    path = tmp_path_factory.mktemp("gop") / "long-gop.mp4"
    return Movie(transcode(short_clip, path, size=(320, 180), g="100"))


def watched(movie: Movie, time: OwnTime, faults: Faults) -> tuple[list[FrameRef], int]:
    """What a camera at five looks a second gives, and how many packets it leaves undecoded."""
    stop, refs = Event(), list[FrameRef]()
    with RtspServer(movie, loop=True, playback=replace(faults, at_once=True)) as server:
        source = time.watch(server.url, max_fps=LOOKS_PER_S)
        for frame in source.frames(stop):
            refs.append(frame.ref)
            if frame.ref.received_s - refs[0].received_s > JOINING_S + SECONDS:
                stop.set()
        return refs, source.packets_skipped


def tracks(refs: list[FrameRef]) -> set[int | None]:
    """The tracks of somebody who sits still in front of the camera."""
    tracker = FaceTracker(lost_s=1.0, high_confidence=0.7, min_iou=0.1)
    sitting = Detection((100.0, 60.0, 160.0, 130.0), 0.95, np.zeros((5, 2), np.float32))
    crop = np.zeros((112, 112, 3), np.uint8)
    ids = [tracker.step([Face(str(ref.seq), ref, sitting, crop)], ref.pts_s)[0][0] for ref in refs]
    return set(ids[1:])


@pytest.mark.parametrize("late_s", [on_time, jitter, halt])
@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_clock_costs_no_look_and_no_picture(
    kind: str, late_s: Callable[[int], float], movie: Movie
) -> None:
    faults = KINDS[kind]
    refs, not_decoded = watched(movie, OwnTime(faults, movie.frame_s, late_s), faults)
    media = np.array([ref.pts_s for ref in refs])
    received = np.array([ref.received_s for ref in refs])
    looks = int((received - received[0] > JOINING_S).sum())
    assert not_decoded == 0
    assert (np.diff(media) > 0).all()
    sends = min(LOOKS_PER_S, 1 / (faults.slow * movie.frame_s))
    halted_s = HALT_S if late_s is halt else 0.0
    assert looks >= 0.9 * sends * (SECONDS - halted_s)
    assert np.abs((media - media[0]) - (received - received[0])).max() < 0.5 + halted_s
    assert max(ref.behind_s for ref in refs) < 0.3 + halted_s
    assert len(tracks(refs)) <= 2


def test_a_stall_that_bursts_is_caught_up_with_and_its_age_is_told(movie: Movie) -> None:
    stop, refs = Event(), list[FrameRef]()
    faults = Faults(hold_at_s=2.0, hold_for_s=2.5, at_once=True)
    with RtspServer(movie, loop=True, playback=faults) as server:
        for frame in OwnTime(faults, movie.frame_s).watch(server.url, timeout_s=5.0).frames(stop):
            refs.append(frame.ref)
            if frame.ref.pts_s > 8.5:
                stop.set()
    received = np.array([ref.received_s for ref in refs])
    at = int(np.diff(received).argmax()) + 1
    assert max(ref.behind_s for ref in refs[at : at + 40]) > 1.0, "what was held back is old"
    late = [ref for ref in refs[at:] if ref.received_s > received[at] + 3.0]
    assert max(ref.behind_s for ref in late) < 0.3
    assert np.abs(np.diff([ref.pts_s for ref in refs]) - 0.04).max() < 0.3, "media time shows no stall"


def test_a_decoder_that_was_too_slow_catches_up_by_leaving_pictures_out(movie: Movie) -> None:
    """Each picture takes three times as long as it shows, for the first seconds."""
    stop, refs, faults = Event(), list[FrameRef](), Faults(at_once=True)
    time = OwnTime(faults, movie.frame_s)
    with RtspServer(movie, loop=True, playback=faults) as server:
        source = time.watch(server.url)
        for frame in source.frames(stop):
            refs.append(frame.ref)
            if frame.ref.pts_s < 3.5:
                time.now_s += 0.12
            if frame.ref.pts_s > 8.5:
                stop.set()
    assert max(ref.behind_s for ref in refs) < 4.5, "it does not fall behind without bound"
    assert source.packets_skipped > 0
    end = next(ref.received_s for ref in refs if ref.pts_s >= 3.5)
    assert max(ref.behind_s for ref in refs if ref.received_s > end + 3.0) < 0.3
