"""Recognition worker on NATS JetStream; any number of them on any hosts share one stream."""

from __future__ import annotations

import asyncio
import re
from threading import Event
from time import monotonic
from typing import Any

import structlog

from facegate.errors import DeliveryError
from facegate.recognition.worker.zmq_worker import Recognizer
from facegate.sinks import wire
from facegate.sinks.jetstream import (
    DEAD_SUBJECT,
    ENDED_SUBJECT,
    FEEDBACK_HEADER,
    FEEDBACK_SUBJECT,
    LIVE_SUBJECT,
    STREAM,
    SUBJECT,
    WORKERS_SUBJECT,
    connect,
    load_nats,
    make_streams,
    server_name,
    unpack,
)

DURABLE = "recognition"
"""Consumer shared by all workers; a work queue allows only one."""
ACK_WAIT_S = 30.0
MAX_PENDING = 256
MAX_DELIVERIES = 5
"""Deliveries after which a shot becomes a dead letter: it may crash its workers."""
BATCH_SIZE = 8
POLL_INTERVAL_S = 0.5
RECONNECT_S = 1.0

log = structlog.get_logger(__name__)


class JetStreamWorker:
    """Consumes shots until stopped; each is acknowledged once its line is written."""

    def __init__(self, url: str, recognizer: Recognizer) -> None:
        """Configure; nothing is connected yet.

        Args:
            url: ``nats://`` or ``tls://``, with user and password if the server requires them.
            recognizer: recognizes the shots.

        Raises:
            ConfigError: the ``nats`` extra is not installed.
        """
        self._nats = load_nats()
        self._url = url
        self._recognizer = recognizer

    def run(self, stop: Event, *, once: bool = False) -> None:
        """Serve until ``stop``, reconnecting after outages; with ``once``, until the stream is empty."""
        try:
            asyncio.run(self._run(stop, once))
        finally:
            self._recognizer.finish()

    async def _run(self, stop: Event, once: bool) -> None:
        logged = ""
        while not stop.is_set():
            try:
                client = await connect(self._nats, self._url)
                try:
                    logged = ""
                    if await self._serve(client, stop, once):
                        return
                finally:
                    await client.close()
            except (self._nats.errors.Error, OSError) as error:
                reason = str(error).lower() or type(error).__name__
                if reason != logged:
                    log.warning("server not connected, will retry", server=server_name(self._url), reason=reason)
                    logged = reason
                again = monotonic() + RECONNECT_S
                while monotonic() < again and not stop.is_set():
                    await asyncio.sleep(0.1)

    async def _serve(self, client: Any, stop: Event, once: bool) -> bool:
        """Return ``True`` when the work is done, ``False`` when the connection is lost."""
        stream = client.jetstream()
        await make_streams(self._nats, stream)
        config = self._nats.js.api.ConsumerConfig(
            ack_wait=ACK_WAIT_S, max_ack_pending=MAX_PENDING, max_deliver=MAX_DELIVERIES + 1
        )
        shots = await stream.pull_subscribe(f"{SUBJECT}.>", durable=DURABLE, stream=STREAM, config=config)
        await client.subscribe(f"{ENDED_SUBJECT}.>", cb=self._ended)
        await client.subscribe(LIVE_SUBJECT, cb=self._live)

        async def ready(message: Any) -> None:
            """Answer a gate that asks whether a worker is there."""
            await _answer(client, message.reply, wire.Ready(BATCH_SIZE, visits=True, feedback=True, live=True))

        # In a group, so that one worker answers, however many there are.
        await client.subscribe(WORKERS_SUBJECT, queue=DURABLE, cb=ready)
        while not stop.is_set():
            self._recognizer.expire_visits()
            try:
                found = await shots.fetch(BATCH_SIZE, timeout=POLL_INTERVAL_S)
            except self._nats.errors.TimeoutError:
                if not client.is_connected:
                    return False
                if once:
                    info = await shots.consumer_info()
                    if not info.num_pending and not info.num_ack_pending:
                        return True
                continue
            for message in found:
                await self._process(client, stream, message)
        return True

    async def _ended(self, message: Any) -> None:
        """Handle an ended track; all workers receive all of them."""
        try:
            self._recognizer.ended(wire.decode(message.data, wire.TrackEnded))
        except DeliveryError as error:
            self._recognizer.metrics.messages_rejected.inc()
            log.error("invalid message ignored", subject=message.subject, reason=str(error))

    async def _live(self, message: Any) -> None:
        """Handle the live tracks of a gate; all workers receive all of them."""
        try:
            self._recognizer.live(wire.decode(message.data, wire.LiveTracksMessage))
        except DeliveryError as error:
            log.error("invalid message ignored", subject=message.subject, reason=str(error))

    async def _process(self, client: Any, stream: Any, message: Any) -> None:
        """Recognize and acknowledge a shot, to the stream and to its gate, or dead-letter it."""
        try:
            if message.metadata.num_delivered > MAX_DELIVERIES:
                raise DeliveryError(f"delivered {message.metadata.num_delivered} times, never acknowledged")
            header, crop = unpack(message.data)
            (result,) = self._recognizer.recognize([(header, crop)])
            if isinstance(result, DeliveryError):
                raise result
        except DeliveryError as error:
            self._recognizer.metrics.messages_rejected.inc()
            log.error("shot dead-lettered", subject=DEAD_SUBJECT, reason=str(error))
            await stream.publish(DEAD_SUBJECT, message.data, headers={"Reason": str(error)[:200]})
            await message.term()
        else:
            await _answer(client, (message.headers or {}).get(FEEDBACK_HEADER, ""), result)
            await message.ack_sync()


async def _answer(client: Any, subject: str, body: wire.Ack | wire.Ready) -> None:
    """Publish to a gate; nowhere else, whatever a message asks for."""
    if re.fullmatch(rf"{re.escape(FEEDBACK_SUBJECT)}\.\w{{1,64}}\.(ack|ready)", subject):
        await client.publish(subject, wire.encode(body))
