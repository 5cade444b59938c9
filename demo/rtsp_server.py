"""A small RTSP server (RFC 2326) for tests and the demo: plays H.264 files at their own speed, well or badly.

    python -m facegate.demo.rtsp_server clip.mp4 --port 8554

Loopback only. It knows OPTIONS, DESCRIBE, SETUP (interleaved TCP, or UDP), PLAY, GET_PARAMETER and TEARDOWN, Basic
and Digest authentication (RFC 2617). Every client gets the file from its start, and an RTCP sender report with the
time of day; at the end it gets an RTCP BYE and the connection is closed, unless the server loops.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import random
import re
import secrets
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic, time
from types import TracebackType
from typing import Self

import msgspec

from facegate.demo.movie import AccessUnit, Movie, packetise

REALM = "facegate"
CLOCK_HZ = 90_000
NTP_EPOCH_S = 2_208_988_800
"""From 1900 to 1970."""
MAX_REQUEST = 16 * 1024
PAYLOAD_TYPE = 96


class Credentials(msgspec.Struct, frozen=True):
    """Who may watch."""

    user: str
    password: str


class Faults(msgspec.Struct, frozen=True):
    """What the server does wrong, for tests; times are seconds since PLAY."""

    corrupt: float = 0.0
    """Share of packets whose payload is replaced by noise."""
    stall_at_s: float | None = None
    """From here on nothing is sent, and the connection stays."""
    slow: float = 1.0
    """Play this many times slower than time passes."""
    jump_at_s: float | None = None
    jump_by_s: float = 3600.0
    """Timestamps jump by this much, once."""
    seed: int = 0


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
        then: Movie | None = None,
        faults: Faults | None = None,
    ) -> None:
        """Bind; nothing is served before the context is entered.

        Args:
            movie: what every client sees.
            credentials: asked for, if given.
            digest: how they are asked for; Basic otherwise.
            loop: start again at the end.
            port: a free one by default.
            then: follows the movie in the same stream; it may have another size.
            faults: what goes wrong.
        """
        self._movies = [movie] if then is None else [movie, then]
        self._faults = faults or Faults()
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
                    client,
                    self._movies,
                    self.url,
                    self._credentials,
                    self._digest,
                    self._loop,
                    self._stop,
                    self._faults,
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
        movies: list[Movie],
        url: str,
        credentials: Credentials | None,
        digest: bool,
        loop: bool,
        stop: Event,
        faults: Faults,
    ) -> None:
        self._client = client
        self._movies = movies
        self._faults = faults
        self._random = random.Random(faults.seed)
        self._udp: tuple[socket.socket, socket.socket] | None = None
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
            for sock in self._udp or ():
                sock.close()

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
            transport = self._set_up(headers.get("transport", ""))
            if transport is None:
                self._reply(headers, "461 Unsupported Transport")
            else:
                self._reply(headers, "200 OK", {"Transport": transport, "Session": self._session})
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

    def _set_up(self, asked: str) -> str | None:
        """Agree on a transport; ``None`` for one that is not known."""
        if "interleaved" in asked:
            return "RTP/AVP/TCP;unicast;interleaved=0-1"
        ports = re.search(r"client_port=(\d+)-(\d+)", asked)
        if ports is None:
            return None
        sockets = []
        for port in ports.groups():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind(("127.0.0.1", 0))
            sock.connect(("127.0.0.1", int(port)))
            sockets.append(sock)
        self._udp = (sockets[0], sockets[1])
        own = "-".join(str(sock.getsockname()[1]) for sock in sockets)
        return f"RTP/AVP;unicast;client_port={ports[1]}-{ports[2]};server_port={own}"

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
        sets = ",".join(base64.b64encode(nal).decode() for nal in (self._movies[0].sps, self._movies[0].pps))
        return (
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=facegate\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\na=control:*\r\n"
            f"m=video 0 RTP/AVP {PAYLOAD_TYPE}\r\na=rtpmap:{PAYLOAD_TYPE} H264/{CLOCK_HZ}\r\n"
            f"a=fmtp:{PAYLOAD_TYPE} packetization-mode=1;sprop-parameter-sets={sets}\r\n"
            f"a=framerate:{1 / self._movies[0].frame_s:.3f}\r\na=control:track1\r\n"
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
        try:
            self._send_report()
            if self._play_all():
                self._send_bye()
                self._client.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def _play_all(self) -> bool:
        """Send everything when it is due; return whether the end was reached."""
        faults, start, offset = self._faults, monotonic(), 0.0
        while True:
            for movie in self._movies:
                for unit in movie.units:
                    pts_s = offset + unit.pts_s
                    if faults.stall_at_s is not None and pts_s >= faults.stall_at_s:
                        self._done.wait()
                        return False
                    wait_s = start + pts_s * faults.slow - monotonic()
                    if self._done.wait(max(0.0, wait_s)) or self._stop.is_set():
                        return False
                    jumped = faults.jump_at_s is not None and pts_s >= faults.jump_at_s
                    self._send_unit(unit, pts_s + (faults.jump_by_s if jumped else 0.0))
                offset += movie.duration_s
            if not self._loop:
                return True

    def _send_unit(self, unit: AccessUnit, pts_s: float) -> None:
        timestamp = (self._first_timestamp + round(pts_s * CLOCK_HZ)) & 0xFFFFFFFF
        payloads = [payload for nal in unit.nals for payload in packetise(nal)]
        packets = []
        for index, payload in enumerate(payloads):
            if self._faults.corrupt and self._random.random() < self._faults.corrupt:
                payload = self._random.randbytes(len(payload))
            marker = 0x80 if index == len(payloads) - 1 else 0
            header = struct.pack("!BBHII", 0x80, marker | PAYLOAD_TYPE, self._seq, timestamp, self._ssrc)
            packets.append(header + payload)
            self._seq = (self._seq + 1) & 0xFFFF
        self._send(0, packets)

    def _send(self, channel: int, packets: list[bytes]) -> None:
        """RTP on channel 0, RTCP on 1."""
        if self._udp is None:
            self._write(b"".join(struct.pack("!BBH", 0x24, channel, len(packet)) + packet for packet in packets))
            return
        for packet in packets:
            with contextlib.suppress(ConnectionRefusedError):  # the client has left; the TCP connection will tell
                self._udp[channel].send(packet)

    def _send_report(self) -> None:
        """The sender report that ties RTP timestamps to the time of day."""
        seconds, fraction = divmod(time() + NTP_EPOCH_S, 1)
        stamp = struct.pack("!III", int(seconds), int(fraction * 2**32), self._first_timestamp)
        self._send(1, [struct.pack("!BBHI", 0x80, 200, 6, self._ssrc) + stamp + struct.pack("!II", 0, 0)])

    def _send_bye(self) -> None:
        report = struct.pack("!BBHI", 0x80, 201, 1, self._ssrc)
        self._send(1, [report + struct.pack("!BBHI", 0x81, 203, 1, self._ssrc)])


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def main() -> None:
    """Serve a file until the process is ended."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("movie", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--login", metavar="USER:PASSWORD", help="Ask for these credentials.")
    parser.add_argument("--stall-at", type=float, metavar="SECONDS", help="Send nothing from then on.")
    parser.add_argument("--corrupt", type=float, default=0.0, metavar="SHARE", help="Packets replaced by noise.")
    arguments = parser.parse_args()
    login = None if arguments.login is None else Credentials(*arguments.login.split(":", 1))
    faults = Faults(stall_at_s=arguments.stall_at, corrupt=arguments.corrupt)
    movie = Movie(arguments.movie)
    with RtspServer(movie, credentials=login, loop=True, port=arguments.port, faults=faults) as server:
        print(server.url, flush=True)
        Event().wait()


if __name__ == "__main__":
    main()
