"""A killed worker costs what it had in work, and nothing that it had stored."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hearsight.stack.plan import answers_well
from hearsight.stack.ports import HOST, free_port
from hearsight.stack.program import Program, running
from hearsight_core.broker import HintSender, celery_app
from hearsight_core.contract import RecognitionOptions
from hearsight_core.settings import AsrSettings
from hearsight_core.storage import ObjectStorage
from hearsight_core.store import leases
from hearsight_core.store.database import Database
from tests.device import cut_part
from tests.speech import joined
from tests.store import ASR, AT_ONCE, EN, expire, rows

ROOT = Path(__file__).parents[2]
SLOTS = 2
PATIENCE_S = 180.0


@contextmanager
def _worker(folder: Path, heard: Path, environment: dict[str, str]) -> Iterator[int]:
    """A worker whose engine writes down what it is given; yields its process id."""
    port = free_port()
    program = Program(
        name="asr",
        argv=(sys.executable, "-P", "-m", "tests.chaos.told_asr"),
        ready=lambda: answers_well(f"http://{HOST}:{port}/readyz"),
        environment={
            **os.environ,
            **environment,
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.getenv("PYTHONPATH")))),
            "HEARSIGHT_METRICS_HOST": HOST,
            "HEARSIGHT_METRICS_PORT": str(port),
            "CELERY_WORKER_CONCURRENCY": str(SLOTS),
            "CHAOS_PACE": "0.05",
            "CHAOS_HEARD": str(heard),
        },
    )
    with running(program, folder / "asr.log", timeout_s=PATIENCE_S) as pid:
        yield pid


@pytest.fixture
def environment(
    database_url: str, broker_url: str, redis_url: str, storage_url: str
) -> dict[str, str]:
    """The stores, for a process."""
    return {
        "HEARSIGHT_DATABASE_URL": database_url,
        "HEARSIGHT_BROKER_URL": broker_url,
        "HEARSIGHT_REDIS_URL": redis_url,
        "HEARSIGHT_STORAGE_URL": storage_url,
    }


def test_a_kill_costs_at_most_what_is_in_work(
    database: Database, storage: ObjectStorage, environment: dict[str, str], tmp_path: Path
) -> None:
    settings = AsrSettings(
        broker_url=environment["HEARSIGHT_BROKER_URL"],
        redis_url=environment["HEARSIGHT_REDIS_URL"],
        hint_resend_s=0.5,
    )
    hints = HintSender(celery_app(settings), database, settings)
    anew = RecognitionOptions(reuse=False)
    for seed in range(SLOTS):
        cut_part(database, storage, joined(60, seed=seed), options=anew)
    [job] = rows(database, "SELECT sum(speech_ms) AS ms FROM jobs")
    speech_ms = int(str(job["ms"]))
    heard = tmp_path / "heard"

    def stored() -> int:
        [found] = rows(database, "SELECT sum(chunks_done) AS n FROM parts")
        return int(str(found["n"]))

    def until(done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < deadline, (tmp_path / "asr.log").read_text()[-2000:]
            hints.top_up(ASR)
            time.sleep(0.05)

    with _worker(tmp_path, heard, environment) as pid:
        until(lambda: stored() >= 5)
        os.kill(pid, signal.SIGKILL)
    given = _heard(heard)
    [row] = rows(database, "SELECT sum(recognised_ms) AS ms FROM jobs")
    kept_ms = int(str(row["ms"]))
    assert 0 < kept_ms < speech_ms
    # One chunk on the device, and one of each other slot on its way to the database.
    assert sum(given) - kept_ms <= SLOTS * max(given)
    for held in rows(database, "SELECT id FROM tasks WHERE state = 'running'"):
        expire(database, str(held["id"]))
    leases.take_back(database, AT_ONCE, EN)

    with _worker(tmp_path, heard, environment):
        until(lambda: not rows(database, "SELECT id FROM jobs WHERE finished_at IS NULL"))
    assert {row["status"] for row in rows(database, "SELECT status FROM jobs")} == {"completed"}
    # What was stored is never given to an engine again.
    assert sum(_heard(heard)[len(given) :]) == speech_ms - kept_ms


def _heard(file: Path) -> list[int]:
    """How long each chunk was that an engine was given, milliseconds."""
    return [int(line) for line in file.read_text("ascii").split()]
