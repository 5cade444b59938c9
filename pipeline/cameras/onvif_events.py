"""A camera's own events (ONVIF event service, pull point): while it sees nobody, nothing is decoded."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from threading import Lock
from time import monotonic
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import msgspec
import structlog
from ulid import ULID

from facegate.background import BackgroundThread
from facegate.backoff import CAMERA_RETRY_S, Backoff
from facegate.errors import SourceError, os_errors
from facegate.pipeline.config import CameraConfig
from facegate.pipeline.discovery.onvif_client import DEVICE, Login, OnvifClient, descendants, text_of

EVENTS = "http://www.onvif.org/ver10/events/wsdl"
ADDRESSING = "http://www.w3.org/2005/08/addressing"
NOTIFICATION = "http://docs.oasis-open.org/wsn/b-2"
RENEW = "http://docs.oasis-open.org/wsn/bw-2/SubscriptionManager/RenewRequest"
TERMINATION_S, RENEW_S = 60, 25
"""Seconds that a subscription lasts, and between two renewals."""
PULL_S = 5
"""Seconds that the device holds a request without an event."""
MAX_MESSAGES = 32
WAKING = ("face", "people", "person", "human", "motion", "object", "crossed", "intrusion")
"""Words of topics that wake the camera; devices name their detectors as they like."""
LINGER_S = 5.0
"""Seconds that the camera stays awake after the end of an event."""
PULSE_S = 10.0
"""Seconds that an event without an end keeps it awake."""

log = structlog.get_logger(__name__)


class CameraEvent(msgspec.Struct, frozen=True):
    """One message of the device."""

    topic: str
    state: bool | None
    """Whether what the topic names has begun or ended; ``None`` if the device does not say."""


class Wakefulness:
    """Whether the camera's events say that somebody may be there. Pure."""

    def __init__(self) -> None:
        self._going_on: set[str] = set()
        self._until_s = float("-inf")

    def on_event(self, event: CameraEvent, now: float) -> None:
        """Take an event at a monotonic time."""
        if not any(word in event.topic.casefold() for word in WAKING):
            return
        if event.state is None:
            self._until_s = max(self._until_s, now + PULSE_S)
        elif event.state:
            self._going_on.add(event.topic)
        elif event.topic in self._going_on:
            self._going_on.discard(event.topic)
            self._until_s = max(self._until_s, now + LINGER_S)

    def is_awake(self, now: float) -> bool:
        """Whether to decode at a monotonic time."""
        return bool(self._going_on) or now < self._until_s

    def forget(self) -> None:
        """Handle a new subscription: the device tells its states again."""
        self._going_on.clear()


