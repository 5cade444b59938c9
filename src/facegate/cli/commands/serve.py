"""``facegate serve``: the console with its gate and worker."""

from __future__ import annotations

import sys
from getpass import getpass
from pathlib import Path
from typing import Annotated

import typer

from facegate.cli.options import (
    AuditDaysOption,
    CardOption,
    EmbedderOption,
    FpirOption,
    MetricsOption,
    MinShotsOption,
    TemplatesOption,
)
from facegate.cli.signals import end_at_once_while_loading
from facegate.errors import ConfigError


def serve(
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="CONFIG",
            help="CONFIG.yaml; pages write their changes to it.",
            show_default="DATA/facegate.yaml",
        ),
    ] = None,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Address and port of the console.")
    ] = "127.0.0.1:8090",
    data: Annotated[
        Path | None,
        typer.Option(help="Data folder of the console.", show_default="~/.local/share/facegate"),
    ] = None,
    gallery: Annotated[
        Path | None, typer.Option(help="Gallery file of enrolled people.", show_default="DATA/people.db")
    ] = None,
    embedder: EmbedderOption = "auto",
    card: CardOption = None,
    fpir: FpirOption = 1e-3,
    min_shots: MinShotsOption = 1,
    days: Annotated[float, typer.Option(min=0.01, help="Retention of shots, visits and recordings in days.")] = 30,
    poor_days: Annotated[
        float,
        typer.Option(min=0.01, help="Retention of unknown faces of quality below 20, in days."),
    ] = 1,
    max_mb: Annotated[
        int, typer.Option(min=10, help="Maximum size of the store and of the recordings in MB, each.")
    ] = 10_000,
    templates: TemplatesOption = True,
    confirmations: Annotated[
        int,
        typer.Option(
            min=0,
            max=5,
            help="Number of users who are to confirm the name of a visit on its page; 0 asks for none. The EU "
            "AI Act asks for two where somebody is identified remotely (Art. 14).",
        ),
    ] = 0,
    audit_uses: Annotated[
        bool,
        typer.Option(
            "--audit-uses",
            help="Log each use of the recognizer too: start, end, gallery and matches (EU AI Act, Art. 12).",
        ),
    ] = False,
    audit_days: AuditDaysOption = 365,
    min_free_mb: Annotated[
        int, typer.Option(min=0, help="Free disk space in MB below which an alarm is raised.")
    ] = 1000,
    demo: Annotated[bool, typer.Option("--demo", help="Add the demonstration camera.")] = False,
    host: Annotated[
        list[str] | None,
        typer.Option(help="Host name under which browsers reach the console. Repeatable.", show_default=False),
    ] = None,
    base_path: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="Prefix of the console's paths that a reverse proxy leaves on.", show_default=False
        ),
    ] = None,
    proxy: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Address of a reverse proxy that logs users in: only it may connect, without a login.",
            show_default=False,
        ),
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="TLS certificate (PEM).", show_default=False)] = None,
    certificate_key: Annotated[Path | None, typer.Option(help="TLS private key (PEM).", show_default=False)] = None,
    metrics: MetricsOption = None,
    worker_key: Annotated[
        Path | None,
        typer.Option(help="Key file of the console's worker, if delivery.keys is set.", show_default=False),
    ] = None,
    fleet: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Also show the fleet at nats://HOST:4222/NAME.", show_default=False),
    ] = None,
    allow_insecure: Annotated[
        bool,
        typer.Option(
            "--allow-insecure",
            help="Allow --fleet and --peers on other hosts without TLS, on a network you trust.",
        ),
    ] = False,
    peers: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also show the consoles of other hosts, listed in this YAML file.",
            show_default=False,
        ),
    ] = None,
    set_password: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Set a user's password, prompted for or read from stdin, and exit.",
            show_default=False,
        ),
    ] = None,
    viewer: Annotated[
        bool, typer.Option("--viewer", help="Make the user of --set-password a read-only viewer.")
    ] = False,
) -> None:
    """Run the console: gate, recognition worker, store, web pages and REST API.

    \b
    facegate serve
    facegate serve --demo
    facegate serve cameras.yaml --data /srv/facegate --gallery people.db
    facegate serve --set-password ada
    facegate serve --base-path /facegate --host cams.lan
    facegate serve --listen 0.0.0.0:8443 --certificate cert.pem --certificate-key key.pem
    """
    end_at_once_while_loading()
    from contextlib import ExitStack

    from facegate.console.demo_camera import demo_camera
    from facegate.console.hosts.peers import read_peers
    from facegate.console.processes.supervisor import RecognizerSettings
    from facegate.console.security.accounts import Accounts
    from facegate.console.security.proxy import proxy_settings
    from facegate.console.server import ServeOptions, make_folder
    from facegate.console.server import serve as serve_console
    from facegate.fleet.bucket import parse
    from facegate.paths import data_folder
    from facegate.recognition.matching.gallery_watcher import gallery_path
    from facegate.store.retention import RetentionLimits

    folder = make_folder(data or data_folder())
    if set_password is not None:
        with Accounts(folder.accounts, create=True) as accounts:
            accounts.set_password(set_password, _password(), "viewer" if viewer else "administrator")
        sys.stderr.write(f"password of {set_password} set\n")
        return
    if (certificate is None) != (certificate_key is None):
        raise ConfigError("--certificate and --certificate-key go together: give both or neither")
    path = config or folder.data / "facegate.yaml"
    people = gallery_path((gallery or folder.data / "people.db").absolute())
    if config is not None and not config.is_file():
        raise ConfigError(f"cannot read {config}: no such file; omit CONFIG to start with an empty configuration")
    with ExitStack() as opened:
        if demo:
            opened.enter_context(demo_camera(path, folder.data))
        serve_console(
            ServeOptions(
                config=path,
                data=folder.data,
                listen=listen,
                recognizer=RecognizerSettings(
                    people,
                    embedder,
                    card,
                    fpir,
                    worker_key,
                    templates,
                    audit=folder.audit if audit_uses else None,
                    audit_days=audit_days,
                    min_shots=min_shots,
                ),
                limits=RetentionLimits(days, max_mb, poor_days),
                min_free_mb=min_free_mb,
                confirmations=confirmations,
                hosts=tuple(host or ()),
                metrics=metrics,
                certificate=certificate,
                key=certificate_key,
                proxy=proxy_settings(base_path, proxy),
                peers=() if peers is None else read_peers(peers, allow_insecure=allow_insecure),
                fleet=None if fleet is None else parse(fleet, allow_insecure=allow_insecure),
            )
        )


def _password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass("Password: ")
    if getpass("Repeat password: ") != password:
        raise ConfigError("passwords do not match; nothing was changed")
    return password
