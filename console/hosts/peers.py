"""The consoles of other hosts: their addresses, and requests to them.

Any console can show all hosts, so none has to live for the others. A peer is asked with a token of its own, which
decides what may be seen and changed there.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx2
import msgspec

from facegate.errors import ConfigError, FacegateError, os_errors
from facegate.paths import decode_yaml
from facegate.pipeline.addresses import redact
from facegate.pipeline.config.values import LOCAL, NAME_PATTERN

TIMEOUT_S = 3.0
"""Maximum wait for a connection and for the beginning of an answer; a host that is away shows within that."""
MAX_ANSWER = 8 * 2**20
"""Bytes of an answer that is read whole."""
MAX_PEERS = 500
ASKED_AT_ONCE = 50


class PeerError(FacegateError):
    """A host cannot be asked; the text says why."""


class PeerEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entry of the file of hosts."""

    url: str
    """Of the console: ``https://HOST:PORT``."""
    token_file: str
    """File that holds a token of that console."""
    ca_file: str | None = None
    """Certificates (PEM) that are trusted for it; those of the system by default."""


class PeerConsole(msgspec.Struct, frozen=True):
    """A console of another host."""

    name: str
    url: str
    token: str
    ca_file: Path | None


def read_peers(path: Path, *, allow_insecure: bool = False) -> tuple[PeerConsole, ...]:
    """Read the file of hosts: YAML, one entry per name.

    Paths in it are relative to its folder.

    Raises:
        ConfigError: it cannot be read, or an entry is wrong.
    """
    with os_errors(ConfigError, f"cannot read {path}"):
        content = path.read_bytes()
    try:
        entries = decode_yaml(content, dict[str, PeerEntry])
    except msgspec.DecodeError as error:
        raise ConfigError(f"invalid hosts file {path}: {error}") from error
    if len(entries) > MAX_PEERS:
        raise ConfigError(f"{path} has {len(entries)} hosts: give at most {MAX_PEERS}")
    return tuple(_peer(path, name, entry, allow_insecure) for name, entry in entries.items())


def _peer(path: Path, name: str, entry: PeerEntry, allow_insecure: bool) -> PeerConsole:
    where = f"{path}, host '{name[:80]}'"
    if not re.fullmatch(NAME_PATTERN, name):
        raise ConfigError(f"{where}: the name must be 1 to 64 letters, digits, '_', '.' and '-'")
    parts = urlsplit(entry.url)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.username
        or parts.query
        or parts.fragment
    ):
        raise ConfigError(f"{where}: url must be https://HOST[:PORT], without a login")
    if parts.scheme == "http" and parts.hostname not in LOCAL and not allow_insecure:
        raise ConfigError(
            f"{where}: http:// to another host is not encrypted: use https://, or --allow-insecure on a trusted "
            "network"
        )
    file = path.parent / entry.token_file
    with os_errors(ConfigError, f"cannot read token_file {file}"):
        token = file.read_text(encoding="utf-8").strip()
    if not token.isascii() or not token.isprintable() or not token:
        raise ConfigError(f"{file} holds no token: create one on the page Accounts of that console")
    return PeerConsole(
        name, entry.url.rstrip("/"), token, None if entry.ca_file is None else path.parent / entry.ca_file
    )


class PeerClient:
    """Asks the peers; for one event loop."""

    def __init__(self, peers: tuple[PeerConsole, ...]) -> None:
        """Prepare.

        Raises:
            ConfigError: certificates cannot be read.
        """
        self.peers: Mapping[str, PeerConsole] = {peer.name: peer for peer in peers}
        self._verify = {peer.name: _certificates(peer) for peer in peers}
        self._clients: dict[str, httpx2.AsyncClient] = {}
        self._asking = asyncio.Semaphore(ASKED_AT_ONCE)

    async def __aenter__(self) -> Self:
        for name, peer in self.peers.items():
            self._clients[name] = httpx2.AsyncClient(
                base_url=peer.url,
                headers={"Authorization": f"Bearer {peer.token}"},
                timeout=httpx2.Timeout(TIMEOUT_S, read=TIMEOUT_S),
                verify=self._verify[name],
                trust_env=False,
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients.values():
            await client.aclose()

    async def get(self, name: str, path: str, parameters: Mapping[str, str | int] | None = None) -> Any:
        """Return what a peer's API answers, decoded.

        Raises:
            PeerError: it does not answer in time, or refuses.
        """
        try:
            async with (
                self._asking,
                asyncio.timeout(2 * TIMEOUT_S),
                self._clients[name].stream("GET", f"/api/v1{path}", params=dict(parameters or {})) as answer,
            ):
                content = bytearray()
                async for part in answer.aiter_bytes():
                    content += part
                    if len(content) > MAX_ANSWER:
                        raise PeerError(f"the answer of host {name} exceeds {MAX_ANSWER // 2**20} MiB")
        except (httpx2.HTTPError, TimeoutError, OSError) as error:
            raise PeerError(self._reason(name, error)) from error
        if answer.status_code == 401:
            raise PeerError(f"host {name} rejects the token: create a new one there")
        try:
            found = msgspec.json.decode(bytes(content))
        except msgspec.DecodeError as error:
            raise PeerError(f"host {name} is no console of facegate: check its url") from error
        if answer.status_code >= 400:
            raise PeerError(f"host {name} refuses: {found.get('detail', answer.status_code)}")
        return found

    async def forward(
        self, name: str, method: str, path: str, headers: Mapping[str, str], body: AsyncIterator[bytes]
    ) -> httpx2.Response:
        """Send a request on; the caller closes the answer, whose body is not read yet.

        Raises:
            PeerError: it does not answer in time.
        """
        client = self._clients[name]
        # Event streams say something every few seconds, and long work may take a while.
        timeout = httpx2.Timeout(TIMEOUT_S, read=60.0)
        content = body if method not in ("GET", "HEAD") else None
        request = client.build_request(method, path, headers=dict(headers), content=content, timeout=timeout)
        try:
            return await client.send(request, stream=True)
        except (httpx2.HTTPError, OSError) as error:
            raise PeerError(self._reason(name, error)) from error

    def _reason(self, name: str, error: Exception) -> str:
        if isinstance(error, (httpx2.TimeoutException, TimeoutError)):
            return f"host {name} does not answer within {TIMEOUT_S:g} s"
        return f"host {name} cannot be reached: {redact(str(error)).lower() or type(error).__name__}"


def _certificates(peer: PeerConsole) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if peer.ca_file is None else str(peer.ca_file))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"cannot read ca_file {peer.ca_file} of host '{peer.name}'") from error
