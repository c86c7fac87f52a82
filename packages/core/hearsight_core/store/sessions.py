"""Whether a worker lives, told by its session with PostgreSQL: it holds a lock as long as it lives.

The kernel closes the connections of a process that dies, however it dies; PostgreSQL ends the
session, and its advisory lock is free a moment later. A worker that is stopped, hung or cut off
keeps its session, and is noticed by its lease.
"""

import secrets
import select
import socket

import psycopg
import structlog
from sqlalchemy import text

from hearsight_core.errors import DatabaseError
from hearsight_core.store.database import Database

log = structlog.get_logger(__name__)

LOCK_CLASS = 0x48656172
"""First half of the keys of workers' locks ("Hear"); the second is drawn for each session."""

_HELD = """
SELECT EXISTS (
    SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND classid = %s AND objid = %s AND objsubid = 2 AND granted
    AND pid = pg_backend_pid() AND pid = %s
)
"""

_WITHOUT = text("""
SELECT id FROM workers
WHERE session_lock IS NOT NULL AND NOT EXISTS (
    SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND classid = :class AND objid = session_lock AND objsubid = 2
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
)
""")


class WorkerSession:
    """A worker's own session, beside its pool, and the lock that this holds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: psycopg.Connection[tuple[object, ...]] | None = None
        self._lock: int | None = None
        self._hidden = False
        self._bell, self._ear = socket.socketpair()

    def renewed(self) -> int | None:
        """The lock that the living session holds; a session that was lost is begun anew.

        None if there is a pooler between us and PostgreSQL that hides sessions from one another.

        Raises:
            DatabaseError: PostgreSQL can't be reached.
        """
        if self._hidden or self._lives():
            return self._lock
        connection = self._database.connect()
        try:
            self._lock = self._locked(connection)
        except psycopg.OperationalError as error:
            connection.close()
            raise DatabaseError(detail="the session was lost at once") from error
        if self._lock is None:
            self._hidden = True
            connection.close()
            log.warning(
                "a pooler hides this worker's session: if the worker dies, that is noticed when"
                " its leases run out, not before"
            )
        else:
            self._connection = connection
        return self._lock

    def watch(self, timeout_s: float) -> None:
        """Waits; at most `timeout_s`, and no longer than until the session is lost or `wake`."""
        poll = select.poll()
        poll.register(self._ear, select.POLLIN)
        if self._connection is not None and not self._connection.closed:
            # Nobody asks anything on it meanwhile: it has something to say when it ends.
            poll.register(self._connection.fileno(), select.POLLIN)
        poll.poll(timeout_s * 1000)

    def wake(self) -> None:
        """Ends the wait of `watch`, now and from now on; called from another thread."""
        self._bell.send(b"!")

    @property
    def lost(self) -> bool:
        """Whether there should be a session and is none."""
        return self._connection is None and not self._hidden

    def close(self) -> None:
        """End the session; the lock is free then."""
        if self._connection is not None:
            self._connection.close()
        self._bell.close()
        self._ear.close()

    def _lives(self) -> bool:
        if self._connection is None:
            return False
        try:
            self._connection.execute("SELECT 1")
        except psycopg.OperationalError as error:
            log.warning("the session with PostgreSQL was lost", error=str(error).strip())
            self._connection.close()
            self._connection = None
            self._lock = None
            return False
        return True

    @staticmethod
    def _locked(connection: "psycopg.Connection[tuple[object, ...]]") -> int | None:
        """Takes a fresh lock: the old one's session may linger on the server.

        None if another session than the one we spoke to at first holds it: poolers name a process
        id of their own making in their greeting, and give each transaction another session.
        """
        while True:
            key = secrets.randbelow(2**31 - 1) + 1
            asked = connection.execute("SELECT pg_try_advisory_lock(%s, %s)", (LOCK_CLASS, key))
            if asked.fetchone() == (True,):
                break
        seen = connection.execute(_HELD, (LOCK_CLASS, key, connection.info.backend_pid)).fetchone()
        if seen == (True,):
            return key
        connection.execute("SELECT pg_advisory_unlock(%s, %s)", (LOCK_CLASS, key))
        return None


def without_session(database: Database) -> frozenset[str]:
    """Finds the workers that had a session when they last told of themselves, and have none now."""
    with database.begin() as connection:
        return frozenset(connection.execute(_WITHOUT, {"class": LOCK_CLASS}).scalars())
