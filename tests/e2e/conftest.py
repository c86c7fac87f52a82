"""One real stack and one real media server for all end-to-end tests."""

from collections.abc import Iterator

import pytest

from tests.servers.collector import Collector, collector
from tests.servers.media import MediaServer, media_server
from tests.servers.stack import Stack, running_stack

MAX_DOWNLOAD_BYTES = 8 * 1024 * 1024


@pytest.fixture(scope="session")
def media() -> Iterator[MediaServer]:
    """Media good and bad, on 127.0.0.1."""
    with media_server() as server:
        yield server


@pytest.fixture(scope="session")
def collected() -> Iterator[Collector]:
    """Where the stack's traces go."""
    with collector() as one:
        yield one


@pytest.fixture(scope="session")
def stack(
    tmp_path_factory: pytest.TempPathFactory, media: MediaServer, collected: Collector
) -> Iterator[Stack]:
    """The stack as `make up` starts it, allowed to fetch from the media server alone."""
    with running_stack(
        tmp_path_factory.mktemp("e2e"),
        HEARSIGHT_DOWNLOAD_ALLOW_HOSTS=media.authority,
        HEARSIGHT_MAX_DOWNLOAD_BYTES=str(MAX_DOWNLOAD_BYTES),
        HEARSIGHT_SOCKET_TIMEOUT_S="3",
        HEARSIGHT_RETRY_BACKOFF_S="0.2",
        HEARSIGHT_MAX_FAILURES="2",
        HEARSIGHT_OTLP_ENDPOINT=collected.url,
        HEARSIGHT_LOG_FORMAT="json",
        OTEL_BSP_SCHEDULE_DELAY="500",
    ) as running:
        yield running
