"""One client's RTSP session: DESCRIBE, SETUP, PLAY, TEARDOWN and authentication (RFC 2617)."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import secrets
import socket
import struct
from collections.abc import Iterator
from threading import Event, Lock, Thread
from time import monotonic
from urllib.parse import urlsplit

import msgspec

from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.player import CLOCK_HZ, PAYLOAD_TYPE, Playback, Player

REALM = "facegate"
MAX_REQUEST = 16 * 1024


class Credentials(msgspec.Struct, frozen=True):
    """User name and password of clients."""

    user: str
    password: str


class Viewing:
    """One client's playback; times are monotonic."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.began_s = monotonic()
        self.ended_s: float | None = None
        """``None`` while it plays."""
        self.pictures = 0
        """Frames sent so far."""


class SessionOptions(msgspec.Struct, frozen=True):
    """Options common to all clients of a server."""

    movies: tuple[Movie, ...]
    url: str
    loop: bool
    playback: Playback
    credentials: Credentials | None
    digest: bool
    timeout_s: int | None
    """Seconds of silence after which a session ends (RFC 2326, 12.37)."""
    watches: list[Viewing]
    """Current and past clients."""


class RtspSession:
    """One client's session."""

    def __init__(self, client: socket.socket, terms: SessionOptions) -> None:
        self._client = client
        self._terms = terms
        self._watch: Viewing | None = None
        if terms.timeout_s is not None:
            # For receiving only: a client that reads slowly is not silent.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", terms.timeout_s, 0))
        self._udp: tuple[socket.socket, socket.socket] | None = None
        self._nonce = secrets.token_hex(8)
        self._session = secrets.token_hex(8)
        self._write_lock = Lock()
        self._done = Event()
        self._player = Player(terms.movies, terms.playback, terms.loop, self._send)
        self._playing: Thread | None = None

    def run(self) -> None:
        """Serve requests until the client leaves or its socket is shut down."""
        try:
            for method, path, headers in self._requests():
                if not self._answer(method, path, headers):
                    return
        finally:
            if self._watch is not None:
                self._watch.ended_s = monotonic()
            self._done.set()
            with contextlib.suppress(OSError):
                self._client.shutdown(socket.SHUT_RDWR)  # a client that does not read would block the player
            if self._playing is not None:
                self._playing.join()
            for sock in self._udp or ():
                sock.close()

    @property
    def _base(self) -> str:
        parts = urlsplit(self._terms.url)
        return f"{parts.scheme}://{parts.netloc}"

    def _requests(self) -> Iterator[tuple[str, str, dict[str, str]]]:
        buffer = b""
        while True:
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
                method, _, rest = lines[0].partition(" ")
                yield method, urlsplit(rest.partition(" ")[0]).path, headers
                continue
            if len(buffer) > MAX_REQUEST + 65_540:
                raise ValueError("request too long")
            chunk = self._client.recv(65_536)
            if not chunk:
                return
            buffer += chunk

    def _answer(self, method: str, path: str, headers: dict[str, str]) -> bool:
        """Answer one request; return whether the session continues."""
        if method != "OPTIONS" and not self._authorized(method, headers.get("authorization", "")):
            self._reply(headers, "401 Unauthorized", {"WWW-Authenticate": self._challenge()})
        elif method == "OPTIONS":
            self._reply(headers, "200 OK", {"Public": "OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN"})
        elif method == "DESCRIBE":
            self._reply(
                headers,
                "200 OK",
                {"Content-Base": f"{self._base}{path}/", "Content-Type": "application/sdp"},
                self._describe(),
            )
        elif method == "SETUP":
            transport = self._set_up(headers.get("transport", ""))
            if transport is None:
                self._reply(headers, "461 Unsupported Transport")
            else:
                timeout_s = self._terms.timeout_s
                session = self._session + ("" if timeout_s is None else f";timeout={timeout_s}")
                self._reply(headers, "200 OK", {"Transport": transport, "Session": session})
        elif method == "PLAY":
            player = self._player
            info = f"url={self._base}{path.rstrip('/')}/track1;seq={player.seq};rtptime={player.first_timestamp}"
            self._reply(headers, "200 OK", {"Session": self._session, "Range": "npt=0-", "RTP-Info": info})
            if self._playing is None:
                self._watch = Viewing(path.rstrip("/"))
                self._terms.watches.append(self._watch)
                self._playing = Thread(target=self._play, daemon=True)
                self._playing.start()
        elif method == "TEARDOWN":
            self._reply(headers, "200 OK")
            return False
        else:
            self._reply(headers, "200 OK", {"Session": self._session})
        return True

    def _set_up(self, asked: str) -> str | None:
        """Set up a transport; return ``None`` for an unsupported one."""
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

    def _play(self) -> None:
        # The client may have left; the session loop notices that.
        with contextlib.suppress(OSError):
            if self._player.play(self._done):
                self._client.shutdown(socket.SHUT_RDWR)

    def _describe(self) -> str:
        movie = self._terms.movies[0]
        parameters = self._terms.playback.sdp_parameters(movie.sdp_parameters)
        return (
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=facegate\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\na=control:*\r\n"
            f"m=video 0 RTP/AVP {PAYLOAD_TYPE}\r\na=rtpmap:{PAYLOAD_TYPE} {movie.encoding}/{CLOCK_HZ}\r\n"
            + (f"a=fmtp:{PAYLOAD_TYPE} {parameters}\r\n" if parameters else "")
            + f"a=framerate:{1 / movie.frame_s:.3f}\r\na=control:track1\r\n"
        )

    def _challenge(self) -> str:
        if self._terms.digest:
            return f'Digest realm="{REALM}", nonce="{self._nonce}"'
        return f'Basic realm="{REALM}"'

    def _authorized(self, method: str, given: str) -> bool:
        if self._terms.credentials is None:
            return True
        user, password = self._terms.credentials.user, self._terms.credentials.password
        if not self._terms.digest:
            expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
            return secrets.compare_digest(given.encode(), expected.encode())
        fields = dict(re.findall(r'(\w+)="([^"]*)"', given))
        secret = _md5(f"{user}:{REALM}:{password}")
        request = _md5(f"{method}:{fields.get('uri', '')}")
        expected = _md5(f"{secret}:{self._nonce}:{request}")
        return secrets.compare_digest(fields.get("response", "").encode(), expected.encode())

    def _send(self, channel: int, packets: list[bytes]) -> None:
        """Send RTP on channel 0, one frame at a time, and RTCP on 1."""
        if channel == 0 and self._watch is not None:
            self._watch.pictures += 1
        if self._udp is None:
            self._write(b"".join(struct.pack("!BBH", 0x24, channel, len(packet)) + packet for packet in packets))
            return
        for packet in packets:
            with contextlib.suppress(ConnectionRefusedError):  # the client has left; the TCP connection will close
                self._udp[channel].send(packet)


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
