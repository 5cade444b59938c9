"""The configuration of a run: its sections, with each camera's own gate settings merged into the common ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from facegate.errors import ConfigError
from facegate.inference.devices import Device
from facegate.pipeline.config.camera import CameraConfig
from facegate.pipeline.config.delivery import DeliveryConfig
from facegate.pipeline.config.detector import DetectorConfig
from facegate.pipeline.config.gate import GateConfig
from facegate.pipeline.config.messages import problem
from facegate.pipeline.config.scorer import ScorerConfig
from facegate.pipeline.config.store import StoreConfig
from facegate.pipeline.config.tracker import TrackerConfig
from facegate.pipeline.config.values import Section


class RunConfig(Section):
    """The configuration of a run."""

    cameras: tuple[CameraConfig, ...] = Field(min_length=1)
    """Cameras, at least one."""
    device: Device = "auto"
    """Device that the networks of all stages run on: ``cpu``, ``cuda``, ``openvino:GPU`` or ``openvino:NPU``.
    ``auto`` takes CUDA where it is available, else the CPU. ``facegate devices`` lists what this host has."""
    detector: DetectorConfig = DetectorConfig()
    """Face detection."""
    tracker: TrackerConfig = TrackerConfig()
    """Tracking."""
    scorer: ScorerConfig = ScorerConfig()
    """Quality model."""
    gate: GateConfig = GateConfig()
    """Gate settings of all cameras."""
    delivery: DeliveryConfig = DeliveryConfig()
    """Outputs for shots."""
    store: StoreConfig = StoreConfig()
    """What a console keeps of all cameras."""

    def watched(self) -> Self:
        """Return the configuration without disabled cameras.

        Raises:
            ConfigError: no camera is enabled.
        """
        enabled = tuple(camera for camera in self.cameras if camera.enabled)
        if not enabled:
            raise ConfigError("no camera is enabled: set 'enabled: true' for at least one")
        return self.model_copy(update={"cameras": enabled})

    def gate_for(self, camera: str) -> GateConfig:
        """Return a camera's gate settings: the common ones, overridden by its own."""
        own = next(item.gate for item in self.cameras if item.name == camera)
        return GateConfig.model_validate(_merged(self.gate.model_dump(), own))

    def store_for(self, camera: str) -> StoreConfig:
        """Return what is kept of a camera; see :meth:`gate_for`. The common settings for an unknown camera."""
        own = next((item.store for item in self.cameras if item.name == camera), {})
        return StoreConfig.model_validate(self.store.model_dump() | own)

    @model_validator(mode="after")
    def _every_camera_is_valid(self) -> Self:
        sections: tuple[tuple[str, type[Section], Callable[[str], Section]], ...] = (
            ("gate", GateConfig, self.gate_for), ("store", StoreConfig, self.store_for),
        )  # fmt: skip
        for index, camera in enumerate(self.cameras):
            for name, kind, merged in sections:
                try:
                    merged(camera.name)
                except ValidationError as error:
                    raise ValueError(problem(error, kind, f"cameras[{index}].{name}")) from None
            kept = self.store_for(camera.name)
            if kept.blur_others and kept.clip_s:
                raise ValueError(
                    f"cameras[{index}]: a clip would show whom 'blur_others' hides: set 'clip_s: 0' in its 'store'"
                )
            if camera.mask and kept.clip_s:
                raise ValueError(
                    f"cameras[{index}]: a clip would show what 'mask' hides: set 'clip_s: 0' in its own 'store'"
                )
        return self

    @field_validator("cameras")
    @classmethod
    def _unique_names(cls, cameras: tuple[CameraConfig, ...]) -> tuple[CameraConfig, ...]:
        known: dict[str, str] = {}
        for camera in cameras:
            key = camera.name.casefold()  # files are named after cameras, and some file systems ignore case
            if key in known:
                both = "occurs twice" if known[key] == camera.name else f"and '{known[key]}' differ only in case"
                raise ValueError(f"camera names must be unique, but '{camera.name}' {both}")
            known[key] = camera.name
        return cameras


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return ``base`` overridden by ``changes``, section by section."""
    merged = dict(base)
    for key, value in changes.items():
        known = merged.get(key)
        merged[key] = _merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged
