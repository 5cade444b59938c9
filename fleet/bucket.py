"""A fleet on a NATS server: a key-value bucket of leases and one of documents.

The bucket ``facegate-NAME-leases`` has the keys of :mod:`facegate.fleet.records`, one value each. The bucket
``facegate-NAME`` has ``meta`` (format version) and ``config`` with its last versions.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import msgspec

from facegate.errors import FleetError
from facegate.fleet.configuration import AppliedConfig, decode
from facegate.fleet.peer_exchange import SUBJECT
from facegate.fleet.pending_writes import Write
from facegate.fleet.records import VERSION
from facegate.pipeline.addresses import servers
from facegate.pipeline.config.values import LOCAL
from facegate.pipeline.gating.policies import MAX_RECENT_PEOPLE
from facegate.sinks.jetstream import connect, load_nats, refused, replicated, server_name

REPLY_TIMEOUT_S = 2.0
HISTORY = 32
"""Number of versions of the configuration kept."""
META, CONFIG = "meta", "config"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")


class BucketMeta(msgspec.Struct, frozen=True):
    """Format version of a fleet's buckets."""

    version: int


class BucketAddress(msgspec.Struct, frozen=True):
    """Address of a fleet: ``nats://HOST:4222/NAME``; several hosts are separated by commas."""

    url: str
    """URL of the servers, without the fleet's name; may contain credentials."""
    name: str

    @property
    def shown(self) -> str:
        """The address without credentials."""
        return f"{server_name(self.url)}/{self.name}"


def parse(text: str, *, allow_insecure: bool = False) -> BucketAddress:
    """Parse a fleet's address.

    Raises:
        FleetError: invalid, or an unencrypted connection to another host (see ``allow_insecure``).
        ConfigError: invalid port.
    """
    scheme, separator, rest = text.partition("://")
    authority, _, name = rest.partition("/")
    name = name.strip("/") or "facegate"
    if not separator or scheme not in ("nats", "tls") or not authority:
        raise FleetError(
            f"invalid fleet URL {server_name(text) if separator else text}: give nats://HOST:4222 or tls://HOST:4222"
        )
    if not _NAME.fullmatch(name):
        raise FleetError(f"invalid fleet name '{name}': use up to 32 letters, digits, '_' and '-'")
    url = f"{scheme}://{authority}"
    server_name(url)  # raises for an invalid port
    if (
        scheme == "nats"
        and not allow_insecure
        and any(urlsplit(each).hostname not in LOCAL for each in servers(url))
    ):
        raise FleetError(
            f"{server_name(url)} is another host, and nats:// is not encrypted: use tls://, or --allow-insecure on "
            "a trusted network"
        )
    return BucketAddress(url, name)


class BucketUpdate(msgspec.Struct, frozen=True):
    """A new value of a lease key, empty if deleted. An empty key marks the end of the initial values."""

    key: str
    value: bytes
    revision: int


class WriteRejectedError(FleetError):
    """A write was certainly not made: JetStream has no leader at present."""


class Bucket:
    """A connection to a fleet's buckets."""

    def __init__(self, nats: Any, client: Any, leases: Any, documents: Any, name: str) -> None:
        self._nats, self._client = nats, client
        self._subject = f"{SUBJECT}.{name}"
        self._leases, self._documents = leases, documents

    @property
    def connected(self) -> bool:
        """Whether the connection is up."""
        return bool(self._client.is_connected)

    async def updates(self) -> AsyncIterator[BucketUpdate]:
        """All lease keys, then their updates."""
        async for news in self._watch(self._leases, ">"):
            yield news

    async def configurations(self) -> AsyncIterator[BucketUpdate]:
        """The configuration, then every new one."""
        async for news in self._watch(self._documents, CONFIG):
            if news.value:
                yield news

    async def write(self, write: Write) -> int | None:
        """Write conditionally; return the new revision, ``None`` if the expected one is outdated.

        Raises:
            WriteRejectedError: it was not made, for lack of a leader.
            nats.errors.Error: it is unknown whether it was made.
            TimeoutError: it is unknown whether it was made.
        """
        try:
            with self._leader_required():
                return int(await self._leases.update(write.key, write.value, last=write.expected))
        except self._nats.js.errors.KeyWrongLastSequenceError:
            return None

    async def put(self, key: str, value: bytes) -> None:
        """Write unconditionally.

        Raises:
            WriteRejectedError: as for :meth:`write`.
        """
        with self._leader_required():
            await self._leases.put(key, value)

    @contextmanager
    def _leader_required(self) -> Iterator[None]:
        """Translate the error of a stream without a leader."""
        try:
            yield
        except self._nats.js.errors.NoStreamResponseError as error:
            raise WriteRejectedError("NATS JetStream has no leader yet; retrying") from error

    async def all(self) -> tuple[list[tuple[BucketUpdate, float]], float]:
        """Every lease key with the age of its value in seconds, and Unix time, both by the server's clock."""
        kept = self._client.jetstream(timeout=REPLY_TIMEOUT_S)
        info = await kept._api_request(
            f"{kept._prefix}.STREAM.INFO.{self._leases._stream}", timeout=REPLY_TIMEOUT_S
        )
        seconds = _unix(info["ts"])
        async with aclosing(self._entries(self._leases, ">")) as entries:
            found = [
                (_update(entry), max(0.0, seconds - entry.created.timestamp()))
                async for entry in _initial_values(entries)
            ]
        return found, seconds

    async def apply(self, value: bytes) -> int:
        """Publish a configuration; return its revision.

        Raises:
            WriteRejectedError: as for :meth:`write`.
        """
        with self._leader_required():
            return int(await self._documents.put(CONFIG, value))

    async def history(self) -> list[AppliedConfig]:
        """The last configurations, newest last; unreadable ones are skipped."""
        found = []
        async with aclosing(self._entries(self._documents, CONFIG, include_history=True)) as entries:
            async for entry in _initial_values(entries):
                with suppress(FleetError):
                    found.append(decode(entry.value or b"", entry.revision))
        return found

    async def publish(self, value: bytes) -> None:
        """Send a message to all nodes; it is not stored."""
        await self._client.publish(self._subject, value)

    async def subscribe(self) -> AsyncIterator[bytes]:
        """Messages of the nodes."""
        subscription = await self._client.subscribe(self._subject, pending_msgs_limit=MAX_RECENT_PEOPLE)
        async for message in subscription.messages:
            yield message.data

    async def _watch(self, bucket: Any, keys: str) -> AsyncIterator[BucketUpdate]:
        async with aclosing(self._entries(bucket, keys)) as entries:
            async for entry in entries:
                yield BucketUpdate("", b"", 0) if entry is None else _update(entry)

    async def _entries(self, bucket: Any, keys: str, **how: bool) -> AsyncGenerator[Any]:
        """Current entries of these keys, ``None`` once, then their updates."""
        watcher, complete = await bucket.watch(keys, **how), False
        try:
            async for entry in watcher:
                # The client also reports completeness when the server has sent entries that have not arrived yet:
                # only the server's count is reliable.
                if entry is not None:
                    yield entry
                if not complete and (entry.delta == 0 if entry is not None else await self._is_empty(bucket, keys)):
                    complete = True
                    yield None
        finally:
            await watcher.stop()

    async def _is_empty(self, bucket: Any, keys: str) -> bool:
        stream = self._client.jetstream(timeout=REPLY_TIMEOUT_S)
        info = await stream.stream_info(bucket._stream, subjects_filter=f"{bucket._pre}{keys}")
        return not info.state.subjects


