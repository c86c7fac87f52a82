"""The migrations make exactly the tables that the code reads, from any state, whoever runs them."""

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import NullPool, create_engine, inspect

from hearsight_core.errors import DatabaseError
from hearsight_core.store import migrate
from hearsight_core.store.tables import metadata
from tests.integration.conftest import Together


def _differences(url: str) -> list[object]:
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        found = list(compare_metadata(context, metadata))
    engine.dispose()
    return found


def _checks(url: str) -> set[str]:
    """The names of all CHECK constraints, which Alembic does not compare."""
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=NullPool
    )
    inspector = inspect(engine)
    return {
        str(check["name"])
        for table in metadata.tables
        for check in inspector.get_check_constraints(table)
    }


def test_an_upgrade_from_nothing_makes_what_the_code_reads(empty_database_url: str) -> None:
    assert migrate.current(empty_database_url) is None
    migrate.upgrade(empty_database_url)
    assert migrate.current(empty_database_url) == migrate.head()
    assert _differences(empty_database_url) == []


def test_the_migrated_tables_refuse_what_the_code_s_tables_refuse(
    empty_database_url: str, database_url: str
) -> None:
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(empty_database_url)
    )
    metadata.create_all(engine)
    engine.dispose()
    assert _checks(empty_database_url) == _checks(database_url) != set()


def test_every_migration_can_be_taken_back_and_applied_again(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url)
    migrate.downgrade(empty_database_url, "base")
    with psycopg.connect(empty_database_url) as connection:
        left = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " AND relname NOT LIKE 'alembic_version%'"
        ).fetchall()
    assert left == []
    migrate.upgrade(empty_database_url)
    assert _differences(empty_database_url) == []


def test_upgrades_at_the_same_time_wait_for_each_other(
    empty_database_url: str, together: Together
) -> None:
    together([lambda: migrate.upgrade(empty_database_url)] * 3)
    assert migrate.current(empty_database_url) == migrate.head()
    assert _differences(empty_database_url) == []


def test_an_upgrade_of_what_is_up_to_date_changes_nothing(database_url: str) -> None:
    migrate.upgrade(database_url)
    assert migrate.current(database_url) == migrate.head()


def test_a_database_that_is_away_is_told_as_such() -> None:
    away = "postgresql://hearsight@127.0.0.1:9/hearsight"
    with pytest.raises(DatabaseError):
        migrate.upgrade(away)
    with pytest.raises(DatabaseError):
        migrate.current(away)


def test_the_command_migrates_the_database_it_is_told(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEARSIGHT_DATABASE_URL", empty_database_url)
    assert migrate.main([]) == 0
    assert migrate.current(empty_database_url) == migrate.head()
    told = capsys.readouterr().out
    assert migrate.head() in told
    assert ":***@" in told


def test_the_command_says_so_when_it_can_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEARSIGHT_DATABASE_URL", "postgresql://me:secret@127.0.0.1:9/x")
    assert migrate.main([]) == 1
    told = capsys.readouterr().err
    assert "postgresql://me:***@127.0.0.1:9/x" in told
    assert "secret" not in told
