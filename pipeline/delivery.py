"""From the configuration to the sink of a run."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from time import time

from facegate.errors import DeliveryError
from facegate.pipeline.config import DeliveryConfig, OtherConfig
from facegate.sinks.base import Sink
from facegate.sinks.files import CropFolder, JsonLines
from facegate.sinks.jetstream import JetStream
from facegate.sinks.outbox import FanOut, Outbox, Target
from facegate.sinks.spool import Spool
from facegate.sinks.webhook import Webhook
from facegate.sinks.zeromq import ZmqSink


def make_sink(settings: DeliveryConfig) -> Sink:
    """Bind the gate's end of delivery, and start what delivers elsewhere.

    Raises:
        DeliveryError: the endpoint cannot be bound, or a spool or file not be opened.
        ConfigError: the keys cannot be read.
    """
    with ExitStack() as opened:
        others = []
        for other in settings.others:
            others.append(_outbox(other))
            opened.callback(others[-1].close, 0.0)
        first = _workers(settings, opened)
        opened.pop_all()
    return FanOut(first, others) if others else first


def _workers(settings: DeliveryConfig, opened: ExitStack) -> ZmqSink:
    wanted = settings.spool
    if wanted is None:
        return ZmqSink(settings.bind, max_pending=settings.max_pending, keys=settings.keys, plain=settings.plain)
    spool = Spool(wanted.path, synchronous=wanted.synchronous)
    opened.callback(spool.close)
    if wanted.max_age_h is not None:
        spool.erase(before=time() - 3600 * wanted.max_age_h)
    return ZmqSink(
        settings.bind,
        spool=spool,
        max_bytes=1_000_000 * wanted.max_mb,
        when_full=wanted.when_full,
        keys=settings.keys,
        plain=settings.plain,
    )


def _outbox(settings: OtherConfig) -> Outbox:
    target: Target
    if settings.kind == "webhook":
        target = Webhook(settings.to, settings.secret)
    elif settings.kind == "jetstream":
        target = JetStream(settings.to)
    elif settings.kind == "folder":
        target = CropFolder(Path(settings.to))
    else:
        target = JsonLines(Path(settings.to))
    try:
        spool = Spool(settings.spool)
    except DeliveryError:
        target.close()
        raise
    return Outbox(target, spool, max_bytes=1_000_000 * settings.max_mb)
