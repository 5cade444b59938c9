"""Channels: Apprise (mail, ntfy, Telegram, Slack, Pushover and a hundred more), and Web Push."""

from __future__ import annotations

import base64
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from facegate.console.notifications.outbox import Receiver
from facegate.console.notifications.rules import Event
from facegate.errors import ConfigError, DeliveryError, os_errors
from facegate.extras import require

if TYPE_CHECKING:
    from apprise import NotifyBase
    from py_vapid import Vapid

TIMEOUT_S = 10.0
PUSH_TTL_S = 86_400
"""Time for which a push service keeps a message for a browser that is not running, s."""
GONE = (404, 410)
"""Statuses with which a push service says that a browser has ended its subscription."""
EXTRA = "notify"


class ReceiverGoneError(DeliveryError):
    """The receiver no longer exists."""


class PushSubscription(msgspec.Struct, frozen=True):
    """What a browser gives to those who may send it messages."""

    endpoint: str
    keys: dict[str, str]
    """``p256dh`` and ``auth``, base64url."""


class PushKey:
    """The key pair of this console for Web Push (VAPID, RFC 8292), in a file."""

    def __init__(self, path: Path) -> None:
        """Read the key; a missing file is created.

        Raises:
            ConfigError: the extra is missing, or the file cannot be used.
        """
        require(EXTRA, "Web Push")
        from py_vapid import Vapid, VapidException

        with os_errors(ConfigError, f"cannot use {path}"):
            if not path.is_file():
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                made = Vapid()
                made.generate_keys()
                with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(made.private_pem())
            try:
                self.vapid: Vapid = Vapid.from_file(str(path))
            except (VapidException, ValueError) as error:
                raise ConfigError(
                    f"{path} is not a private key: delete it; browsers must subscribe again"
                ) from error

    def public(self) -> str:
        """The public key as browsers want it: an uncompressed point, base64url without padding."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        point = self.vapid.public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return base64.urlsafe_b64encode(point).rstrip(b"=").decode()


def check_address(address: str) -> str:
    """Check an address for Apprise; return it as it may be shown, without secrets.

    Raises:
        ConfigError: the extra is missing, or the address cannot be used.
    """
    return str(_service(address).url(privacy=True)).partition("?")[0]


def send(receiver: Receiver, event: Event, jpeg: bytes | None, key: PushKey | None) -> None:
    """Deliver a message; it has arrived at the service when this returns.

    Args:
        receiver: the receiver.
        event: what happened.
        jpeg: the picture; ``None`` to send none.
        key: for Web Push.

    Raises:
        ReceiverGoneError: the receiver no longer exists.
        DeliveryError: the service did not take it.
    """
    if receiver.kind == "apprise":
        _send_apprise(receiver.address, event, jpeg)
    elif key is not None:
        _send_push(msgspec.json.decode(receiver.address, type=PushSubscription), event, key)


def _service(address: str) -> NotifyBase:
    """A service of its own for each message, as Apprise makes messages of the same one wait for each other."""
    require(EXTRA, "a notification")
    from apprise import Apprise, AppriseAsset, NotifyBase

    service = Apprise.instantiate(address, asset=AppriseAsset(async_mode=False, app_id="facegate"))
    if not isinstance(service, NotifyBase):
        raise ConfigError(
            "the address is not one that Apprise knows, or is incomplete: give one such as "
            "mailtos://USER:PASSWORD@HOST?to=ADDRESS or ntfy://HOST/TOPIC"
        )
    if len(service) != 1:
        raise ConfigError(
            f"the address leads to {len(service)} receivers: add each with an address of its own, so that "
            "one that fails is notified again and the others are not"
        )
    return service


def _send_apprise(address: str, event: Event, jpeg: bytes | None) -> None:
    try:
        service = _service(address)
    except ConfigError as error:
        raise DeliveryError(str(error)) from error
    from apprise import Apprise, AppriseAttachment, NotifyType
    from apprise.attachment.memory import AttachMemory

    picture = None
    if jpeg is not None and service.attachment_support:
        picture = AppriseAttachment(AttachMemory(content=jpeg, name="face.jpg", mimetype="image/jpeg"))
    kind = NotifyType.WARNING if event.kind == "alarm" else NotifyType.INFO
    teller = Apprise()
    teller.add(service)
    # The result equals neither True nor False, but converts to one of them.
    if not bool(teller.notify(body=event.body, title=event.title, notify_type=kind, attach=picture)):
        raise DeliveryError(f"{service.service_name} did not take the message; check the address and the service")


def _send_push(subscription: PushSubscription, event: Event, key: PushKey) -> None:
    from pywebpush import WebPushException, webpush
    from requests import RequestException

    try:
        webpush(
            msgspec.to_builtins(subscription),
            msgspec.json.encode({"title": event.title, "body": event.body, "tag": event.key}).decode(),
            vapid_private_key=key.vapid,
            vapid_claims={"sub": f"mailto:facegate@{socket.getfqdn()}"},  # it is written to: never shared
            ttl=PUSH_TTL_S,
            timeout=TIMEOUT_S,
        )
    except WebPushException as error:
        if error.status_code in GONE:
            raise ReceiverGoneError("the browser has ended its subscription") from error
        raise DeliveryError(f"the push service refused the message: {error.status_code}") from error
    except (RequestException, ValueError) as error:
        raise DeliveryError(f"the push service cannot be reached: {type(error).__name__}") from error
