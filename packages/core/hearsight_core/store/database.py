"""The way to PostgreSQL: one pool a process, transactions, and one error for all its faults."""

import select
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.errors import IdleInTransactionSessionTimeout, ReadOnlySqlTransaction
from psycopg_pool import ConnectionPool
from sqlalchemy import Connection, NullPool, create_engine
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError

from hearsight_core.errors import DatabaseError

CONNECT_TIMEOUT_S = 10
"""How long to wait for PostgreSQL, or for a free connection, before saying so."""

IDLE_IN_TRANSACTION_S = 15
"""A process that is stopped in the middle of a transaction holds its locks no longer than this.
Transactions take milliseconds, and touch neither network nor files."""

_SESSION = f"""
SET idle_in_transaction_session_timeout = '{IDLE_IN_TRANSACTION_S}s';
SET tcp_keepalives_idle = 20;
SET tcp_keepalives_interval = 10;
SET tcp_keepalives_count = 3
"""
"""What every session of ours asks of the server: that a machine which vanished without a word keeps
its locks for a minute, not for the two hours that are the rule."""


_NOT_OURS = (ReadOnlySqlTransaction, IdleInTransactionSessionTimeout)
"""What psycopg counts among a program's faults and is none: this server is a standby by now; this
process was stopped in the middle of a transaction."""


class _Lent(psycopg.Connection[tuple[object, ...]]):
    """A connection that goes back to its pool when it is closed, dead ones included.

    The pool's own `close_returns` keeps those that died while they were lent, and with them their
    places: a pool would have none left after PostgreSQL was restarted a few times.
    """

    _pool: "ConnectionPool[_Lent] | None" = None
    """Set by the pool, while the connection is lent."""

    def close(self) -> None:
        if self._pool is None:
            super().close()
        else:
            self._pool.putconn(self)


class Database:
    """Connections to PostgreSQL, kept by psycopg's pool and used through SQLAlchemy."""

    def __init__(self, url: str, *, pool_size: int, application: str) -> None:
        self._target = make_conninfo(
            url,
            connect_timeout=CONNECT_TIMEOUT_S,
            application_name=application,
            # A peer that vanished without a word is noticed within a minute.
            keepalives_idle=20,
            keepalives_interval=10,
            keepalives_count=3,
        )
        self._pool = ConnectionPool(
            self._target,
            connection_class=_Lent,
            min_size=1,
            max_size=pool_size,
            timeout=CONNECT_TIMEOUT_S,
            # The pause between two tries doubles until this has passed, then starts over: so a
            # server that is back is found within seconds, however long it was away.
            reconnect_timeout=CONNECT_TIMEOUT_S,
            open=False,
            check=_check,
            configure=_configure,
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
        except InternalError as error:
            if not isinstance(error.orig, _NOT_OURS):
                raise
            raise DatabaseError(detail=first_line(error)) from error

    def connect(self) -> "psycopg.Connection[tuple[object, ...]]":
        """A connection beside the pool, for what lives and dies with it; every statement commits.

        Raises:
            DatabaseError: PostgreSQL can't be reached.
        """
        try:
            connection = psycopg.connect(self._target, autocommit=True)
            connection.execute(_SESSION)
        except psycopg.OperationalError as error:
            raise DatabaseError(detail=first_line(error)) from error
        return connection

    def close(self) -> None:
        """Close every connection of the pool."""
        self._engine.dispose()
        self._pool.close()


def _configure(connection: "psycopg.Connection[tuple[object, ...]]") -> None:
    connection.execute(_SESSION)
    connection.commit()


def _check(connection: "psycopg.Connection[tuple[object, ...]]") -> None:
    """Refuses a connection that ended while it lay in the pool.

    The server says nothing on a connection that is not in use, except that it ends. To look for
    that costs no round trip; a query would, at every loan.
    """
    looking = select.poll()
    looking.register(connection.fileno(), select.POLLIN)
    if looking.poll(0):
        # Or the pool would take it for good. Its own close() would give it back to the pool.
        connection.pgconn.finish()
        raise psycopg.OperationalError("the connection was ended while it was not in use")


def first_line(error: Exception) -> str:
    """What PostgreSQL or its driver says is wrong, without the hints that follow."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return str(cause).strip().partition("\n")[0]
