"""Routes ``/notifications``: rules, receivers, and what a rule would have told."""

from __future__ import annotations

from datetime import datetime, timedelta
from time import time
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel, Field

from facegate.console.notifications import channels
from facegate.console.notifications.notifier import is_available
from facegate.console.notifications.outbox import Receiver
from facegate.console.notifications.rules import Event, Rule, alarm_event, try_rule, visit_event
from facegate.console.state import ConsoleState
from facegate.console.web.errors import ERROR_RESPONSES, ConsoleDep, not_found
from facegate.console.web.models import PersonName, RowId, Strict
from facegate.errors import ConfigError, DeliveryError
from facegate.store.reader import VisitFilter

router = APIRouter(prefix="/notifications", tags=["notifications"], responses=ERROR_RESPONSES)
MAX_TRIED = 20_000
"""Maximum number of visits of a day to which a rule is applied on trial."""
MAX_SHOWN = 100
Clock = Annotated[str, Field(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$")]


class RuleIn(Strict):
    """Who is notified of what, when, and how often at most."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    enabled: bool = True
    people: list[PersonName] = Field([], max_length=1000)
    """Tell of these people."""
    lists: list[Annotated[str, Field(min_length=1, max_length=40)]] = Field([], max_length=100)
    """Tell of the people in these watch lists."""
    known: bool = False
    """Tell of everybody with a name."""
    unknown: bool = False
    """Tell of people without a name."""
    alarms: bool = False
    """Tell of alarms."""
    cameras: list[str] = Field([], max_length=1000)
    """Of these cameras; all by default."""
    days: list[Annotated[int, Field(ge=0, le=6)]] = Field([0, 1, 2, 3, 4, 5, 6], max_length=7)
    """Days of the week; Monday is 0."""
    begin: Clock = "00:00"
    end: Clock = "24:00"
    """``HH:MM`` in the time zone of the host; an end before the beginning is on the next day."""
    max_messages: Annotated[int, Field(ge=1, le=100_000)] = 10
    period_s: Annotated[float, Field(ge=1, le=604_800)] = 3600.0
    """At most ``max_messages`` in any period of that many seconds."""
    picture: bool = True
    receivers: list[RowId] = Field([], max_length=100)


class RuleOut(RuleIn):
    """A rule."""

    id: int


class ReceiverOut(BaseModel):
    """A receiver, without secrets."""

    id: int
    name: str
    kind: str
    """``apprise`` or ``push``."""
    address: str
    """Without user, password and tokens."""
    waiting: int
    """Messages that wait for delivery."""
    problem: str | None
    """Why the last delivery failed; ``null`` if it did not."""


class NotificationsOut(BaseModel):
    """Rules and receivers."""

    available: bool
    """Whether the extra ``notify`` is installed."""
    push_key: str | None
    """Public key of this console for Web Push."""
    rules: list[RuleOut]
    receivers: list[ReceiverOut]


class ReceiverIn(Strict):
    """A receiver: an address of Apprise, or what a browser gives to those who may send it messages."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    address: Annotated[str, Field(min_length=3, max_length=4096)] | None = None
    """Such as ``mailtos://USER:PASSWORD@HOST?to=ADDRESS`` or ``ntfy://HOST/TOPIC``."""
    push: dict[str, Any] | None = None
    """``PushSubscription.toJSON()`` of a browser."""


class CreatedOut(BaseModel):
    """Id of a new resource."""

    id: int


class EventOut(BaseModel):
    """An event that a rule would have told."""

    at: float
    kind: str
    title: str
    body: str
    name: str | None
    camera: str | None


class TrialOut(BaseModel):
    """What a rule would have told yesterday."""

    begin: float
    end: float
    count: int
    told: list[EventOut]
    """The first hundred."""
    held_back: int
    """Events that it wants, but that come too often."""


class DeliveryOut(BaseModel):
    """Result of a test message."""

    receiver: int
    problem: str | None


@router.get("")
def notifications(console: ConsoleDep) -> NotificationsOut:
    """Rules and receivers."""
    waiting, available = console.outbox.waiting(), is_available()
    return NotificationsOut(
        available=available,
        push_key=console.push_key().public() if available else None,
        rules=[RuleOut(id=row, **msgspec.to_builtins(rule)) for row, rule in console.outbox.rules().items()],
        receivers=[
            ReceiverOut(
                id=row,
                name=receiver.name,
                kind=receiver.kind,
                address=_shown(receiver),
                waiting=waiting.get(row, 0),
                problem=console.notifier.problem(row),
            )
            for row, receiver in console.outbox.receivers().items()
        ],
    )


@router.post("/receivers", status_code=201)
def add_receiver(console: ConsoleDep, request: ReceiverIn) -> CreatedOut:
    """Add a receiver."""
    if (request.address is None) == (request.push is None):
        raise ConfigError("a receiver has an address or a push subscription: give one of them")
    kind: Literal["apprise", "push"] = "apprise"
    if request.address is not None:
        address = request.address.strip()
        channels.check_address(address)
    else:
        console.push_key()
        try:
            subscription = msgspec.convert(request.push, channels.PushSubscription)
        except msgspec.ValidationError as error:
            raise ConfigError(f"this is no push subscription ({error}): give PushSubscription.toJSON()") from error
        kind, address = "push", msgspec.json.encode(subscription).decode()
    return CreatedOut(id=console.outbox.add_receiver(request.name, kind, address))


@router.delete("/receivers/{receiver}", status_code=204)
def delete_receiver(console: ConsoleDep, receiver: RowId) -> None:
    """Delete a receiver, and what waits for it."""
    if not console.outbox.delete_receiver(receiver):
        raise not_found(f"receiver {receiver}")


@router.post("/receivers/{receiver}/test")
def test_receiver(console: ConsoleDep, receiver: RowId) -> DeliveryOut:
    """Send a test message now."""
    found = console.outbox.receivers().get(receiver)
    if found is None:
        raise not_found(f"receiver {receiver}")
    event = Event("test", "alarm", time(), "Test of facegate", "Notifications reach you.")
    try:
        channels.send(found, event, None, console.push_key() if found.kind == "push" else None)
    except DeliveryError as error:
        return DeliveryOut(receiver=receiver, problem=str(error))
    return DeliveryOut(receiver=receiver, problem=None)


@router.post("/rules", status_code=201)
def add_rule(console: ConsoleDep, rule: RuleIn) -> CreatedOut:
    """Add a rule."""
    created = console.outbox.save_rule(_rule(console, rule))
    assert created is not None
    return CreatedOut(id=created)


@router.put("/rules/{row}", status_code=204)
def change_rule(console: ConsoleDep, row: RowId, rule: RuleIn) -> None:
    """Replace a rule."""
    if console.outbox.save_rule(_rule(console, rule), row) is None:
        raise not_found(f"rule {row}")


@router.delete("/rules/{row}", status_code=204)
def delete_rule(console: ConsoleDep, row: RowId) -> None:
    """Delete a rule."""
    if not console.outbox.delete_rule(row):
        raise not_found(f"rule {row}")


@router.post("/try")
def try_out(console: ConsoleDep, rule: RuleIn) -> TrialOut:
    """Say what a rule would have told yesterday; nothing is sent."""
    today = datetime.now().replace(hour=0, minute=0, second=0, microsecond=0)
    begin, end = (today - timedelta(days=1)).timestamp(), today.timestamp()
    trial = try_rule(_rule(console, rule), sorted(_events(console, begin, end), key=lambda event: event.at))
    return TrialOut(
        begin=begin,
        end=end,
        count=len(trial.told),
        told=[
            EventOut(**{name: getattr(event, name) for name in EventOut.model_fields})
            for event in trial.told[:MAX_SHOWN]
        ],
        held_back=trial.held_back,
    )


def _events(console: ConsoleState, begin: float, end: float) -> list[Event]:
    labels, lists = console.camera_labels(), console.people.watch_lists()
    found = [alarm_event(alarm, labels) for alarm in console.alarms.between(begin, end)]
    before: int | None = None
    for _ in range(MAX_TRIED // 200):
        page = console.store.visits(VisitFilter(since=begin, until=end), before, 200)
        answered = [visit for visit in page.items if visit.answered]
        found += [event for visit in answered if (event := visit_event(visit, labels, lists)) is not None]
        before = page.next
        if before is None:
            break
    return found


def _rule(console: ConsoleState, rule: RuleIn) -> Rule:
    unknown = set(rule.receivers) - set(console.outbox.receivers())
    if unknown:
        raise ConfigError(f"there is no receiver {min(unknown)}: add it first")
    if rule.begin == rule.end:
        raise ConfigError(f"the rule begins and ends at {rule.begin}: give 00:00 to 24:00 for the whole day")
    return msgspec.convert(rule.model_dump(), Rule)


def _shown(receiver: Receiver) -> str:
    if receiver.kind == "push":
        return "this console in a browser"
    try:
        return channels.check_address(receiver.address)
    except ConfigError:  # the extra was removed
        return receiver.address.partition("://")[0] + "://…"
