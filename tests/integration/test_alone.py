"""Which task is to blame for a dead process: the last try of a task has a process to itself."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from hearsight.stack.ports import HOST
from hearsight_core.broker import HintSender, celery_app
from hearsight_core.contract import Hint, JobStatus
from hearsight_core.errors import DeviceFailedError, RecognitionError
from hearsight_core.lease import Lease
from hearsight_core.progress import News
from hearsight_core.settings import WorkerSettings
from hearsight_core.store import leases, listing, outcomes
from hearsight_core.store.database import Database
from hearsight_core.worker import EXIT_CODES, Worker
from tests.store import (
    ASR,
    AT_ONCE,
    EN,
    accepted,
    claim,
    claimed,
    cut,
    die_alone,
    expire,
    recognise,
    rows,
    states,
)

ENDS_S = 60


def _take_back(database: Database) -> list[str]:
    """What the tasks were taken back for."""
    return [taken.error.code for taken in leases.take_back(database, AT_ONCE, EN)]


def test_no_task_is_given_up_for_a_process_that_it_shared(database: Database) -> None:
    job, parts = cut(database, parts=2)
    for _ in range(AT_ONCE.max_failures * 2):
        for part in parts:
            expire(database, claimed(database, part).task.id)
        assert _take_back(database) == ["worker.lost"] * 2
    assert listing.get(database, job.id).status is JobStatus.PROCESSING
    found = rows(database, "SELECT failures FROM tasks WHERE kind = 'transcribe'")
    assert [row["failures"] for row in found] == [AT_ONCE.max_failures - 1] * 2


def test_a_task_that_ends_its_process_alone_is_given_up_and_the_others_are_not(
    database: Database,
) -> None:
    guilty, [poison] = cut(database, parts=1)
    innocent, [other] = cut(database, parts=1)
    for _ in range(AT_ONCE.max_failures - 1):
        for part in (poison, other):
            expire(database, claimed(database, part).task.id)
        _take_back(database)
    die_alone(database, claimed(database, poison).task)
    _take_back(database)
    failed = listing.get(database, guilty.id)
    assert (failed.status, failed.error_code) == (JobStatus.FAILED, "worker.lost")
    last = claimed(database, other)
    recognise(database, last)
    assert outcomes.finish(database, last.task, EN).id == innocent.id
    assert listing.get(database, innocent.id).status is JobStatus.COMPLETED


def test_a_failure_of_its_own_counts_however_many_share_the_process(database: Database) -> None:
    job, [part] = cut(database, parts=1)
    for _ in range(AT_ONCE.max_failures):
        outcomes.fail(database, claimed(database, part).task, RecognitionError(), AT_ONCE, EN)
    assert listing.get(database, job.id).error_code == "asr.failed"


def test_solitude_ends_with_its_attempt(database: Database) -> None:
    _, [part] = cut(database, parts=1)
    for _ in range(AT_ONCE.max_failures - 1):
        die_alone(database, claimed(database, part).task)
        _take_back(database)
    expire(database, claimed(database, part).task.id)
    _take_back(database)
    assert claim(database, part) is not None


def test_a_task_on_its_last_try_after_losses_wants_to_be_alone(database: Database) -> None:
    _, [part] = cut(database, parts=1)
    wanted = []
    for error in (DeviceFailedError(), RecognitionError(), DeviceFailedError()):
        task = claimed(database, part).task
        wanted.append(AT_ONCE.wants_alone(task))
        outcomes.fail(database, task, error, AT_ONCE, EN)
    wanted.append(AT_ONCE.wants_alone(claimed(database, part).task))
    assert wanted == [False, False, False, True]


@pytest.fixture
def worker(database: Database, news: News, broker_url: str) -> Iterator[Worker]:
    settings = WorkerSettings(broker_url=broker_url, lease_s=30, heartbeat_s=0.2)
    made = Worker(
        queue=ASR,
        slots=3,
        settings=settings,
        database=database,
        news=news,
        hints=HintSender(celery_app(settings), database, settings),
    )
    made.start()
    yield made
    made.close()


def _hint(database: Database, task_id: str) -> Hint:
    [row] = rows(database, "SELECT attempt FROM tasks WHERE id = CAST(:id AS uuid)", id=task_id)
    return Hint(task_id=task_id, attempt=int(str(row["attempt"])))


def _lost_twice(database: Database, task_id: str) -> None:
    for _ in range(AT_ONCE.max_failures - 1):
        expire(database, claimed(database, task_id).task.id)
        _take_back(database)


def _until_told(lease: Lease) -> None:
    while True:
        lease.check()
        time.sleep(0.01)


def test_for_a_last_try_the_others_give_way_and_nobody_comes_in(
    database: Database, worker: Worker
) -> None:
    _, [first, suspect, late] = cut(database, parts=3)
    _lost_twice(database, suspect)
    at_work, alone, go_on = threading.Event(), threading.Event(), threading.Event()
    came: list[str] = []

    def busy(lease: Lease) -> None:
        at_work.set()
        _until_told(lease)

    def suspected(_: Lease) -> None:
        came.append("suspect")
        alone.set()
        assert go_on.wait(ENDS_S)

    def latecomer(_: Lease) -> None:
        came.append("late")

    with ThreadPoolExecutor(3) as pool:
        one = pool.submit(worker.run, _hint(database, first), busy)
        assert at_work.wait(ENDS_S)
        two = pool.submit(worker.run, _hint(database, suspect), suspected)
        assert alone.wait(ENDS_S)
        outcome = one.result(ENDS_S)
        assert outcome is not None
        assert outcome["outcome"] == "given_back"
        [row] = rows(database, "SELECT id, alone FROM tasks WHERE state = 'running'")
        assert (str(row["id"]), row["alone"]) == (suspect, True)
        three = pool.submit(worker.run, _hint(database, late), latecomer)
        time.sleep(0.5)
        assert came == ["suspect"]
        go_on.set()
        two.result(ENDS_S)
        three.result(ENDS_S)
    assert came == ["suspect", "late"]
    found = rows(database, "SELECT failures FROM tasks WHERE id = CAST(:id AS uuid)", id=first)
    assert found == [{"failures": 0}]


def test_of_two_last_tries_in_one_process_one_goes_back(database: Database, worker: Worker) -> None:
    _, [one, other] = cut(database, parts=2)
    for part in (one, other):
        _lost_twice(database, part)
    go_on, inside = threading.Event(), threading.Semaphore(0)

    def suspected(_: Lease) -> None:
        inside.release()
        assert go_on.wait(ENDS_S)

    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(worker.run, _hint(database, part), suspected) for part in (one, other)]
        assert inside.acquire(timeout=ENDS_S)
        time.sleep(0.5)
        assert rows(database, "SELECT count(*) AS n FROM tasks WHERE alone") == [{"n": 1}]
        go_on.set()
        outcomes_of = [run.result(ENDS_S) for run in runs]
    ended = sorted(str(outcome and outcome["outcome"]) for outcome in outcomes_of)
    # The second was either held at the door until the first was done, or had come in and went back.
    assert ended in (["done", "done"], ["done", "given_back"])


def test_who_waits_at_the_door_leaves_when_the_process_drains(
    database: Database, worker: Worker
) -> None:
    _, [suspect, late] = cut(database, parts=2)
    _lost_twice(database, suspect)
    alone = threading.Event()

    def suspected(lease: Lease) -> None:
        alone.set()
        _until_told(lease)

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(worker.run, _hint(database, suspect), suspected)
        assert alone.wait(ENDS_S)
        two = pool.submit(worker.run, _hint(database, late), _until_told)
        worker.drain()
        assert two.result(ENDS_S) is None
        outcome = one.result(ENDS_S)
    assert outcome is not None
    assert outcome["outcome"] == "given_back"


GiveUp = Callable[[str], tuple[int, str, list[str]]]


@pytest.fixture
def give_up(database: Database, database_url: str, broker_url: str, redis_url: str) -> GiveUp:
    """A worker that ends itself with two tasks in work: its exit code, words, and their job ids."""

    def run(how: str) -> tuple[int, str, list[str]]:
        tasks = [accepted(database).task_id for _ in range(2)]
        ended = subprocess.run(
            [sys.executable, "-m", "tests.servers.giving_up", how, *tasks],
            env={
                **os.environ,
                "HEARSIGHT_DATABASE_URL": database_url,
                "HEARSIGHT_BROKER_URL": broker_url,
                "HEARSIGHT_REDIS_URL": redis_url,
                "HEARSIGHT_METRICS_HOST": HOST,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=ENDS_S * 2,
        )
        return ended.returncode, ended.stdout, tasks

    return run


@pytest.mark.parametrize(
    ("how", "code"), [("hang", "asr.hung"), ("device", "asr.device_failed")], ids=["hung", "device"]
)
def test_a_process_that_gives_itself_up_leaves_the_reason(
    database: Database, give_up: GiveUp, how: str, code: str
) -> None:
    exit_code, words, tasks = give_up(how)
    assert exit_code == EXIT_CODES[code], words
    assert leases.live_slots(database, "download", within_s=600) == 0
    for task_id in tasks:
        expire(database, task_id)
    assert _take_back(database) == [code] * 2
    found = rows(database, "SELECT job_id, error_code, failures FROM tasks")
    assert [(row["error_code"], row["failures"]) for row in found] == [(code, 1)] * 2
    assert [states(database, int(str(row["job_id"]))) for row in found] == [["waiting"]] * 2


def test_a_process_that_hangs_says_where_every_thread_is(give_up: GiveUp) -> None:
    _, words, _ = give_up("hang")
    assert "the engine hangs" in words
    assert "heartbeat" in words
    assert "giving_up.py" in words


def test_a_process_that_hangs_with_pythons_lock_is_ended_too(give_up: GiveUp) -> None:
    exit_code, words, _ = give_up("hang holding the lock")
    assert exit_code == 1
    assert "giving_up.py" in words
