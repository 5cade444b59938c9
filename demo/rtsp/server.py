"""The RTSP server.

    python -m facegate.demo.rtsp.server clip.mp4 --port 8554

Loopback only; interleaved TCP or UDP. Every client gets the file from its start, and an RTCP sender report with the
time of day; at the end it gets an RTCP BYE and the connection is closed, unless the server loops.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
from collections.abc import Sequence
from pathlib import Path
from threading import Event, Lock
from types import TracebackType
from typing import Self

from facegate.demo.rtsp.listener import Listener
from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.player import Playback
from facegate.demo.rtsp.session import Credentials, RtspSession, SessionOptions, Viewing
from facegate.errors import os_reason


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
        playback: Playback | None = None,
        timeout_s: int | None = None,
        algorithms: tuple[str, ...] = ("MD5",),
        transports: tuple[str, ...] = ("tcp", "udp"),
        beside: Movie | None = None,
        path: str | None = None,
    ) -> None:
        """Bind; nothing is served before the context is entered.

        Args:
            movie: played to every client.
            credentials: required of clients, if given.
            digest: use Digest authentication, else Basic.
            loop: start again at the end.
            port: a free one by default.
            then: follows the movie in the same stream; it may have another size.
            playback: when each frame is sent, and as what.
            timeout_s: seconds of silence after which a client is disconnected.
            algorithms: of Digest, in the order of the challenges: ``MD5``, ``SHA-256``.
            transports: those that clients may ask for.
            beside: a second video line of the session description.
            path: the only path that is served; any by default.
        """
        self._listener = Listener(self._serve, port)
        self.port = self._listener.port
        self._terms = SessionOptions(
            movies=(movie,) if then is None else (movie, then),
            url=self.url,
            loop=loop,
            playback=playback or Playback(),
            credentials=credentials,
            digest=digest,
            timeout_s=timeout_s,
            watches=[],
            algorithms=algorithms,
            transports=transports,
            beside=beside,
            path=path,
        )
        self._clients: set[socket.socket] = set()
        self._lock = Lock()

    @property
    def url(self) -> str:
        """URL of the stream, without credentials; any other path plays the same."""
        return f"rtsp://127.0.0.1:{self.port}/live"

    @property
    def watches(self) -> list[Viewing]:
        """Current and past clients, oldest first."""
        return list(self._terms.watches)

    def __enter__(self) -> Self:
        self._listener.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.stop()
        with self._lock:
            for client in self._clients:
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
        self._listener.__exit__(kind, error, trace)

    def _serve(self, client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._clients.add(client)
        if self._listener.stopping.is_set():
            client.close()
            return
        try:
            with client:
                RtspSession(client, self._terms).run()
        except (OSError, ValueError):
            pass  # the client left or sent garbage; others are not affected
        finally:
            with self._lock:
                self._clients.discard(client)


def main(options: Sequence[str] | None = None, playback: Playback | None = None) -> None:
    """Serve a file until the process is terminated; ``options`` of the process by default."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("movie", type=Path, help="Video file in H.264 or H.265, served in a loop.")
    parser.add_argument("--port", type=int, default=0, help="Port to listen on; 0 for a free one.")
    parser.add_argument("--login", metavar="USER:PASSWORD", help="Require these credentials.")
    arguments = parser.parse_args(options)
    login = None if arguments.login is None else Credentials(*arguments.login.split(":", 1))
    try:
        movie = Movie(arguments.movie)
    except (OSError, ValueError, IndexError) as error:
        reason = "it has no video" if isinstance(error, IndexError) else os_reason(error)
        parser.exit(
            1, f"{parser.prog}: cannot serve {arguments.movie}: {reason}; give a file with H.264 or H.265\n"
        )
    with RtspServer(movie, credentials=login, loop=True, port=arguments.port, playback=playback) as server:
        print(server.url, flush=True)
        Event().wait()


if __name__ == "__main__":
    main()
