"""Shots to NATS JetStream: one durable stream for any number of gates and worker hosts.

A message's subject is ``facegate.shots.CAMERA``, its payload a MessagePack array of the header
(docs/reference/wire.md), the crop and optionally the whole picture, and its ``Nats-Msg-Id`` the ``shot_id``, by
which the server drops duplicates within two minutes. Its header ``Facegate-Feedback`` is the subject to which a
worker publishes its acknowledgement (:class:`facegate.sinks.wire.Ack`) with the feedback, for this gate alone.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from threading import Thread
from time import monotonic
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from facegate.errors import ConfigError, DeliveryError
from facegate.extras import require
from facegate.pipeline.addresses import servers
from facegate.pipeline.records import FeedbackBatch, TrackEnd
from facegate.sinks import wire
from facegate.sinks.feedback import FeedbackQueue
from facegate.sinks.wire import EncodedShot

STREAM = "FACEGATE"
SUBJECT = "facegate.shots"
ENDED_SUBJECT = "facegate.ended"
"""Ended tracks (:class:`facegate.sinks.wire.TrackEnded`) for every subscribed worker; not stored."""
LIVE_SUBJECT = "facegate.live"
"""Live tracks (:class:`facegate.sinks.wire.LiveTracksMessage`), every second; not stored."""
FEEDBACK_SUBJECT, FEEDBACK_HEADER = "facegate.feedback", "Facegate-Feedback"
"""Acknowledgements for one gate go to ``facegate.feedback.TOKEN.ack``, with a token of its own for each run."""
WORKERS_SUBJECT = "facegate.workers"
"""Every :data:`ASK_S` a gate asks here whether a worker is there; one of them answers with its
:class:`facegate.sinks.wire.Ready`."""
ASK_S, EXPIRES_S = 5.0, 15.0
"""Without an answer within the second time no feedback is expected."""
DEAD_STREAM, DEAD_SUBJECT = "FACEGATE_DEAD", "facegate.dead"
"""Dead letters: messages that workers cannot read or that were redelivered too often."""
DUPLICATES_S = 120.0
DEAD_AGE_S = 7 * 86_400.0
TIMEOUT_S = 10.0
CONNECT_S = 2.0
"""A server that does not answer within this time is unreachable."""
COPIES = 3
NOT_CLUSTERED, NO_PEERS, NO_ROOM = 10074, 10005, 10023
"""NATS error codes: replicas need a cluster; fewer servers than replicas; insufficient resources."""
MAX_MESSAGE_BYTES = wire.MAX_HEADER_BYTES + wire.MAX_CROP_BYTES + wire.MAX_CONTEXT_BYTES


SHOTS = (
    {"name": STREAM, "subjects": [f"{SUBJECT}.>"], "retention": "workqueue", "duplicate_window": DUPLICATES_S},
    {"name": DEAD_STREAM, "subjects": [DEAD_SUBJECT], "max_age": DEAD_AGE_S},
)
"""The work queue of shots, deleted when acknowledged, and the stream of dead letters."""


class JetStream:
    """Publishes to the stream ``FACEGATE``, created if missing. A stored shot is delivered."""

    batch_size = 64
    streams: Sequence[dict[str, Any]] = SHOTS
    """Created if missing; the first is published to."""
    subject = SUBJECT
    has_feedback = True
    """Whether the consumers of the stream send feedback."""

    def __init__(self, url: str) -> None:
        """Configure; nothing is connected yet.

        Args:
            url: ``nats://`` or ``tls://``, with user and password if the server requires them.

        Raises:
            ConfigError: the ``nats`` extra is not installed.
        """
        self._nats = load_nats()
        self.name = server_name(url)
        self._url = url
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="facegate-nats", daemon=True)
        self._thread.start()
        self._client: Any = None
        self.answers = FeedbackQueue()
        self._own = f"{FEEDBACK_SUBJECT}.{secrets.token_hex(8)}"
        self._ask_s = self._worker_s = float("-inf")

    def deliver(self, entries: Sequence[EncodedShot]) -> None:
        """See :class:`facegate.sinks.spooled_sink.Target`."""
        self._do(self._publish_shots(entries))

    def ended(self, tracks: Sequence[TrackEnd]) -> None:
        """See :class:`facegate.sinks.spooled_sink.AcceptsTrackEnds`."""
        ends = [(end.camera, wire.TrackEnded(end.run_id, end.camera, end.track_id, end.pts_s)) for end in tracks]
        self._do(
            self._publish_all(
                [(f"{ENDED_SUBJECT}.{camera.replace('.', '_')}", wire.encode(end)) for camera, end in ends]
            )
        )

    def live(self, tracks: Sequence[wire.LiveTracksMessage]) -> None:
        """See :class:`facegate.sinks.spooled_sink.AcceptsTrackEnds`."""
        self._do(self._publish_all([(LIVE_SUBJECT, wire.encode(each)) for each in tracks]))

    def feedback(self) -> FeedbackBatch:
        """See :class:`facegate.sinks.spooled_sink.GivesFeedback`."""
        self.answers.expect(monotonic() - self._worker_s < EXPIRES_S)
        return self.answers.fetch()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, TIMEOUT_S), self._loop).result()
        except (self._nats.errors.Error, OSError, TimeoutError) as error:
            self._disconnect()
            reason = str(error).lower() or type(error).__name__
            raise DeliveryError(f"{self.name} refused shots: {reason}") from error

    def close(self) -> None:
        """See :class:`facegate.sinks.spooled_sink.Target`."""
        self._disconnect()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def payload(self, entry: EncodedShot) -> bytes:
        """The message body for a shot."""
        return msgspec.msgpack.encode((msgspec.Raw(entry.header), *entry.pictures))

    async def _connected(self) -> Any:
        if self._client is None:
            self._client = await connect(self._nats, self._url)
            await make_streams(self._nats, self._client.jetstream(), self.streams)
            if self.has_feedback:
                await self._client.subscribe(f"{self._own}.ack", cb=self._acknowledged)
                await self._client.subscribe(f"{self._own}.ready", cb=self._worker_ready)
                self._ask_s = float("-inf")
        if self.has_feedback and monotonic() >= self._ask_s + ASK_S:
            self._ask_s = monotonic()
            await self._client.publish(WORKERS_SUBJECT, b"", reply=f"{self._own}.ready")
        return self._client

    async def _acknowledged(self, message: Any) -> None:
        try:
            self.answers.put(ack := wire.decode(message.data, wire.Ack))
            if ack.feedback is not None:
                self._worker_s = monotonic()
        except DeliveryError:
            self.answers.invalid += 1

    async def _worker_ready(self, message: Any) -> None:
        try:
            if wire.decode(message.data, wire.Ready).feedback:
                self._worker_s = monotonic()
        except DeliveryError:
            self.answers.invalid += 1

    async def _publish_all(self, messages: Sequence[tuple[str, bytes]]) -> None:
        client = await self._connected()
        for subject, body in messages:
            await client.publish(subject, body)
        await client.flush()

    def _headers(self, entry: EncodedShot) -> dict[str, str]:
        feedback = {FEEDBACK_HEADER: f"{self._own}.ack"} if self.has_feedback else {}
        return {"Nats-Msg-Id": entry.shot_id, **feedback}

    async def _publish_shots(self, entries: Sequence[EncodedShot]) -> None:
        stream = (await self._connected()).jetstream()
        await asyncio.gather(
            *(
                stream.publish(
                    f"{self.subject}.{entry.camera.replace('.', '_')}",
                    self.payload(entry),
                    stream=self.streams[0]["name"],
                    headers=self._headers(entry),
                )
                for entry in entries
            )
        )

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            asyncio.run_coroutine_threadsafe(client.close(), self._loop).result()


def unpack(message: bytes) -> tuple[wire.ShotHeader, bytes]:
    """Return header and crop of a message in the stream.

    Raises:
        DeliveryError: too large, or not a shot.
    """
    if len(message) > MAX_MESSAGE_BYTES:
        raise DeliveryError(f"message of {len(message)} bytes refused: at most {MAX_MESSAGE_BYTES} are allowed")
    try:
        header, crop, *_ = msgspec.msgpack.decode(message, type=list[msgspec.Raw])
        return wire.decode_header(bytes(header)), msgspec.msgpack.decode(crop, type=bytes)
    except (msgspec.DecodeError, ValueError) as error:
        raise DeliveryError(f"malformed message refused: {error}") from error


def load_nats() -> Any:
    """Import the client library.

    Raises:
        ConfigError: the ``nats`` extra is not installed.
    """
    require("nats", "JetStream")
    import nats

    return nats


def server_name(url: str) -> str:
    """Addresses of the servers without credentials.

    Raises:
        ConfigError: a port is invalid.
    """
    hosts = []
    for each in servers(url):
        parts = urlsplit(each)
        try:
            hosts.append(f"{parts.hostname}:{parts.port or 4222}")
        except ValueError as error:
            raise ConfigError(f"invalid port of {parts.hostname}: give a number from 1 to 65535") from error
    return f"{url.partition('://')[0]}://{','.join(hosts)}"


async def connect(nats: Any, url: str) -> Any:
    """Connect to one of the servers. No automatic reconnection: the caller knows what an outage lost.

    Each is tried once, in random order: given a list, the client gives up at a server that never answers.

    Raises:
        nats.errors.Error: no server answers, or one refuses the login.
        OSError: no server is reachable.
        TimeoutError: no server answers in time.
    """

    async def quiet(error: Exception) -> None:
        """Ignore the error: the call that fails raises it."""

    each = [urlsplit(server) for server in servers(url)]
    first = each[0]
    login = (
        {}
        if first.username is None
        else {"user": unquote(first.username), "password": unquote(first.password or "")}
    )
    addresses = [parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() for parts in each]
    failed: list[Exception] = []
    for address in random.sample(addresses, len(addresses)):
        try:
            return await nats.connect(
                address,
                **login,
                name="facegate",
                error_cb=quiet,
                connect_timeout=CONNECT_S,
                allow_reconnect=False,
                max_reconnect_attempts=1,  # or the first connection is retried for two minutes
                reconnect_time_wait=0,
            )
        except (nats.errors.Error, OSError, TimeoutError) as error:
            failed.append(error)
    raise next((error for error in failed if refused(error)), failed[0])


def refused(error: Exception) -> bool:
    """Whether a server was reached and rejected the login."""
    return "uthorization" in str(error)


async def make_streams(nats: Any, stream: Any, streams: Sequence[dict[str, Any]] = SHOTS) -> None:
    """Create missing streams, with three replicas where the cluster allows."""
    for settings in streams:
        try:
            await stream.stream_info(settings["name"])
        except nats.js.errors.NotFoundError:
            await replicated(nats, partial(stream.add_stream, **settings, storage="file"))


async def replicated(nats: Any, make: Callable[..., Awaitable[Any]]) -> Any:
    """Call ``make`` for three replicas; for one if there is no cluster or too few of its servers are up."""
    try:
        return await make(num_replicas=COPIES)
    except (
        nats.js.errors.BadRequestError,
        nats.js.errors.ServerError,
        nats.js.errors.ServiceUnavailableError,
    ) as error:
        if error.err_code not in (NOT_CLUSTERED, NO_PEERS, NO_ROOM):
            raise
        return await make(num_replicas=1)
