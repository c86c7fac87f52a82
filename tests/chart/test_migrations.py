"""The tables are made before anything needs them."""

import pytest

from tests.chart.cases import BUNDLED
from tests.chart.rendering import ChartError, render


def test_migrations_are_a_job_of_the_revision() -> None:
    # A Job can't be changed: with one name for all, the second upgrade would fail.
    (name,) = render().of("Job")
    assert name == "hearsight-migrate-1"


def test_migrations_run_the_apis_image_and_wait_for_the_database() -> None:
    manifests = render()
    job = manifests.pod("Job hearsight-migrate-1")
    assert job.main["image"] == manifests.pod("Deployment hearsight-api").main["image"]
    assert job.main["command"] == [
        "python",
        "-m",
        "hearsight_core.store.migrate",
        "--wait-for-database",
    ]


def test_the_job_outlives_helms_waiting() -> None:
    # helm --wait looks for it until everything is ready.
    job = render().one("Job", "hearsight-migrate-1")
    assert job["spec"]["ttlSecondsAfterFinished"] >= 3600


def test_the_job_may_stay() -> None:
    job = render({"migrations": {"ttlSecondsAfterFinished": None}}).one(
        "Job", "hearsight-migrate-1"
    )
    assert "ttlSecondsAfterFinished" not in job["spec"]


def test_as_a_hook_it_needs_nothing_of_the_chart() -> None:
    manifests = render({"migrations": {"useHelmHooks": True}, "auth": {"existingSecret": "keys"}})
    job = manifests.one("Job", "hearsight-migrate")
    annotations = job["metadata"]["annotations"]
    assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"
    pod = manifests.pod("Job hearsight-migrate")
    assert "serviceAccountName" not in pod.spec
    assert "envFrom" not in pod.main
    for name in ("HEARSIGHT_DATABASE_URL", "HEARSIGHT_BOOTSTRAP_API_KEY"):
        secret = pod.environment[name]["secretKeyRef"]
        assert secret["name"] not in manifests.of("Secret")


def test_a_hook_can_not_use_what_the_chart_is_yet_to_make() -> None:
    with pytest.raises(ChartError, match="a database that is there before the chart"):
        render({**BUNDLED, "migrations": {"useHelmHooks": True}})
    with pytest.raises(ChartError, match=r"database\.existingSecret"):
        render({"database": {"url": "postgresql://db"}, "migrations": {"useHelmHooks": True}})
    with pytest.raises(ChartError, match=r"auth\.existingSecret"):
        render({"migrations": {"useHelmHooks": True}})


def test_migrations_make_the_role_that_reads_the_queues() -> None:
    bundled = render(BUNDLED).pod("Job hearsight-migrate-1")
    reader = bundled.environment["HEARSIGHT_DATABASE_READER_PASSWORD"]["secretKeyRef"]
    assert (reader["name"], reader["key"]) == ("hearsight-postgresql", "reader-password")
    assert render().pod("Job hearsight-migrate-1").environment[
        "HEARSIGHT_DATABASE_READER_PASSWORD"
    ] == {
        "secretKeyRef": {"name": "hearsight-database", "key": "reader-password", "optional": True}
    }
