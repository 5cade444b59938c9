"""``facegate keys``: who may attach to a gate beyond this host."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Keys for encrypted delivery beyond this host (CurveZMQ).")

KeysOption = Annotated[Path, typer.Option("--keys", help="The gate's folder of keys.")]
DEFAULT = Path("keys")


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="What to call the worker.", show_default=False)],
    keys: KeysOption = DEFAULT,
    to: Annotated[
        Path | None, typer.Option(help="Write the worker's file here.", show_default="NAME.key.json")
    ] = None,
) -> None:
    """Make a worker's key, and the gate's with the first. Carry the worker's file to its host by a safe way.

    \b
    facegate keys new worker-1
    facegate run site.yaml --bind tcp://0.0.0.0:5570 --keys keys
    facegate recognize --connect tcp://gate.lan:5570 --key worker-1.key.json
    """
    from facegate.sinks.keys import new_worker

    target = to or Path(f"{name}.key.json")
    new_worker(keys, name, target)
    sys.stderr.write(f"{target} is the worker's key: keep it secret, carry it to the worker, delete it here\n")


@app.command("list")
def list_workers(keys: KeysOption = DEFAULT) -> None:
    """Print the names of the workers that are let in.

    \b
    facegate keys list
    """
    from facegate.sinks.keys import workers

    for name in workers(keys):
        print(name)


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="The worker.", show_default=False)], keys: KeysOption = DEFAULT
) -> None:
    """Shut a worker out, from its next connection on.

    \b
    facegate keys revoke worker-1
    """
    from facegate.sinks.keys import revoke as shut_out

    shut_out(keys, name)