def _update(entry: Any) -> BucketUpdate:
    return BucketUpdate(entry.key, b"" if entry.operation else entry.value or b"", entry.revision)


async def _initial_values(entries: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for entry in entries:
        if entry is None:
            return
        yield entry


@asynccontextmanager
async def opened(address: BucketAddress, *, make: bool = True) -> AsyncIterator[Bucket]:
    """Connect; create missing buckets if ``make`` is set.

    Raises:
        FleetError: no server, no JetStream, no such fleet, or one of another version.
    """
    nats = load_nats()
    try:
        client = await connect(nats, address.url)
    except (nats.errors.Error, OSError, TimeoutError) as error:
        if refused(error):
            raise FleetError(
                f"{server_name(address.url)} rejected the login: give nats://USER:PASSWORD@HOST"
            ) from error
        raise FleetError(
            f"no NATS server answers at {server_name(address.url)}: start one with 'nats-server -js', or check the "
            "address"
        ) from error
    try:
        yield await _bucket(nats, client, address, make)
    finally:
        await client.close()


async def _bucket(nats: Any, client: Any, address: BucketAddress, make: bool) -> Bucket:
    stream = client.jetstream(timeout=REPLY_TIMEOUT_S)
    try:
        await stream.account_info()
    except (nats.errors.Error, nats.js.errors.APIError, TimeoutError) as error:
        raise FleetError(
            f"the NATS server at {server_name(address.url)} has no JetStream or no leader yet: start it with "
            "'nats-server -js'"
        ) from error
    try:
        documents = await _ensured(nats, stream, f"facegate-{address.name}", HISTORY, make)
        await _check_version(nats, documents, address, make)
        leases = await _ensured(nats, stream, f"facegate-{address.name}-leases", 1, make)
    except nats.js.errors.BucketNotFoundError as error:
        raise FleetError(
            f"no fleet at {address.shown} yet: create it with 'facegate fleet apply CONFIG'"
        ) from error
    except (nats.errors.Error, TimeoutError) as error:
        raise FleetError(
            f"the NATS server at {server_name(address.url)} did not answer for fleet '{address.name}': "
            f"{str(error).lower() or 'timeout'}"
        ) from error
    return Bucket(nats, client, leases, documents, address.name)


async def _ensured(nats: Any, stream: Any, name: str, history: int, make: bool) -> Any:
    try:
        return await stream.key_value(name)
    except nats.js.errors.BucketNotFoundError:
        if not make:
            raise

    async def created(num_replicas: int) -> Any:
        return await stream.create_key_value(bucket=name, history=history, replicas=num_replicas)

    return await replicated(nats, created)


async def _check_version(nats: Any, documents: Any, address: BucketAddress, make: bool) -> None:
    try:
        meta = msgspec.json.decode((await documents.get(META)).value or b"", type=BucketMeta)
    except nats.js.errors.KeyNotFoundError:
        if make:
            await documents.put(META, msgspec.json.encode(BucketMeta(VERSION)))
        return
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FleetError(
            f"{address.shown} is not a fleet of facegate: append another fleet name to the address"
        ) from error
    if meta.version != VERSION:
        raise FleetError(
            f"the fleet at {address.shown} has version {meta.version}, this facegate supports {VERSION}: use the "
            "facegate release that created it, or append another fleet name to the address"
        )


def _unix(text: str) -> float:
    """Unix time of an RFC 3339 time in UTC with nanoseconds."""
    from datetime import datetime

    whole, _, rest = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(whole + "+00:00").timestamp() + float(f"0.{rest or 0}")
