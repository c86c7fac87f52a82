"""An API that asks for keys, and clients of several owners."""

from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from hearsight_core.keys import Scope
from tests.servers import api, keyed
from tests.servers.api import Served

ON = {"HEARSIGHT_AUTH": "on"}


@pytest.fixture(scope="session")
def locked(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """An API that asks for keys, on the stores of the one that asks for none."""
    log = tmp_path_factory.mktemp("locked") / "api.log"
    with api.running(log, {**served.env, **ON}) as server:
        yield replace(served, api=server, env={**served.env, **ON})


@pytest.fixture
def nobody(locked: Served) -> Iterator[httpx.Client]:
    """A client without a key."""
    with keyed.client(locked.api, None) as client:
        yield client


@pytest.fixture
def alice(locked: Served) -> Iterator[httpx.Client]:
    """A client of one owner, who may submit and read."""
    with keyed.client(locked.api, keyed.made(locked.database, "alice")) as client:
        yield client


@pytest.fixture
def bob(locked: Served) -> Iterator[httpx.Client]:
    """A client of another owner, who may submit and read."""
    with keyed.client(locked.api, keyed.made(locked.database, "bob")) as client:
        yield client


@pytest.fixture
def admin(locked: Served) -> Iterator[httpx.Client]:
    """A client with the scope admin."""
    with keyed.client(locked.api, keyed.made(locked.database, "root", Scope.ADMIN)) as client:
        yield client
