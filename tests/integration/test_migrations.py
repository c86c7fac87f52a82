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


OLD_JOB = (
    "INSERT INTO jobs (id, status, stage, stage_percent, message, options, priority,"
    " request_digest) VALUES (%(id)s, 'processing', 'asr_recognizing', 10, '', '{}', 'normal', 'x')"
)
OLD_TASK = (
    "INSERT INTO tasks (id, job_id, kind, queue, state, part_index, rank_at)"
    " VALUES (gen_random_uuid(), %(id)s, 'transcribe', 'asr', 'waiting', %(part)s, now())"
)
OLD_WORKER = "INSERT INTO workers (id, queue, slots) VALUES (%(id)s, 'asr', 2)"
"""What the first version writes."""


def test_old_services_go_on_while_an_update_rolls(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url, "0001")
    for number in (1, 2):
        with psycopg.connect(empty_database_url) as connection:
            connection.execute(OLD_JOB, {"id": number})
            connection.execute(OLD_TASK, {"id": number, "part": 0})
            connection.execute(OLD_WORKER, {"id": f"old-{number}"})
        migrate.upgrade(empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        pools = connection.execute("SELECT id, pool FROM jobs ORDER BY id").fetchall()
        load = connection.execute("SELECT queue, waiting FROM queue_load").fetchall()
    assert pools == [(1, "default"), (2, "default")]
    assert load == [("asr", 2)]


def test_a_downgrade_keeps_the_work_of_all_pools(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        connection.execute(OLD_JOB, {"id": 1})
        connection.execute(OLD_TASK, {"id": 1, "part": 0})
        connection.execute(OLD_WORKER, {"id": "worker"})
        for table in ("tasks", "workers"):
            connection.execute(f"UPDATE {table} SET queue = 'asr.large'".encode())  # noqa: S608  a name of our own
    migrate.downgrade(empty_database_url, "0001")
    with psycopg.connect(empty_database_url) as connection:
        queues = connection.execute(
            "SELECT queue FROM tasks UNION ALL SELECT queue FROM workers"
        ).fetchall()
    assert queues == [("asr",), ("asr",)]


@pytest.mark.parametrize("queue", ["", "asr.", "asr.Large", "asr.-", "download.large", "celery"])
def test_what_is_no_queue_is_refused(database_url: str, queue: str) -> None:
    with (
        psycopg.connect(database_url) as connection,
        pytest.raises(psycopg.errors.CheckViolation, match="ck_workers_queue"),
    ):
        connection.execute(
            "INSERT INTO workers (id, queue, slots) VALUES ('worker', %s, 2)", [queue]
        )


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
