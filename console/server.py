"""Assembles the console and serves it until SIGINT or SIGTERM."""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import stat
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import structlog
import uvicorn
from prometheus_client.registry import Collector

from facegate.audit.log import AuditLog
from facegate.console.alarms.journal import AlarmJournal
from facegate.console.event_bus import EventBus
from facegate.console.hosts.peers import PeerConsole
from facegate.console.metrics import ConsoleCollector
from facegate.console.notifications.channels import PushKey
from facegate.console.notifications.notifier import Notifier
from facegate.console.notifications.outbox import Outbox
from facegate.console.people.search import SearchService
from facegate.console.people.service import EnrollmentService
from facegate.console.processes.config_file import ConfigFile
from facegate.console.processes.supervisor import ConsoleFolder, RecognizerSettings, Supervisor
from facegate.console.scoring import ScoringService
from facegate.console.security.accounts import Accounts
from facegate.console.security.login_throttle import LoginThrottle
from facegate.console.security.proxy import NO_PROXY, ProxySettings
from facegate.console.state import PUSH_KEY, ConsoleState, labels_of
from facegate.console.tuning.tuner import Tuner
from facegate.console.web.app import create_app
from facegate.errors import ConfigError, StoreError, os_errors, os_reason
from facegate.fleet.bucket import BucketAddress
from facegate.maintenance.backups import FOLDER, BackupKeeper
from facegate.maintenance.files import NOTIFICATIONS, DataFile, Locations, data_files, remember_locations
from facegate.maintenance.recovery import heal_all
from facegate.pipeline.observability.exposition import MetricsServer
from facegate.pipeline.observability.metrics import RunCollector
from facegate.pipeline.observability.report import RunReport
from facegate.store.reader import StoreReader
from facegate.store.retention import RetentionLimits
from facegate.subprocesses import SubprocessState

log = structlog.get_logger(__name__)
LINGER_S = 1


class ServeOptions(msgspec.Struct, frozen=True):
    """Options of ``facegate serve``."""

    config: Path
    data: Path
    listen: str
    """``HOST:PORT``."""
    recognizer: RecognizerSettings
    limits: RetentionLimits
    hosts: tuple[str, ...] = ()
    """Host names that are accepted in addition to addresses."""
    metrics: str | None = None
    """``HOST:PORT`` of ``/metrics``."""
    certificate: Path | None = None
    key: Path | None = None
    min_free_mb: int = 1000
    """Free MB of the disk below which an alarm is raised."""
    confirmations: int = 0
    """Number of users who are to confirm the name of a visit."""
    fleet: BucketAddress | None = None
    proxy: ProxySettings = NO_PROXY
    peers: tuple[PeerConsole, ...] = ()
    """Consoles of other hosts."""


def make_folder(data: Path) -> ConsoleFolder:
    """Create the data folder with mode 700, or give an existing one that mode.

    Raises:
        ConfigError: it cannot be created.
    """
    with os_errors(ConfigError, f"cannot create data folder {data}"):
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        _make_private(data)
        (data / "recordings").mkdir(exist_ok=True, mode=0o700)
    return ConsoleFolder(data.absolute())


def _make_private(data: Path) -> None:
    mode = stat.S_IMODE(data.stat().st_mode)
    if not mode & 0o077:
        return
    try:
        if any(data.iterdir()) and not (data / "recordings").is_dir():
            raise PermissionError("it contains other files")
        data.chmod(0o700)
    except PermissionError as error:
        log.warning(
            "data folder readable by other users",
            folder=str(data),
            mode=f"{mode:o}",
            reason=os_reason(error),
            remedy=f"chmod 700 {data}",
        )


def serve(options: ServeOptions) -> None:
    """Run until SIGINT or SIGTERM.

    Raises:
        ConfigError: an address that cannot be bound, or that needs a password or certificate.
        FacegateError: a file that cannot be used, or a data folder in use.
    """
    folder = make_folder(options.data)
    with ExitStack() as opened:
        opened.enter_context(_alone(folder.data))
        _keep_whole(folder.data, options, opened)
        accounts = opened.enter_context(Accounts(folder.accounts, create=True))
        if accounts.auth_required() and not accounts.has_users():
            log.error(
                "users are lost, nobody can log in",
                file=str(folder.accounts),
                remedy="'facegate serve --set-password NAME' creates a user",
            )
        listener = opened.enter_context(
            _listener(options.listen, locked=accounts.auth_required() or options.proxy.address is not None)
        )
        store = opened.enter_context(StoreReader(folder.store, create=True))
        alarms = opened.enter_context(AlarmJournal(folder.alarms, create=True))
        outbox = opened.enter_context(Outbox(folder.notifications, create=True))
        broker = EventBus()
        recognizer = options.recognizer
        people = EnrollmentService(recognizer.gallery, recognizer.embedder, recognizer.card, recognizer.fpir)
        supervisor = opened.enter_context(
            Supervisor(ConfigFile(options.config), folder, recognizer, broker.publish)
        )
        notifier = Notifier(
            outbox,
            store,
            lambda: PushKey(folder.data / PUSH_KEY),
            lambda: labels_of(supervisor.running().config),
            people.watch_lists,
        )
        scoring = opened.enter_context(ScoringService(lambda: supervisor.running().config))
        search = opened.enter_context(
            SearchService(people, folder.data, folder.store, enabled=recognizer.templates)
        )
        console = ConsoleState(
            folder=folder,
            supervisor=supervisor,
            store=store,
            accounts=accounts,
            audit=opened.enter_context(AuditLog(folder.audit, create=True, days=recognizer.audit_days)),
            broker=broker,
            people=people,
            scoring=scoring,
            search=search,
            tuner=Tuner(folder.recordings, recognizer.gallery, people.recognition),
            limits=options.limits,
            throttle=LoginThrottle(),
            alarms=alarms,
            outbox=outbox,
            notifier=notifier,
            min_free=1_000_000 * options.min_free_mb,
            secure=options.certificate is not None,
            fleet=options.fleet,
            peers=options.peers,
            confirmations=options.confirmations,
        )
        opened.enter_context(notifier)
        if options.metrics:
            opened.enter_context(MetricsServer(options.metrics, lambda: _health(console), _collectors(console)))
        _serve(console, listener, options)


