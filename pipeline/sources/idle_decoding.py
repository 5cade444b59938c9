"""Which packets of a stream are decoded while little of it is needed. Pure logic.

Most scenes are idle most of the time, and decoding them is most of their cost. Packet sizes show when that changes:
motion makes a packet larger than those before it. Until then only key frames are decoded; the packets since are
held and decoded at once when one is an outlier (:class:`KeyframeOnlyMode`). Packets of periodic intra refresh are
flagged as key frames and are no pictures alone; a stream is recognized by that, and decoded whole. The main stream
of a camera with two streams is needed only while a face is present; until then nothing of it is decoded
(:class:`OnDemandMode`).
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from typing import Protocol

import numpy as np

WARM_UP_PACKETS = 25
"""Packets of an idle scene that are decoded before any is held."""
WINDOW, UPDATE_INTERVAL = 100, 25
"""Number of sizes in the window, and of packets between two updates of the limit."""
OUTLIER_DEVIATIONS = 4.0
"""An outlier exceeds the median by this many robust standard deviations, ..."""
MIN_EXCESS_SHARE, MIN_EXCESS_BYTES = 0.15, 64
"""... by this share of the median, and by this many bytes."""
CATCH_UP_S = 0.25
"""Maximum seconds needed to decode the held packets."""
MAX_HELD_PACKETS = 250
MAX_HELD_BYTES = 24 * 2**20
"""Bytes of packets held on demand: sixteen seconds at 12 Mbit/s."""


class PacketAction(StrEnum):
    """What to do with a packet."""

    DECODE = "decode"
    """Decode the held packets and this one."""
    DECODE_KEYFRAME = "restart"
    """Decode this key frame only; held packets are dropped."""
    HOLD = "hold"
    """Hold this packet."""
    HOLD_KEYFRAME = "hold_keyframe"
    """Drop the held packets and hold this key frame."""
    DROP = "drop"
    """Drop the held packets and this one: without the packets before it, it cannot be decoded."""


class DecodingMode(Protocol):
    """Decides for one stream, packet by packet."""

    decodes_idle: bool
    """Whether some packets of an idle scene are decoded, so that a stream without decodable ones is broken."""

    def step(self, size: int, *, key: bool, is_idle: bool) -> PacketAction:
        """Take the next packet.

        Args:
            size: its size in bytes.
            key: whether it is a key frame.
            is_idle: whether the scene is idle, as of the last decoded frame.
        """

    def record_decoded(self, seconds: float, pictures: int) -> None:
        """Record the decoding time of a packet, and how many pictures it completed."""

    def record_key_frame(self, *, is_picture: bool) -> None:
        """Record whether the packet of :attr:`PacketAction.DECODE_KEYFRAME` is a picture alone."""


class KeyframeOnlyMode:
    """Decodes the key frames of an idle scene, and everything once a packet is an outlier."""

    decodes_idle = True

    def __init__(self) -> None:
        self._sizes: deque[int] = deque(maxlen=WINDOW)
        self._updates = 0
        self._limit = 0.0
        """Bytes above which a packet is an outlier."""
        self._cost_s = 0.0
        self._held = 0
        self._failures = self._whole = 0
        """Key frames that were no pictures, and number of key frames up to which everything is decoded for that."""

    def record_decoded(self, seconds: float, pictures: int) -> None:
        """See :class:`DecodingMode`."""
        self._cost_s += 0.1 * (seconds - self._cost_s)

    def record_key_frame(self, *, is_picture: bool) -> None:
        """See :class:`DecodingMode`; a damaged one is no picture either, so the next try comes, ever later."""
        if not is_picture:
            self._failures += 1
            self._whole = 2**self._failures

    def step(self, size: int, *, key: bool, is_idle: bool) -> PacketAction:
        """See :class:`DecodingMode`."""
        if not is_idle:
            self._sizes.clear()
            self._updates = 0
            return self._release(PacketAction.DECODE)
        self._whole -= key and self._whole > 0
        if self._whole:
            return self._release(PacketAction.DECODE)
        if key:
            return self._release(PacketAction.DECODE_KEYFRAME)
        if len(self._sizes) < WARM_UP_PACKETS:
            self._update_size_model(size)
            return self._release(PacketAction.DECODE)
        if size > self._limit or self._held >= MAX_HELD_PACKETS or (self._held + 1) * self._cost_s > CATCH_UP_S:
            return self._release(PacketAction.DECODE)
        self._update_size_model(size)
        self._held += 1
        return PacketAction.HOLD

    def _release(self, how: PacketAction) -> PacketAction:
        self._held = 0
        return how

    def _update_size_model(self, size: int) -> None:
        self._sizes.append(size)
        self._updates += 1
        if self._updates % UPDATE_INTERVAL:
            return
        sizes = np.array(self._sizes)
        median = float(np.median(sizes))
        spread = 1.4826 * float(np.median(np.abs(sizes - median)))
        self._limit = median + max(OUTLIER_DEVIATIONS * spread, MIN_EXCESS_SHARE * median, MIN_EXCESS_BYTES)


class OnDemandMode:
    """Decodes the first picture, nothing more while the scene is idle, and then everything since the last key
    frame."""

    decodes_idle = False

    def __init__(self) -> None:
        self._packets = self._bytes = 0
        self._first = True
        self._decodable = False
        """Whether every packet since a key frame was decoded or is held."""

    def record_decoded(self, seconds: float, pictures: int) -> None:
        """See :class:`DecodingMode`; the time is not used."""
        self._first = self._first and not pictures

    def record_key_frame(self, *, is_picture: bool) -> None:
        """See :class:`DecodingMode`; what is held is decoded whole anyway."""

    def step(self, size: int, *, key: bool, is_idle: bool) -> PacketAction:
        """See :class:`DecodingMode`."""
        if key:
            self._packets = self._bytes = 0
            self._decodable = True
        if self._packets >= MAX_HELD_PACKETS or self._bytes + size > MAX_HELD_BYTES:
            self._decodable = False
        if not self._decodable:
            self._packets = self._bytes = 0
            return PacketAction.DROP
        if not is_idle or self._first:
            self._packets = self._bytes = 0
            return PacketAction.DECODE_KEYFRAME if key and self._first else PacketAction.DECODE
        self._packets += 1
        self._bytes += size
        return PacketAction.HOLD_KEYFRAME if key else PacketAction.HOLD
