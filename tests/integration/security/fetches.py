"""Fetches in children, and the processes that they take."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil

from hearsight_core.addresses import AddressGuard
from hearsight_download_worker.fetch import Fetched, FetchLimits, FetchProgress
from hearsight_download_worker.fetchers import Fetchers
from hearsight_download_worker.fetching import fetch_apart
from tests.servers.media import MediaServer

LIMITS: Final = FetchLimits(
    max_bytes=10_000_000,
    max_duration_s=3600,
    timeout_s=240,
    socket_timeout_s=60,
    retries=0,
)
PATIENCE_CPU_S: Final = 2


def fetched(
    fetchers: Fetchers,
    server: MediaServer,
    path: str,
    folder: Path,
    *,
    limits: FetchLimits = LIMITS,
    memory_mib: int = 512,
    patience_cpu_s: int = PATIENCE_CPU_S,
    on_progress: Callable[[FetchProgress], None] = lambda _: None,
    check: Callable[[], None] = lambda: None,
) -> Fetched:
    """Fetches a path of `server` in a child."""
    return fetch_apart(
        server.url(path),
        folder,
        fetchers=fetchers,
        guard=AddressGuard([server.authority]),
        limits=limits,
        memory_mib=memory_mib,
        patience_cpu_s=patience_cpu_s,
        on_progress=on_progress,
        check=check,
    )


def started(module: str) -> list[psutil.Process]:
    """Processes that this one started to run a module."""
    return [child for child in psutil.Process().children() if module in child.cmdline()]


def forkers() -> list[psutil.Process]:
    """The processes that this one has children of fetches forked from."""
    return started("hearsight_download_worker.forker")


def children() -> list[psutil.Process]:
    """The children of fetches, started or forked."""
    forked = [child for forker in forkers() for child in forker.children()]
    return started("hearsight_download_worker.fetcher") + forked