class OnvifEvents(BackgroundThread):
    """Follows the events of one camera while its context is open."""

    join_timeout_s = 0.5
    """A request that the device holds ends with the process."""

    def __init__(self, config: CameraConfig, clock: Callable[[], float] = monotonic) -> None:
        """Prepare; nothing is sent yet. ``config.onvif_events`` is the URL of the device service."""
        super().__init__(f"facegate-camera-{config.name}-events")
        assert config.onvif_events is not None
        self._config, self._url, self._clock = config, config.onvif_events, clock
        self._lock = Lock()
        self._wakefulness = Wakefulness()
        self._connected = False

    def is_awake(self) -> bool:
        """Whether the stream is to be decoded: somebody may be there, or the device tells nothing."""
        with self._lock:
            return not self._connected or self._wakefulness.is_awake(self._clock())

    def _run(self) -> None:
        backoff, told = Backoff(CAMERA_RETRY_S), ""
        while not self._stop.is_set():
            try:
                self._follow(backoff)
            except SourceError as error:
                if str(error) != told:
                    log.warning(
                        "no events of the camera, decoding everything", camera=self._config.name, reason=str(error)
                    )
                    told = str(error)
            finally:
                with self._lock:
                    self._connected = False
            self._stop.wait(backoff.next_s())

    def _follow(self, backoff: Backoff) -> None:
        client = OnvifClient(self._url, self._login(), self._config.timeout_s, lambda: datetime.now(UTC))
        client.read_clock()
        services = client.call(client.url, DEVICE, "GetCapabilities", "<q:Category>Events</q:Category>")
        address = next((text_of(each, "XAddr") for each in descendants(services, "Events")), "")
        service = client.here(address or client.url)
        made = client.call(
            service,
            EVENTS,
            "CreatePullPointSubscription",
            f"<q:InitialTerminationTime>PT{TERMINATION_S}S</q:InitialTerminationTime>",
            action=f"{EVENTS}/EventPortType/CreatePullPointSubscriptionRequest",
        )
        reference = next(iter(descendants(made, "SubscriptionReference")), made)
        pull_point = client.here(text_of(reference, "Address") or service)
        given = "".join(
            ElementTree.tostring(each, encoding="unicode")
            for holder in descendants(reference, "ReferenceParameters")
            for each in holder
        )
        with self._lock:
            self._wakefulness.forget()
            self._connected = True
        log.info("following the camera's events", camera=self._config.name)
        backoff.reset()
        renewed_s = self._clock()
        while not self._stop.is_set():
            if self._clock() - renewed_s > RENEW_S:
                body = f"<q:TerminationTime>PT{TERMINATION_S}S</q:TerminationTime>"
                client.call(
                    pull_point, NOTIFICATION, "Renew", body, action=RENEW, header=_header(RENEW, pull_point, given)
                )
                renewed_s = self._clock()
            action = f"{EVENTS}/PullPointSubscription/PullMessagesRequest"
            answer = client.call(
                pull_point,
                EVENTS,
                "PullMessages",
                f"<q:Timeout>PT{PULL_S}S</q:Timeout><q:MessageLimit>{MAX_MESSAGES}</q:MessageLimit>",
                action=action,
                header=_header(action, pull_point, given),
                wait_s=PULL_S,
            )
            with self._lock:
                for event in events_of(answer):
                    self._wakefulness.on_event(event, self._clock())

    def _login(self) -> Login | None:
        config = self._config
        if config.user is None:
            parts = urlsplit(config.source)
            return None if parts.username is None else (unquote(parts.username), unquote(parts.password or ""))
        if config.password_file is None:
            return config.user, config.password or ""
        with os_errors(SourceError, f"cannot read password_file {config.password_file}"):
            return config.user, config.password_file.read_text(encoding="utf-8").rstrip("\r\n")


def events_of(answer: ElementTree.Element) -> list[CameraEvent]:
    """Return the events of an answer to PullMessages."""
    found = []
    for message in descendants(answer, "NotificationMessage"):
        topic = text_of(message, "Topic")
        inner = next((each for each in descendants(message, "Message") if "PropertyOperation" in each.attrib), None)
        items = [item for data in descendants(message, "Data") for item in descendants(data, "SimpleItem")]
        values = [item.get("Value", "").casefold() for item in items]
        stated = [value in ("true", "1") for value in values if value in ("true", "false", "1", "0")]
        ended = inner is not None and inner.get("PropertyOperation") == "Deleted"
        state = False if ended else stated[0] if stated else None
        if state is None and inner is not None and inner.get("PropertyOperation") == "Initialized":
            continue  # what was last, not what happens now
        found.append(CameraEvent(topic, state))
    return found


def _header(action: str, to: str, given: str) -> str:
    """Blocks of WS-Addressing, without which some devices do not find the subscription."""
    return (
        f'<a:Action xmlns:a="{ADDRESSING}">{escape(action)}</a:Action>'
        f'<a:To xmlns:a="{ADDRESSING}">{escape(to)}</a:To>'
        f'<a:MessageID xmlns:a="{ADDRESSING}">urn:uuid:{ULID().to_uuid()}</a:MessageID>{given}'
    )
