"""``facegate keys``: keys of workers on other hosts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True, help="Manage keys for encrypted delivery to workers on other hosts (CurveZMQ)."
)

KeysOption = Annotated[Path, typer.Option("--keys", help="Key folder of the gate.")]
DEFAULT = Path("keys")


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new worker.", show_default=False)],
    keys: KeysOption = DEFAULT,
    to: Annotated[
        Path | None, typer.Option(help="Key file to write for the worker.", show_default="NAME.key.json")
    ] = None,
) -> None:
    """Create a key for a worker; the first call also creates the gate's. Copy the file to the worker securely.

    \b
    facegate keys new worker-1
    facegate run site.yaml --bind tcp://0.0.0.0:5570 --keys keys
    facegate recognize --connect tcp://gate.lan:5570 --key worker-1.key.json
    """
    from facegate.sinks.keys import new_worker

    target = to or Path(f"{name}.key.json")
    new_worker(keys, name, target)
    sys.stderr.write(
        f"{target} is the secret key of the worker: copy it to the worker's host, then delete it here\n"
    )


@app.command("list")
def list_workers(keys: KeysOption = DEFAULT) -> None:
    """List the workers that may connect.

    \b
    facegate keys list
    """
    from facegate.sinks.keys import workers

    for name in workers(keys):
        print(name)


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the worker.", show_default=False)],
    keys: KeysOption = DEFAULT,
) -> None:
    """Revoke the key of a worker; it applies from its next connection.

    \b
    facegate keys revoke worker-1
    """
    from facegate.sinks.keys import revoke as revoke_key

    revoke_key(keys, name)
