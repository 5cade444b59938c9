"""An H.264 or H.265 file as RTP payloads: single NAL units and fragments (RFC 6184, RFC 7798)."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import av
import msgspec
from av.bitstream import BitStreamFilterContext

MAX_PAYLOAD = 1400
CODECS = {"h264": "H264", "hevc": "H265"}


class AccessUnit(msgspec.Struct, frozen=True):
    """The NAL units of one picture."""

    pts_s: float
    nals: tuple[bytes, ...]
    key: bool


class Movie:
    """A file split into NAL units, in memory."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            ValueError: its video is neither H.264 nor H.265.
        """
        self.units: list[AccessUnit] = []
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            codec = stream.codec_context.name
            if codec not in CODECS:
                raise ValueError(f"{path} holds {codec}, neither H.264 nor H.265")
            self.encoding = CODECS[codec]
            to_annex_b = BitStreamFilterContext(f"{codec}_mp4toannexb", stream)
            fps = float(stream.average_rate or 25)
            for packet in container.demux(stream):
                for part in to_annex_b.filter(packet if packet.size else None):
                    time = float(part.pts * part.time_base) if part.pts is not None else len(self.units) / fps
                    self.units.append(AccessUnit(time, tuple(_split_nals(bytes(part))), part.is_keyframe))
        self.frame_s = 1.0 / fps

    @property
    def duration_s(self) -> float:
        """Length including the last frame."""
        return max(unit.pts_s for unit in self.units) + self.frame_s

    @property
    def sdp_parameters(self) -> str:
        """The parameter sets as a session description names them."""
        if self.encoding == "H264":
            sets = ",".join(_base64(nal) for kind in (7, 8) for nal in self._first if nal[0] & 31 == kind)
            return f"packetization-mode=1;sprop-parameter-sets={sets}"
        kinds = {"vps": 32, "sps": 33, "pps": 34}
        return ";".join(
            f"sprop-{name}={_base64(nal)}"
            for name, kind in kinds.items()
            for nal in self._first
            if nal[0] >> 1 & 63 == kind
        )

    @property
    def _first(self) -> tuple[bytes, ...]:
        return self.units[0].nals

    def payloads(self, unit: AccessUnit) -> list[bytes]:
        """The RTP payloads of a picture."""
        cut = _cut_h264 if self.encoding == "H264" else _cut_h265
        return [payload for nal in unit.nals for payload in cut(nal)]


def _base64(nal: bytes) -> str:
    return base64.b64encode(nal).decode()


def _split_nals(annex_b: bytes) -> Iterator[bytes]:
    for part in re.split(rb"\x00\x00\x00?\x01", annex_b):
        if part:
            yield part


def _cut_h264(nal: bytes) -> Iterator[bytes]:
    """The NAL unit, or FU-A fragments of at most ``MAX_PAYLOAD`` bytes."""
    return _cut(nal, 1, bytes([(nal[0] & 0xE0) | 28]), nal[0] & 0x1F)


def _cut_h265(nal: bytes) -> Iterator[bytes]:
    """The NAL unit, or fragmentation units of at most ``MAX_PAYLOAD`` bytes."""
    return _cut(nal, 2, bytes([(nal[0] & 0x81) | 49 << 1, nal[1]]), nal[0] >> 1 & 63)


def _cut(nal: bytes, header: int, indicator: bytes, kind: int) -> Iterator[bytes]:
    if len(nal) <= MAX_PAYLOAD:
        yield nal
        return
    body = nal[header:]
    step = MAX_PAYLOAD - header - 1
    for start in range(0, len(body), step):
        first = 0x80 if start == 0 else 0
        last = 0x40 if start + step >= len(body) else 0
        yield indicator + bytes([first | last | kind]) + body[start : start + step]
