"""One installation for most of these tests, on the cluster that KUBECONFIG names.

HEARSIGHT_TEST_INGRESS is the address of the cluster's ingress as this machine reaches it; how
images get into the cluster, images.py tells.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from tests.client import Client
from tests.cluster.images import Images, published, ways_to_the_cluster
from tests.cluster.kubectl import RESTRICTED, missing, namespace
from tests.cluster.outside import Outside
from tests.cluster.release import Release, Values

ORDER = (
    "test_install",
    "test_transcription",
    "test_telemetry",
    "test_network_policies",
    "test_access",
    "test_eviction",
    "test_kill",
    "test_autoscaling",
    "test_backup",
    "test_uninstall",
    "test_upgrade",
    "test_skaffold",
)
"""Tests share an installation, so what disturbs it comes late, and what removes it last."""
LIMIT_S = 1800
"""No single test may take longer, the installation included."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if item.path.parent == Path(__file__).parent]
    for item in here:
        item.add_marker(pytest.mark.timeout(LIMIT_S))
    here.sort(key=lambda item: ORDER.index(item.path.stem))
    items[:] = [item for item in items if item not in here] + here


@pytest.fixture(scope="session")
def run_name() -> str:
    """What the namespaces of this run begin with; skips where there is no cluster."""
    if reason := missing():
        pytest.skip(f"no cluster to test on: {reason}")
    if not any(ways_to_the_cluster()):
        pytest.fail("say how the cluster gets images: see tests/cluster/images.py", pytrace=False)
    if not os.environ.get("HEARSIGHT_TEST_INGRESS"):
        pytest.fail("HEARSIGHT_TEST_INGRESS must be the ingress's address", pytrace=False)
    return f"hearsight-test-{uuid.uuid4().hex[:6]}"


@pytest.fixture(scope="session")
def images(run_name: str) -> Images:
    """The images of this tree."""
    del run_name
    return published()


@pytest.fixture(scope="session")
def outside(run_name: str, images: Images) -> Iterator[Outside]:
    """The namespace beside the release, with the site that media come from."""
    with namespace(f"{run_name}-outside") as kubectl:
        beside = Outside(kubectl, images)
        beside.start_media()
        beside.start_collector()
        beside.start_stranger()
        yield beside


@pytest.fixture(scope="session")
def common_values(images: Images, outside: Outside) -> list[Values]:
    """What releases of these tests are installed with, the version before this one included."""
    own = yaml.safe_load((Path(__file__).parent / "values.yaml").read_text("utf-8"))
    return [own, images.values(), outside.values()]


@pytest.fixture(scope="session")
def values(common_values: list[Values], outside: Outside) -> list[Values]:
    """What releases of this version are installed with."""
    return [*common_values, outside.telemetry_values()]


@pytest.fixture(scope="session")
def release(run_name: str, values: list[Values]) -> Iterator[Release]:
    """The installation, in a namespace that enforces the profile `restricted`."""
    with ExitStack() as stack:
        installed = Release(stack.enter_context(namespace(run_name, **RESTRICTED)))
        try:
            installed.install(*values)
        except AssertionError as error:
            error.add_note(installed.kubectl.describe())
            raise
        yield installed


@pytest.fixture(scope="session")
def client(release: Release) -> Iterator[Client]:
    """The API through the ingress, with the key that came with the installation."""
    with release.client(release.first_key()) as reaching:
        yield reaching
