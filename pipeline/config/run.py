"""A whole run: its sections, and each camera's own gate on top of the common one."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from facegate.errors import ConfigError
from facegate.pipeline.config.camera import CameraConfig
from facegate.pipeline.config.delivery import DeliveryConfig
from facegate.pipeline.config.detector import DetectorConfig
from facegate.pipeline.config.gate import GateConfig
from facegate.pipeline.config.scorer import ScorerConfig
from facegate.pipeline.config.tracker import TrackerConfig
from facegate.pipeline.config.values import Section


class RunConfig(Section):
    """A whole run."""

    cameras: tuple[CameraConfig, ...] = Field(min_length=1)
    detector: DetectorConfig = DetectorConfig()
    tracker: TrackerConfig = TrackerConfig()
    scorer: ScorerConfig = ScorerConfig()
    gate: GateConfig = GateConfig()
    delivery: DeliveryConfig = DeliveryConfig()

    def watched(self) -> Self:
        """Without the cameras that are not enabled.

        Raises:
            ConfigError: no other is left.
        """
        enabled = tuple(camera for camera in self.cameras if camera.enabled)
        if not enabled:
            raise ConfigError("no camera is enabled: set 'enabled: true' for one")
        return self.model_copy(update={"cameras": enabled})

    def gate_for(self, camera: str) -> GateConfig:
        """The gate of one camera: the common one with the camera's own settings on top."""
        own = next(item.gate for item in self.cameras if item.name == camera)
        return GateConfig.model_validate(_merged(self.gate.model_dump(), own))

    @model_validator(mode="after")
    def _every_gate_is_valid(self) -> Self:
        for index, camera in enumerate(self.cameras):
            try:
                self.gate_for(camera.name)
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                place = ".".join(str(part) for part in first["loc"])
                problem = first["msg"]
                if first["type"] == "extra_forbidden":
                    close = get_close_matches(str(first["loc"][-1]), list(GateConfig.model_fields), 1)
                    problem = "unknown key" + (f", did you mean '{close[0]}'?" if close else "")
                raise ValueError(f"cameras[{index}].gate.{place}: {problem}") from None
        return self

    @field_validator("cameras")
    @classmethod
    def _unique_names(cls, cameras: tuple[CameraConfig, ...]) -> tuple[CameraConfig, ...]:
        names = [camera.name for camera in cameras]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"camera names must be unique, '{twice[0]}' occurs twice")
        return cameras


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes`` on top, section by section."""
    merged = dict(base)
    for key, value in changes.items():
        known = merged.get(key)
        merged[key] = _merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged
