"""10,000 short jobs leave the memory of API and workers where it was.

The jobs are real: uploaded, decoded, cut, recognised, stored, told of. Only the engine is a
stand-in (`tests.chaos.told_asr`), which says what it heard at once: what a model holds is measured
by `python -m tests.benchmarks.engine`.
"""

import io
import os
import time
import wave
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import httpx
import numpy as np

from hearsight_core.contract import JobStatus
from tests.benchmarks.load.goals import Goal, at_most, exactly
from tests.benchmarks.load.stand import Stand, resident_bytes
from tests.speech import joined
from tests.store import rows

JOBS = int(os.environ.get("LOAD_SHORT_JOBS", "10000"))
WARM = 0.2
"""The share of the jobs after which pools, caches and threads have come to their size."""
GROWTH = 1.10
SENDERS = 4
AHEAD = 40
"""Jobs that are not done yet while more are sent."""
SAMPLES = 20
PATIENCE_S = 600.0
MIB = 2**20


def _recording() -> bytes:
    """Two seconds of speech."""
    samples = joined(10, seed=4).audio[: 2 * 16_000]
    content = io.BytesIO()
    with wave.open(content, "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(2)
        audio.setframerate(16_000)
        audio.writeframes(samples.astype(np.int16).tobytes())
    return content.getvalue()


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


def measure(stand: Stand) -> list[Goal]:
    """Sends the jobs, a few ahead of those that are done, and looks at the memory as they go."""
    content = _recording()
    held: dict[str, list[int]] = {"API": [], "download worker": [], "ASR worker": []}
    with (
        stand.apis(HEARSIGHT_LOG_LEVEL="WARNING") as [server],
        stand.workers(1, "hearsight_download_worker", CELERY_LOG_LEVEL="WARNING") as [download],
        stand.workers(1, "tests.chaos.told_asr", CHAOS_PACE="0", CELERY_LOG_LEVEL="WARNING") as [
            asr
        ],
        server.client() as client,
        ThreadPoolExecutor(SENDERS) as senders,
    ):
        pids = {"API": server.process.pid, "download worker": download, "ASR worker": asr}

        def upload(_: int) -> None:
            answer = client.post(
                "/api/upload", data={"reuse": "false"}, files={"file": ("short.wav", content)}
            )
            assert answer.status_code == httpx.codes.ACCEPTED, answer.text

        began = time.monotonic()
        every = max(1, JOBS // SAMPLES)
        for start in range(0, JOBS, every):
            for first in range(start, min(start + every, JOBS), SENDERS):
                list(senders.map(upload, range(first, min(first + SENDERS, start + every, JOBS))))
                _until_done(stand, first - AHEAD)
            for name, pid in pids.items():
                held[name].append(resident_bytes(pid))
        _until_done(stand, JOBS)
        took_s = time.monotonic() - began
    completed = rows(
        stand.database,
        "SELECT count(*) AS count FROM jobs WHERE status = :status",
        status=JobStatus.COMPLETED,
    )[0]["count"]
    stand.empty()
    goals = [
        exactly(
            "short jobs completed (stand-in engine)",
            JOBS,
            int(str(completed)),
            "jobs",
            remark=f", {JOBS / took_s:.1f} a second",
        ),
    ]
    for name, samples in held.items():
        settled = samples[int(len(samples) * WARM) :]
        third = max(1, len(settled) // 3)
        before, after = median(settled[:third]), median(settled[-third:])
        goals.append(
            at_most(
                f"memory of the {name}, last third of the jobs against the first",
                GROWTH,
                after / before,
                "times",
                remark=f" ({before / MIB:.0f} MiB, {after / MIB:.0f} MiB)",
            )
        )
    return goals
