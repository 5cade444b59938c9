"""A gate's control socket: report, live view and reload. Access is controlled by the permissions of its file."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec
import structlog
import zmq

from facegate.background import BackgroundThread
from facegate.errors import DeliveryError, FacegateError, os_reason
from facegate.pipeline.control.live import LiveView
from facegate.pipeline.control.messages import (
    MAX_CAMERAS,
    MAX_REQUEST_BYTES,
    ErrorReply,
    LiveReply,
    LiveRequest,
    ReloadReply,
    ReloadRequest,
    Reply,
    ReportReply,
    Request,
)
from facegate.pipeline.runtime.reload import ConfigDiff

POLL_MS = 100

log = structlog.get_logger(__name__)


class ControlServer(BackgroundThread):
    """Serves a socket file until closed; the permissions of its folder control access."""

    def __init__(
        self,
        endpoint: str,
        *,
        run_id: str,
        report: Callable[[], bytes],
        reload: Callable[[], ConfigDiff],
        live: LiveView,
    ) -> None:
        """Bind.

        Args:
            endpoint: ``ipc://FILE``.
            run_id: id of the run.
            report: returns its counts so far, as JSON.
            reload: reloads the configuration file.
            live: the live view.

        Raises:
            DeliveryError: not an ipc:// endpoint, or it cannot be bound.
        """
        if not endpoint.startswith("ipc://"):
            raise DeliveryError(
                f"invalid control endpoint {endpoint}: use ipc://FILE in a folder that only you can open"
            )
        super().__init__("facegate-control")
        self._run_id, self._report, self._reload, self._live = run_id, report, reload, live
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 200)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_REQUEST_BYTES)
        try:
            self._socket.bind(endpoint)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise DeliveryError(f"cannot bind {endpoint}: {os_reason(error)}; use another file") from error
        self._pending: dict[Future[Reply], list[bytes]] = {}
        self._changing = ThreadPoolExecutor(1, "facegate-reload")

    def close(self) -> None:
        """Release the endpoint."""
        super().close()
        self._changing.shutdown(wait=False, cancel_futures=True)
        self._context.destroy(linger=200)

    def _run(self) -> None:
        while not self._stop.is_set():
            if self._socket.poll(POLL_MS):
                *route, body = self._socket.recv_multipart()
                self._take(route, body)
            for future in [future for future in self._pending if future.done()]:
                self._reply(self._pending.pop(future), future.result())

    def _take(self, route: list[bytes], body: bytes) -> None:
        try:
            request = msgspec.msgpack.decode(body, type=Request)
        except msgspec.DecodeError as error:
            self._reply(route, ErrorReply(f"invalid request: {error}"))
            return
        if isinstance(request, ReloadRequest):
            # Waits for removed cameras to end, which may take seconds; other requests are served meanwhile.
            self._pending[self._changing.submit(self._reloaded)] = route
        elif isinstance(request, LiveRequest):
            if len(request.have) > MAX_CAMERAS:
                self._reply(route, ErrorReply(f"too many cameras: request at most {MAX_CAMERAS} at a time"))
            else:
                self._reply(route, LiveReply(self._run_id, self._live.reply(request)))
        else:
            self._reply(route, ReportReply(self._report()))

    def _reloaded(self) -> Reply:
        try:
            result = self._reload()
        except FacegateError as error:
            log.error("configuration rejected, keeping the previous one", reason=str(error))
            return ErrorReply(str(error))
        return ReloadReply(result.added, result.removed, result.changed, result.ignored)

    def _reply(self, route: list[bytes], reply: Reply) -> None:
        self._socket.send_multipart([*route, msgspec.msgpack.encode(reply)])
