"""PostgreSQL, Redis and the object store: one's own, or bundled ones; and the tables in them."""

import base64

import pytest

from tests.chart.cases import AUTH, BUNDLED, Values, rendered
from tests.chart.rendering import TRIAL, Manifests, Pod, render

SERVICES = ("hearsight-api", "hearsight-download-worker", "hearsight-asr-worker")


def services(manifests: Manifests) -> list[Pod]:
    return [manifests.pod(f"Deployment {name}") for name in SERVICES]


def reference(name: str, key: str, *, optional: bool = False) -> dict[str, object]:
    one: dict[str, object] = {"name": name, "key": key}
    return {"secretKeyRef": {**one, "optional": True} if optional else one}


def test_without_values_stores_are_named_by_three_secrets() -> None:
    for pod in services(render()):
        assert {
            name: where
            for name, where in pod.environment.items()
            if name.endswith("_URL") or name.startswith("HEARSIGHT_STORAGE")
        } == {
            "HEARSIGHT_DATABASE_URL": reference("hearsight-database", "url"),
            "HEARSIGHT_BROKER_URL": reference("hearsight-redis", "broker-url"),
            "HEARSIGHT_REDIS_URL": reference("hearsight-redis", "redis-url"),
            "HEARSIGHT_STORAGE_URL": reference("hearsight-storage", "url"),
            "HEARSIGHT_STORAGE_ENDPOINT": reference("hearsight-storage", "endpoint", optional=True),
            "HEARSIGHT_STORAGE_REGION": reference("hearsight-storage", "region", optional=True),
            "HEARSIGHT_STORAGE_ACCESS_KEY_ID": reference(
                "hearsight-storage", "access-key-id", optional=True
            ),
            "HEARSIGHT_STORAGE_SECRET_ACCESS_KEY": reference(
                "hearsight-storage", "secret-access-key", optional=True
            ),
        }
    assert set(render().of("Secret")) == {"hearsight-api-key"}
    assert not render().of("StatefulSet")


def test_secrets_and_keys_of_ones_own_are_used() -> None:
    manifests = render(
        {
            "database": {"existingSecret": "pg", "secretKey": "dsn"},
            "redis": {"existingSecret": "cache", "brokerUrlKey": "a", "redisUrlKey": "b"},
            "storage": {"url": "s3://b", "existingSecret": "bucket", "accessKeyIdKey": "id"},
        }
    )
    for pod in services(manifests):
        assert pod.environment["HEARSIGHT_DATABASE_URL"] == reference("pg", "dsn")
        assert pod.environment["HEARSIGHT_BROKER_URL"] == reference("cache", "a")
        assert pod.environment["HEARSIGHT_REDIS_URL"] == reference("cache", "b")
        key = pod.environment["HEARSIGHT_STORAGE_ACCESS_KEY_ID"]
        assert key == reference("bucket", "id", optional=True)
        assert "HEARSIGHT_STORAGE_URL" not in pod.environment
    assert manifests.settings["HEARSIGHT_STORAGE_URL"] == "s3://b"


def test_addresses_in_values_go_into_secrets() -> None:
    manifests = rendered("addresses in values")
    assert {name: one["stringData"] for name, one in manifests.of("Secret").items()} == {
        "hearsight-api-key": {"api-key": AUTH["auth"]["apiKey"]},
        "hearsight-database": {"url": "postgresql://hearsight:secret@db/hearsight"},
        "hearsight-redis": {"broker-url": "redis://cache/0", "redis-url": "redis://cache/1"},
        "hearsight-storage": {"access-key-id": "key", "secret-access-key": "secret"},
    }
    assert manifests.settings["HEARSIGHT_STORAGE_ENDPOINT"] == "https://s3.example.org"
    assert manifests.settings["HEARSIGHT_STORAGE_REGION"] == "eu-west-1"


def test_a_cloud_role_needs_no_keys() -> None:
    for pod in services(render({"storage": {"url": "s3://bucket"}})):
        assert not [name for name in pod.environment if name.startswith("HEARSIGHT_STORAGE")]


@pytest.mark.parametrize("values", [{}, {"storage": {"url": "s3://bucket"}}])
def test_with_an_object_store_nothing_is_shared_between_pods(values: Values) -> None:
    manifests = render(values)
    assert not manifests.of("PersistentVolumeClaim")
    for pod in services(manifests):
        assert not [one for one in pod.spec["volumes"] if "persistentVolumeClaim" in one]


def test_a_shared_volume_takes_the_place_of_an_object_store() -> None:
    manifests = render(BUNDLED)
    claim = manifests.one("PersistentVolumeClaim", "hearsight-media")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    folder = manifests.settings["HEARSIGHT_STORAGE_URL"].removeprefix("file://")
    for pod in services(manifests):
        media = pod.volume(pod.mounts[folder])
        assert media["persistentVolumeClaim"] == {"claimName": "hearsight-media"}


