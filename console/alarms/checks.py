"""The checks behind the alarms: each asks one part of the console and returns findings."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from facegate.console.alarms.conditions import AlarmKey, Condition
from facegate.console.processes.supervisor import ProcessHealth
from facegate.console.state import REPAIR
from facegate.errors import FleetError, GalleryError, StoreError
from facegate.fleet.admin import FleetSummary
from facegate.maintenance.files import notes
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.store.reader import StoreReader

GOOD_STATES = ("live", "paused", "ended")
SERVER = "server"
"""Subject of the alarm of a fleet whose server does not answer."""


class CameraLike(Protocol):
    """A camera with its state."""

    name: str
    state: str
    problem: str | None


def cameras(found: Iterable[CameraLike]) -> list[Condition]:
    """Cameras that deliver no pictures. While the gate is down, nothing is known about them."""
    return [
        Condition(
            "camera",
            camera.name,
            None if camera.state in GOOD_STATES else f"{camera.state}: {camera.problem or 'no pictures arrive'}",
            "check its power, its network and its password; 'Test' on the Cameras page measures it",
            is_known=camera.state != "waiting",
        )
        for camera in found
    ]


def processes(health: ProcessHealth, *, gate_needed: bool) -> list[Condition]:
    """The gate and the worker."""
    needed = ((health.gate, gate_needed and not health.gate_finished), (health.worker, True))
    return [
        Condition(
            "process",
            state.name,
            f"the {'gate' if state.name == 'gate' else 'recognition worker'} is not running"
            + ("" if state.last_exit is None else f"; it exited with {state.last_exit}"),
            "it is restarted; if this lasts, see its last lines on the Health page",
        )
        if is_needed and not state.running
        else Condition("process", state.name)
        for state, is_needed in needed
    ]


def configuration(health: ProcessHealth) -> list[Condition]:
    """The configuration file, edited by hand."""
    if not health.config_changed:
        return []
    problem = f"it is invalid: {health.config_problem}" if health.config_problem else "it is not loaded yet"
    return [
        Condition(
            "configuration",
            "",
            f"the configuration file was edited by hand; {problem}",
            "load it on the Health page",
        )
    ]


def disk(folder: Path, min_free: int) -> list[Condition]:
    """The disk of the data folder; ``min_free`` in bytes."""
    free = shutil.disk_usage(folder).free
    if free >= min_free:
        return []
    return [
        Condition(
            "disk",
            "",
            f"{free / 1e6:,.0f} MB are free, less than {min_free / 1e6:,.0f}",
            "delete files, or lower --days or --max-mb",
        )
    ]


def gallery(path: Path) -> list[Condition]:
    """The gallery."""
    try:
        with GalleryStore(path) as store:
            store.people()
    except GalleryError as error:
        return [Condition("gallery", "", str(error), REPAIR)]
    return []


def store(reader: StoreReader) -> list[Condition]:
    """The store of visits."""
    try:
        reader.revision()
    except StoreError as error:
        return [Condition("store", "", str(error), REPAIR)]
    return []


def files(*folders: Path) -> list[Condition]:
    """Damaged files that were set aside and replaced."""
    return [
        Condition("file", note[:200], note, "read it, then delete the note (.txt) beside the damaged file")
        for note in notes(*dict.fromkeys(folders))
    ]


def fleet(found: FleetSummary | FleetError, members: Iterable[str], opened: Iterable[AlarmKey]) -> list[Condition]:
    """Nodes and cameras of the fleet.

    Args:
        found: status of the fleet, or why its server does not answer.
        members: all nodes that were ever present.
        opened: keys of the open alarms.
    """
    if isinstance(found, FleetError):
        unknown = [Condition("fleet", subject, is_known=False) for kind, subject in opened if kind == "fleet"]
        return [*unknown, Condition("fleet", SERVER, str(found), "check that the NATS server runs")]
    nodes = [
        Condition(
            "fleet",
            name,
            "the node is missing" if name not in found.gates else found.gates[name].problem or None,
            "start it again; if it was removed for good, dismiss this alarm",
        )
        for name in members
    ]
    cameras = [
        Condition(
            "fleet",
            f"camera {name}",
            None if camera.state in GOOD_STATES else camera.state,
            "see the Fleet page",
        )
        for name, camera in found.cameras.items()
    ]
    return nodes + cameras
