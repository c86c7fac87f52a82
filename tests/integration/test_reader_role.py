"""Who only needs to know how much work waits, reads that and nothing else."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.errors import InsufficientPrivilege

from hearsight.stack import postgres
from hearsight_core.errors import ReaderRoleError
from hearsight_core.settings import MigrationSettings
from hearsight_core.store import migrate
from hearsight_core.store.reader import READER
from hearsight_core.store.tables import metadata
from tests.conftest import PostgresServer

PASSWORD = 'it\'s a "secret" \\ of {seven} %s words'  # noqa: S105  made up, hard to quote


@pytest.fixture(autouse=True)
def _no_reader(empty_database_url: str) -> Iterator[None]:
    """Roles belong to the whole server: this one goes, with what it was granted."""
    yield
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        known = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [READER]).fetchone()
        if known is not None:
            connection.execute(f"DROP OWNED BY {READER}")
            connection.execute(f"DROP ROLE {READER}")


@pytest.fixture
def plain_url(postgres_server: PostgresServer, empty_database_url: str) -> Iterator[str]:
    """The empty database as a user sees it who owns it, and has no right beyond."""
    name = empty_database_url.rpartition("/")[2]
    postgres_server.run(
        "CREATE ROLE plain LOGIN PASSWORD 'plain'", f"ALTER DATABASE {name} OWNER TO plain"
    )
    yield f"postgresql://plain:plain@{empty_database_url.rpartition('@')[2]}"
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("REASSIGN OWNED BY plain TO CURRENT_USER")
        connection.execute("DROP OWNED BY plain CASCADE")
        connection.execute("DROP ROLE plain")


def settings(url: str, password: str | None = PASSWORD) -> MigrationSettings:
    return MigrationSettings.model_validate(
        {"database_url": url, "database_reader_password": password}
    )


def as_reader(url: str, password: str = PASSWORD) -> "psycopg.Connection":
    return psycopg.connect(make_conninfo(url, user=READER, password=password), autocommit=True)


def test_the_reader_reads_the_load_and_nothing_else(empty_database_url: str) -> None:
    migrate.bring_up_to_date(settings(empty_database_url))
    with as_reader(empty_database_url) as connection:
        load = "SELECT COALESCE(SUM(waiting + running), 0) FROM queue_load WHERE queue = 'download'"
        assert connection.execute(load.encode()).fetchone() == (0,)
        forbidden = [
            *(f"SELECT FROM {table}" for table in [*metadata.tables, "alembic_version"]),
            "SELECT nextval('job_id_seq')",
            "DELETE FROM tasks",
            "CREATE TABLE public.mine (id int)",
            "CREATE ROLE another",
        ]
        for statement in forbidden:
            with pytest.raises(InsufficientPrivilege):
                connection.execute(statement.encode())
        rights = connection.execute(
            "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls"
            " FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        assert rights == (False,) * 5


def test_without_a_password_no_reader_is_made(empty_database_url: str) -> None:
    migrate.bring_up_to_date(settings(empty_database_url, None))
    with psycopg.connect(empty_database_url) as connection:
        known = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [READER]).fetchone()
    assert known is None


def test_a_new_password_counts_though_there_is_nothing_to_migrate(empty_database_url: str) -> None:
    for password in (PASSWORD, PASSWORD, "another"):
        assert migrate.bring_up_to_date(settings(empty_database_url, password)) == migrate.head()
        as_reader(empty_database_url, password).close()
    with pytest.raises(psycopg.OperationalError, match="password"):
        as_reader(empty_database_url, PASSWORD)


def test_a_user_who_may_make_roles_is_enough(
    postgres_server: PostgresServer, plain_url: str
) -> None:
    postgres_server.run("ALTER ROLE plain CREATEROLE")
    for password in (PASSWORD, "another"):
        migrate.bring_up_to_date(settings(plain_url, password))
    as_reader(plain_url, "another").close()


def test_a_user_who_may_not_is_told_so_and_the_tables_are_there(
    plain_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ReaderRoleError, match="CREATEROLE"):
        migrate.bring_up_to_date(settings(plain_url))
    assert migrate.current(plain_url) == migrate.head()
    monkeypatch.setenv("HEARSIGHT_DATABASE_URL", plain_url)
    monkeypatch.setenv("HEARSIGHT_DATABASE_READER_PASSWORD", PASSWORD)
    assert migrate.main(["--wait-for-database"]) == 1
    told = capsys.readouterr()
    assert "permission denied to create role" in told.err
    assert "secret" not in told.out + told.err
    assert migrate.main(["--wait"]) == 0


def test_a_database_that_is_ahead_keeps_its_reader(empty_database_url: str) -> None:
    migrate.bring_up_to_date(settings(empty_database_url))
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert migrate.bring_up_to_date(settings(empty_database_url, "another")) == "9999"
    as_reader(empty_database_url).close()


def test_the_password_never_reaches_the_server_s_log() -> None:
    with tempfile.TemporaryDirectory(prefix="hearsight-postgres-") as home:
        with postgres.running(Path(home)) as url:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("ALTER SYSTEM SET log_statement = 'all'")
                connection.execute("SELECT pg_reload_conf()")
            migrate.bring_up_to_date(settings(url))
        log = (Path(home) / "postgres.log").read_text()
    assert "CREATE ROLE" in log
    assert "secret" not in log
