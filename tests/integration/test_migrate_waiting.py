"""Processes that start in any order find the tables they need, and a rollback harms nothing."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from hearsight.stack import postgres
from hearsight.stack.ports import free_port
from hearsight_core.store import migrate

NOWHERE = "postgresql://me:secret@127.0.0.1:9/x"


@contextmanager
def migrating(url: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """The command on a database, as a process that ends with the block at the latest."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "hearsight_core.store.migrate", *arguments],
        env={**os.environ, "HEARSIGHT_DATABASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        with process:
            yield process
    finally:
        process.kill()


def line(process: "subprocess.Popen[str]") -> str:
    """The next line that it says."""
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.fixture
def newer_database_url(database_url: str) -> Iterator[str]:
    """A database that a newer version than this one has migrated."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        yield database_url
        connection.execute("UPDATE alembic_version SET version_num = %s", [migrate.head()])


def test_what_waits_goes_on_once_the_tables_are_there(empty_database_url: str) -> None:
    with migrating(empty_database_url, "--wait") as waiting:
        assert "is at nothing, behind this version" in line(waiting)
        migrate.upgrade(empty_database_url)
        assert f"is at {migrate.head()}" in line(waiting)
        assert waiting.wait() == 0


def test_waiting_outlives_an_absence_of_postgresql() -> None:
    with tempfile.TemporaryDirectory(prefix="hearsight-postgres-") as home:
        folder, port = Path(home), free_port()
        # The first run makes up the password.
        with postgres.running(folder, port=port) as url:
            pass
        with migrating(url, "--wait") as waiting:
            assert "does not answer" in line(waiting)
            with postgres.running(folder, port=port):
                while "is at nothing" not in line(waiting):
                    assert waiting.poll() is None
            while "does not answer" not in line(waiting):
                assert waiting.poll() is None
            with postgres.running(folder, port=port):
                migrate.upgrade(url)
                assert waiting.wait() == 0


def test_a_migration_can_wait_for_a_postgresql_that_starts_beside_it() -> None:
    with tempfile.TemporaryDirectory(prefix="hearsight-postgres-") as home:
        folder, port = Path(home), free_port()
        with postgres.running(folder, port=port) as url:
            pass
        with migrating(url, "--wait-for-database") as waiting:
            assert "does not answer" in line(waiting)
            with postgres.running(folder, port=port):
                assert waiting.wait() == 0
                assert migrate.current(url) == migrate.head()


@pytest.mark.parametrize("option", ["--wait", "--wait-for-database"])
def test_waiting_ends_when_the_time_given_is_over(option: str) -> None:
    with migrating(NOWHERE, option, "--timeout", "0.5") as waiting:
        told = line(waiting), line(waiting)
        assert waiting.wait() == 1
    assert told[0].startswith("waiting: postgresql://me:***@127.0.0.1:9/x can't be used")
    assert told[1].startswith("gave up after 0.5 s: ")
    assert "secret" not in "".join(told)


def test_a_pod_that_waits_can_be_ended() -> None:
    with migrating(NOWHERE, "--wait") as waiting:
        line(waiting)
        waiting.send_signal(signal.SIGTERM)
        assert waiting.wait() == 128 + signal.SIGTERM


@pytest.mark.parametrize("options", [[], ["--wait"], ["--wait-for-database"]])
def test_a_database_that_is_ahead_is_well_and_left_as_it_is(
    newer_database_url: str, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEARSIGHT_DATABASE_URL", newer_database_url)
        assert migrate.main(options) == 0
    assert f"is at 9999, ahead of this version ({migrate.head()})" in capsys.readouterr().out
    assert migrate.current(newer_database_url) == "9999"
