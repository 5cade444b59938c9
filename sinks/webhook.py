"""Shots to a web address: one POST each, signed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import urllib.error
import urllib.request
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

import msgspec
import structlog

from facegate.errors import DeliveryError
from facegate.sinks import wire
from facegate.sinks.wire import EncodedShot

TIMEOUT_S = 10.0
SIGNATURE = "X-Facegate-Signature"
REFUSED = range(400, 500)
RETRY_STATUSES = (408, 425, 429)
"""Of the 4xx, those that mean "later"; the others say that this shot will never be taken."""

log = structlog.get_logger(__name__)


class Webhook:
    """POSTs ``{"shot": header, "jpeg": base64, "context": base64}`` as JSON.

    Where a secret is set, ``X-Facegate-Signature`` has the HMAC-SHA256 of the body.
    2xx is a receipt. Other 4xx than 408, 425 and 429 refuse the shot for good: it is logged and not sent again.
    Anything else is tried again later. Redirects are not followed.
    """

    batch_size = 1

    def __init__(self, url: str, secret: str | None = None) -> None:
        """Configure; nothing is sent yet. User and password in the URL are sent as Basic authentication."""
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        self.name = f"{parts.scheme}://{host}{parts.path}"
        self._url = parts._replace(netloc=host).geturl()
        self._headers = {"Content-Type": "application/json"}
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
        self._secret = secret
        self._opener = urllib.request.build_opener(_NoRedirect)

    def deliver(self, entries: Sequence[EncodedShot]) -> None:
        """See :class:`facegate.sinks.spooled_sink.Target`."""
        for entry in entries:
            self._post(entry)

    def close(self) -> None:
        """See :class:`facegate.sinks.spooled_sink.Target`."""

    def body(self, entry: EncodedShot) -> bytes:
        """What is posted, as JSON."""
        shot = {"shot": wire.decode_header(entry.header), "jpeg": base64.b64encode(entry.crop).decode()}
        if entry.context:
            shot["context"] = base64.b64encode(entry.context).decode()
        return msgspec.json.encode(shot)

    def _post(self, entry: EncodedShot) -> None:
        body = self.body(entry)
        headers = self._headers | {"Idempotency-Key": entry.shot_id}
        if self._secret is not None:
            digest = hmac.new(self._secret.encode(), body, hashlib.sha256).hexdigest()
            headers[SIGNATURE] = f"sha256={digest}"
        request = urllib.request.Request(self._url, data=body, headers=headers, method="POST")
        try:
            with self._opener.open(request, timeout=TIMEOUT_S):
                pass
        except urllib.error.HTTPError as error:
            with error:
                if error.code not in REFUSED or error.code in RETRY_STATUSES:
                    raise DeliveryError(f"{self.name} answers {error.code}") from error
                log.error("shot refused for good", to=self.name, shot_id=entry.shot_id, status=error.code)
        except (OSError, ValueError) as error:
            cause = getattr(error, "reason", error)
            reason = str(getattr(cause, "strerror", None) or cause).lower()
            raise DeliveryError(f"{self.name} cannot be reached: {reason}") from error


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect could carry faces to somebody else."""

    def redirect_request(self, *args: object) -> None:
        return None
