"""One leads at a time, and whoever dies leads no more."""

import pytest

from hearsight_core.errors import DatabaseError
from hearsight_core.store.database import Database
from hearsight_core.store.leadership import DISPATCHER_LOCK, leading
from tests.conftest import PostgresServer
from tests.integration.conftest import Together


def test_one_leads_at_a_time(database: Database, database_url: str) -> None:
    other = Database(database_url, pool_size=2, application="hearsight-test-other")
    with leading(database) as first, leading(other) as second:
        assert first is not None
        assert second is None
        first.confirm()
    with leading(other) as again:
        assert again is not None
    other.close()


def test_of_many_who_try_one_leads(database: Database, together: Together) -> None:
    with leading(database) as held:
        assert held is not None

        def leads() -> bool:
            with leading(database) as leadership:
                return leadership is not None

        assert together([leads] * 6) == [False] * 6


def test_different_duties_have_different_leaders(database: Database) -> None:
    with leading(database, DISPATCHER_LOCK) as one, leading(database, 7) as other:
        assert one is not None
        assert other is not None


def test_an_exception_ends_the_leadership(database: Database) -> None:
    def fail() -> None:
        with leading(database) as held:
            assert held is not None
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with leading(database) as again:
        assert again is not None


def test_a_leader_whose_session_died_knows_and_another_leads(
    database: Database, database_url: str, postgres_server: PostgresServer
) -> None:
    other = Database(database_url, pool_size=2, application="hearsight-test-other")
    name = database_url.rpartition("/")[2]

    def lead() -> None:
        with leading(database) as held:
            assert held is not None
            postgres_server.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"  # noqa: S608  names of our own
                f" WHERE datname = '{name}' AND application_name = 'hearsight-test'"
            )
            with leading(other) as taken_over:
                assert taken_over is not None
                held.confirm()

    with pytest.raises(DatabaseError):
        lead()
    with leading(database) as again:
        assert again is not None
    other.close()
