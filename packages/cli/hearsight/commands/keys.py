"""`keys create`, `keys list`, `keys revoke`: API keys, straight from the database.

No route of the API makes keys: who may make them is who may reach the database.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from hearsight.commands.session import AsJson, Session, begin
from hearsight.failures import CommandError, UsageError
from hearsight.times import moment
from hearsight_core.errors import HearSightError
from hearsight_core.keys import OWNER_PATTERN, USUAL_SCOPES, Key, Limits, Scope, is_owner
from hearsight_core.settings import masked

if TYPE_CHECKING:
    from hearsight_core.store.database import Database

_Limit = Annotated[int | None, typer.Option(min=0, show_default=False)]

app = typer.Typer(
    name="keys",
    no_args_is_help=True,
    help="Make, list and revoke API keys, in the database that HEARSIGHT_DATABASE_URL names."
    "\n\nExample: hearsight keys create alice",
    pretty_exceptions_enable=False,
)


@app.command()
def create(
    context: typer.Context,
    owner: Annotated[str, typer.Argument(metavar="OWNER", help="Whose jobs are made with it.")],
    *,
    scope: Annotated[
        list[Scope] | None,
        typer.Option("--scope", help="What it may do, once for each; left out: submit and read."),
    ] = None,
    note: Annotated[str, typer.Option(help="What it is for, for those who list keys.")] = "",
    requests_per_minute: _Limit = None,
    queued_jobs: _Limit = None,
    audio_minutes_per_day: _Limit = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and show it, this once.

    An owner's keys see the same jobs. `admin` sees and changes every owner's. A limit that is left
    out is the deployment's; 0 is none.

    Example: hearsight keys create alice --scope submit --scope read --note laptop
    """
    from hearsight_core.store import keys  # noqa: PLC0415  slow to import

    session = begin(context, as_json=as_json)
    if not is_owner(owner):
        raise UsageError(f"An owner's name is made of lower-case letters: {OWNER_PATTERN}")
    scopes = frozenset(scope or USUAL_SCOPES)
    with _database(session) as database:
        key, token = keys.create(
            database,
            owner=owner,
            scopes=scopes,
            note=note,
            limits=Limits(
                requests_per_minute=requests_per_minute,
                queued_jobs=queued_jobs,
                audio_minutes_per_day=audio_minutes_per_day,
            ),
        )
    session.output.document({**key.document(), "key": token})
    session.output.show(Text(token, style="bold"))
    session.output.show(f"Key {key.id} of {owner}: {', '.join(sorted(scopes))}. It is shown once.")


@app.command("list")
def list_(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List all keys, the newest first; with --json a line for each.

    Example: hearsight keys list
    """
    from hearsight_core.store import keys  # noqa: PLC0415  slow to import

    session = begin(context, as_json=as_json)
    with _database(session) as database:
        found = keys.every(database)
    for key in found:
        session.output.document(key.document())
    session.output.show(_table(found) if found else "No keys. Make one: hearsight keys create")


@app.command()
def revoke(
    context: typer.Context,
    key: Annotated[str, typer.Argument(metavar="ID", help="As `keys list` shows it.")],
    *,
    as_json: AsJson = False,
) -> None:
    """End a key for good; the API refuses it within seconds.

    Example: hearsight keys revoke 3f786850e387
    """
    from hearsight_core.store import keys  # noqa: PLC0415  slow to import

    session = begin(context, as_json=as_json)
    with _database(session) as database:
        revoked = keys.revoke(database, key)
    session.output.document(revoked.document())
    session.output.show(f"Key {revoked.id} of {revoked.owner} is revoked.")


@contextmanager
def _database(session: Session) -> "Iterator[Database]":
    from hearsight_core.store.database import Database  # noqa: PLC0415  slow to import

    url = session.surroundings.stores.value.database_url
    database = Database(url, pool_size=1, application="hearsight-keys")
    try:
        yield database
    except HearSightError as error:
        raise CommandError(f"{masked(url)}: {error}", code=error.code) from error
    finally:
        database.close()


def _table(found: list[Key]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("Id", "Owner", "Scopes", "Note", "Created", "Last used", "Revoked"):
        table.add_column(name)
    for key in found:
        table.add_row(
            key.id,
            key.owner,
            " ".join(sorted(key.scopes)),
            Text(key.note),
            _moment(key.created_at),
            _moment(key.last_used_at) or "never",
            _moment(key.revoked_at),
        )
    return table


def _moment(at: datetime | None) -> str:
    return moment(at.isoformat()) if at else ""
