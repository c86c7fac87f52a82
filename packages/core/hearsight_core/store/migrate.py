"""Brings a database to the tables of this version: `python -m hearsight_core.store.migrate`.

With `--wait` it changes nothing and waits until somebody else has done so. A database that is ahead
of this version, as after a rollback of the services, is left as it is: the tables of a newer
version serve this one too.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, NullPool, create_engine
from sqlalchemy.exc import InterfaceError, OperationalError

from hearsight_core import environment
from hearsight_core.errors import DatabaseError, ReaderRoleError
from hearsight_core.first_process import end_on_sigterm
from hearsight_core.settings import MigrationSettings, masked
from hearsight_core.store import keys, reader
from hearsight_core.store.database import first_line

MIGRATION_LOCK = 0x48656172_00000001
"""Key of the advisory lock that lets one migration run at a time ("Hear" and a one)."""

DATABASE_TIMEOUT_S = 300
"""How long `--wait-for-database` waits unless told; a bundled database starts well within that."""
POLL_S = 1
SAY_EVERY_S = 10


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


@contextmanager
def _begun(url: str) -> Iterator[Connection]:
    """A transaction on a connection of its own.

    Raises:
        DatabaseError: PostgreSQL can't be reached, or went away.
    """
    try:
        with _engine(url).begin() as connection:
            yield connection
    except (OperationalError, InterfaceError, psycopg.OperationalError) as error:
        raise DatabaseError(detail=first_line(error)) from error


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
    with _begun(url) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def is_behind(revision: str | None) -> bool:
    """Whether a database at `revision` lacks tables that this version reads.

    A revision that this version does not know was made by a newer one.
    """
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    return revision is None or (revision in known and revision != head())


def standing(revision: str | None) -> str:
    """How a database stands to this version, to be put behind its name."""
    if is_behind(revision):
        return f"is at {revision or 'nothing'}, behind this version ({head()})"
    if revision == head():
        return f"is at {revision}"
    return f"is at {revision}, ahead of this version ({head()})"


def upgrade(url: str, revision: str = "head") -> str | None:
    """Applies what is missing, in one transaction; others who try meanwhile wait their turn.

    Returns:
        The migration the database has now. It is not this version's if the database is ahead;
        then nothing was changed.

    Raises:
        DatabaseError: PostgreSQL can't be reached.
    """
    with _begun(url) as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
        context = MigrationContext.configure(connection)
        if is_behind(context.get_current_revision()):
            command.upgrade(_config(connection), revision)
        return context.get_current_revision()


def bring_up_to_date(settings: MigrationSettings) -> str | None:
    """Upgrades the database, lets the reader in if it has a password, and the first API key.

    Returns:
        As `upgrade`.

    Raises:
        DatabaseError: PostgreSQL can't be reached.
        ReaderRoleError: the tables are there, but this user may not make the reader's role.
    """
    revision = upgrade(settings.database_url)
    token = settings.bootstrap_api_key
    if token is not None and revision == head():
        with _begun(settings.database_url) as connection:
            key = keys.admit_bootstrap(connection, token.get_secret_value())
            if key.revoked_at is not None:
                sys.stderr.write(
                    f"HEARSIGHT_BOOTSTRAP_API_KEY: the key {key.id} was revoked and stays so\n"
                )
    password = settings.database_reader_password
    if password is not None and revision == head():
        with _begun(settings.database_url) as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
            reader.let_read(connection, password.get_secret_value())
    return revision


def downgrade(url: str, revision: str) -> None:
    """Takes migrations back down to `revision`, in one transaction."""
    with _begun(url) as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
        command.downgrade(_config(connection), revision)


def main(arguments: Sequence[str] | None = None) -> int:
    """Migrates the database of `HEARSIGHT_DATABASE_URL`, or waits for it; returns the exit code."""
    asked = _parser().parse_args(arguments)
    settings = environment.read(MigrationSettings)
    url = settings.database_url
    limit_s = asked.timeout
    if limit_s is None and asked.wait_for_database:
        limit_s = DATABASE_TIMEOUT_S
    patience = _Patience(limit_s)
    while True:
        try:
            revision = current(url) if asked.wait else bring_up_to_date(settings)
            if not is_behind(revision):
                sys.stdout.write(f"{masked(url)} {standing(revision)}\n")
                return 0
            reason = standing(revision)
        except DatabaseError as error:
            reason = f"can't be used: {error}"
        except ReaderRoleError as error:
            sys.stderr.write(f"{masked(url)} is migrated. {error}\n")
            return 1
        if not (asked.wait or asked.wait_for_database):
            sys.stderr.write(f"{masked(url)} {reason}\n")
            return 1
        if not patience.pause(f"{masked(url)} {reason}"):
            sys.stderr.write(f"gave up after {limit_s:g} s: {masked(url)} {reason}\n")
            return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hearsight_core.store.migrate",
        description="Bring the database of HEARSIGHT_DATABASE_URL to the tables of this version.",
    )
    waiting = parser.add_mutually_exclusive_group()
    waiting.add_argument(
        "--wait",
        action="store_true",
        help="change nothing; wait until the tables are those of this version or a newer one",
    )
    waiting.add_argument(
        "--wait-for-database",
        action="store_true",
        help="while PostgreSQL can't be reached, try again",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="give up waiting after this time;"
        f" default: {DATABASE_TIMEOUT_S} for the database, never for the tables",
    )
    return parser


class _Patience:
    """Waits a moment at a time, up to a limit, and says what for: any change, and regularly."""

    def __init__(self, limit_s: float | None) -> None:
        self._ends = None if limit_s is None else time.monotonic() + limit_s
        self._said = ""
        self._said_at = 0.0

    def pause(self, reason: str) -> bool:
        """Sleeps a moment; False: the limit is reached."""
        now = time.monotonic()
        if self._ends is not None and now >= self._ends:
            return False
        if reason != self._said or now - self._said_at >= SAY_EVERY_S:
            sys.stdout.write(f"waiting: {reason}\n")
            sys.stdout.flush()
            self._said, self._said_at = reason, now
        time.sleep(POLL_S)
        return True


if __name__ == "__main__":
    end_on_sigterm()
    sys.exit(main())
