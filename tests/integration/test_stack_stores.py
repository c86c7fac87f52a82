"""PostgreSQL and Valkey of the local stack: data stay, secrets stay secret."""

import os
import stat
from pathlib import Path

import psycopg
import pytest
from redis import Redis

from hearsight.stack import postgres, valkey
from hearsight.stack.ports import free_port
from hearsight.stack.postgres import Postgres
from hearsight.stack.program import StartError


def test_postgresql_keeps_its_data_over_a_restart(tmp_path: Path) -> None:
    with postgres.running(tmp_path) as url, psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept (word text)")
        connection.execute("INSERT INTO kept VALUES ('still here')")
    with postgres.running(tmp_path) as url, psycopg.connect(url) as connection:
        assert connection.execute("SELECT word FROM kept").fetchall() == [("still here",)]


def test_postgresql_asks_for_its_password_and_keeps_it_private(tmp_path: Path) -> None:
    with postgres.running(tmp_path) as url:
        password_file = tmp_path / "postgres.password"
        assert stat.S_IMODE(password_file.stat().st_mode) == 0o600
        assert password_file.read_text() in url
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(url.replace(password_file.read_text(), "wrong"))


def test_a_broken_off_first_run_is_begun_anew(tmp_path: Path) -> None:
    half_done = tmp_path / "postgres" / "data.new"
    half_done.mkdir(parents=True)
    (half_done / "PG_VERSION").write_text("18")
    with postgres.running(tmp_path) as url, psycopg.connect(url):
        assert not half_done.exists()


def test_a_lock_file_that_names_a_stranger_is_no_obstacle(tmp_path: Path) -> None:
    with postgres.running(tmp_path):
        lock = Postgres(tmp_path, 1).data / "postmaster.pid"
        lines = lock.read_text().splitlines()
    lock.write_text("\n".join([str(os.getpid()), *lines[1:]]))
    with postgres.running(tmp_path) as url, psycopg.connect(url):
        pass


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    with postgres.running(tmp_path):
        data = Postgres(tmp_path, 1).data
    (data / "PG_VERSION").write_text("9\n")
    with pytest.raises(StartError, match="initialized by PostgreSQL version 9"):
        postgres.running(tmp_path).__enter__()


def test_valkey_keeps_its_data_over_a_restart(tmp_path: Path) -> None:
    with valkey.running(tmp_path) as url, Redis.from_url(f"{url}/1") as client:
        client.set("kept", "still here")
    with valkey.running(tmp_path) as url, Redis.from_url(f"{url}/1") as client:
        assert client.get("kept") == b"still here"


def test_valkey_never_drops_a_key_to_make_room(tmp_path: Path) -> None:
    with valkey.running(tmp_path, port=free_port()) as url, Redis.from_url(url) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}
