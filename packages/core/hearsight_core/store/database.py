"""The way to PostgreSQL: one pool a process, transactions, and one error for all its faults."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg_pool import ConnectionPool
from sqlalchemy import Connection, NullPool, create_engine
from sqlalchemy.exc import InterfaceError, OperationalError

from hearsight_core.errors import DatabaseError

CONNECT_TIMEOUT_S = 10
"""How long to wait for PostgreSQL, or for a free connection, before saying so."""


class Database:
    """Connections to PostgreSQL, kept by psycopg's pool and used through SQLAlchemy."""

    def __init__(self, url: str, *, pool_size: int, application: str) -> None:
        self._pool = ConnectionPool(
            url,
            min_size=1,
            max_size=pool_size,
            timeout=CONNECT_TIMEOUT_S,
            # The pause between two tries doubles until this has passed, then starts over: so a
            # server that is back is found within seconds, however long it was away.
            reconnect_timeout=CONNECT_TIMEOUT_S,
            open=False,
            close_returns=True,
            check=ConnectionPool.check_connection,
            kwargs={
                "connect_timeout": CONNECT_TIMEOUT_S,
                "application_name": application,
                # A peer that vanished without a word is noticed within a minute.
                "keepalives_idle": 20,
                "keepalives_interval": 10,
                "keepalives_count": 3,
            },
        )
        self._pool.open()
        # NullPool: psycopg's pool keeps the connections, SQLAlchemy only borrows them. Native
        # hstore would cost a query at every loan.
        self._engine = create_engine(
            "postgresql+psycopg://",
            creator=self._pool.getconn,
            poolclass=NullPool,
            use_native_hstore=False,
        )

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction: committed at the end of the block, rolled back by an exception.

        Raises:
            DatabaseError: PostgreSQL can't be reached, gave up, or has no connection left.
        """
        try:
            with self._engine.begin() as connection:
                yield connection
        except (OperationalError, InterfaceError, psycopg.OperationalError) as error:
            raise DatabaseError(detail=first_line(error)) from error

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()
        self._pool.close()


def first_line(error: Exception) -> str:
    """What PostgreSQL or its driver says is wrong, without the hints that follow."""
    cause = error.orig if isinstance(error, OperationalError | InterfaceError) else error
    return str(cause).strip().partition("\n")[0]
