"""A TCP proxy on loopback that can reset, hold and slow what passes through it."""

from __future__ import annotations

import contextlib
import socket
import struct
from threading import Event, Lock
from types import TracebackType
from typing import Self

from facegate.demo.rtsp.listener import Listener

CHUNK = 65_536
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class FaultProxy:
    """Forwards connections to a port of this machine."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = Listener(self._connected)
        self.port = self._listener.port
        self._lock = Lock()
        self._sockets: set[socket.socket] = set()
        self.flowing = Event()
        """Cleared: nothing passes, and nothing is lost."""
        self.flowing.set()

    def __enter__(self) -> Self:
        self._listener.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.stop()
        self.flowing.set()
        self.reset()
        self._listener.__exit__(kind, error, trace)

    def reset(self) -> None:
        """End every connection with a reset, so that what was in flight is lost."""
        with self._lock:
            sockets = list(self._sockets)
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                sock.shutdown(socket.SHUT_RD)

    def _connected(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        with self._lock:
            self._sockets |= {client, server}
        self._listener.spawn(self._forward, client, server)
        self._forward(server, client)

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(CHUNK):
                self.flowing.wait()
                target.sendall(data)
        except OSError:
            pass
        finally:
            with self._lock:
                self._sockets -= {source, target}
            for sock in (source, target):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
                sock.close()
