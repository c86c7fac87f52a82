"""Keys are made, listed and revoked by the command; the installation's own is put in force once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hearsight.failures import Exit
from hearsight_core.keys import EVERY_SCOPE, Limits, Scope, digest_of, new_token
from hearsight_core.settings import MigrationSettings
from hearsight_core.store import keys, migrate
from hearsight_core.store.database import Database
from tests.servers.command import environment, hearsight


def _migrate(url: str, token: str | None) -> None:
    migrate.bring_up_to_date(
        MigrationSettings.model_validate({"database_url": url, "bootstrap_api_key": token})
    )


def test_the_first_key_is_in_force_once_the_database_is_migrated(
    empty_database_url: str,
) -> None:
    token = new_token()
    _migrate(empty_database_url, token)
    _migrate(empty_database_url, token)
    database = Database(empty_database_url, pool_size=2, application="hearsight-test")
    [key] = keys.every(database)
    assert keys.find(database, digest_of(token)) is not None
    assert (key.owner, key.scopes) == ("admin", EVERY_SCOPE)
    database.close()


def test_another_first_key_ends_the_one_before_and_no_other(
    database_url: str, database: Database
) -> None:
    first, second = new_token(), new_token()
    _, other = keys.create(database, owner="admin", scopes=EVERY_SCOPE, note="bootstrap")
    _migrate(database_url, first)
    _migrate(database_url, second)
    assert keys.find(database, digest_of(first)) is None
    assert keys.find(database, digest_of(second)) is not None
    assert keys.find(database, digest_of(other)) is not None
    _migrate(database_url, None)
    assert keys.find(database, digest_of(second)) is not None


def test_a_first_key_that_was_revoked_stays_so_and_this_is_told(
    database_url: str, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    token = new_token()
    _migrate(database_url, token)
    [key] = keys.every(database)
    keys.revoke(database, key.id)
    _migrate(database_url, token)
    assert keys.find(database, digest_of(token)) is None
    told = capsys.readouterr()
    assert key.id in told.err
    assert token not in told.err + told.out


def test_the_command_makes_lists_and_revokes_keys(
    tmp_path: Path, database_url: str, database: Database
) -> None:
    env = {"HEARSIGHT_DATABASE_URL": database_url}
    made = json.loads(
        hearsight(
            "--json",
            "keys",
            "create",
            "alice",
            "--scope",
            "read",
            "--note",
            "laptop",
            home=tmp_path,
            **env,
        ).stdout
    )
    found = keys.find(database, digest_of(made["key"]))
    assert found is not None
    assert (found.owner, found.scopes, found.note) == ("alice", frozenset({Scope.READ}), "laptop")
    listed = hearsight("keys", "list", home=tmp_path, **env).stdout
    assert made["id"] in listed
    assert "laptop" in listed
    assert made["key"] not in listed
    [shown] = hearsight("keys", "list", "--json", home=tmp_path, **env).stdout.splitlines()
    assert json.loads(shown)["owner"] == "alice"
    assert made["key"] not in shown
    assert hearsight("keys", "revoke", made["id"], home=tmp_path, **env).returncode == Exit.OK
    assert keys.find(database, digest_of(made["key"])) is None
    again = hearsight("keys", "revoke", made["id"], home=tmp_path, **env)
    assert again.returncode == Exit.OK


def test_the_command_says_what_it_can_not_do(tmp_path: Path, database_url: str) -> None:
    env = {"HEARSIGHT_DATABASE_URL": database_url}
    assert hearsight("keys", "create", "A B", home=tmp_path, **env).returncode == Exit.USAGE
    assert hearsight("keys", "create", "a", "--scope", "all", home=tmp_path, **env).returncode == 2
    none = hearsight("keys", "revoke", "nothing", home=tmp_path, **env)
    assert none.returncode == Exit.FAILED
    assert "keys list" in none.stderr


def _module(url: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """`python -m hearsight_core.store.keys`, as in a container of a service."""
    return subprocess.run(
        [sys.executable, "-m", "hearsight_core.store.keys", *arguments],
        env=environment(HEARSIGHT_DATABASE_URL=url),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_container_without_the_command_makes_lists_and_revokes_keys_too(
    database_url: str, database: Database
) -> None:
    asked = ("create", "alice", "--scope", "read", "--queued-jobs", "5", "--note", "laptop")
    made = _module(database_url, *asked)
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    found = keys.find(database, digest_of(token))
    assert found is not None
    assert (found.owner, found.scopes, found.note) == ("alice", frozenset({Scope.READ}), "laptop")
    assert found.limits == Limits(queued_jobs=5)
    listed = _module(database_url, "list")
    assert [json.loads(line)["id"] for line in listed.stdout.splitlines()] == [found.id]
    assert token not in listed.stdout + listed.stderr + made.stderr
    assert _module(database_url, "revoke", found.id).returncode == 0
    assert keys.find(database, digest_of(token)) is None


def test_a_container_says_what_it_can_not_do_and_tells_no_password(database_url: str) -> None:
    for asked in (["create", "A B"], ["create", "a", "--scope", "all"], ["create"], []):
        assert _module(database_url, *asked).returncode == 2, asked
    assert "There is no key nothing" in _module(database_url, "revoke", "nothing").stderr
    away = _module("postgresql://hearsight:secret@127.0.0.1:1/hearsight", "list")
    assert away.returncode == 1
    assert "secret" not in away.stderr
    assert "127.0.0.1:1" in away.stderr
