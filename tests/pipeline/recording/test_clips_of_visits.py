"""Seconds of video around a visit, cut from packets as they come."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import av
import pytest

from facegate.demo.clip import DemoClip
from facegate.pipeline.recording import clips
from facegate.pipeline.recording.clips import ClipRecorder
from facegate.store.records import VisitClip


def packets(path: Path) -> list[tuple[Any, float]]:
    """Packets of a clip, with arrival times of a live stream; the container stays open as long as one of them."""
    container = av.open(path)
    stream = container.streams.video[0]
    return [(packet, float(packet.dts * packet.time_base)) for packet in container.demux(stream) if packet.size]


def frames(clip: VisitClip) -> list[float]:
    with av.open(BytesIO(clip.mp4)) as container:
        return [frame.time for frame in container.decode(video=0) if frame.time is not None]


def cut(path: Path, clip_s: float, *visits: tuple[str, float], late_s: float = 0.5) -> dict[str, VisitClip]:
    """Clips of visits, each asked for a while after its time."""
    found: list[VisitClip] = []
    recorder = ClipRecorder("door", clip_s, found.append)
    waiting = sorted(visits, key=lambda visit: visit[1])
    for packet, arrived_s in packets(path):
        recorder.packet(packet, arrived_s)
        while waiting and arrived_s >= waiting[0][1] + late_s:
            recorder.begin(*waiting.pop(0))
    recorder.end()
    return {clip.visit: clip for clip in found}


def test_a_clip_begins_with_the_key_picture_before_what_was_asked_for_and_plays(clip: DemoClip) -> None:
    found = cut(clip.path, 2.0, ("run/door/1", 5.0), ("run/door/2", 5.4))
    assert found.keys() == {"run/door/1", "run/door/2"}
    for each in found.values():
        shown = frames(each)
        assert each.camera == "door" and each.codec == "h264"
        # Everything from 2 s before to 2 s after is there, and nothing is encoded again.
        assert shown[0] == 0.0 and shown[-1] >= each.offset_s + 3.9 and each.seconds < 4.1 + each.offset_s
    assert found["run/door/1"].mp4[4:8] == b"ftyp" and b"moof" in found["run/door/1"].mp4


def test_what_is_held_is_bounded_by_time_and_bytes(clip: DemoClip, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = ClipRecorder("door", 2.0, lambda clip: None)
    for packet, arrived_s in packets(clip.path):
        recorder.packet(packet, arrived_s)
    held = list(recorder._ring)
    assert held[-1].arrived_s - held[0].arrived_s <= clips.RING_S
    monkeypatch.setattr(clips, "MAX_RING_BYTES", 100_000)
    for packet, arrived_s in packets(clip.path):
        recorder.packet(packet, 100 + arrived_s)
    assert sum(each.packet.size for each in recorder._ring) == recorder._bytes <= 100_000
    recorder.end()
    assert not recorder._ring and recorder._bytes == 0


def test_a_clip_of_a_camera_that_is_lost_ends_early(clip: DemoClip) -> None:
    (found,) = cut(clip.path, 4.0, ("run/door/1", 11.0)).values()
    assert 4.0 < found.seconds < 8.0 and frames(found)
