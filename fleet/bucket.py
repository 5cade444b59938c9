"""The fleet's place on a NATS server: a key-value bucket of leases, and one of documents.

The bucket ``facegate-NAME-leases`` has the keys of :mod:`facegate.fleet.records`, one value each. The bucket
``facegate-NAME`` has ``meta`` (which version this is) and ``config`` with its last versions.
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

ANSWER_S = 2.0
HISTORY = 32
"""Versions of the configuration that are kept."""
META, CONFIG = "meta", "config"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")


class BucketMeta(msgspec.Struct, frozen=True):
    """Of which version everything is."""

    version: int


class BucketAddress(msgspec.Struct, frozen=True):
    """Where a fleet is: ``nats://HOST:4222/NAME``, several hosts with commas between them."""

    url: str
    """Of the servers alone; it may hold a login."""
    name: str

    @property
    def shown(self) -> str:
        """Without secrets."""
        return f"{server_name(self.url)}/{self.name}"


def parse(text: str, *, allow_insecure: bool = False) -> BucketAddress:
    """Read a fleet's address.

    Raises:
        FleetError: it is none, or would go to another host without encryption (``allow_insecure`` allows that).
        ConfigError: a port is none.
    """
    scheme, separator, rest = text.partition("://")
    authority, _, name = rest.partition("/")
    name = name.strip("/") or "facegate"
    if not separator or scheme not in ("nats", "tls") or not authority:
        raise FleetError(
            f"{server_name(text) if separator else text} is no fleet: give nats://HOST:4222, or tls://"
        )
    if not _NAME.fullmatch(name):
        raise FleetError("a fleet's name, behind the server's address, is up to 32 letters, digits, '_' and '-'")
    url = f"{scheme}://{authority}"
    server_name(url)  # raises where a port is none
    if (
        scheme == "nats"
        and not allow_insecure
        and any(urlsplit(each).hostname not in LOCAL for each in servers(url))
    ):
        raise FleetError(
            f"{server_name(url)} is another host, and nats:// is not encrypted: use tls://, or say --allow-insecure on a "
            "network that you trust"
        )
    return BucketAddress(url, name)


class BucketUpdate(msgspec.Struct, frozen=True):
    """A key of the leases has got a value (an empty one where it was deleted); with no key, all has been told."""

    key: str
    value: bytes
    revision: int


class WriteRejectedError(FleetError):
    """A write was certainly not made: no server decides on writes just now."""


class Bucket:
    """A connection to a fleet's place."""

    def __init__(self, nats: Any, client: Any, leases: Any, documents: Any, name: str) -> None:
        self._nats, self._client = nats, client
        self._subject = f"{SUBJECT}.{name}"
        self._leases, self._documents = leases, documents

    @property
    def connected(self) -> bool:
        """Whether the connection still stands."""
        return bool(self._client.is_connected)

    async def updates(self) -> AsyncIterator[BucketUpdate]:
        """All keys of the leases, then what happens to them."""
        async for news in self._watch(self._leases, ">"):
            yield news

    async def configurations(self) -> AsyncIterator[BucketUpdate]:
        """The configuration, and every one that is applied from now on."""
        async for news in self._watch(self._documents, CONFIG):
            if news.value:
                yield news

    async def write(self, write: Write) -> int | None:
        """Make a conditional write; return the new revision, ``None`` where another one was expected.

        Raises:
            NotMadeError: it was not made, and no other one would be.
            nats.errors.Error: nobody knows whether it was made.
            TimeoutError: likewise.
        """
        try:
            with self._decided():
                return int(await self._leases.update(write.key, write.value, last=write.expected))
        except self._nats.js.errors.KeyWrongLastSequenceError:
            return None

    async def put(self, key: str, value: bytes) -> None:
        """Say what an operator wants, whatever was wanted before.

        Raises:
            NotMadeError: as for :meth:`write`.
        """
        with self._decided():
            await self._leases.put(key, value)

    @contextmanager
    def _decided(self) -> Iterator[None]:
        """Where nobody listens to what is written, the servers have not agreed yet on who does."""
        try:
            yield
        except self._nats.js.errors.NoStreamResponseError as error:
            raise WriteRejectedError("the fleet's servers have not agreed yet on which of them decides") from error

    async def all(self) -> tuple[list[tuple[BucketUpdate, float]], float]:
        """Every key of the leases with the seconds since it got its value, and Unix time, by the server's clock."""
        kept = self._client.jetstream(timeout=ANSWER_S)
        info = await kept._api_request(f"{kept._prefix}.STREAM.INFO.{self._leases._stream}", timeout=ANSWER_S)
        seconds = _unix(info["ts"])
        async with aclosing(self._entries(self._leases, ">")) as entries:
            found = [
                (_news(entry), max(0.0, seconds - entry.created.timestamp()))
                async for entry in _until_told(entries)
            ]
        return found, seconds

    async def apply(self, value: bytes) -> int:
        """Publish a configuration; return its revision.

        Raises:
            NotMadeError: as for :meth:`write`.
        """
        with self._decided():
            return int(await self._documents.put(CONFIG, value))

    async def history(self) -> list[AppliedConfig]:
        """The last configurations, newest last; what cannot be read as one is left out, and can be replaced."""
        found = []
        async with aclosing(self._entries(self._documents, CONFIG, include_history=True)) as entries:
            async for entry in _until_told(entries):
                with suppress(FleetError):
                    found.append(decode(entry.value or b"", entry.revision))
        return found

    async def publish(self, value: bytes) -> None:
        """Tell every gate that listens; nothing is kept."""
        await self._client.publish(self._subject, value)

    async def subscribe(self) -> AsyncIterator[bytes]:
        """What gates tell each other."""
        subscription = await self._client.subscribe(self._subject, pending_msgs_limit=MAX_RECENT_PEOPLE)
        async for message in subscription.messages:
            yield message.data

    async def _watch(self, bucket: Any, keys: str) -> AsyncIterator[BucketUpdate]:
        async with aclosing(self._entries(bucket, keys)) as entries:
            async for entry in entries:
                yield BucketUpdate("", b"", 0) if entry is None else _news(entry)

    async def _entries(self, bucket: Any, keys: str, **how: bool) -> AsyncGenerator[Any]:
        """What the bucket has under these keys, once ``None``, then what happens to them."""
        watcher, told = await bucket.watch(keys, **how), False
        try:
            async for entry in watcher:
                # The client says that all has been told, too, where the server has sent everything and nothing
                # of it has come yet: only the server's own count tells.
                if entry is not None:
                    yield entry
                if not told and (entry.delta == 0 if entry is not None else await self._is_empty(bucket, keys)):
                    told = True
                    yield None
        finally:
            await watcher.stop()

    async def _is_empty(self, bucket: Any, keys: str) -> bool:
        stream = self._client.jetstream(timeout=ANSWER_S)
        info = await stream.stream_info(bucket._stream, subjects_filter=f"{bucket._pre}{keys}")
        return not info.state.subjects


