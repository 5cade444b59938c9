"""Settings of recordings of earlier versions that were renamed or removed."""

from __future__ import annotations

from typing import Any

REMOVED_GATE_SETTINGS = ("online",)
RENAMED_GATE_SETTINGS = {
    "every_s": "interval_s",
    "apart_s": "min_gap_s",
    "apart_deg": "min_yaw_gap_deg",
    "more_shots": "max_followups",
    "primary_px": "primary_face_min_px",
    "per_minute": "max_per_minute",
    "shadow": "shadow_rate",
    "keep": "target_recall",
    "keep_sample": "exploration_rate",
    "keep_high": "max_threshold",
    "people": "identity",
    "guard": "split_identity_switches",
}


def current_gates(gates: dict[str, dict[str, Any]]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return recorded gate settings under their current names, and the removed settings in use
    (``gate.online``)."""
    used = {name for gate in gates.values() for name in REMOVED_GATE_SETTINGS if gate.get(name) is not None}
    return {camera: _renamed(gate) for camera, gate in gates.items()}, [f"gate.{name}" for name in sorted(used)]


def _renamed(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        RENAMED_GATE_SETTINGS.get(key, key): _renamed(value) if isinstance(value, dict) else value
        for key, value in settings.items()
        if key not in REMOVED_GATE_SETTINGS
    }
