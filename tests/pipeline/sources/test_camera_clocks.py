"""Cameras whose clocks and rates are wrong, from a server that is wrong in that way: no look is lost to it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from time import monotonic

import numpy as np
import pytest

from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.player import Faults, wrong_clocks
from facegate.demo.rtsp.server import RtspServer
from facegate.pipeline.records import Detection, Face, FrameRef
from facegate.pipeline.seeing.tracking import FaceTracker
from facegate.pipeline.sources.network import NetworkSource

from ...helpers import transcode
from .test_sources import cam

LOOKS_PER_S, JOINING_S, SECONDS = 5.0, 2.0, 7.0
KINDS = {"good": Faults(), "delivers a fifth of what it stamps": Faults(slow=5.0), **wrong_clocks(3.0)}


@pytest.fixture(scope="module")
def movie(short_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Movie:
    """Two seconds with one key frame, looped: what is lost in a group of pictures stays lost."""
    path = tmp_path_factory.mktemp("gop") / "long-gop.mp4"
    return Movie(transcode(short_clip, path, size=(320, 180), g="100"))


def watched(movie: Movie, faults: Faults) -> tuple[list[FrameRef], int]:
    """What a camera at five looks a second gives, and how many packets it leaves undecoded."""
    stop, refs = Event(), []
    with RtspServer(movie, loop=True, faults=faults) as server:
        source = NetworkSource(cam(server.url, max_fps=LOOKS_PER_S))
        for frame in source.frames(stop):
            refs.append(frame.ref)
            if monotonic() - refs[0].received_s > JOINING_S + SECONDS:
                stop.set()
        return refs, source.not_decoded


def tracks(refs: list[FrameRef]) -> set[int | None]:
    """The tracks of somebody who sits still in front of the camera."""
    tracker = FaceTracker(lost_s=1.0, high_confidence=0.7, min_iou=0.1)
    sitting = Detection((100.0, 60.0, 160.0, 130.0), 0.95, np.zeros((5, 2), np.float32))
    crop = np.zeros((112, 112, 3), np.uint8)
    ids = [tracker.step([Face(str(ref.seq), ref, sitting, crop)], ref.pts_s)[0][0] for ref in refs]
    return set(ids[1:])


def test_a_wrong_clock_costs_no_look_and_no_picture(movie: Movie) -> None:
    with ThreadPoolExecutor(len(KINDS)) as executor:
        results = dict(zip(KINDS, executor.map(lambda faults: watched(movie, faults), KINDS.values()), strict=True))
    good = results["good"][0]
    good = [ref for ref in good if ref.received_s - good[0].received_s > JOINING_S]
    assert len(good) >= 0.95 * LOOKS_PER_S * SECONDS
    for kind, (refs, not_decoded) in results.items():
        media = np.array([ref.pts_s for ref in refs])
        received = np.array([ref.received_s for ref in refs])
        looks = int((received - received[0] > JOINING_S).sum())
        assert not_decoded == 0, kind
        assert looks >= 0.9 * len(good), (kind, looks, len(good))
        assert (np.diff(media) > 0).all(), kind
        assert np.abs((media - media[0]) - (received - received[0])).max() < 1.5, kind  # beside other tests
        assert max(ref.behind_s for ref in refs[3:]) < 0.5, kind
        assert len(tracks(refs)) <= len(tracks(results["good"][0])) + 1, kind


def test_a_stall_that_bursts_is_caught_up_with_and_its_age_is_told(movie: Movie) -> None:
    stop, refs = Event(), []
    with RtspServer(movie, loop=True, faults=Faults(hold_at_s=2.0, hold_for_s=2.5)) as server:
        for frame in NetworkSource(cam(server.url, timeout_s=5.0)).frames(stop):
            refs.append(frame.ref)
            if frame.ref.pts_s > 8.5:
                stop.set()
    received = np.array([ref.received_s for ref in refs])
    at = int(np.diff(received).argmax()) + 1
    assert max(ref.behind_s for ref in refs[at : at + 40]) > 1.0, "what was held back is old"
    late = [ref for ref in refs[at:] if ref.received_s > received[at] + 3.0]
    assert max(ref.behind_s for ref in late) < 0.3
    assert np.abs(np.diff([ref.pts_s for ref in refs]) - 0.04).max() < 0.3, "media time shows no stall"


class Slow:
    """A consumer that takes too long for each of its camera's frames at first."""

    def __init__(self, seconds: float, until_s: float) -> None:
        self._seconds, self._until_s = seconds, until_s

    def look(self, stop: Event, ref: FrameRef) -> None:
        if ref.pts_s < self._until_s:
            stop.wait(self._seconds)


def test_a_decoder_that_was_too_slow_catches_up_by_leaving_pictures_out(movie: Movie) -> None:
    stop, hold, refs = Event(), Event(), []
    slow = Slow(0.12, until_s=3.5)
    with RtspServer(movie, loop=True) as server:
        source = NetworkSource(cam(server.url))
        for frame in source.frames(stop):
            refs.append(frame.ref)
            slow.look(hold, frame.ref)
            if frame.ref.pts_s > 8.5:
                stop.set()
    assert max(ref.behind_s for ref in refs) < 4.5, "it does not fall behind without bound"
    assert source.not_decoded > 0
    end = next(ref.received_s for ref in refs if ref.pts_s >= 3.5)
    assert max(ref.behind_s for ref in refs if ref.received_s > end + 3.0) < 0.3
