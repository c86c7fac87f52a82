"""Whether PostgreSQL answers, which it is, and which tables it has."""

from alembic.migration import MigrationContext
from sqlalchemy import text

from hearsight_core.store.database import Database


def server_version(database: Database) -> str:
    """Asks PostgreSQL for its version, such as `18.1`.

    Raises:
        DatabaseError: it does not answer.
    """
    with database.begin() as connection:
        return str(connection.execute(text("SHOW server_version")).scalar_one())


def revision(database: Database) -> str | None:
    """Reads which migration the database has; None: none at all.

    Raises:
        DatabaseError: it does not answer.
    """
    with database.begin() as connection:
        return MigrationContext.configure(connection).get_current_revision()
