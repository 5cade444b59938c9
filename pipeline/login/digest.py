"""HTTP and RTSP authentication: challenges, and the header that answers one (RFC 7616, RFC 7617). Pure logic."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable

import msgspec

from facegate.errors import SourceError

HASHES = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}
"""Algorithms of RFC 7616, without ``-sess``, from the weakest; FFmpeg knows the first alone."""
_CHALLENGE = re.compile(r"(?:^|,)\s*(Basic|Digest)\b", re.IGNORECASE)
_PARAMETER = re.compile(r'([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))')


class UnauthorizedError(SourceError):
    """The camera rejects the credentials."""


class Challenge(msgspec.Struct, frozen=True):
    """One way to log in that a server offers."""

    scheme: str
    """``basic`` or ``digest``."""
    parameters: dict[str, str]
    """Names in lower case."""

    @property
    def algorithm(self) -> str:
        """``MD5`` if none is named."""
        return self.parameters.get("algorithm", "MD5").upper()

    @property
    def strength(self) -> int:
        """Rank among those offered; 0 for Basic, -1 for what cannot be answered here."""
        if self.scheme == "basic":
            return 0
        name = self.algorithm.removesuffix("-SESS")
        return 1 + list(HASHES).index(name) if HASHES.get(name) in hashlib.algorithms_available else -1


def parse_challenges(values: Iterable[str]) -> list[Challenge]:
    """Return the challenges of a response's ``WWW-Authenticate`` headers, one or several in each."""
    found = []
    for value in values:
        starts = [*_CHALLENGE.finditer(value)]
        ends = [start.start() for start in starts[1:]] + [len(value)]
        for start, end in zip(starts, ends, strict=True):
            parameters = {
                name.lower(): re.sub(r"\\(.)", r"\1", quoted or bare)
                for name, quoted, bare in _PARAMETER.findall(value[start.end() : end])
            }
            found.append(Challenge(start[1].lower(), parameters))
    return found


def strongest(challenges: Iterable[Challenge]) -> Challenge | None:
    """Return the strongest challenge that can be answered."""
    return max((each for each in challenges if each.strength >= 0), key=lambda each: each.strength, default=None)


def authorization(
    challenge: Challenge, method: str, uri: str, user: str, password: str, *, cnonce: str, count: int = 1
) -> str:
    """Return the ``Authorization`` header that answers a challenge for a request without a body.

    Args:
        challenge: one of :func:`parse_challenges`, as chosen by :func:`strongest`.
        method: of the request.
        uri: as in the request line.
        user: name, as the user wrote it.
        password: of the user.
        cnonce: the client's nonce, random.
        count: number of requests answered with this nonce, including this one.
    """
    if challenge.scheme == "basic":
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    given, kind = challenge.parameters, HASHES[challenge.algorithm.removesuffix("-SESS")]

    def digest(*parts: str) -> str:
        return hashlib.new(kind, ":".join(parts).encode(), usedforsecurity=False).hexdigest()

    realm, nonce = given.get("realm", ""), given.get("nonce", "")
    secret = digest(user, realm, password)
    if challenge.algorithm.endswith("-SESS"):
        secret = digest(secret, nonce, cnonce)
    offered = [each.strip() for each in given.get("qop", "").split(",") if each.strip()]
    qop = "" if not offered else "auth" if "auth" in offered else offered[0]
    request = digest(method, uri, digest("")) if qop == "auth-int" else digest(method, uri)
    number = f"{count:08x}"
    response = digest(secret, nonce, *((number, cnonce, qop) if qop else ()), request)
    hashed = given.get("userhash", "").lower() == "true"
    fields = {"username": digest(user, realm) if hashed else user, "realm": realm, "nonce": nonce, "uri": uri}
    fields |= {"response": response} | ({"opaque": given["opaque"]} if "opaque" in given else {})
    fields |= {"cnonce": cnonce} if qop or challenge.algorithm.endswith("-SESS") else {}
    quoted = [f'{name}="{_escaped(value)}"' for name, value in fields.items()]
    bare = [f"algorithm={given['algorithm']}"] if "algorithm" in given else []
    bare += [f"qop={qop}", f"nc={number}"] if qop else []
    return "Digest " + ", ".join(quoted + bare + (["userhash=true"] if hashed else []))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
