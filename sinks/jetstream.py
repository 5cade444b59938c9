"""Shots to NATS JetStream: durable between hosts, for several gates and several hosts of workers on one stream.

A message's subject is ``facegate.shots.CAMERA``, its payload a MessagePack array of the header (docs/wire.md), the
crop and perhaps the whole picture, and its ``Nats-Msg-Id`` the ``shot_id``, by which the server drops second copies
within two minutes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from facegate.errors import ConfigError, DeliveryError
from facegate.sinks.wire import Entry

STREAM = "FACEGATE"
SUBJECT = "facegate.shots"
DUPLICATES_S = 120.0
TIMEOUT_S = 10.0


class JetStream:
    """Publishes to the stream ``FACEGATE``, made where it does not exist; a shot is delivered when that has it."""

    together = 64

    def __init__(self, url: str) -> None:
        """Configure; nothing is connected yet.

        Args:
            url: ``nats://`` or ``tls://``, with user and password where the server asks for them.

        Raises:
            ConfigError: the ``nats`` extra is not installed.
        """
        try:
            import nats
        except ImportError as error:
            raise ConfigError("JetStream needs nats-py: pip install 'facegate[nats]'") from error
        self._nats = nats
        parts = urlsplit(url)
        self.name = f"{parts.scheme}://{parts.hostname}:{parts.port or 4222}"
        self._url = url
        self._loop = asyncio.new_event_loop()
        self._client: Any = None

    def deliver(self, entries: Sequence[Entry]) -> None:
        """See :class:`facegate.sinks.outbox.Target`."""
        try:
            self._loop.run_until_complete(asyncio.wait_for(self._publish(entries), TIMEOUT_S))
        except (self._nats.errors.Error, OSError, TimeoutError) as error:
            self._disconnect()
            reason = str(error).lower() or type(error).__name__
            raise DeliveryError(f"{self.name} does not take shots: {reason}") from error

    def close(self) -> None:
        """See :class:`facegate.sinks.outbox.Target`."""
        self._disconnect()
        self._loop.close()

    async def _publish(self, entries: Sequence[Entry]) -> None:
        if self._client is None:
            self._client = await self._connect()
        stream = self._client.jetstream()
        await asyncio.gather(
            *(
                stream.publish(
                    f"{SUBJECT}.{entry.camera.replace('.', '_')}",
                    msgspec.msgpack.encode((msgspec.Raw(entry.header), *entry.pictures)),
                    stream=STREAM,
                    headers={"Nats-Msg-Id": entry.shot_id},
                )
                for entry in entries
            )
        )

    async def _connect(self) -> Any:
        async def quiet(error: Exception) -> None:
            """Whatever it is, the delivery that fails tells of it."""

        # Reconnecting is the outbox's business, which knows what has not arrived.
        client = await self._nats.connect(
            self._url, allow_reconnect=False, error_cb=quiet, connect_timeout=5, name="facegate"
        )
        try:
            stream = client.jetstream()
            try:
                await stream.stream_info(STREAM)
            except self._nats.js.errors.NotFoundError:
                await stream.add_stream(
                    name=STREAM, subjects=[f"{SUBJECT}.>"], storage="file", duplicate_window=DUPLICATES_S
                )
        except BaseException:
            await client.close()
            raise
        return client

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            self._loop.run_until_complete(client.close())
