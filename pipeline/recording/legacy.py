"""What recordings of earlier versions hold and this version does not have."""

from __future__ import annotations

from typing import Any

REMOVED_GATE_SETTINGS = ("online",)


def current_gates(gates: dict[str, dict[str, Any]]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Recorded gate configurations without removed settings, and which of those were in use (``gate.online``)."""
    used = {name for gate in gates.values() for name in REMOVED_GATE_SETTINGS if gate.get(name) is not None}
    current = {
        camera: {key: value for key, value in gate.items() if key not in REMOVED_GATE_SETTINGS}
        for camera, gate in gates.items()
    }
    return current, [f"gate.{name}" for name in sorted(used)]
