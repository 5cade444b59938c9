"""Lost cameras come back: as one stream, without leaks, and never at the cost of the others."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facegate.backoff import CAMERA_RETRY_S
from facegate.demo.clip import DemoClip
from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.server import RtspServer
from facegate.pipeline.cameras.reconnect import UNAUTHORIZED_RETRY_S, ReconnectDelay, TimestampStitcher
from facegate.pipeline.observability.report import CameraReport, CameraState
from facegate.pipeline.records import Frame, FrameRef

from ...helpers import free_port, wait_until
from ..life import config, running

RESTARTS = int(os.environ.get("FACEGATE_RESTARTS", "3"))


@given(st.text(max_size=5), st.lists(st.floats(0, 30), min_size=1, max_size=40))
def test_waits_grow_to_the_cap_and_begin_anew_after_a_steady_time(seed: str, lives: list[float]) -> None:
    backoff = ReconnectDelay(seed)
    waits = [backoff.wait_s(unauthorized=False, live_for_s=live) for live in lives]
    assert all(0 < wait <= CAMERA_RETRY_S[1] for wait in waits)
    assert backoff.wait_s(unauthorized=False, live_for_s=3600) <= 0.25
    assert backoff.wait_s(unauthorized=True, live_for_s=0) == UNAUTHORIZED_RETRY_S
    many = [ReconnectDelay(str(i)).wait_s(unauthorized=False, live_for_s=0) for i in range(20)]
    assert len(set(many)) > 15, "cameras do not knock together"


def test_numbers_and_times_go_on_over_a_reconnection() -> None:
    def frame(seq: int, pts_s: float, received_s: float) -> Frame:
        ref = FrameRef("cam", seq, pts_s, received_s, None, 4, 4)
        return Frame(ref, np.zeros((4, 4, 3), np.uint8))

    stream = TimestampStitcher()
    first = [stream.stitch(frame(i, 7 + i / 10, 100 + i / 10)).ref for i in range(3)]
    stream.reconnected()
    second = [stream.stitch(frame(i, i / 10, 105 + i / 10)).ref for i in range(3)]
    assert [ref.seq for ref in (*first, *second)] == [0, 1, 2, 3, 4, 5]
    assert second[0].pts_s - first[-1].pts_s == pytest.approx(4.8)
    assert second[1].pts_s - second[0].pts_s == pytest.approx(0.1)


def test_a_camera_comes_back_every_time_its_server_does_and_nothing_leaks(clip: DemoClip, tiny_model: Path) -> None:
    movie, port = Movie(clip.path), free_port()
    with running(config(f"rtsp://127.0.0.1:{port}/live", weights=tiny_model)) as runner:

        def camera() -> CameraReport:
            return runner.report().cameras[0]

        used: list[tuple[int, int]] = []
        for restart in range(RESTARTS + 1):
            with RtspServer(movie, loop=True, port=port):
                before = camera().frames_received
                wait_until(lambda before=before: camera().frames_received > before + 5)  # type: ignore[misc]
                assert camera().state is CameraState.LIVE and camera().problem is None
                used.append((threading.active_count(), sum(1 for _ in Path("/proc/self/fd").iterdir())))
            wait_until(lambda: camera().state is not CameraState.LIVE)
            assert camera().reconnects == restart
        assert used[-1][0] <= used[0][0] and used[-1][1] <= used[0][1], used
