"""A bound ZeroMQ socket: loopback by default, elsewhere encrypted and for known keys."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from pathlib import Path

import structlog
import zmq
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils.monitor import recv_monitor_message

from facegate.errors import DeliveryError
from facegate.sinks.keys import GATE, CurveAuthenticator, KeyFile, load_key
from facegate.sinks.rate_limited_log import RateLimitedLog

LOOPBACK = ("tcp://127.", "tcp://localhost:", "tcp://[::1]", "ipc://", "inproc://")
REFUSED = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
HANDSHAKE_MS = 10_000
"""A connection without a completed handshake is closed after this time."""
LINGER_MS = 500

log = structlog.get_logger(__name__)


class WakeupPipe:
    """Wakes the thread that polls it (self-pipe). ``wake`` is thread-safe."""

    def __init__(self) -> None:
        self._writer, self._reader = socket.socketpair()
        self._writer.setblocking(False)
        self._reader.setblocking(False)

    def wake(self) -> None:
        """Wake the poller; a full or closed pipe is ignored."""
        with contextlib.suppress(OSError):
            self._writer.send(b"!")

    def fileno(self) -> int:
        """File descriptor to poll for input."""
        return self._reader.fileno()

    def drain(self) -> None:
        """Reset after a wake-up."""
        self._reader.recv(4096)

    def close(self) -> None:
        """Close; ``wake`` then has no effect."""
        self._writer.close()
        self._reader.close()


class BoundSocket:
    """Owns a bound socket with its context. For one thread; ``close`` may come from another once that has ended."""

    def __init__(
        self,
        kind: int,
        endpoint: str,
        *,
        keys: Path | None = None,
        allow_insecure: bool = False,
        options: Mapping[int, int] | None = None,
    ) -> None:
        """Bind at once.

        Args:
            kind: such as ``zmq.ROUTER``.
            endpoint: where peers connect.
            keys: folder of ``facegate keys``: encrypts, and admits known workers only.
            allow_insecure: allow an endpoint beyond loopback without keys.
            options: of the socket, set before it is bound.

        Raises:
            DeliveryError: the endpoint cannot be bound, or would expose faces unencrypted.
            ConfigError: the folder holds no valid key.
        """
        own = None if keys is None else load_key(keys / GATE, secret=True)
        if own is None and not allow_insecure and not endpoint.startswith(LOOPBACK):
            raise DeliveryError(
                f"{endpoint} is reachable from other hosts, and delivery is not encrypted: create keys with "
                "'facegate keys new WORKER' and pass their folder with --keys, or use --allow-insecure on a "
                "trusted network"
            )
        self._refusal_log = RateLimitedLog()
        self._authenticator: ThreadAuthenticator | None = None
        self.monitor: zmq.Socket[bytes] | None = None
        """Readable when a handshake has failed; see :meth:`log_refusals`."""
        self._context = zmq.Context()
        self.socket: zmq.Socket[bytes] = self._context.socket(kind)
        self.socket.setsockopt(zmq.LINGER, LINGER_MS)
        self.socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        self.socket.setsockopt(zmq.IPV6, endpoint.startswith("tcp://["))
        for option, value in (options or {}).items():
            self.socket.setsockopt(option, value)
        if own is not None and keys is not None:
            self._enable_curve(own, keys)
        try:
            self.socket.bind(endpoint)
        except zmq.ZMQError as error:
            self.close(linger_ms=0)
            raise DeliveryError(_problem(endpoint, error)) from error
        self.endpoint: str = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)
        if own is None and not self.endpoint.startswith(LOOPBACK):
            log.warning("endpoint neither encrypted nor authenticated", endpoint=self.endpoint)

    def _enable_curve(self, own: KeyFile, folder: Path) -> None:
        """Encrypt, and admit known workers only."""
        self._authenticator = ThreadAuthenticator(self._context)
        self._authenticator.start()
        self._authenticator.configure_curve_callback("*", credentials_provider=CurveAuthenticator(folder))
        self.socket.curve_server = True
        self.socket.curve_publickey = own.public.encode()
        self.socket.curve_secretkey = own.secret.encode()
        # A peer without a key never reaches the authenticator; the socket's monitor reports it.
        self.monitor = self.socket.get_monitor_socket(REFUSED)

    def log_refusals(self) -> None:
        """Drain ``monitor`` and log failed handshakes, once a minute."""
        while self.monitor is not None and self.monitor.poll(0):
            recv_monitor_message(self.monitor)
            self._refusal_log.warn("worker", "unknown", "handshake failed: no key, or not ZeroMQ")

    def close(self, *, linger_ms: int = LINGER_MS) -> None:
        """Release all resources; pending messages have ``linger_ms`` to leave."""
        if self.monitor is not None:
            self.socket.disable_monitor()
            self.monitor.close(0)
        if self._authenticator is not None:
            self._authenticator.stop()
        self.socket.close(linger_ms)
        self._context.term()


def _problem(endpoint: str, error: zmq.ZMQError) -> str:
    if error.errno == zmq.EADDRINUSE:
        return f"cannot bind {endpoint}: the address is in use; choose another port"
    return (
        f"cannot bind {endpoint}: {str(error).lower()}; give an address of this host, such as tcp://127.0.0.1:5570"
    )
