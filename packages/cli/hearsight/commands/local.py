"""`up` and `migrate`: the local stack, and the tables of a database."""

import os
from typing import Annotated

import typer
from rich.console import Console

from hearsight.commands.session import AsJson, begin
from hearsight.failures import CommandError
from hearsight_core.errors import StorageError
from hearsight_core.settings import MigrationSettings, masked


def up(
    context: typer.Context,
    *,
    no_sample: Annotated[
        bool, typer.Option("--no-sample", help="Do not recognise the spoken sample.")
    ] = False,
) -> None:
    """Start everything on this machine and stay in the foreground; Ctrl-C stops it.

    PostgreSQL, Valkey, the API, a download worker and an ASR worker, with their state in
    HEARSIGHT_HOME (.hearsight). A database or Redis that you name in HEARSIGHT_DATABASE_URL,
    HEARSIGHT_BROKER_URL and HEARSIGHT_REDIS_URL is used instead of an own one.

    Example: HEARSIGHT_PORT=9000 hearsight up
    """
    from hearsight.stack.up import Up  # noqa: PLC0415  only this command starts processes

    session = begin(context)
    stack = Up(
        session.surroundings.stack, dict(os.environ), Console(highlight=False), sample=not no_sample
    )
    raise typer.Exit(stack.run())


def migrate(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Bring the database to the tables of this version; safe to run twice, and at once.

    Example: HEARSIGHT_DATABASE_URL=postgresql://user:password@host/hearsight hearsight migrate
    """
    from hearsight_core.store import migrate as migration  # noqa: PLC0415  slow to import

    session = begin(context, as_json=as_json)
    url = session.surroundings.stores.value.database_url
    try:
        revision = migration.bring_up_to_date(MigrationSettings(database_url=url))
    except StorageError as error:
        raise CommandError(f"{masked(url)}: {error}", code=error.code) from error
    session.output.document({"database": masked(url), "revision": revision})
    session.output.show(f"{masked(url)} {migration.standing(revision)}")
