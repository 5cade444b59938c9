"""What the packets held for video of visits cost, while nothing is cut and while a clip is.

    python -m benchmarks.console.visit_video CLIP.mp4          # an H.264 clip, played again and again

Packets go through the recorder of one camera as fast as possible; ``cores`` is the processor time per second of
video. The reader alone, without a recorder, is measured in turn.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from time import process_time
from typing import Any

import av

from benchmarks.host_info import cpu
from facegate.pipeline.recording.clips import MAX_RING_BYTES, RING_S, ClipRecorder
from facegate.store.records import VisitClip

ROUNDS, REPEATS = 5, 20


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    path = parser.parse_args().clip
    with av.open(path) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        fps = float(stream.average_rate or 25)
        spent: dict[str, list[float]] = {"nothing is cut": [], "a clip every 10 s": []}
        sizes: list[int] = []
        for _ in range(ROUNDS):
            for what, times in spent.items():
                times.append(_play(packets, fps, sizes if what != "nothing is cut" else None))
    bytes_per_s = sum(packet.size for packet in packets) / (len(packets) / fps)
    report: dict[str, Any] = {
        "processor": cpu(),
        "stream": f"{fps:g} fps, {8 * bytes_per_s / 1e6:.2f} Mbit/s",
        "cores": {what: round(statistics.median(times), 6) for what, times in spent.items()},
        "clip_bytes": round(statistics.mean(sizes)),
        "memory_bytes": min(MAX_RING_BYTES, round(RING_S * bytes_per_s)),
        "memory_bound_bytes": MAX_RING_BYTES,
    }
    print(json.dumps(report, indent=2))


def _play(packets: list[Any], fps: float, sizes: list[int] | None) -> float:
    """Processor seconds per second of video."""

    def take(clip: VisitClip) -> None:
        assert sizes is not None
        sizes.append(len(clip.mp4))

    recorder = ClipRecorder("door", 3.0, take)
    started, number = process_time(), 0
    for _ in range(REPEATS):
        for packet in packets:
            at_s = number / fps
            recorder.packet(packet, at_s)
            number += 1
            if sizes is not None and number % round(10 * fps) == 0:
                recorder.begin(f"run/door/{number}", at_s)
    spent = process_time() - started
    if sizes is not None:
        recorder.end()
    return spent / (number / fps)


if __name__ == "__main__":
    main()