def _news(entry: Any) -> BucketUpdate:
    return BucketUpdate(entry.key, b"" if entry.operation else entry.value or b"", entry.revision)


async def _until_told(entries: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for entry in entries:
        if entry is None:
            return
        yield entry


@asynccontextmanager
async def opened(place: BucketAddress, *, make: bool = True) -> AsyncIterator[Bucket]:
    """Connect, and make the buckets where they are missing.

    Raises:
        FleetError: no server, no JetStream, no such fleet (``make`` makes it), or one of another version.
    """
    nats = load_nats()
    try:
        client = await connect(nats, place.url)
    except (nats.errors.Error, OSError, TimeoutError) as error:
        if refused(error):
            raise FleetError(
                f"{server_name(place.url)} refuses the login: give nats://USER:PASSWORD@HOST"
            ) from error
        raise FleetError(
            f"no NATS server answers at {server_name(place.url)}: start one with 'nats-server -js', or check the "
            "address"
        ) from error
    try:
        yield await _bucket(nats, client, place, make)
    finally:
        await client.close()


async def _bucket(nats: Any, client: Any, place: BucketAddress, make: bool) -> Bucket:
    stream = client.jetstream(timeout=ANSWER_S)
    try:
        await stream.account_info()
    except (nats.errors.Error, nats.js.errors.APIError, TimeoutError) as error:
        raise FleetError(
            f"the NATS server at {server_name(place.url)} has no JetStream, or no leader for it yet: start it with "
            "'nats-server -js'"
        ) from error
    try:
        documents = await _ensured(nats, stream, f"facegate-{place.name}", HISTORY, make)
        await _check_version(nats, documents, place, make)
        leases = await _ensured(nats, stream, f"facegate-{place.name}-leases", 1, make)
    except nats.js.errors.BucketNotFoundError as error:
        raise FleetError(
            f"there is no fleet at {place.shown} yet: 'facegate fleet apply CONFIG' makes it"
        ) from error
    except (nats.errors.Error, TimeoutError) as error:
        raise FleetError(
            f"the NATS server at {server_name(place.url)} does not answer for the fleet '{place.name}': "
            f"{str(error).lower() or 'timeout'}"
        ) from error
    return Bucket(nats, client, leases, documents, place.name)


async def _ensured(nats: Any, stream: Any, name: str, history: int, make: bool) -> Any:
    try:
        return await stream.key_value(name)
    except nats.js.errors.BucketNotFoundError:
        if not make:
            raise

    async def created(num_replicas: int) -> Any:
        return await stream.create_key_value(bucket=name, history=history, replicas=num_replicas)

    return await replicated(nats, created)


async def _check_version(nats: Any, documents: Any, place: BucketAddress, make: bool) -> None:
    try:
        meta = msgspec.json.decode((await documents.get(META)).value or b"", type=BucketMeta)
    except nats.js.errors.KeyNotFoundError:
        if make:
            await documents.put(META, msgspec.json.encode(BucketMeta(VERSION)))
        return
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FleetError(
            f"{place.shown} is no fleet of facegate: choose another name behind the address"
        ) from error
    if meta.version != VERSION:
        raise FleetError(
            f"the fleet at {place.shown} is of version {meta.version}, and this facegate knows version {VERSION}: "
            "use the facegate that made it, or another name behind the address"
        )


def _unix(text: str) -> float:
    """Unix time of an RFC 3339 time in UTC with nanoseconds."""
    from datetime import datetime

    whole, _, rest = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(whole + "+00:00").timestamp() + float(f"0.{rest or 0}")
