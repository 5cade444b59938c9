"""A reverse proxy in front of the console: its prefix, and whether it logs users in."""

from __future__ import annotations

import ipaddress
import re

import msgspec
from starlette.types import Scope

from facegate.errors import ConfigError

HEALTH = "/healthz"


class ProxySettings(msgspec.Struct, frozen=True):
    """How the console is reached through a reverse proxy."""

    base_path: str = ""
    """Prefix of every path that the proxy leaves on, such as ``/facegate``. Paths without it are accepted too."""
    address: str | None = None
    """Address of a proxy that logs users in: its requests need no login and may have any host name, and nobody else
    may connect. ``None``: no such proxy."""

    def without_base_path(self, scope: Scope) -> Scope:
        """The request without the prefix."""
        path = scope["path"]
        if not self.base_path or not (path == self.base_path or path.startswith(self.base_path + "/")):
            return scope
        shorter = path[len(self.base_path) :] or "/"
        return {**scope, "path": shorter, "raw_path": shorter.encode()}

    def is_sender(self, scope: Scope) -> bool:
        """Whether the proxy that logs users in sent the request."""
        return self.address is not None and scope["client"] is not None and scope["client"][0] == self.address

    def is_health_check(self, scope: Scope) -> bool:
        """Whether it is a health check from this host."""
        client = scope["client"]
        local = client is not None and ipaddress.ip_address(client[0]).is_loopback
        return local and scope["path"] == HEALTH


NO_PROXY = ProxySettings()


def proxy_settings(base_path: str | None, address: str | None) -> ProxySettings:
    """Check options.

    Raises:
        ConfigError: not a path, or not an address.
    """
    path = (base_path or "").rstrip("/")
    if path and not re.fullmatch(r"(/[\w.~-]+)+", path):
        raise ConfigError(f"invalid --base-path {base_path}: give a path such as /facegate")
    if address is not None:
        try:
            address = str(ipaddress.ip_address(address))
        except ValueError:
            raise ConfigError(f"invalid --proxy {address}: give the IP address of the reverse proxy") from None
    return ProxySettings(path, address)
