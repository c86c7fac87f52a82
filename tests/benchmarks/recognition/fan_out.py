"""One recording uses every idle worker: how much sooner it is done by N of them.

Three hours go the whole way from the stored upload to the completed job. The engine is a stand-in
that sleeps in proportion to the audio (`tests.chaos.told_asr`), so that two cores can be 64
devices; everything else is real. One worker process stands for several workers, a stream each,
since a Python process for each of 64 would keep the machine busy with starting them.

Speed-up is what one engine sleeps for the whole recording, divided by the time from the stored
media to the completed job. So cutting, queue, database and waiting all count against it.
"""

import math
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from tests.benchmarks.goals import Goal, at_least, at_most, told
from tests.benchmarks.recognition import audio
from tests.benchmarks.stand import Stand, Used
from tests.client import Client
from tests.servers.api import Api
from tests.store import rows

HOURS = 3
SECONDS = {1: 30, 2: 60, 4: 60, 8: 60, 16: 60, 32: 80, 64: 100}
"""How long N workers would take at best: the stand-in is made that slow. The more there are, the
longer, since the last chunk, of up to 30 s of audio, takes a larger share of it."""
WANTED = 0.9
WANTED_DATABASE_MS = 20
STREAMS = 16
"""Workers that one process stands for, at most."""

REAL_MINUTES = 10


@dataclass(frozen=True)
class _Run:
    """A recording that was recognised.

    `recognised_s` is how long it is without its pauses; of a stand-in, how long that slept for it.
    """

    took_s: float
    recognised_s: float
    parts: int
    database_ms: float
    cost: str


def _run(stand: Stand, server: Api, path: Path) -> _Run:
    """Recognises the file, and forgets the job."""
    with server.client() as http:
        client = Client(http)
        used, before = Used([server]), _database_ms(stand)
        job_id = client.upload(path)
        last = client.outcome(job_id)
        assert last["status"] == "completed", last
        spent = _database_ms(stand) - before
    [job] = rows(
        stand.database,
        "SELECT extract(epoch FROM finished_at - created_at)::float AS took_s, recognised_ms,"
        " (SELECT count(*) FROM parts WHERE job_id = jobs.id) AS parts FROM jobs WHERE id = :id",
        id=job_id,
    )
    stand.empty()
    return _Run(
        took_s=float(str(job["took_s"])),
        recognised_s=int(str(job["recognised_ms"])) / 1000,
        parts=int(str(job["parts"])),
        database_ms=spent,
        cost=used.told(int(str(job["parts"]))),
    )


def _database_ms(stand: Stand) -> float:
    """What the server has spent on statements so far, whoever sent them, waits for locks included.

    A session tells of its statements a second after them at the latest, or when it ends.
    """
    [found] = rows(
        stand.database,
        "SELECT active_time FROM pg_stat_database WHERE datname = current_database()",
    )
    return float(str(found["active_time"]))


def _stand_in(stand: Stand, server: Api, path: Path, workers: int) -> _Run:
    processes = math.ceil(workers / STREAMS)
    streams = workers // processes
    pace = SECONDS[workers] * workers / (HOURS * 3600)
    with stand.workers(
        processes,
        "tests.chaos.told_asr",
        CHAOS_PACE=str(pace),
        CHAOS_STREAMS=str(streams),
        # As the real worker: the audio of one more part is there in time.
        CELERY_WORKER_CONCURRENCY=str(streams + 1),
    ):
        run = _run(stand, server, path)
    return replace(run, recognised_s=run.recognised_s * pace)


def _real(stand: Stand, server: Api, path: Path, workers: int) -> float:
    """Seconds that workers of one core each take."""
    with ExitStack() as started:
        for core in sorted(os.sched_getaffinity(0))[:workers]:
            started.enter_context(
                stand.workers(1, "tests.benchmarks.recognition.one_core_asr", BENCH_CORE=str(core))
            )
        return _run(stand, server, path).took_s


def measure(stand: Stand) -> Iterator[Goal]:
    """The curve with the stand-in, then one and two workers with the real engine."""
    with stand.apis() as [server], stand.workers(1, "hearsight_download_worker"):
        path = audio.recording(stand.folder, HOURS * 60, seed=3)
        for workers in SECONDS:
            run = _stand_in(stand, server, path, workers)
            speed_up = run.recognised_s / run.took_s
            what = f"{HOURS} h by {workers} workers, against the engine's own time"
            took = f"{run.parts} parts, {run.took_s:.1f} s"
            if workers == 1:
                yield told(what, f"{speed_up:.2f} times; {took}")
                continue
            yield at_least(what, WANTED * workers, speed_up, "times", remark=f"; {took}", digits=1)
            yield at_most(
                "database time for each part",
                WANTED_DATABASE_MS,
                run.database_ms / run.parts,
                "ms",
                remark=f"; {run.cost}",
            )
        path.unlink()
        path = audio.recording(stand.folder, REAL_MINUTES, seed=4)
        alone_s, both_s = (_real(stand, server, path, workers) for workers in (1, 2))
        yield told(
            f"{REAL_MINUTES} min by 2 real workers of a core each, against 1",
            f"{alone_s / both_s:.2f} times ({alone_s:.1f} s, {both_s:.1f} s), cutting included",
        )
