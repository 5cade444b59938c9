"""One client's RTSP session: DESCRIBE, SETUP, PLAY, TEARDOWN and authentication (RFC 2617, RFC 7616)."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import secrets
import socket
import struct
from collections.abc import Iterable, Iterator
from functools import partial
from threading import Event, Lock, Thread
from time import monotonic
from urllib.parse import urlsplit

import msgspec

from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.player import CLOCK_HZ, PAYLOAD_TYPE, Playback, Player

REALM = "facegate"
HASHES = {"MD5": "md5", "SHA-256": "sha256"}
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
    algorithms: tuple[str, ...]
    """Of Digest, in the order of the challenges: ``MD5``, ``SHA-256``."""
    transports: tuple[str, ...]
    """``tcp``, ``udp``."""
    beside: Movie | None
    """Played as a second video line of the session description."""
    path: str | None
    """The only path that is served; ``None`` serves any."""


class RtspSession:
    """One client's session."""

    def __init__(self, client: socket.socket, terms: SessionOptions) -> None:
        self._client = client
        self._terms = terms
        self._watch: Viewing | None = None
        if terms.timeout_s is not None:
            # For receiving only: a client that reads slowly is not silent.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", terms.timeout_s, 0))
        self._udp: dict[int, tuple[socket.socket, socket.socket]] = {}
        self._nonce = secrets.token_hex(8)
        self._session = secrets.token_hex(8)
        self._write_lock = Lock()
        self._done = Event()
        films = [terms.movies, *([] if terms.beside is None else [(terms.beside,)])]
        self._players = [
            Player(movies, terms.playback, terms.loop, partial(self._send, track))
            for track, movies in enumerate(films)
        ]
        self._set_up_tracks: set[int] = set()
        self._playing: list[Thread] = []

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
            for thread in self._playing:
                thread.join()
            for sock in [each for pair in self._udp.values() for each in pair]:
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
            self._reply(headers, "401 Unauthorized", [("WWW-Authenticate", each) for each in self._challenges()])
        elif method == "OPTIONS":
            self._reply(headers, "200 OK", [("Public", "OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN")])
        elif method == "DESCRIBE" and self._terms.path not in (None, path):
            self._reply(headers, "404 Not Found")
        elif method == "DESCRIBE":
            described = [("Content-Base", f"{self._base}{path}/"), ("Content-Type", "application/sdp")]
            self._reply(headers, "200 OK", described, self._describe())
        elif method == "SETUP":
            transport = self._set_up(headers.get("transport", ""), int(path.endswith("/track2")))
            if transport is None:
                self._reply(headers, "461 Unsupported Transport")
            else:
                timeout_s = self._terms.timeout_s
                session = self._session + ("" if timeout_s is None else f";timeout={timeout_s}")
                self._reply(headers, "200 OK", [("Transport", transport), ("Session", session)])
        elif method == "PLAY":
            base = f"url={self._base}{path.rstrip('/')}"
            infos = [
                f"{base}/track{track + 1};seq={player.seq};rtptime={player.first_timestamp}"
                for track, player in enumerate(self._players)
                if track in self._set_up_tracks
            ]
            reply = [("Session", self._session), ("Range", "npt=0-"), ("RTP-Info", ",".join(infos))]
            self._reply(headers, "200 OK", reply)
            if not self._playing:
                self._watch = Viewing(path.rstrip("/"))
                self._terms.watches.append(self._watch)
                for track in self._set_up_tracks:
                    self._playing.append(Thread(target=self._play, args=(self._players[track],), daemon=True))
                    self._playing[-1].start()
        elif method == "TEARDOWN":
            self._reply(headers, "200 OK")
            return False
        else:
            self._reply(headers, "200 OK", [("Session", self._session)])
        return True

    def _set_up(self, asked: str, track: int) -> str | None:
        """Set up the transport of a track; return ``None`` for an unsupported one."""
        ports = re.search(r"client_port=(\d+)-(\d+)", asked)
        wanted = "tcp" if "interleaved" in asked else "udp" if ports is not None else ""
        if wanted not in self._terms.transports:
            return None
        self._set_up_tracks.add(track)
        if ports is None:
            return f"RTP/AVP/TCP;unicast;interleaved={2 * track}-{2 * track + 1}"
        sockets = []
        for port in ports.groups():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind(("127.0.0.1", 0))
            sock.connect(("127.0.0.1", int(port)))
            sockets.append(sock)
        self._udp[track] = (sockets[0], sockets[1])
        own = "-".join(str(sock.getsockname()[1]) for sock in sockets)
        return f"RTP/AVP;unicast;client_port={ports[1]}-{ports[2]};server_port={own}"

    def _reply(
        self, headers: dict[str, str], status: str, extra: Iterable[tuple[str, str]] = (), body: str = ""
    ) -> None:
        lines = [f"RTSP/1.0 {status}", f"CSeq: {headers.get('cseq', '0')}"]
        lines += [f"{name}: {value}" for name, value in extra]
        if body:
            lines.append(f"Content-Length: {len(body.encode())}")
        self._write(("\r\n".join(lines) + "\r\n\r\n" + body).encode())

    def _write(self, data: bytes) -> None:
        with self._write_lock:
            self._client.sendall(data)

    def _play(self, player: Player) -> None:
        # The client may have left; the session loop notices that.
        with contextlib.suppress(OSError):
            if player.play(self._done):
                self._client.shutdown(socket.SHUT_RDWR)

    def _describe(self) -> str:
        lines = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=facegate\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\na=control:*\r\n"
        movies = [self._terms.movies[0], *([] if self._terms.beside is None else [self._terms.beside])]
        for track, movie in enumerate(movies):
            parameters = self._terms.playback.sdp_parameters(movie.sdp_parameters)
            lines += (
                f"m=video 0 RTP/AVP {PAYLOAD_TYPE}\r\na=rtpmap:{PAYLOAD_TYPE} {movie.encoding}/{CLOCK_HZ}\r\n"
                + (f"a=fmtp:{PAYLOAD_TYPE} {parameters}\r\n" if parameters else "")
                + f"a=framerate:{1 / movie.frame_s:.3f}\r\na=control:track{track + 1}\r\n"
            )
        return lines

    def _challenges(self) -> list[str]:
        if not self._terms.digest:
            return [f'Basic realm="{REALM}"']
        digest = f'Digest realm="{REALM}", nonce="{self._nonce}"'
        return [
            digest + ("" if name == "MD5" else f', algorithm={name}, qop="auth"') for name in self._terms.algorithms
        ]

    def _authorized(self, method: str, given: str) -> bool:
        if self._terms.credentials is None:
            return True
        user, password = self._terms.credentials.user, self._terms.credentials.password
        if not self._terms.digest:
            expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
            return secrets.compare_digest(given.encode(), expected.encode())
        fields = {
            name: quoted or bare for name, quoted, bare in re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,]+))', given)
        }
        algorithm = fields.get("algorithm", "MD5")
        if algorithm not in self._terms.algorithms:
            return False

        def hashed(*parts: str) -> str:
            return hashlib.new(HASHES[algorithm], ":".join(parts).encode(), usedforsecurity=False).hexdigest()

        extra = [fields[name] for name in ("nc", "cnonce", "qop")] if "qop" in fields else []
        request = hashed(method, fields.get("uri", ""))
        expected = hashed(hashed(user, REALM, password), self._nonce, *extra, request)
        return secrets.compare_digest(fields.get("response", "").encode(), expected.encode())

    def _send(self, track: int, channel: int, packets: list[bytes]) -> None:
        """Send RTP of a track on channel 0, one frame at a time, and RTCP on 1."""
        if channel == 0 and track == 0 and self._watch is not None:
            self._watch.pictures += 1
        if track not in self._udp:
            number = 2 * track + channel
            self._write(b"".join(struct.pack("!BBH", 0x24, number, len(packet)) + packet for packet in packets))
            return
        for packet in packets:
            with contextlib.suppress(ConnectionRefusedError):  # the client has left; the TCP connection will close
                self._udp[track][channel].send(packet)
