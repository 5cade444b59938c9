"""A small RTSP server (RFC 2326) for tests and the demo: plays an H.264 file over TCP, at its own speed.

Loopback only. It knows OPTIONS, DESCRIBE, SETUP (interleaved), PLAY, GET_PARAMETER and TEARDOWN, Basic and Digest
authentication (RFC 2617), and packetises H.264 by RFC 6184 (single NAL units and FU-A). Every client gets the file
from its start; at the end it gets an RTCP BYE and the connection is closed, unless the server loops.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import secrets
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic
from types import TracebackType
from typing import Self

import av
import msgspec
from av.bitstream import BitStreamFilterContext

REALM = "facegate"
CLOCK_HZ = 90_000
MAX_PAYLOAD = 1400
MAX_REQUEST = 16 * 1024
PAYLOAD_TYPE = 96


class Credentials(msgspec.Struct, frozen=True):
    """Who may watch."""

    user: str
    password: str


class _AccessUnit(msgspec.Struct, frozen=True):
    pts_s: float
    nals: tuple[bytes, ...]


class Movie:
    """An H.264 file split into NAL units, in memory."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            ValueError: its video is not H.264.
        """
        self.units: list[_AccessUnit] = []
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            if stream.codec_context.name != "h264":
                raise ValueError(f"{path} holds {stream.codec_context.name}, not H.264")
            to_annex_b = BitStreamFilterContext("h264_mp4toannexb", stream)
            fps = float(stream.average_rate or 25)
            for packet in container.demux(stream):
                for part in to_annex_b.filter(packet if packet.size else None):
                    time = float(part.pts * part.time_base) if part.pts is not None else len(self.units) / fps
                    self.units.append(_AccessUnit(time, tuple(_split_nals(bytes(part)))))
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


class RtspServer:
    """Serves one movie at ``url`` until closed."""

    def __init__(
        self,
        movie: Movie,
        *,
        credentials: Credentials | None = None,
        digest: bool = True,
        loop: bool = False,
        port: int = 0,
    ) -> None:
        self._movie = movie
        self._credentials = credentials
        self._digest = digest
        self._loop = loop
        self._stop = Event()
        self._threads: list[Thread] = []
        self._clients: set[socket.socket] = set()
        self._lock = Lock()
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        """Where to watch, without credentials."""
        return f"rtsp://127.0.0.1:{self.port}/live"

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for client in self._clients:
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
            threads = list(self._threads)
        for thread in threads:
            thread.join()

    def _spawn(self, target: object, *args: object) -> None:
        thread = Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        with self._lock:
            self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._spawn(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with self._lock:
            self._clients.add(client)
        try:
            with client:
                _Session(
                    client, self._movie, self.url, self._credentials, self._digest, self._loop, self._stop
                ).run()
        except (OSError, ValueError):
            pass  # the client left or spoke nonsense; the next one is not affected
        finally:
            with self._lock:
                self._clients.discard(client)


class _Session:
    """One client's conversation."""

    def __init__(
        self,
        client: socket.socket,
        movie: Movie,
        url: str,
        credentials: Credentials | None,
        digest: bool,
        loop: bool,
        stop: Event,
    ) -> None:
        self._client = client
        self._movie = movie
        self._url = url
        self._credentials = credentials
        self._digest = digest
        self._loop = loop
        self._stop = stop
        self._nonce = secrets.token_hex(8)
        self._session = secrets.token_hex(8)
        self._write_lock = Lock()
        self._done = Event()
        self._player: Thread | None = None
        self._ssrc = secrets.randbits(32)
        self._seq = 0
        # Random as RFC 3550 asks, and never zero, which FFmpeg takes for "not known yet".
        self._first_timestamp = 1 + secrets.randbits(31)

    def run(self) -> None:
        try:
            for method, headers in self._requests():
                if not self._answer(method, headers):
                    return
        finally:
            self._done.set()
            if self._player is not None:
                self._player.join()

    def _requests(self) -> Iterator[tuple[str, dict[str, str]]]:
        buffer = b""
        while not self._stop.is_set():
            while buffer[:1] == b"$" and len(buffer) >= 4:  # the client's RTCP reports
                length = 4 + int.from_bytes(buffer[2:4], "big")
                if len(buffer) < length:
                    break
                buffer = buffer[length:]
            if b"\r\n\r\n" in buffer and buffer[:1] != b"$":
                head, buffer = buffer.split(b"\r\n\r\n", 1)
                lines = head.decode("utf-8", "replace").split("\r\n")
                headers = {
                    name.strip().lower(): value.strip()
                    for name, _, value in (line.partition(":") for line in lines[1:])
                }
                yield lines[0].split(" ")[0], headers
                continue
            if len(buffer) > MAX_REQUEST + 65_540:
                raise ValueError("request too long")
            chunk = self._client.recv(65_536)
            if not chunk:
                return
            buffer += chunk

    def _answer(self, method: str, headers: dict[str, str]) -> bool:
        """Answer one request; return whether the conversation goes on."""
        if method != "OPTIONS" and not self._authorised(method, headers.get("authorization", "")):
            self._reply(headers, "401 Unauthorized", {"WWW-Authenticate": self._challenge()})
        elif method == "OPTIONS":
            self._reply(headers, "200 OK", {"Public": "OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN"})
        elif method == "DESCRIBE":
            self._reply(
                headers,
                "200 OK",
                {"Content-Base": self._url + "/", "Content-Type": "application/sdp"},
                self._describe(),
            )
        elif method == "SETUP":
            if "interleaved" not in headers.get("transport", ""):
                self._reply(headers, "461 Unsupported Transport")
            else:
                self._reply(
                    headers,
                    "200 OK",
                    {"Transport": "RTP/AVP/TCP;unicast;interleaved=0-1", "Session": self._session},
                )
        elif method == "PLAY":
            info = f"url={self._url}/track1;seq={self._seq};rtptime={self._first_timestamp}"
            self._reply(headers, "200 OK", {"Session": self._session, "Range": "npt=0-", "RTP-Info": info})
            if self._player is None:
                self._player = Thread(target=self._play, daemon=True)
                self._player.start()
        elif method == "TEARDOWN":
            self._reply(headers, "200 OK")
            return False
        else:
            self._reply(headers, "200 OK", {"Session": self._session})
        return True

    def _reply(
        self, headers: dict[str, str], status: str, extra: dict[str, str] | None = None, body: str = ""
    ) -> None:
        lines = [f"RTSP/1.0 {status}", f"CSeq: {headers.get('cseq', '0')}"]
        lines += [f"{name}: {value}" for name, value in (extra or {}).items()]
        if body:
            lines.append(f"Content-Length: {len(body.encode())}")
        self._write(("\r\n".join(lines) + "\r\n\r\n" + body).encode())

    def _write(self, data: bytes) -> None:
        with self._write_lock:
            self._client.sendall(data)

    def _describe(self) -> str:
        sets = ",".join(base64.b64encode(nal).decode() for nal in (self._movie.sps, self._movie.pps))
        return (
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=facegate\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\na=control:*\r\n"
            f"m=video 0 RTP/AVP {PAYLOAD_TYPE}\r\na=rtpmap:{PAYLOAD_TYPE} H264/{CLOCK_HZ}\r\n"
            f"a=fmtp:{PAYLOAD_TYPE} packetization-mode=1;sprop-parameter-sets={sets}\r\n"
            f"a=framerate:{1 / self._movie.frame_s:.3f}\r\na=control:track1\r\n"
        )

    def _challenge(self) -> str:
        if self._digest:
            return f'Digest realm="{REALM}", nonce="{self._nonce}"'
        return f'Basic realm="{REALM}"'

    def _authorised(self, method: str, given: str) -> bool:
        if self._credentials is None:
            return True
        user, password = self._credentials.user, self._credentials.password
        if not self._digest:
            expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
            return secrets.compare_digest(given.encode(), expected.encode())
        fields = dict(re.findall(r'(\w+)="([^"]*)"', given))
        secret = _md5(f"{user}:{REALM}:{password}")
        request = _md5(f"{method}:{fields.get('uri', '')}")
        expected = _md5(f"{secret}:{self._nonce}:{request}")
        return secrets.compare_digest(fields.get("response", "").encode(), expected.encode())

    def _play(self) -> None:
        start, offset = monotonic(), 0.0
        try:
            while True:
                for unit in self._movie.units:
                    due = start + offset + unit.pts_s
                    if self._done.wait(max(0.0, due - monotonic())) or self._stop.is_set():
                        return
                    self._send_unit(unit, offset + unit.pts_s)
                if not self._loop:
                    break
                offset += self._movie.duration_s
            self._send_bye()
            self._client.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def _send_unit(self, unit: _AccessUnit, pts_s: float) -> None:
        timestamp = (self._first_timestamp + round(pts_s * CLOCK_HZ)) & 0xFFFFFFFF
        payloads = [payload for nal in unit.nals for payload in _packetise(nal)]
        data = bytearray()
        for index, payload in enumerate(payloads):
            marker = 0x80 if index == len(payloads) - 1 else 0
            header = struct.pack("!BBHII", 0x80, marker | PAYLOAD_TYPE, self._seq, timestamp, self._ssrc)
            data += struct.pack("!BBH", 0x24, 0, len(header) + len(payload)) + header + payload
            self._seq = (self._seq + 1) & 0xFFFF
        self._write(bytes(data))

    def _send_bye(self) -> None:
        report = struct.pack("!BBHI", 0x80, 201, 1, self._ssrc)
        bye = struct.pack("!BBHI", 0x81, 203, 1, self._ssrc)
        self._write(struct.pack("!BBH", 0x24, 1, len(report) + len(bye)) + report + bye)


def _packetise(nal: bytes) -> Iterator[bytes]:
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


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
