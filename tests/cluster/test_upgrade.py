"""From the version before to this one and back, while jobs are in work."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.client import Client
from tests.cluster.images import published
from tests.cluster.kubectl import RESTRICTED, namespace
from tests.cluster.load import Load
from tests.cluster.outside import Outside
from tests.cluster.release import Release, Values, bearer
from tests.cluster.versions import CHART_FILE, Version, current, previous


@pytest.fixture(scope="module")
def older(run_name: str) -> Version:
    """The version before this one."""
    del run_name  # without a cluster this is skipped for that reason
    found = previous()
    if found is None:
        pytest.skip(f"the history of {CHART_FILE} holds no version other than {current()}")
    return found


@pytest.fixture(scope="module")
def older_release(
    run_name: str,
    older: Version,
    common_values: list[Values],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Release]:
    """A release of the version before, chart and images."""
    tree = older.check_out(tmp_path_factory.mktemp("older") / "tree")
    images = published(tree)
    with namespace(f"{run_name}-upgrade", **RESTRICTED) as kubectl:
        release = Release(kubectl)
        release.install(*common_values, images.values(), chart=tree / Path(CHART_FILE).parent)
        yield release


@pytest.fixture(scope="module")
def older_client(older_release: Release) -> Iterator[Client]:
    """The API of that release, through the ingress; it knew of no keys, and of few options."""
    with older_release.client(None) as reaching:
        yield replace(reaching, always={})


def test_an_upgrade_under_load_loses_no_job_and_doubles_none(
    older_release: Release, older_client: Client, outside: Outside, values: list[Values]
) -> None:
    load = Load.start(older_release, older_client, outside)
    load.await_recognition()
    older_release.install(*values)
    older_client.http.headers.update(bearer(older_release.first_key()))
    load.assert_all_done_once()


def test_a_rollback_under_load_loses_no_job_and_doubles_none(
    older_release: Release, older_client: Client, outside: Outside
) -> None:
    # An option that the older workers know, and that no job of the same recordings had: so none is
    # taken from those that the upgrade saw.
    asking = replace(older_client, always={"word_timestamps": False})
    load = Load.start(older_release, asking, outside)
    load.await_recognition()
    older_release.rollback(1)
    load.assert_all_done_once()
