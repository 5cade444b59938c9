"""Sends a movie as RTP (RFC 3550) in real time, with configurable faults."""

from __future__ import annotations

import random
import secrets
import struct
from collections.abc import Callable, Sequence
from threading import Event
from time import monotonic, time

import msgspec

from facegate.demo.rtsp.movie import Movie

CLOCK_HZ = 90_000
NTP_EPOCH_S = 2_208_988_800
"""Seconds from 1900 to 1970."""
PAYLOAD_TYPE = 96
STRAY_S = 5 * 3600.0


class Faults(msgspec.Struct, frozen=True):
    """Faults of the server, for tests; times are seconds since PLAY."""

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

    def due_s(self, pts_s: float) -> float:
        """Return when a frame is sent, in seconds since PLAY."""
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


class Player:
    """Plays to one client."""

    def __init__(
        self, movies: Sequence[Movie], faults: Faults, loop: bool, send: Callable[[int, list[bytes]], None]
    ) -> None:
        """Prepare.

        Args:
            movies: one after the other.
            faults: what goes wrong.
            loop: start again at the end.
            send: takes a channel (0 for RTP, 1 for RTCP) and packets.
        """
        self._movies = movies
        self._faults = faults
        self._loop = loop
        self._send = send
        self._random = random.Random(faults.seed)
        self._ssrc = secrets.randbits(32)
        self.seq = 0
        # Random as RFC 3550 asks, and never zero, which FFmpeg takes for "not known yet".
        self.first_timestamp = 1 + secrets.randbits(31)

    def play(self, done: Event) -> bool:
        """Send everything on time, until the end or ``done``; return whether the end was reached."""
        self._send_report()
        ended = self._play_all(done)
        if ended:
            self._send_bye()
        return ended

    def _play_all(self, done: Event) -> bool:
        faults, start, offset, index = self._faults, monotonic(), 0.0, 0
        while True:
            for movie in self._movies:
                for unit in movie.units[faults.late_key and not index :]:
                    pts_s = offset + unit.pts_s
                    if faults.stall_at_s is not None and pts_s >= faults.stall_at_s:
                        done.wait()
                        return False
                    wait_s = 0.0 if faults.at_once else start + faults.due_s(pts_s) - monotonic()
                    if done.wait(max(0.0, wait_s)):
                        return False
                    corrupt = faults.corrupt if pts_s >= faults.corrupt_at_s else 0.0
                    self._send_unit(movie.payloads(unit), faults.stamp_s(pts_s, index), corrupt)
                    index += 1
                offset += movie.duration_s
            if not self._loop:
                return True

    def _send_unit(self, payloads: list[bytes], stamp_s: float, corrupt: float) -> None:
        timestamp = (self.first_timestamp + round(stamp_s * CLOCK_HZ)) & 0xFFFFFFFF
        packets = []
        for index, payload in enumerate(payloads):
            if corrupt and self._random.random() < corrupt:
                payload = self._random.randbytes(len(payload))
            marker = 0x80 if index == len(payloads) - 1 else 0
            header = struct.pack("!BBHII", 0x80, marker | PAYLOAD_TYPE, self.seq, timestamp, self._ssrc)
            packets.append(header + payload)
            self.seq = (self.seq + 1) & 0xFFFF
        self._send(0, packets)

    def _send_report(self) -> None:
        """Send the sender report that maps RTP timestamps to wall-clock time."""
        seconds, fraction = divmod(time() + NTP_EPOCH_S, 1)
        stamp = struct.pack("!III", int(seconds), int(fraction * 2**32), self.first_timestamp)
        self._send(1, [struct.pack("!BBHI", 0x80, 200, 6, self._ssrc) + stamp + struct.pack("!II", 0, 0)])

    def _send_bye(self) -> None:
        report = struct.pack("!BBHI", 0x80, 201, 1, self._ssrc)
        self._send(1, [report + struct.pack("!BBHI", 0x81, 203, 1, self._ssrc)])
