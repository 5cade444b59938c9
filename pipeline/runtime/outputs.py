"""Builds the sink of a run from its configuration."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from facegate.errors import ConfigError
from facegate.pipeline.config import DeliveryConfig, OutputConfig, SpoolConfig
from facegate.sinks.base import Sink
from facegate.sinks.files import CropFolder, JsonLines
from facegate.sinks.jetstream import JetStream
from facegate.sinks.mqtt.shots import Mqtt
from facegate.sinks.spool import Spool
from facegate.sinks.spooled_sink import FanOut, SpooledSink, Target
from facegate.sinks.webhook import Webhook
from facegate.sinks.zeromq import ZmqSink
from facegate.store.writer import StoreTarget


def make_sink(settings: DeliveryConfig) -> Sink:
    """Bind the endpoint for workers and start the other outputs.

    Raises:
        DeliveryError: the endpoint cannot be bound, or a spool or file cannot be opened.
        ConfigError: the keys cannot be read, or two outputs have the same target.
    """
    with ExitStack() as opened:
        outputs, stores = [], []
        for output in settings.outputs:
            outputs.append(_output(output, context=settings.context_px is not None))
            if output.kind == "store":
                stores.append(outputs[-1])
            opened.callback(outputs[-1].close, 0.0)
            if sum(made.name == outputs[-1].name for made in outputs) > 1:
                raise ConfigError(f"delivery.outputs: {outputs[-1].name} occurs twice: remove one")
        workers = None if settings.bind is None else _workers(settings.bind, settings, opened)
        opened.pop_all()
    pictured = stores if settings.context_px is None else [*outputs, workers]
    return FanOut(workers, outputs, embedding=settings.embedding, pictured=pictured)


def _workers(bind: str, settings: DeliveryConfig, opened: ExitStack) -> ZmqSink:
    spool_settings = settings.spool
    if spool_settings is None:
        return ZmqSink(
            bind, max_pending=settings.max_pending, keys=settings.keys, allow_insecure=settings.allow_insecure
        )
    spool = _spool(spool_settings.path, spool_settings)
    opened.callback(spool.close)
    return ZmqSink(
        bind,
        spool=spool,
        when_full=spool_settings.when_full,
        keys=settings.keys,
        allow_insecure=settings.allow_insecure,
    )


def _spool(path: Path, settings: SpoolConfig | OutputConfig) -> Spool:
    return Spool(
        path,
        synchronous=settings.synchronous,
        max_bytes=1_000_000 * settings.max_mb,
        max_age_s=None if settings.max_age_h is None else 3600 * settings.max_age_h,
    )


def _output(settings: OutputConfig, *, context: bool) -> SpooledSink:
    with ExitStack() as opened:
        spool = _spool(settings.spool, settings)
        opened.callback(spool.close)
        target = _target(settings, spool, context=context)
        opened.callback(target.close)
        sink = SpooledSink(target, spool)
        opened.pop_all()
    return sink


def _target(settings: OutputConfig, spool: Spool, *, context: bool) -> Target:
    if settings.kind == "webhook":
        return Webhook(settings.target, settings.secret)
    if settings.kind == "mqtt":
        return Mqtt(
            settings.target,
            spool,
            context=context,
            console=settings.console,
            retain=settings.retain,
            onvif_metadata=settings.onvif_metadata,
        )
    if settings.kind == "jetstream":
        return JetStream(settings.target)
    if settings.kind == "store":
        return StoreTarget(Path(settings.target))
    if settings.kind == "folder":
        return CropFolder(Path(settings.target))
    return JsonLines(Path(settings.target))
