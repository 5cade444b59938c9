"""Webhook: one signed POST per shot."""

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

from facegate.errors import DeliveryError, os_reason
from facegate.sinks import wire
from facegate.sinks.wire import EncodedShot

TIMEOUT_S = 10.0
SIGNATURE = "X-Facegate-Signature"
REFUSED = range(400, 500)
RETRY_STATUSES = (408, 425, 429)
"""Client errors that are retried; the others reject the shot for good."""

log = structlog.get_logger(__name__)


class Webhook:
    """POSTs ``{"shot": header, "jpeg": base64, "context": base64}`` as JSON.

    With a secret, ``X-Facegate-Signature`` is the HMAC-SHA256 of the body.
    2xx acknowledges the shot. 4xx except 408, 425 and 429 reject it: that is logged, and it is not sent again.
    Everything else is retried. Redirects are not followed.
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
        """The JSON body for a shot."""
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
                    raise DeliveryError(f"{self.name} returned HTTP status {error.code}") from error
                log.error("shot rejected", to=self.name, shot_id=entry.shot_id, status=error.code)
        except (OSError, ValueError) as error:
            cause = getattr(error, "reason", error)  # of a URLError
            reason = os_reason(cause) if isinstance(cause, Exception) else str(cause)
            raise DeliveryError(f"{self.name} cannot be reached: {reason}") from error


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirects, which could send faces to another host."""

    def redirect_request(self, *args: object) -> None:
        return None
