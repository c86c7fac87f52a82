"""Real servers, started once a run when a test first asks: PostgreSQL, Valkey, an object store.

The servers are shared; every test finds its database and its Redis empty.
"""

import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from redis import Redis

from hearsight.stack import postgres, valkey
from hearsight_core.progress import News
from hearsight_core.settings import CoreSettings
from hearsight_core.storage import ObjectStorage
from hearsight_core.store import migrate
from hearsight_core.store.database import Database

TEMPLATE = "template_of_tests"


@dataclass(frozen=True)
class PostgresServer:
    """A PostgreSQL server with one migrated database that others are copied from."""

    url: str

    def database_url(self, name: str) -> str:
        """The address of one of its databases."""
        return f"{self.url.rpartition('/')[0]}/{name}"

    def run(self, *statements: str) -> None:
        """Runs statements one by one, each in a transaction of its own."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    # Not in pytest's own folder: as root, the server runs as another user, and any other pytest
    # that starts meanwhile closes that folder to other users.
    with (
        tempfile.TemporaryDirectory(prefix="hearsight-postgres-") as home,
        postgres.running(Path(home)) as url,
    ):
        server = PostgresServer(url)
        # Tests need no durability against a power cut, and this halves their time.
        server.run(
            "ALTER SYSTEM SET fsync = off",
            "ALTER SYSTEM SET synchronous_commit = off",
            "SELECT pg_reload_conf()",
            f"CREATE DATABASE {TEMPLATE}",
        )
        migrate.upgrade(server.database_url(TEMPLATE))
        yield server


@pytest.fixture
def empty_database_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A database without any table."""
    name = f"test_{uuid.uuid4().hex}"
    postgres_server.run(f"CREATE DATABASE {name} TEMPLATE template0")
    yield postgres_server.database_url(name)
    postgres_server.run(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def emptied_database_url(postgres_server: PostgresServer) -> str:
    """A migrated database that every test finds empty; copying one for each would take longer."""
    name = "emptied"
    postgres_server.run(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    return postgres_server.database_url(name)


@pytest.fixture
def database_url(emptied_database_url: str) -> str:
    """A migrated database without any row and without any other connection."""
    with psycopg.connect(emptied_database_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        connection.execute("DELETE FROM jobs")
        connection.execute("DELETE FROM workers")
        connection.execute("DELETE FROM api_keys")
        connection.execute("DELETE FROM usage")
        connection.execute("DELETE FROM turns")
        connection.execute("ALTER SEQUENCE job_id_seq RESTART")
    return emptied_database_url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url, pool_size=20, application="hearsight-test")
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its URL without a database."""
    with valkey.running(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture
def redis_server(valkey_server: str) -> str:
    """The URL, without a database, of an empty Redis."""
    with Redis.from_url(f"{valkey_server}/0") as client:
        client.flushall()
    return valkey_server


@pytest.fixture
def broker_url(redis_server: str) -> str:
    return f"{redis_server}/0"


@pytest.fixture
def redis_url(redis_server: str) -> str:
    return f"{redis_server}/1"


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """A client of the Redis database that carries news and results."""
    with Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def news(redis_url: str) -> Iterator[News]:
    opened = News(redis_url)
    yield opened
    opened.close()


@pytest.fixture
def storage_url(tmp_path: Path) -> str:
    return (tmp_path / "media").as_uri()


@pytest.fixture
def storage(storage_url: str) -> ObjectStorage:
    return ObjectStorage.from_settings(CoreSettings(storage_url=storage_url))
