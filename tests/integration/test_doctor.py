"""`hearsight doctor`: every fault is named with what to do, and no secret is shown."""

import json
from pathlib import Path

import pytest
from redis import Redis

from hearsight.failures import Exit
from hearsight.stack.ports import free_port
from tests.servers.command import hearsight


@pytest.fixture
def stores(database_url: str, broker_url: str, redis_url: str, storage_url: str) -> dict[str, str]:
    """Stores that are well, with no stack around them."""
    return {
        "HEARSIGHT_DATABASE_URL": database_url,
        "HEARSIGHT_BROKER_URL": broker_url,
        "HEARSIGHT_REDIS_URL": redis_url,
        "HEARSIGHT_STORAGE_URL": storage_url,
        "HEARSIGHT_URL": f"http://127.0.0.1:{free_port()}",
    }


def checks(home: Path, stores: dict[str, str]) -> dict[str, dict[str, object]]:
    """What the doctor finds, by the first word of each finding's name."""
    done = hearsight("--json", "doctor", home=home, **stores)
    report = json.loads(done.stdout)
    assert done.returncode == (Exit.OK if report["ok"] else Exit.FAILED)
    return {
        " ".join(check["name"].split()[:1]) + (" 0" if check["name"].endswith("/0") else ""): check
        for check in report["checks"]
    }


def test_stores_that_are_well_are_found_well(tmp_path: Path, stores: dict[str, str]) -> None:
    found = checks(tmp_path, stores)
    well = {name for name, check in found.items() if check["ok"]}
    assert well >= {"PostgreSQL", "Redis", "Redis 0", "Storage", "Disk,", "Model", "Download"}
    assert not found["API"]["ok"], "no stack runs here"
    assert "hearsight up" in str(found["API"]["advice"])


def test_every_url_is_shown_and_every_secret_masked(tmp_path: Path, stores: dict[str, str]) -> None:
    shown = hearsight("doctor", home=tmp_path, **stores).stdout
    password = stores["HEARSIGHT_DATABASE_URL"].split(":")[2].partition("@")[0]
    assert password not in shown
    assert ":***@127.0.0.1:" in shown
    for name in ("HEARSIGHT_BROKER_URL", "HEARSIGHT_REDIS_URL", "HEARSIGHT_STORAGE_URL"):
        assert stores[name] in shown


def test_progress_keys_are_listed_and_the_doctors_own_are_gone(
    tmp_path: Path, stores: dict[str, str], redis: "Redis"
) -> None:
    for job_id in (12, 7):
        redis.set(f"task_progress:{job_id}", "{}")
    report = json.loads(hearsight("doctor", "--json", home=tmp_path, **stores).stdout)
    assert report["task_progress_keys"] == ["task_progress:7", "task_progress:12"]
    assert sorted(str(key) for key in redis.scan_iter()) == ["task_progress:12", "task_progress:7"]


def test_a_store_that_is_away_is_named_with_what_to_do(
    tmp_path: Path, stores: dict[str, str]
) -> None:
    port = free_port()
    found = checks(
        tmp_path,
        {
            **stores,
            "HEARSIGHT_DATABASE_URL": f"postgresql://hearsight:secret@127.0.0.1:{port}/hearsight",
            "HEARSIGHT_REDIS_URL": f"redis://127.0.0.1:{port}/1",
            "HEARSIGHT_STORAGE_URL": "file:///proc/nowhere",
        },
    )
    for name, variable in {
        "PostgreSQL": "HEARSIGHT_DATABASE_URL",
        "Redis": "HEARSIGHT_REDIS_URL",
        "Storage": "HEARSIGHT_STORAGE_URL",
    }.items():
        assert not found[name]["ok"]
        assert variable in str(found[name]["advice"])
    assert "secret" not in json.dumps(found)
    assert found["Redis 0"]["ok"]


def test_a_database_without_tables_is_told_from_one_that_is_away(
    tmp_path: Path, stores: dict[str, str], empty_database_url: str
) -> None:
    empty = {**stores, "HEARSIGHT_DATABASE_URL": empty_database_url}
    assert "hearsight migrate" in str(checks(tmp_path, empty)["PostgreSQL"]["advice"])
    assert hearsight("migrate", home=tmp_path, **empty).returncode == Exit.OK
    assert checks(tmp_path, empty)["PostgreSQL"]["ok"]


def test_a_model_that_is_not_there_is_told(tmp_path: Path, stores: dict[str, str]) -> None:
    found = checks(tmp_path, {**stores, "HEARSIGHT_MODEL": str(tmp_path / "no-such-model")})
    assert not found["Model"]["ok"]
    assert "HEARSIGHT_MODEL" in str(found["Model"]["advice"])
