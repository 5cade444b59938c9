"""The ``facegate`` command: one subcommand per job, data on stdout, messages and logs on stderr."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from facegate.cli.commands.audit import app as audit_app
from facegate.cli.commands.cameras.discover import discover_command
from facegate.cli.commands.cameras.probe import probe_command
from facegate.cli.commands.demo import demo
from facegate.cli.commands.evaluation.calibrate import calibrate
from facegate.cli.commands.evaluation.evaluate import evaluate
from facegate.cli.commands.evaluation.savings import savings
from facegate.cli.commands.evaluation.score import score
from facegate.cli.commands.explain import explain
from facegate.cli.commands.fleet import app as fleet_app
from facegate.cli.commands.keys import app as keys_app
from facegate.cli.commands.models import app as models_app
from facegate.cli.commands.operation.devices import devices
from facegate.cli.commands.operation.maintenance import backup, doctor, restore
from facegate.cli.commands.operation.service import app as service_app
from facegate.cli.commands.people.lists import app as lists_app
from facegate.cli.commands.people.rights import app as gallery_app
from facegate.cli.commands.people.search import search
from facegate.cli.commands.recognize import recognize
from facegate.cli.commands.recognizers import app as recognizers_app
from facegate.cli.commands.replay import replay
from facegate.cli.commands.run import run
from facegate.cli.commands.serve import serve
from facegate.cli.commands.spool import app as spool_app
from facegate.cli.commands.try_source import try_source
from facegate.cli.exit_codes import ExitCode
from facegate.cli.files import flush, open_missing_streams
from facegate.cli.needed_extras import check_commands
from facegate.cli.signals import leave
from facegate.cpu import set_wait_policy
from facegate.errors import FREE_SPACE, FacegateError, is_disk_full, os_reason

set_wait_policy()

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Select the best face shots of camera streams and send only those to recognition.",
)
for command in (
    serve,
    run,
    recognize,
    search,
    score,
    evaluate,
    calibrate,
    replay,
    savings,
    explain,
    discover_command,
    probe_command,
    demo,
    try_source,
    backup,
    restore,
    doctor,
    devices,
):
    app.command(command.__name__.removesuffix("_command").removesuffix("_source").replace("_", "-"))(command)
app.add_typer(audit_app, name="audit")
app.add_typer(fleet_app, name="fleet")
app.add_typer(gallery_app, name="gallery")
app.add_typer(lists_app, name="lists")
app.add_typer(models_app, name="models")
app.add_typer(recognizers_app, name="recognizers")
app.add_typer(spool_app, name="spool")
app.add_typer(keys_app, name="keys")
app.add_typer(service_app, name="service")
check_commands(app)


def _print_version(requested: bool) -> None:
    from facegate import __version__

    if requested:
        sys.stdout.write(f"facegate {__version__}\n")
        raise typer.Exit


@app.callback()
def _global(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug logs.")] = False,
    log_json: Annotated[bool, typer.Option("--log-json", help="Write logs as JSON lines.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Select the best face shots of camera streams and send only those to recognition.

    \b
    facegate demo
    facegate serve
    facegate run rtsp://10.0.0.5/stream

    Exit codes: 0 done, 1 failed or refused, 2 wrong usage or configuration, 130 interrupted.
    """
    del version
    from facegate.logs import configure

    configure(json=log_json, debug=debug)


def main() -> None:
    """Run the command line; every expected error is one line on stderr and an :class:`ExitCode`."""
    open_missing_streams()
    try:
        code = app(standalone_mode=False)
        flush()
    except FacegateError as error:
        if "--debug" in sys.argv:
            raise
        from facegate.pipeline.addresses import redact

        sys.stderr.write(f"facegate: {redact(' '.join(str(error).split()))}\n")
        leave(error.exit_code)
    except typer.TyperException as error:
        from pydantic import ValidationError

        from facegate.pipeline.config.messages import explain

        if isinstance(error.__cause__, ValidationError):  # typer passes on the text of pydantic
            error.message = explain(error.__cause__.errors()[0])
        sys.stderr.write(f"facegate: {error.format_message()} (see {_path_of(error)} --help)\n")
        leave(error.exit_code)
    except OSError as error:
        if not is_disk_full(error) or "--debug" in sys.argv:
            raise
        name = error.filename or "the output"
        sys.stderr.write(f"facegate: cannot write {name}: {os_reason(error)}; {FREE_SPACE}\n")
        leave(ExitCode.REFUSED)
    except KeyboardInterrupt:
        leave(ExitCode.INTERRUPTED)
    leave(code or ExitCode.DONE)


def _path_of(error: typer.TyperException) -> str:
    """The command that was called wrongly, such as ``facegate gallery add``."""
    context, names = getattr(error, "ctx", None), list[str]()
    while context is not None and context.parent is not None:
        names.insert(0, context.info_name)
        context = context.parent
    return " ".join(["facegate", *names])
