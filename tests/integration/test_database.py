"""One error for PostgreSQL's faults, none for ours, and a pool that heals."""

import contextlib
import tempfile
import time
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from hearsight.stack import postgres
from hearsight.stack.ports import free_port
from hearsight_core.errors import DatabaseError
from hearsight_core.store import database as database_module
from hearsight_core.store.database import Database
from hearsight_core.store.health import server_version
from tests.conftest import PostgresServer
from tests.store import accepted, rows


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits for a connection a second at most."""
    monkeypatch.setattr(database_module, "CONNECT_TIMEOUT_S", 1)


def test_the_server_tells_its_version(database: Database) -> None:
    assert int(server_version(database).partition(".")[0]) >= 15


def test_an_exception_takes_back_what_was_written(database: Database) -> None:
    accepted(database, job_id=1)

    def write_and_fail() -> None:
        with database.begin() as connection:
            connection.execute(text("UPDATE jobs SET filename = 'x'"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    assert rows(database, "SELECT filename FROM jobs") == [{"filename": None}]


def test_a_fault_of_our_own_is_not_taken_for_one_of_postgresql(database: Database) -> None:
    with pytest.raises(IntegrityError):
        rows(database, "INSERT INTO jobs (id) VALUES (1) RETURNING id")


def test_connections_that_the_server_cut_are_replaced(
    database: Database, database_url: str, postgres_server: PostgresServer
) -> None:
    server_version(database)
    name = database_url.rpartition("/")[2]
    postgres_server.run(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"  # noqa: S608  a name of our own
    )
    assert server_version(database)


@pytest.mark.usefixtures("impatient")
@pytest.mark.usefixtures("impatient")
def test_connections_that_are_cut_in_the_middle_of_a_transaction_cost_the_pool_no_place(
    database_url: str, postgres_server: PostgresServer
) -> None:
    size = 2
    database = Database(database_url, pool_size=size, application="tests")

    def be_cut() -> None:
        with database.begin() as connection:
            pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            postgres_server.run(f"SELECT pg_terminate_backend({pid})")
            connection.execute(text("SELECT 1"))

    for _ in range(size + 1):
        with pytest.raises(DatabaseError):
            be_cut()
    deadline = time.monotonic() + 60
    while not _found(database):
        assert time.monotonic() < deadline
    database.close()


@pytest.mark.parametrize(
    "statements",
    [
        ["SET TRANSACTION READ ONLY", "CREATE TABLE t (i int)"],
        ["SET LOCAL idle_in_transaction_session_timeout = 1", "SELECT 1"],
    ],
    ids=["it is a standby by now", "we were stopped for too long"],
)
def test_what_is_no_fault_of_our_own_is_told_as_one_of_postgresql(
    database: Database, statements: list[str]
) -> None:
    def do() -> None:
        with database.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))
                time.sleep(0.1)

    with pytest.raises(DatabaseError):
        do()


def test_a_server_that_is_away_is_told_as_such() -> None:
    away = Database(
        f"postgresql://me@127.0.0.1:{free_port()}/x", pool_size=2, application="hearsight-test"
    )
    with pytest.raises(DatabaseError):
        server_version(away)
    away.close()


@pytest.mark.usefixtures("impatient")
def test_a_pool_that_is_used_up_is_told_as_such(database_url: str) -> None:
    small = Database(database_url, pool_size=2, application="hearsight-test")
    with small.begin(), small.begin(), pytest.raises(DatabaseError):
        server_version(small)
    assert server_version(small)
    small.close()


@pytest.mark.usefixtures("impatient")
def test_a_server_that_comes_back_is_found() -> None:
    with tempfile.TemporaryDirectory(prefix="hearsight-postgres-") as home:
        folder, port = Path(home), free_port()
        with postgres.running(folder, port=port) as url:
            database = Database(url, pool_size=2, application="hearsight-test")
            server_version(database)
        with pytest.raises(DatabaseError):
            server_version(database)
        with postgres.running(folder, port=port):
            assert _found(database)
    database.close()


def _found(database: Database) -> bool:
    """Whether PostgreSQL answers within half a minute."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(DatabaseError):
            return bool(server_version(database))
    return False
