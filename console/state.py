"""The services behind the pages and the API."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec

from facegate.audit.log import AuditLog
from facegate.console.alarms.journal import AlarmJournal
from facegate.console.event_bus import EventBus
from facegate.console.hosts.peers import PeerConsole
from facegate.console.metrics import Requests
from facegate.console.notifications.channels import PushKey
from facegate.console.notifications.notifier import Notifier
from facegate.console.notifications.outbox import Outbox
from facegate.console.people.search import SearchService
from facegate.console.people.service import EnrollmentService
from facegate.console.processes.gate_client import GateUnreachableError
from facegate.console.processes.supervisor import ConsoleFolder, Supervisor
from facegate.console.scoring import ScoringService
from facegate.console.security.accounts import Accounts
from facegate.console.security.login_throttle import LoginThrottle
from facegate.console.tuning.tuner import Tuner
from facegate.errors import StoreError
from facegate.fleet.bucket import BucketAddress
from facegate.maintenance.files import notes
from facegate.pipeline.config import RunConfig, StoreConfig
from facegate.recognition.enrollment.records import Erased
from facegate.recognition.enrollment.stored_visits import rename_stored
from facegate.store.reader import StoreReader
from facegate.store.retention import CameraRetention, RetentionLimits

PUSH_KEY = "push.pem"
"""File of the private key for Web Push in the data folder."""
REPAIR = "if this lasts, restart the console, which repairs damaged files when it starts"


class ConsoleState(msgspec.Struct, frozen=True):
    """Services of a console; their creator closes them."""

    folder: ConsoleFolder
    supervisor: Supervisor
    store: StoreReader
    accounts: Accounts
    audit: AuditLog
    broker: EventBus
    people: EnrollmentService
    scoring: ScoringService
    search: SearchService
    tuner: Tuner
    limits: RetentionLimits
    throttle: LoginThrottle
    alarms: AlarmJournal
    outbox: Outbox
    notifier: Notifier
    min_free: int
    """Free bytes of the disk below which an alarm is raised."""
    secure: bool
    """Whether it is served over TLS."""
    fleet: BucketAddress | None = None
    """Fleet shown on the fleet page."""
    peers: tuple[PeerConsole, ...] = ()
    """Consoles of other hosts."""
    confirmations: int = 0
    """Number of users who are to confirm the name of a visit; 0: none."""
    requests: Requests = msgspec.field(default_factory=Requests)

    def healthy(self) -> bool:
        """Whether the worker runs, and the gate too if a camera is enabled."""
        found = self.supervisor.health()
        return found.worker.running and (found.gate.running or found.gate_finished or not self.needs_gate())

    def needs_gate(self) -> bool:
        """Whether a camera is enabled."""
        config = self.supervisor.running().config
        return config is not None and any(camera.enabled for camera in config.cameras)

    def camera_labels(self) -> dict[str, str]:
        """Names for people by name of the camera, of those that have another."""
        return labels_of(self.supervisor.running().config)

    def disk(self) -> dict[str, int]:
        """Bytes of ``store`` and ``recordings``, and ``free`` bytes of the disk."""
        recordings = sum(map(_size, self.folder.recordings.glob("*/*.rec")))
        store = sum(map(_size, self.folder.data.glob("store.db*")))
        return {"store": store, "recordings": recordings, "free": shutil.disk_usage(self.folder.data).free}

    def stored(self) -> tuple[dict[str, int], list[str]]:
        """Numbers of shots and visits, and notices of damaged files and their replacements.

        The numbers are missing while the store cannot be read, and a notice says why.
        """
        notices = notes(*dict.fromkeys([self.folder.data, self.folder.data / "names", self.people.gallery.parent]))
        try:
            return self.store.count(), notices
        except StoreError as error:
            return {}, [f"{error}; {REPAIR}", *notices]

    def kept(self, camera: str) -> CameraRetention:
        """How long the data of a camera is kept."""
        config = self.supervisor.running().config
        settings = StoreConfig() if config is None else config.store_for(camera)
        days = settings.days or self.limits.days
        unknown_days = settings.unknown_days or days
        return CameraRetention(days, unknown_days, settings.scene_days or max(days, unknown_days))

    def rename_person(self, name: str, new: str) -> None:
        """Rename a person in the stored visits."""
        rename_stored(self.folder.data, name, new)
        self.outbox.rename(name, new)

    def erase_person(self, name: str) -> list[Erased]:
        """Remove a person from the gallery, the data folder and the backups.

        Raises:
            GalleryError: the person is not enrolled.
            StoreError: the store cannot be written.
        """
        told = self.outbox.rename(name, None)
        erased = self.people.remove(name, self.folder.data)
        return [*erased, Erased(str(self.folder.notifications), told, "rules and waiting messages")]

    def push_key(self) -> PushKey:
        """The key of this console for Web Push.

        Raises:
            ConfigError: the extra is missing, or the file cannot be used.
        """
        return PushKey(self.folder.data / PUSH_KEY)

    def report(self) -> dict[str, Any] | None:
        """The gate's report; ``None`` while no gate answers."""
        if not self.supervisor.health().gate.running:
            return None
        try:
            return msgspec.json.decode(self.supervisor.client.report(), type=dict[str, Any])
        except GateUnreachableError:
            return None


def labels_of(config: RunConfig | None) -> dict[str, str]:
    """See :meth:`ConsoleState.camera_labels`."""
    cameras = () if config is None else config.cameras
    return {each.name: each.display_name for each in cameras if each.display_name is not None}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # removed in the meantime
