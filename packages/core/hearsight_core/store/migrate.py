"""Brings a database to the tables of this version: `python -m hearsight_core.store.migrate`."""

import sys

import psycopg
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, NullPool, create_engine
from sqlalchemy.exc import OperationalError

from hearsight_core.errors import DatabaseError
from hearsight_core.settings import CoreSettings, masked

MIGRATION_LOCK = 0x48656172_00000001
"""Key of the advisory lock that lets one migration run at a time ("Hear" and a one)."""


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", "hearsight_core.store:migrations")
    config.attributes["connection"] = connection
    return config


def _engine(url: str) -> Engine:
    return create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(url, connect_timeout=10),
        poolclass=NullPool,
        use_native_hstore=False,
    )


def head() -> str:
    """Names the newest migration of this version."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None, "there is at least one migration"  # noqa: S101
    return revision


def current(url: str) -> str | None:
    """Reads which migration the database has; None: none at all.

    Raises:
        DatabaseError: PostgreSQL can't be reached.
    """
    try:
        with _engine(url).connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    except OperationalError as error:
        raise DatabaseError(detail=str(error.orig).strip().partition("\n")[0]) from error


def upgrade(url: str, revision: str = "head") -> None:
    """Applies what is missing, in one transaction; others who try meanwhile wait their turn.

    Raises:
        DatabaseError: PostgreSQL can't be reached.
    """
    try:
        with _engine(url).begin() as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
            command.upgrade(_config(connection), revision)
    except OperationalError as error:
        raise DatabaseError(detail=str(error.orig).strip().partition("\n")[0]) from error


def downgrade(url: str, revision: str) -> None:
    """Takes migrations back down to `revision`, in one transaction."""
    with _engine(url).begin() as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
        command.downgrade(_config(connection), revision)


def main() -> int:
    """Migrates the database of `HEARSIGHT_DATABASE_URL`; returns the exit code."""
    settings = CoreSettings()
    try:
        upgrade(settings.database_url)
    except DatabaseError as error:
        sys.stderr.write(f"{masked(settings.database_url)}: {error}\n")
        return 1
    sys.stdout.write(f"{masked(settings.database_url)} is at {head()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
