"""The command `hearsight`: its options, its commands, and how it ends."""

import sys
from collections.abc import Callable
from typing import Annotated

import typer
from pydantic import ValidationError
from typer.main import get_command

from hearsight.commands import checkup, jobs, keys, local, submitting
from hearsight.commands.session import Globals
from hearsight.failures import CommandError, Exit, UsageError
from hearsight.output import Output
from hearsight_core import __version__
from hearsight_core.environment import what_is_wrong

_EPILOG = """
Exit codes:
  0  all well                           5  the job was cancelled
  1  a job or a check failed, or        6  a stack runs in this home already
     the stack could not start          7  the API refused the request
  2  the command was not understood   130  stopped with Ctrl-C
  3  no API answers
  4  there is no such job

Environment:
  HEARSIGHT_URL      address of the API to speak to
  HEARSIGHT_API_KEY  API key to send
  HEARSIGHT_HOME     folder of the local stack's state (.hearsight)
  HEARSIGHT_PORT     port of the local stack's API (8000)
"""

app = typer.Typer(
    name="hearsight",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:  # noqa: FBT001  typer's callback
    if wanted:
        typer.echo(f"hearsight {__version__}")
        raise typer.Exit


@app.callback(epilog=_EPILOG)
def options(
    context: typer.Context,
    *,
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Address of the API; else HEARSIGHT_URL, else the local stack's.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write JSON for scripts, nothing else.")
    ] = False,
    version: Annotated[  # noqa: ARG001  its callback has done everything
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Say which version."),
    ] = False,
) -> None:
    """From the address of a video, or a file, to a timed transcript.

    Start it here with `hearsight up`, then: hearsight submit talk.mp3 --watch
    """
    context.obj = Globals(url=url, as_json=as_json)


_COMMANDS: dict[str, list[Callable[..., None]]] = {
    "Transcribe": [submitting.submit, submitting.watch, jobs.transcript],
    "Jobs": [jobs.jobs, jobs.show, jobs.cancel, jobs.retry, jobs.delete],
    "This machine": [local.up, checkup.doctor, local.migrate],
}

for _panel, _commands in _COMMANDS.items():
    for _command in _commands:
        app.command(rich_help_panel=_panel)(_command)

app.add_typer(keys.app, rich_help_panel="This machine")


def run() -> None:
    """Runs the command line, and ends the process with its exit code; never with a traceback."""
    output = Output(as_json="--json" in sys.argv[1:])
    try:
        code = get_command(app).main(prog_name="hearsight", standalone_mode=True)
    except CommandError as error:
        output.error(error)
        code = error.exit
    except ValidationError as error:
        output.error(UsageError(what_is_wrong(error), code="command.settings"))
        code = Exit.USAGE
    except KeyboardInterrupt:
        code = Exit.INTERRUPTED
    except BrokenPipeError:
        # Who read our output has seen enough, such as `head`.
        sys.stderr.close()
        code = Exit.OK
    sys.exit(code)
