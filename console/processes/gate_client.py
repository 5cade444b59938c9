"""The console's end of a gate's control socket."""

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
"""Cameras that leave are waited for, at most as long as their ``timeout_s``."""

Answer = TypeVar("Answer", LiveReply, ReportReply, ReloadReply)


class GateUnreachableError(FacegateError):
    """The gate does not answer: it is starting, or gone."""


class GateRefusedError(FacegateError):
    """The gate answered, and did nothing."""


class GateClient:
    """Asks the gate behind a socket file, from any thread."""

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
        """What cameras show; see :class:`LiveRequest`.

        Raises:
            GateAwayError: no answer came.
        """
        return self._ask(LiveRequest(have, longer_side, jpeg_quality), LiveReply, REPLY_TIMEOUT_S)

    def report(self) -> bytes:
        """The run's report as JSON.

        Raises:
            GateAwayError: no answer came.
        """
        return self._ask(ReportRequest(), ReportReply, REPLY_TIMEOUT_S).json

    def reload(self) -> ReloadReply:
        """Let it read its configuration file again.

        Raises:
            GateAwayError: no answer came.
            GateRefusedError: it goes on with what it had.
        """
        return self._ask(ReloadRequest(), ReloadReply, RELOAD_S)

    def _ask(
        self, request: LiveRequest | ReportRequest | ReloadRequest, kind: type[Answer], patience_s: float
    ) -> Answer:
        socket = self._socket()
        try:
            socket.send(msgspec.msgpack.encode(request), zmq.NOBLOCK)
            if not socket.poll(round(1000 * patience_s)):
                raise GateUnreachableError("the gate does not answer: it is starting, or was ended")
            reply = msgspec.msgpack.decode(socket.recv(), type=Reply)
        except (zmq.ZMQError, msgspec.DecodeError, GateUnreachableError) as error:
            self._drop()  # a late answer must not be taken for that to the next question
            if isinstance(error, GateUnreachableError):
                raise
            raise GateUnreachableError(f"the gate does not answer: {error}") from error
        if isinstance(reply, ErrorReply):
            raise GateRefusedError(reply.reason)
        if not isinstance(reply, kind):
            raise GateUnreachableError("the gate answers something else")
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
