"""One at a time: an advisory lock that lives as long as its database session."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, text

from hearsight_core.store.database import Database

DISPATCHER_LOCK = 0x48656172_00000002
"""Key of the dispatcher's advisory lock ("Hear" and a two)."""

HOUSEKEEPER_LOCK = 0x48656172_00000003
"""Key of the housekeeper's advisory lock ("Hear" and a three)."""


SILENT_S = 60
"""A leader that says nothing for so long is stopped or hung, and loses the lock."""


class Leadership:
    """The lock while it is held; `confirm` proves that its session still lives."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def confirm(self) -> None:
        """Asks the session for a sign of life.

        Raises:
            sqlalchemy.exc.DBAPIError: it is gone, and the lock with it; `leading` turns this into
                DatabaseError at its border.
        """
        self._connection.execute(text("SELECT 1"))


@contextmanager
def leading(database: Database, key: int = DISPATCHER_LOCK) -> Iterator[Leadership | None]:
    """Takes the lock for the length of the block; yields None if another process holds it.

    The lock belongs to the block's transaction, so it can't outlive a crash, and a pooler that
    shares sessions between transactions keeps it whole.

    Raises:
        DatabaseError: PostgreSQL can't be reached, or the session was lost.
    """
    with database.begin() as connection:
        # This transaction idles between rounds, and while objects are removed.
        connection.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = '{SILENT_S}s'"))
        held = connection.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": key})
        yield Leadership(connection) if held.scalar_one() else None