def test_a_volume_of_ones_own_is_used() -> None:
    manifests = render({"storage": {"volume": {"enabled": True, "existingClaim": "nas"}}})
    assert not manifests.of("PersistentVolumeClaim")
    for pod in services(manifests):
        assert pod.volume("media")["persistentVolumeClaim"] == {"claimName": "nas"}


def test_bundled_stores_run_the_official_images() -> None:
    manifests = render({}, TRIAL)
    assert {
        name: manifests.pod(f"StatefulSet {name}").main["image"]
        for name in manifests.of("StatefulSet")
    } == {
        "hearsight-postgresql": "docker.io/library/postgres:15-bookworm",
        "hearsight-valkey": "docker.io/valkey/valkey:8-bookworm",
    }


def test_bundled_valkey_keeps_everything_it_was_told() -> None:
    (script,) = render({}, TRIAL).pod("StatefulSet hearsight-valkey").main["args"]
    for setting in ("appendonly yes", "maxmemory-policy noeviction", "requirepass $PASSWORD"):
        assert setting in script


def test_bundled_stores_get_a_password_each() -> None:
    secrets = render({}, TRIAL).of("Secret")
    passwords = [
        secrets["hearsight-postgresql"]["stringData"]["password"],
        secrets["hearsight-postgresql"]["stringData"]["reader-password"],
        secrets["hearsight-valkey"]["stringData"]["password"],
    ]
    assert all(len(password) == 32 for password in passwords)
    assert len(set(passwords)) == 3


def test_passwords_may_hold_anything() -> None:
    odd = "p@ss/w:rd?#%"
    manifests = render(
        {
            "postgresql": {"bundled": {"enabled": True, "password": odd}},
            "valkey": {"bundled": {"enabled": True, "password": "p@ss/w:rd"}},
        }
    )
    postgresql = manifests.one("Secret", "hearsight-postgresql")["stringData"]
    assert postgresql["password"] == odd
    assert "hearsight:p%40ss%2Fw%3Ard%3F%23%25@hearsight-postgresql.speech.svc" in postgresql["url"]
    valkey = manifests.one("Secret", "hearsight-valkey")["stringData"]
    assert valkey["broker-url"] == "redis://:p%40ss%2Fw%3Ard@hearsight-valkey.speech.svc:6379/0"


def test_only_what_is_to_be_kept_is_kept() -> None:
    def kept(values: Values) -> set[str]:
        return {
            f"{one['kind']} {one['metadata']['name']}"
            for one in render({**BUNDLED, **values}).objects
            if one["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
        }

    keep = {"enabled": True, "persistence": {"keep": True}}
    assert kept({}) == set()
    # Without its password a database that was kept could not be opened again; the API key is in it.
    assert kept(
        {
            "postgresql": {"bundled": keep},
            "valkey": {"bundled": keep},
            "storage": {"volume": {"enabled": True, "keep": True}},
        }
    ) == {
        "PersistentVolumeClaim hearsight-media",
        "PersistentVolumeClaim hearsight-postgresql",
        "PersistentVolumeClaim hearsight-valkey",
        "Secret hearsight-api-key",
        "Secret hearsight-postgresql",
        "Secret hearsight-valkey",
    }


def test_bundled_stores_take_secrets_and_volumes_that_are_there() -> None:
    there = {"enabled": True, "existingSecret": "s", "persistence": {"existingClaim": "c"}}
    bundled = {"postgresql": {"bundled": there}, "valkey": {"bundled": there}}
    manifests = render({**bundled, "auth": {"existingSecret": "s"}})
    assert not manifests.of("Secret")
    assert not manifests.of("PersistentVolumeClaim")
    assert manifests.pod("Deployment hearsight-api").environment[
        "HEARSIGHT_REDIS_URL"
    ] == reference("s", "redis-url")


def test_a_chart_upgrade_does_not_restart_the_bundled_stores() -> None:
    for name in render(BUNDLED).of("StatefulSet"):
        labels = render(BUNDLED).pod(f"StatefulSet {name}").metadata["labels"]
        assert not {"helm.sh/chart", "app.kubernetes.io/version"} & set(labels)


def test_the_sample_of_helm_test_is_in_the_chart_and_small() -> None:
    config = render().one("ConfigMap", "hearsight-test")
    sample = base64.b64decode(config["binaryData"]["sample.ogg"])
    assert sample.startswith(b"OggS")
    # A release is stored in a Secret, which holds a megabyte, with all the chart's files.
    assert len(sample) < 64 * 1024
