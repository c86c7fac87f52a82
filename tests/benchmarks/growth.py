"""Whether API and workers hold more memory the more short jobs they have done."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import httpx

from hearsight_core.contract import JobStatus
from tests.benchmarks.goals import Goal, at_most, exactly
from tests.benchmarks.stand import Stand, resident_bytes
from tests.store import rows

WARM = 0.2
"""The share of the jobs after which pools, caches and threads have come to their size."""
GROWTH = 1.10
SENDERS = 4
AHEAD = 40
"""Jobs that are not done yet while more are sent."""
SAMPLES = 20
PATIENCE_S = 600.0
MIB = 2**20


def _done(stand: Stand) -> int:
    [found] = rows(
        stand.database, "SELECT count(*) AS count FROM jobs WHERE finished_at IS NOT NULL"
    )
    return int(str(found["count"]))


def _until_done(stand: Stand, wanted: int) -> None:
    last, since = -1, time.monotonic()
    while (done := _done(stand)) < wanted:
        if done != last:
            last, since = done, time.monotonic()
        assert time.monotonic() - since < PATIENCE_S, f"{done} of {wanted} jobs ended"
        time.sleep(0.2)


def measure(
    stand: Stand, jobs: int, engine: str, content: Callable[[int], bytes], **settings: str
) -> list[Goal]:
    """Sends the jobs, a few ahead of those that are done, and looks at the memory as they go.

    Args:
        stand: Where.
        jobs: How many.
        engine: The module of the ASR worker.
        content: The WAV file of each job.
        settings: The ASR worker's.
    """
    held: dict[str, list[int]] = {"API": [], "download worker": [], "ASR worker": []}
    quiet = {"CELERY_LOG_LEVEL": "WARNING"}
    with (
        stand.apis(HEARSIGHT_LOG_LEVEL="WARNING") as [server],
        stand.workers(1, "hearsight_download_worker", **quiet) as [download],
        stand.workers(1, engine, **quiet, **settings) as [asr],
        server.client() as client,
        ThreadPoolExecutor(SENDERS) as senders,
    ):
        pids = {"API": server.process.pid, "download worker": download, "ASR worker": asr}

        def upload(number: int) -> None:
            file = ("short.wav", content(number))
            answer = client.post("/api/upload", data={"reuse": "false"}, files={"file": file})
            assert answer.status_code == httpx.codes.ACCEPTED, answer.text

        began = time.monotonic()
        every = max(1, jobs // SAMPLES)
        for start in range(0, jobs, every):
            for first in range(start, min(start + every, jobs), SENDERS):
                list(senders.map(upload, range(first, min(first + SENDERS, start + every, jobs))))
                _until_done(stand, first - AHEAD)
            for name, pid in pids.items():
                held[name].append(resident_bytes(pid))
        _until_done(stand, jobs)
        took_s = time.monotonic() - began
    completed = rows(
        stand.database,
        "SELECT count(*) AS count FROM jobs WHERE status = :status",
        status=JobStatus.COMPLETED,
    )[0]["count"]
    stand.empty()
    rate = f", {jobs / took_s:.1f} a second"
    return [
        exactly("short jobs completed", jobs, int(str(completed)), "jobs", remark=rate),
        *(_growth(name, samples) for name, samples in held.items()),
    ]


def _growth(name: str, samples: list[int]) -> Goal:
    settled = samples[int(len(samples) * WARM) :]
    third = max(1, len(settled) // 3)
    before, after = median(settled[:third]), median(settled[-third:])
    return at_most(
        f"memory of the {name}, last third of the jobs against the first",
        GROWTH,
        after / before,
        "times",
        remark=f" ({before / MIB:.0f} MiB, {after / MIB:.0f} MiB)",
    )
