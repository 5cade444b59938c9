"""RTSP cameras that misbehave: damaged packets, stalls, wrong clocks. For tests and benchmarks."""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass

from facegate.demo.rtsp import server
from facegate.demo.rtsp.player import Playback

STRAY_S = 5 * 3600.0


@dataclass(frozen=True)
class Faults(Playback):
    """Faults of a camera; times are seconds since PLAY."""

    corrupt: float = 0.0
    """Share of packets whose payload is replaced by noise (0..1), ..."""
    corrupt_at_s: float = 0.0
    """... from here on."""
    stall_at_s: float | None = None
    """From here on nothing is sent; the connection stays open."""
    hold_at_s: float | None = None
    hold_for_s: float = 3.0
    """Nothing is sent for this many seconds; then everything overdue is sent at once."""
    slow: float = 1.0
    """Play this many times slower than real time, with unchanged timestamps."""
    stamp_rate: float = 1.0
    """Timestamps run this many times as fast as real time; frames are sent on time."""
    jump_at_s: float | None = None
    jump_by_s: float = 3600.0
    """Timestamps jump by this much, once."""
    return_at_s: float | None = None
    """From here on the timestamps are correct again."""
    still_at_s: float | None = None
    """From here on (to ``return_at_s``) every frame has the same timestamp."""
    stray_every: int = 0
    """Every n-th frame has a timestamp hours away; 0 for none."""
    bare_sdp: bool = False
    """The session description lacks the parameter sets."""
    at_once: bool = False
    """Send everything as fast as the client reads."""
    late_key: bool = False
    """Play from the second frame on: nothing can be decoded before the next key frame."""
    seed: int = 0

    @property
    def first_frame(self) -> int:  # type: ignore[override]
        return int(self.late_key)

    def due_s(self, pts_s: float) -> float | None:
        if self.stall_at_s is not None and pts_s >= self.stall_at_s:
            return None
        if self.at_once:
            return 0.0
        due_s = pts_s * self.slow
        held = self.hold_at_s is not None and due_s >= self.hold_at_s
        return max(due_s, (self.hold_at_s or 0.0) + self.hold_for_s) if held else due_s

    def stamp_s(self, pts_s: float, index: int) -> float:
        """Return the timestamp of frame ``index`` with media time ``pts_s``, seconds."""
        returned = self.return_at_s is not None and pts_s >= self.return_at_s
        if self.stray_every and index % self.stray_every == self.stray_every - 1:
            return pts_s + STRAY_S * (1 if index // self.stray_every % 2 else -1)
        if self.jump_at_s is not None and pts_s >= self.jump_at_s and not returned:
            return pts_s * self.stamp_rate + self.jump_by_s
        if self.still_at_s is not None and pts_s >= self.still_at_s and not returned:
            return self.still_at_s * self.stamp_rate
        return pts_s * self.stamp_rate

    def payload(self, payload: bytes, pts_s: float, seq: int) -> bytes:
        chance = random.Random(self.seed << 16 | seq)
        damaged = self.corrupt and pts_s >= self.corrupt_at_s and chance.random() < self.corrupt
        return chance.randbytes(len(payload)) if damaged else payload

    def sdp_parameters(self, parameters: str) -> str:
        return "" if self.bare_sdp else parameters


def wrong_clocks(at_s: float) -> dict[str, Faults]:
    """Clock faults reported of real cameras and recorders; single events happen at ``at_s``."""
    return {
        "stamps 25, delivers 20.8 fps": Faults(slow=25 / 20.8),
        "clock at half speed": Faults(stamp_rate=0.5),
        "clock twice too fast": Faults(stamp_rate=2.0),
        "clock fifty times too fast": Faults(stamp_rate=50.0),
        "steps back by 3 s": Faults(jump_at_s=at_s, jump_by_s=-3.0),
        "steps forward by 3 s": Faults(jump_at_s=at_s, jump_by_s=3.0),
        "steps back by an hour": Faults(jump_at_s=at_s, jump_by_s=-3600.0),
        "steps forward by an hour": Faults(jump_at_s=at_s, jump_by_s=3600.0),
        "rewinds 8 s and returns": Faults(jump_at_s=at_s, jump_by_s=-8.0, return_at_s=at_s + 3),
        "stops": Faults(still_at_s=at_s),
        "stops and returns": Faults(still_at_s=at_s, return_at_s=at_s + 4),
        "every 7th frame of another day": Faults(stray_every=7),
    }


def main() -> None:
    """As ``facegate.demo.rtsp.server``, with faults."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--stall-at", type=float, metavar="SECONDS", help="Send nothing after SECONDS of playback.")
    parser.add_argument("--corrupt", type=float, default=0.0, help="Share of packets replaced by noise, 0 to 1.")
    faults, others = parser.parse_known_args()
    server.main(others, Faults(stall_at_s=faults.stall_at, corrupt=faults.corrupt))


if __name__ == "__main__":
    main()
