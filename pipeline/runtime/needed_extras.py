"""Which extras a configuration needs, checked before a run loads anything."""

from __future__ import annotations

from collections.abc import Iterator

from facegate.extras import TORCH_SUFFIXES, require
from facegate.inference.devices import OPENVINO
from facegate.pipeline.config import RunConfig

OUTPUTS = {"mqtt": "mqtt", "jetstream": "nats"}
"""Kinds of outputs, and the extra that each needs."""


def check_extras(config: RunConfig) -> None:
    """Check that the extras of a configuration are installed.

    Raises:
        ConfigError: one is not; names the setting and the command that installs it.
    """
    for extra, what in _needed(config):
        require(extra, what)


def _needed(config: RunConfig) -> Iterator[tuple[str, str]]:
    detector, scorer = config.detector, config.scorer
    if detector.kind == "scrfd" or (detector.path is not None and detector.path.is_dir()):
        yield "insightface", "detector.kind 'scrfd'"
    for setting, device in (
        ("device", config.device), ("detector.device", detector.device), ("scorer.device", scorer.device),
    ):  # fmt: skip
        if device is not None and device.startswith(OPENVINO):
            yield "openvino", f"{setting} '{device}'"
    if scorer.backend in ("torch", "openvino"):
        yield scorer.backend, f"scorer.backend '{scorer.backend}'"
    if scorer.dtype in ("fp16", "int8"):
        yield "torch", f"scorer.dtype '{scorer.dtype}'"
    if scorer.weights is not None and scorer.weights.suffix in TORCH_SUFFIXES:
        yield "torch", f"scorer.weights {scorer.weights}"
    for output in config.delivery.outputs:
        if output.kind in OUTPUTS:
            yield OUTPUTS[output.kind], f"delivery.outputs kind '{output.kind}'"
