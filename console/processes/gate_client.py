"""Client of a gate's control socket."""

from __future__ import annotations

from threading import local
from types import TracebackType
from typing import Self, TypeVar

import msgspec
import zmq

from facegate.errors import FacegateError
from facegate.pipeline.control.messages import (
    ErrorReply,
    LiveReply,
    LiveRequest,
    ReloadReply,
    ReloadRequest,
    Reply,
    ReportReply,
    ReportRequest,
)

REPLY_TIMEOUT_S = 2.0
RELOAD_S = 150.0
"""A reload waits for removed cameras, at most for their ``timeout_s``."""

Answer = TypeVar("Answer", LiveReply, ReportReply, ReloadReply)


class GateUnreachableError(FacegateError):
    """The gate does not answer."""


class GateRefusedError(FacegateError):
    """The gate rejected the request and changed nothing."""


class GateClient:
    """Sends requests to a gate; thread-safe."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._context = zmq.Context()
        self._own = local()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.destroy(linger=0)

    def live(self, have: dict[str, int], longer_side: int, jpeg_quality: int = 75) -> LiveReply:
        """Current frames of cameras; see :class:`LiveRequest`.

        Raises:
            GateUnreachableError: the gate does not answer.
        """
        return self._ask(LiveRequest(have, longer_side, jpeg_quality), LiveReply, REPLY_TIMEOUT_S)

    def report(self) -> bytes:
        """The run's report as JSON.

        Raises:
            GateUnreachableError: the gate does not answer.
        """
        return self._ask(ReportRequest(), ReportReply, REPLY_TIMEOUT_S).json

    def reload(self) -> ReloadReply:
        """Make the gate reload its configuration file.

        Raises:
            GateUnreachableError: the gate does not answer.
            GateRefusedError: the configuration was rejected; the gate keeps the previous one.
        """
        return self._ask(ReloadRequest(), ReloadReply, RELOAD_S)

    def _ask(
        self, request: LiveRequest | ReportRequest | ReloadRequest, kind: type[Answer], timeout_s: float
    ) -> Answer:
        socket = self._socket()
        try:
            socket.send(msgspec.msgpack.encode(request), zmq.NOBLOCK)
            if not socket.poll(round(1000 * timeout_s)):
                raise GateUnreachableError(
                    "the gate does not answer; it is starting or has stopped, retry in a moment"
                )
            reply = msgspec.msgpack.decode(socket.recv(), type=Reply)
        except (zmq.ZMQError, msgspec.DecodeError, GateUnreachableError) as error:
            self._drop()  # a late reply must not be read as the reply to the next request
            if isinstance(error, GateUnreachableError):
                raise
            raise GateUnreachableError(f"the gate does not answer ({error}); retry in a moment") from error
        if isinstance(reply, ErrorReply):
            raise GateRefusedError(reply.reason)
        if not isinstance(reply, kind):
            raise GateUnreachableError("unexpected reply from the gate (version mismatch?); restart the console")
        return reply

    def _socket(self) -> zmq.Socket[bytes]:
        found: zmq.Socket[bytes] | None = getattr(self._own, "socket", None)
        if found is None:
            found = self._context.socket(zmq.REQ)
            found.setsockopt(zmq.LINGER, 0)
            found.setsockopt(zmq.SNDTIMEO, 1000)
            found.connect(self.endpoint)
            self._own.socket = found
        return found

    def _drop(self) -> None:
        self._own.socket.close()
        self._own.socket = None
