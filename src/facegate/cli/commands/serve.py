"""``facegate serve``: the console."""

from __future__ import annotations

import sys
from getpass import getpass
from pathlib import Path
from typing import Annotated

import typer

from facegate.cli.options import CardOption, EmbedderOption, FpirOption, MetricsOption
from facegate.cli.signals import end_at_once_while_loading
from facegate.errors import ConfigError


def serve(
    config: Annotated[
        Path | None,
        typer.Argument(help="CONFIG.yaml; written when a page changes it.", show_default="DATA/facegate.yaml"),
    ] = None,
    listen: Annotated[str, typer.Option(help="HOST:PORT of the pages.")] = "127.0.0.1:8090",
    data: Annotated[
        Path | None,
        typer.Option(help="Folder for everything that is kept.", show_default="~/.local/share/facegate"),
    ] = None,
    gallery: Annotated[Path | None, typer.Option(help="Who can be named.", show_default="DATA/people.db")] = None,
    embedder: EmbedderOption = "auto",
    card: CardOption = None,
    fpir: FpirOption = 1e-3,
    days: Annotated[float, typer.Option(min=0.01, help="Keep shots, visits and recordings for so long.")] = 30,
    max_mb: Annotated[int, typer.Option(min=10, help="Keep so much of each, at most.")] = 10_000,
    demo: Annotated[bool, typer.Option("--demo", help="Bring the demonstration's camera along.")] = False,
    host: Annotated[
        list[str] | None,
        typer.Option(help="A name by which this host is reached; may be repeated.", show_default=False),
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="PEM file, for https.", show_default=False)] = None,
    certificate_key: Annotated[Path | None, typer.Option(help="PEM file with its key.", show_default=False)] = None,
    metrics: MetricsOption = None,
    worker_key: Annotated[
        Path | None,
        typer.Option(help="Key of the own worker, where delivery.keys is set.", show_default=False),
    ] = None,
    fleet: Annotated[
        str | None,
        typer.Option(help="Also show the fleet at nats://HOST:4222/NAME.", show_default=False),
    ] = None,
    allow_insecure: Annotated[
        bool, typer.Option("--allow-insecure", help="Allow --fleet on another host without TLS.")
    ] = False,
    set_password: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Give somebody a password, asked for or from stdin.", show_default=False),
    ] = None,
    viewer: Annotated[
        bool, typer.Option("--viewer", help="With --set-password: may look, but change nothing.")
    ] = False,
) -> None:
    """Watch, recognize, keep and show: gate, worker and a page for everything, in one command.

    \b
    facegate serve
    facegate serve --demo
    facegate serve cameras.yaml --data /srv/facegate --gallery people.db
    facegate serve --set-password ada
    facegate serve --listen 0.0.0.0:8443 --certificate cert.pem --certificate-key key.pem
    """
    end_at_once_while_loading()
    from contextlib import ExitStack

    from facegate.console.demo_camera import demo_camera
    from facegate.console.processes.supervisor import RecognizerSettings
    from facegate.console.security.accounts import Accounts
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
        sys.stderr.write(f"{set_password} can log in now\n")
        return
    if (certificate is None) != (certificate_key is None):
        raise ConfigError("--certificate and --certificate-key go together")
    path = config or folder.data / "facegate.yaml"
    people = gallery_path((gallery or folder.data / "people.db").absolute())
    if config is not None and not config.is_file():
        raise ConfigError(f"cannot read {config}: no such file; leave it out to begin with an empty one")
    with ExitStack() as opened:
        if demo:
            opened.enter_context(demo_camera(path, folder.data))
        serve_console(
            ServeOptions(
                config=path,
                data=folder.data,
                listen=listen,
                recognizer=RecognizerSettings(people, embedder, card, fpir, worker_key),
                limits=RetentionLimits(days, max_mb),
                hosts=tuple(host or ()),
                metrics=metrics,
                certificate=certificate,
                key=certificate_key,
                fleet=None if fleet is None else parse(fleet, allow_insecure=allow_insecure),
            )
        )


def _password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass("password: ")
    if getpass("again: ") != password:
        raise ConfigError("the two are not the same: nothing was changed")
    return password
