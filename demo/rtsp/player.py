"""Sends a movie as RTP (RFC 3550) in real time."""

from __future__ import annotations

import secrets
import struct
from collections.abc import Callable, Sequence
from threading import Event
from time import monotonic, time

from facegate.demo.rtsp.movie import Movie

CLOCK_HZ = 90_000
NTP_EPOCH_S = 2_208_988_800
"""Seconds from 1900 to 1970."""
PAYLOAD_TYPE = 96


class Playback:
    """When each frame is sent, and as what: on time and undamaged. Tests derive cameras with faults from it."""

    first_frame = 0
    """Index of the first frame that is sent."""

    def due_s(self, pts_s: float) -> float | None:
        """Return when a frame is sent, in seconds since PLAY; ``None``: nothing is sent any longer."""
        return pts_s

    def stamp_s(self, pts_s: float, index: int) -> float:
        """Return the timestamp of frame ``index`` with media time ``pts_s``, seconds."""
        return pts_s

    def payload(self, payload: bytes, pts_s: float, seq: int) -> bytes:
        """Return what is sent as packet ``seq``."""
        return payload

    def sdp_parameters(self, parameters: str) -> str:
        """Return the codec parameters of the session description."""
        return parameters


class Player:
    """Plays to one client."""

    def __init__(
        self, movies: Sequence[Movie], playback: Playback, loop: bool, send: Callable[[int, list[bytes]], None]
    ) -> None:
        """Prepare.

        Args:
            movies: one after the other.
            playback: when each frame is sent, and as what.
            loop: start again at the end.
            send: takes a channel (0 for RTP, 1 for RTCP) and packets.
        """
        self._movies = movies
        self._playback = playback
        self._loop = loop
        self._send = send
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
        playback, start, offset, index = self._playback, monotonic(), 0.0, 0
        while True:
            for movie in self._movies:
                for unit in movie.units[0 if index else playback.first_frame :]:
                    pts_s = offset + unit.pts_s
                    due_s = playback.due_s(pts_s)
                    if done.wait(None if due_s is None else max(0.0, start + due_s - monotonic())):
                        return False
                    self._send_unit(movie.payloads(unit), pts_s, playback.stamp_s(pts_s, index))
                    index += 1
                offset += movie.duration_s
            if not self._loop:
                return True

    def _send_unit(self, payloads: list[bytes], pts_s: float, stamp_s: float) -> None:
        timestamp = (self.first_timestamp + round(stamp_s * CLOCK_HZ)) & 0xFFFFFFFF
        packets = []
        for index, payload in enumerate(payloads):
            marker = 0x80 if index == len(payloads) - 1 else 0
            header = struct.pack("!BBHII", 0x80, marker | PAYLOAD_TYPE, self.seq, timestamp, self._ssrc)
            packets.append(header + self._playback.payload(payload, pts_s, self.seq))
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
