"""Whether PostgreSQL answers, and which it is."""

from sqlalchemy import text

from hearsight_core.store.database import Database


def server_version(database: Database) -> str:
    """Asks PostgreSQL for its version, such as `18.1`.

    Raises:
        DatabaseError: it does not answer.
    """
    with database.begin() as connection:
        return str(connection.execute(text("SHOW server_version")).scalar_one())
