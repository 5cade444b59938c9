"""An H.264 file as RTP payloads (RFC 6184: single NAL units and FU-A)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import av
import msgspec
from av.bitstream import BitStreamFilterContext

MAX_PAYLOAD = 1400


class AccessUnit(msgspec.Struct, frozen=True):
    """The NAL units of one picture."""

    pts_s: float
    nals: tuple[bytes, ...]


class Movie:
    """An H.264 file split into NAL units, in memory."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            ValueError: its video is not H.264.
        """
        self.units: list[AccessUnit] = []
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            if stream.codec_context.name != "h264":
                raise ValueError(f"{path} holds {stream.codec_context.name}, not H.264")
            to_annex_b = BitStreamFilterContext("h264_mp4toannexb", stream)
            fps = float(stream.average_rate or 25)
            for packet in container.demux(stream):
                for part in to_annex_b.filter(packet if packet.size else None):
                    time = float(part.pts * part.time_base) if part.pts is not None else len(self.units) / fps
                    self.units.append(AccessUnit(time, tuple(_split_nals(bytes(part)))))
        self.frame_s = 1.0 / fps
        first = [nal for nal in self.units[0].nals if nal[0] & 31 in (7, 8)]
        self.sps = next(nal for nal in first if nal[0] & 31 == 7)
        self.pps = next(nal for nal in first if nal[0] & 31 == 8)

    @property
    def duration_s(self) -> float:
        """Length including the last frame."""
        return max(unit.pts_s for unit in self.units) + self.frame_s


def _split_nals(annex_b: bytes) -> Iterator[bytes]:
    for part in re.split(rb"\x00\x00\x00?\x01", annex_b):
        if part:
            yield part


def packetise(nal: bytes) -> Iterator[bytes]:
    """One RTP payload, or FU-A fragments of at most ``MAX_PAYLOAD`` bytes."""
    if len(nal) <= MAX_PAYLOAD:
        yield nal
        return
    indicator, kind = (nal[0] & 0xE0) | 28, nal[0] & 0x1F
    body = nal[1:]
    step = MAX_PAYLOAD - 2
    for start in range(0, len(body), step):
        first = 0x80 if start == 0 else 0
        last = 0x40 if start + step >= len(body) else 0
        yield bytes([indicator, first | last | kind]) + body[start : start + step]