def _keep_whole(data: Path, options: ServeOptions, opened: ExitStack) -> None:
    """Replace damaged files before they are used, and make a backup every day."""
    gallery, backups = options.recognizer.gallery, data / FOLDER

    def files() -> list[DataFile]:
        return data_files(data, gallery, options.config)

    remember_locations(data, Locations(gallery.absolute(), options.config.absolute()))
    heal_all(files(), [backups, gallery.parent / FOLDER])
    # Rules of notifications name people, and erasing a person does not look into this file of a backup.
    opened.enter_context(
        BackupKeeper(backups, lambda: [file for file in files() if file.kind is not NOTIFICATIONS])
    )


def _health(console: ConsoleState) -> tuple[bool, bytes]:
    ok, health = console.healthy(), console.supervisor.health()
    alarms = [{"kind": each.kind, "subject": each.subject, "since": each.since} for each in console.alarms.open()]
    body = {"ok": ok, "gate": health.gate.running, "worker": health.worker.running, "alarms": alarms}
    return ok, msgspec.json.encode(body)


def _collectors(console: ConsoleState) -> list[Collector]:
    def processes() -> tuple[SubprocessState, ...]:
        health = console.supervisor.health()
        return health.gate, health.worker

    def report() -> RunReport | None:
        found = console.report()
        return None if found is None else msgspec.convert(found, RunReport)

    def oldest_unmatched() -> float | None:
        try:
            return console.store.oldest_unmatched()
        except StoreError:
            return None

    own = ConsoleCollector(processes, console.disk, console.alarms.open, oldest_unmatched)
    return [console.requests, own, RunCollector(report)]


def _serve(console: ConsoleState, listener: socket.socket, options: ServeOptions) -> None:
    host, port = listener.getsockname()[:2]
    scheme = "http" if options.certificate is None else "https"
    name = f"[{host}]" if ":" in host else host
    config = uvicorn.Config(
        create_app(console, _names(options), options.proxy),
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        ws="none",
        # The peer itself has to be the proxy: no header of it counts.
        proxy_headers=options.proxy.address is None,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=LINGER_S,
        ssl_certfile=options.certificate,
        ssl_keyfile=options.key,
    )
    try:
        config.load()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"certificate or key cannot be used: {str(error).lower()}; give a PEM certificate and its private key"
        ) from error
    log.info(
        "console ready",
        url=f"{scheme}://{name}:{port}",
        login_required=console.accounts.auth_required(),
        config=str(options.config),
        data=str(options.data),
    )
    _Server(config, console.broker).run(sockets=[listener])
    log.info("console stopped")


class _Server(uvicorn.Server):
    """Ends event streams first at shutdown, as uvicorn waits for open requests."""

    def __init__(self, config: uvicorn.Config, broker: EventBus) -> None:
        super().__init__(config)
        self._broker = broker

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        self._broker.end()
        await super().shutdown(sockets)


def _names(options: ServeOptions) -> Collection[str]:
    host = options.listen.rpartition(":")[0]
    return (*options.hosts, host) if host else options.hosts


@contextmanager
def _listener(listen: str, *, locked: bool) -> Iterator[socket.socket]:
    """A listening socket; non-loopback addresses require a password."""
    host, _, port = listen.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not port.isdecimal() or int(port) > 65_535:
        raise ConfigError(f"--listen {listen} is not an address; give HOST:PORT, such as 127.0.0.1:8090")
    try:
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
        address = ipaddress.ip_address(found[4][0])
        if not address.is_loopback and not locked:
            raise ConfigError(
                f"--listen {listen} is reachable from other hosts, but no password is set; set one with "
                "'facegate serve --set-password NAME'"
            )
        listener = socket.create_server((str(address), int(port)), family=found[0], reuse_port=False, backlog=128)
    except OSError as error:
        raise ConfigError(f"cannot listen at {listen}: {os_reason(error)}; choose another with --listen") from error
    with listener:
        yield listener


@contextmanager
def _alone(data: Path) -> Iterator[None]:
    """Hold the lock of the data folder."""
    with (data / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"{data} is in use by another console; stop it, or give another --data") from None
        yield
