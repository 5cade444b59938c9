"""The configuration: one module per section, units in the names; unknown keys are reported with the nearest one."""

from facegate.pipeline.config.camera import CameraConfig
from facegate.pipeline.config.delivery import DeliveryConfig, OutputConfig, SpoolConfig
from facegate.pipeline.config.detector import DetectorConfig
from facegate.pipeline.config.gate import GateConfig, LimitsConfig, PeopleConfig
from facegate.pipeline.config.load import build_config, config_for, load_config
from facegate.pipeline.config.run import RunConfig
from facegate.pipeline.config.scorer import ScorerConfig
from facegate.pipeline.config.store import StoreConfig
from facegate.pipeline.config.tracker import TrackerConfig
from facegate.pipeline.config.values import DEFAULT_BIND

__all__ = [
    "DEFAULT_BIND",
    "CameraConfig",
    "DeliveryConfig",
    "DetectorConfig",
    "GateConfig",
    "LimitsConfig",
    "OutputConfig",
    "PeopleConfig",
    "RunConfig",
    "ScorerConfig",
    "SpoolConfig",
    "StoreConfig",
    "TrackerConfig",
    "build_config",
    "config_for",
    "load_config",
]
