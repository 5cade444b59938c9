"""From the configuration to the sink of a run."""

from __future__ import annotations

from time import time

from facegate.errors import FacegateError
from facegate.pipeline.config import DeliveryConfig
from facegate.sinks.spool import Spool
from facegate.sinks.zeromq import ZmqSink


def make_sink(settings: DeliveryConfig) -> ZmqSink:
    """Bind the gate's end of delivery, with a spool where one is configured.

    Raises:
        DeliveryError: the endpoint cannot be bound, or the spool not be opened.
        ConfigError: the keys cannot be read.
    """
    wanted = settings.spool
    if wanted is None:
        return ZmqSink(settings.bind, max_pending=settings.max_pending, keys=settings.keys, plain=settings.plain)
    spool = Spool(wanted.path, synchronous=wanted.synchronous)
    if wanted.max_age_h is not None:
        spool.erase(before=time() - 3600 * wanted.max_age_h)
    try:
        return ZmqSink(
            settings.bind,
            spool=spool,
            max_bytes=1_000_000 * wanted.max_mb,
            when_full=wanted.when_full,
            keys=settings.keys,
            plain=settings.plain,
        )
    except FacegateError:
        spool.close()
        raise
