"""URLs of cameras and servers: their logins, and how to show them without passwords."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, quote, urlsplit

# Up to the last @: passwords may contain @ and / too; hiding a part of the path is harmless.
_USERINFO = re.compile(r"(?<=://)\S*@")
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


def redact(text: str) -> str:
    """Hide the login of every URL in ``text``: ``rtsp://user:secret@host`` becomes ``rtsp://***@host``."""
    return _USERINFO.sub("***@", text)


def has_login(url: str) -> bool:
    """Whether a URL has a login."""
    return "://" in url and "@" in _authority(url)


def with_login(url: str, user: str, password: str) -> str:
    """Return the URL with a login, percent-encoded (RFC 3986)."""
    scheme, rest = url.split("://", 1)
    return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{rest}"


def servers(url: str) -> list[str]:
    """Split a URL of several servers, ``nats://user:secret@one:4222,two:4222``, into one URL each."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return [url]
    authority, slash, path = rest.partition("/")
    login, at, hosts = authority.rpartition("@")
    return [f"{scheme}://{login}{at}{host}{slash}{path}" for host in hosts.split(",")]


def parse_server(url: str) -> SplitResult:
    """Split the URL of one server.

    Raises:
        ValueError: its address or port is invalid, in the user's words.
    """
    try:
        parts = urlsplit(url)
        if parts.port == 0:
            raise ValueError
    except ValueError:
        raise ValueError(
            "the address of the URL is not valid: give HOST:PORT, the port from 1 to 65535, an IPv6 address in []"
        ) from None
    return parts


def login_problem(url: str) -> str | None:
    """Return how to fix a login in a URL that contains a character that must be encoded; ``None`` if it is valid.

    ``rtsp://me:pass/word@host/x`` is a valid URL of the host ``me``, which is never intended.
    """
    if "://" not in url or "@" not in url:
        return None
    login, authority = url.split("://", 1)[1].rpartition("@")[0], _authority(url)
    wrong: set[str] = set()
    if "@" not in authority and ":" in authority and not _port_is_number(url):
        wrong = {letter for letter in login if letter in "@/?#"}
    elif authority.count("@") > 1:
        wrong = {"@"}
    elif _BARE_PERCENT.search(authority.rpartition("@")[0]):
        wrong = {"%"}
    if not wrong:
        return None
    written = " and ".join(f"{letter} as {quote(letter, safe='')}" for letter in sorted(wrong))
    return f"the login in the URL is not encoded: write {written}, or set 'user' and 'password' instead"


def suspicious(url: str) -> bool:
    """Whether a valid URL has an ``@`` after the host: its login may contain a character that must be encoded."""
    return "://" in url and "@" in url.split("://", 1)[1][len(_authority(url)) :]


def _authority(url: str) -> str:
    return re.split(r"[/?#]", url.split("://", 1)[1], maxsplit=1)[0]


def _port_is_number(url: str) -> bool:
    try:
        return urlsplit(url).port is not None
    except ValueError:
        return False
