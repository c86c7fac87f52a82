"""What it costs to fetch a short file in a child that is forked, against one that is started."""

import resource
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil

from hearsight_core.addresses import AddressGuard
from hearsight_download_worker.fetch import FetchLimits
from hearsight_download_worker.fetchers import Fetchers
from hearsight_download_worker.fetching import fetch_apart
from tests.benchmarks.goals import Goal, at_most, told
from tests.benchmarks.recognition import audio
from tests.benchmarks.stand import Stand
from tests.servers.media import MediaServer, media_server

ROUNDS = 50
LIMITS = FetchLimits(max_bytes=10_000_000, max_duration_s=3600, timeout_s=60, socket_timeout_s=30)


def measure(stand: Stand) -> Iterator[Goal]:
    """Takes turns: a child that is started, one that is forked."""
    [clip] = audio.clips(stand.folder, 1, 1, seed=3)
    with (
        media_server(clip.parent) as server,
        closing(Fetchers(forks=False)) as started,
        closing(Fetchers(forks=True)) as forked,
    ):

        def fetched(way: Fetchers, name: str) -> tuple[float, float]:
            return _fetch(way, server, f"/plain/{clip.name}", stand.folder / name)

        fetched(forked, "first")  # what is forked from is started
        rounds = [
            (fetched(started, f"started-{number}"), fetched(forked, f"forked-{number}"))
            for number in range(ROUNDS)
        ]
    (cold_cpu, cold_wall), (warm_cpu, warm_wall) = (
        [1000 * statistics.median(figures) for figures in zip(*way, strict=True)]
        for way in zip(*rounds, strict=True)
    )
    yield at_most(
        "CPU of fetching a clip of 1 s in a child that is forked, against started (p50)",
        0.25,
        warm_cpu / cold_cpu,
        "times",
        remark=f" ({warm_cpu:,.0f} ms, {cold_cpu:,.0f} ms)",
    )
    yield told(
        "the same, from the call to the file (p50)", f"{warm_wall:,.0f} ms, {cold_wall:,.0f} ms"
    )


def _fetch(way: Fetchers, server: MediaServer, path: str, folder: Path) -> tuple[float, float]:
    """CPU time of the child and of what it is forked from, and how long it took; seconds."""
    before, began = _children_s(), time.perf_counter()
    fetch_apart(
        server.url(path),
        folder,
        fetchers=way,
        guard=AddressGuard([server.authority]),
        limits=LIMITS,
        memory_mib=2048,
    )
    return _children_s() - before, time.perf_counter() - began


def _children_s() -> float:
    """CPU time of the children that have ended, and of the one that forks, with its own."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    lasting = [
        child.cpu_times()
        for child in psutil.Process().children()
        if "hearsight_download_worker.forker" in child.cmdline()
    ]
    return (
        ended.ru_utime
        + ended.ru_stime
        + sum(it.user + it.system + it.children_user + it.children_system for it in lasting)
    )
