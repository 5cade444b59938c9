"""Which packets of a scene at rest need not be decoded. Pure logic.

Most cameras see nothing most of the time, and decoding that is most of what they cost. Their packets tell when this
changes: what moves has to be sent, so the packet is larger than those before it. Until then only key frames are
decoded, which need no other picture; the packets since are held, and decoded at once when one stands out.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum

import numpy as np

WARM_UP_PACKETS = 25
"""So many packets of the scene at rest are decoded before any is held."""
WINDOW, RENEW = 100, 25
"""Sizes that are compared with, and after how many packets the comparison is made anew."""
OUTLIER_DEVIATIONS = 4.0
"""A packet stands out when it is larger than the median by so many robust standard deviations, ..."""
LEAST_SHARE, LEAST_BYTES = 0.15, 64
"""... by this share of the median, and by so many bytes."""
CATCH_UP_S = 0.25
"""So long it may take to decode what is held."""
MAX_HELD_PACKETS = 250


class PacketAction(StrEnum):
    """What is done with a packet."""

    DECODE = "decode"
    """It and what is held."""
    DECODE_KEYFRAME = "restart"
    """It alone: nothing that is held is needed for it."""
    HOLD = "hold"


class KeyframeOnlyMode:
    """Decides for one stream, packet by packet."""

    def __init__(self) -> None:
        self._sizes: deque[int] = deque(maxlen=WINDOW)
        self._learnt = 0
        self._most = 0.0
        """Bytes above which a packet stands out."""
        self._cost_s = 0.0
        self._held = 0

    def record_decode_time(self, seconds: float) -> None:
        """Note how long one packet took to decode."""
        self._cost_s += 0.1 * (seconds - self._cost_s)

    def step(self, size: int, *, key: bool, at_rest: bool) -> PacketAction:
        """Take the next packet.

        Args:
            size: its bytes.
            key: whether it needs no other.
            at_rest: nobody is there and nothing has moved for a while, as far as decoded pictures tell.
        """
        if not at_rest:
            self._sizes.clear()
            self._learnt = 0
            return self._release(PacketAction.DECODE)
        if key:
            return self._release(PacketAction.DECODE_KEYFRAME)
        if len(self._sizes) < WARM_UP_PACKETS:
            self._update_size_model(size)
            return self._release(PacketAction.DECODE)
        if size > self._most or self._held >= MAX_HELD_PACKETS or (self._held + 1) * self._cost_s > CATCH_UP_S:
            return self._release(PacketAction.DECODE)
        self._update_size_model(size)
        self._held += 1
        return PacketAction.HOLD

    def _release(self, how: PacketAction) -> PacketAction:
        self._held = 0
        return how

    def _update_size_model(self, size: int) -> None:
        self._sizes.append(size)
        self._learnt += 1
        if self._learnt % RENEW:
            return
        sizes = np.array(self._sizes)
        median = float(np.median(sizes))
        spread = 1.4826 * float(np.median(np.abs(sizes - median)))
        self._most = median + max(OUTLIER_DEVIATIONS * spread, LEAST_SHARE * median, LEAST_BYTES)
