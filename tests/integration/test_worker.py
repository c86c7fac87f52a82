"""One task in a worker: claimed, renewed, given back, stopped, lost, tried again; no Celery."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

import pytest

from hearsight.stack.ports import free_port
from hearsight_core.broker import HintSender, celery_app
from hearsight_core.contract import Hint, JobStatus, Stage
from hearsight_core.errors import CorruptError, DnsError, LeaseLost
from hearsight_core.jobs import Job
from hearsight_core.lease import Lease
from hearsight_core.progress import News
from hearsight_core.settings import WorkerSettings
from hearsight_core.store import control, leases, listing, work
from hearsight_core.store import database as database_module
from hearsight_core.store.database import Database
from hearsight_core.store.outcomes import RetryPolicy
from hearsight_core.telemetry.metrics import (
    ATTEMPTS,
    JOB_SECONDS,
    JOBS_FINISHED,
    RETRIES,
    TASK_WAIT_SECONDS,
    TASKS_RUNNING,
)
from hearsight_core.worker import Worker
from tests.conftest import PostgresServer
from tests.store import ASR, AT_ONCE, DOWNLOAD, EN, accepted, claimed, cut, expire, rows, states

HEARTBEAT_S = 0.1

Make = Callable[..., Worker]
Outage = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def settings(broker_url: str, redis_url: str) -> WorkerSettings:
    return WorkerSettings(
        broker_url=broker_url,
        redis_url=redis_url,
        lease_s=30,
        heartbeat_s=HEARTBEAT_S,
        max_failures=3,
        retry_backoff_s=0,
    )


@pytest.fixture
def make(database: Database, news: News, settings: WorkerSettings) -> Iterator[Make]:
    """Makes workers that have signed on, and ends them."""
    made: list[Worker] = []

    def worker(
        *, queue: str = DOWNLOAD, slots: int = 2, told: News = news, **changes: object
    ) -> Worker:
        chosen = settings.model_copy(update=changes)
        made.append(
            Worker(
                queue=queue,
                slots=slots,
                settings=chosen,
                database=database,
                news=told,
                hints=HintSender(celery_app(chosen), database, chosen),
            )
        )
        made[-1].start()
        return made[-1]

    yield worker
    for one in made:
        one.close()


@pytest.fixture
def worker(make: Make) -> Worker:
    return make()


@pytest.fixture
def hint(database: Database) -> Hint:
    """A hint for the download of a new job."""
    return Hint(task_id=accepted(database).task_id, attempt=0)


@pytest.fixture
def outage(postgres_server: PostgresServer, database_url: str) -> Outage:
    """PostgreSQL cuts every connection to the test's database and takes none, for a while."""
    name = database_url.rpartition("/")[2]

    @contextmanager
    def away() -> Iterator[None]:
        postgres_server.run(
            f"ALTER DATABASE {name} ALLOW_CONNECTIONS false",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",  # noqa: S608  a name of our own
        )
        try:
            yield
        finally:
            postgres_server.run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

    return away


def _forever(lease: Lease) -> None:
    """Work that ends at a checkpoint alone."""
    while True:
        lease.check()
        time.sleep(0.01)


@contextmanager
def _running(
    worker: Worker, hint: Hint, what: Callable[[Lease], None] = _forever
) -> Iterator["Running"]:
    """The worker at its task, in a thread of its own, from its first step on."""
    begun = threading.Event()

    def work_on(lease: Lease) -> None:
        begun.set()
        what(lease)

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(worker.run, hint, work_on)
        assert begun.wait(20)
        yield Running(lambda: future.result(60))


class Running:
    """A task in work; `outcome` waits until it has ended."""

    def __init__(self, outcome: Callable[[], dict[str, object] | None]) -> None:
        self.outcome = outcome


def _job(database: Database, hint: Hint) -> Job:
    [row] = rows(database, "SELECT job_id FROM tasks WHERE id = CAST(:id AS uuid)", id=hint.task_id)
    return listing.get(database, int(str(row["job_id"])))


def _finish_cut(database: Database) -> Callable[[Lease], None]:
    def work_on(lease: Lease) -> None:
        work.finish_cut(database, lease.task, 1000)

    return work_on


def test_work_that_ends_is_done_recorded_and_told(
    database: Database, worker: Worker, hint: Hint, news: News
) -> None:
    before = ATTEMPTS.labels(queue=DOWNLOAD, outcome="done")._value.get()
    outcome = worker.run(hint, _finish_cut(database))
    job = _job(database, hint)
    assert outcome == {"job_id": job.id, "outcome": "done", "status": "completed"}
    assert job.status is JobStatus.COMPLETED
    snapshot = news.snapshot(job.id)
    assert snapshot is not None
    assert (snapshot.status, snapshot.version) == (JobStatus.COMPLETED, job.version)
    assert ATTEMPTS.labels(queue=DOWNLOAD, outcome="done")._value.get() == before + 1
    assert TASKS_RUNNING.labels(queue=DOWNLOAD)._value.get() == 0


def test_a_claim_is_told_before_the_work_begins(
    database: Database, worker: Worker, hint: Hint, news: News
) -> None:
    told: list[object] = []

    def work_on(lease: Lease) -> None:
        snapshot = news.snapshot(lease.job.id)
        told.append(snapshot and snapshot.status)
        work.finish_cut(database, lease.task, 1000)

    worker.run(hint, work_on)
    assert told == [JobStatus.PROCESSING]


def test_a_stale_hint_begins_nothing(database: Database, worker: Worker, hint: Hint) -> None:
    claimed(database, hint.task_id, owner="another")
    begun: list[Lease] = []
    assert worker.run(hint, begun.append) is None
    assert begun == []


def test_a_worker_that_drains_gives_its_task_back_without_a_failure(
    database: Database, make: Make, hint: Hint
) -> None:
    first, second = make(), make()
    with _running(first, hint) as running:
        first.drain()
        outcome = running.outcome()
    assert outcome is not None
    assert outcome["outcome"] == "given_back"
    assert first.ready() == "draining"
    assert first.healthy() is None
    again = Hint(task_id=hint.task_id, attempt=1)
    assert first.run(again, _forever) is None
    assert second.run(again, _finish_cut(database)) is not None
    assert _job(database, hint).attempt == 1


def test_a_draining_worker_is_not_reckoned_with(database: Database, worker: Worker) -> None:
    assert leases.live_slots(database, DOWNLOAD, within_s=30) == 2
    worker.drain()
    _wait_for(lambda: leases.live_slots(database, DOWNLOAD, within_s=30) == 0)


def test_a_cancel_reaches_the_work_with_the_next_heartbeat(
    database: Database, worker: Worker, hint: Hint, news: News
) -> None:
    with _running(worker, hint) as running:
        job = control.cancel(database, _job(database, hint).id, EN)
        assert job.status is JobStatus.PROCESSING
        outcome = running.outcome()
    assert outcome == {"job_id": job.id, "outcome": "stopped", "status": "cancelled"}
    snapshot = news.snapshot(job.id)
    assert snapshot is not None
    assert snapshot.status is JobStatus.CANCELLED


def test_a_write_sees_a_cancel_before_the_next_heartbeat(
    database: Database, make: Make, hint: Hint
) -> None:
    def work_on(lease: Lease) -> None:
        control.cancel(database, lease.job.id, EN)
        lease.check()
        lease.saw(work.report(database, lease.task, Stage.DOWNLOAD, 5, ""))
        lease.check()
        pytest.fail("the checkpoint let a cancelled job pass")

    outcome = make(heartbeat_s=20).run(hint, work_on)
    assert outcome is not None
    assert (outcome["outcome"], outcome["status"]) == ("stopped", "cancelled")


def test_only_the_cancelled_task_stops(database: Database, worker: Worker) -> None:
    hints = [Hint(task_id=accepted(database).task_id, attempt=0) for _ in range(2)]
    go_on = threading.Event()

    def until_told(lease: Lease) -> None:
        while not go_on.is_set():
            lease.check()
            time.sleep(0.01)
        work.finish_cut(database, lease.task, 1000)

    with _running(worker, hints[0], until_told) as first, _running(worker, hints[1]) as second:
        control.cancel(database, _job(database, hints[1]).id, EN)
        stopped = second.outcome()
        go_on.set()
        done = first.outcome()
    assert stopped is not None
    assert stopped["outcome"] == "stopped"
    assert done is not None
    assert done["outcome"] == "done"


def test_a_deleted_job_stops_its_work(database: Database, worker: Worker, hint: Hint) -> None:
    with _running(worker, hint) as running:
        job_id = _job(database, hint).id
        control.mark_deleted(database, job_id, EN)
        outcome = running.outcome()
    assert outcome is not None
    assert outcome["outcome"] == "stopped"
    assert control.purgeable(database) == [(job_id, None)]


def test_work_longer_than_its_lease_keeps_it(database: Database, make: Make, hint: Hint) -> None:
    def work_on(lease: Lease) -> None:
        for _ in range(30):
            time.sleep(0.05)
            lease.check()
        assert leases.take_back(database, AT_ONCE, EN) == []
        work.finish_cut(database, lease.task, 1000)

    outcome = make(lease_s=1).run(hint, work_on)
    assert outcome is not None
    assert outcome["outcome"] == "done"


def test_a_worker_whose_task_was_taken_over_stops_and_records_nothing(
    database: Database, worker: Worker, hint: Hint
) -> None:
    with _running(worker, hint) as running:
        # As if this worker had been cut off: between two of its heartbeats another takes over.
        with database.begin() as connection:
            connection.exec_driver_sql("LOCK TABLE workers IN SHARE MODE")
            _take_over(database, hint)
        assert running.outcome() is None
    [row] = rows(database, "SELECT state, owner, attempt, failures FROM tasks")
    assert row == {"state": "running", "owner": "another", "attempt": 2, "failures": 1}


def _take_over(database: Database, hint: Hint) -> None:
    expire(database, hint.task_id)
    leases.take_back(database, AT_ONCE, EN)
    claimed(database, hint.task_id, owner="another")


def test_work_that_ends_after_it_was_taken_over_changes_nothing(
    database: Database, make: Make, hint: Hint
) -> None:
    def work_on(lease: Lease) -> None:
        work.finish_cut(database, lease.task, 1000)
        _take_over(database, hint)

    assert make(heartbeat_s=20).run(hint, work_on) is None
    assert _job(database, hint).status is JobStatus.PROCESSING
    assert states(database, _job(database, hint).id) == ["running"]


def test_a_write_of_a_stale_attempt_ends_the_work(
    database: Database, make: Make, hint: Hint
) -> None:
    def work_on(lease: Lease) -> None:
        _take_over(database, hint)
        with pytest.raises(LeaseLost):
            work.report(database, lease.task, Stage.DOWNLOAD, 5, "")
        work.report(database, lease.task, Stage.DOWNLOAD, 5, "")

    assert make(heartbeat_s=20).run(hint, work_on) is None


def test_an_error_that_may_pass_is_tried_again(
    database: Database, worker: Worker, hint: Hint, news: News
) -> None:
    def fail(_: Lease) -> None:
        raise DnsError(host="example.org")

    outcome = worker.run(hint, fail)
    assert outcome is not None
    assert (outcome["outcome"], outcome["status"]) == ("network.dns", "processing")
    job = _job(database, hint)
    snapshot = news.snapshot(job.id)
    assert snapshot is not None
    assert "attempt 2 of 3" in snapshot.message
    again = worker.run(Hint(task_id=hint.task_id, attempt=1), _finish_cut(database))
    assert again is not None
    assert again["status"] == "completed"


def test_an_error_that_stays_fails_the_job(worker: Worker, hint: Hint) -> None:
    def fail(_: Lease) -> None:
        raise CorruptError

    outcome = worker.run(hint, fail)
    assert outcome is not None
    assert (outcome["outcome"], outcome["status"]) == ("media.corrupt", "failed")


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("by zero"), ValueError("a NUL \x00"), KeyError("half \ud83d")]
)
def test_what_nobody_foresaw_is_a_failed_attempt(
    database: Database, worker: Worker, hint: Hint, error: Exception
) -> None:
    def fail(_: Lease) -> None:
        raise error

    outcome = worker.run(hint, fail)
    assert outcome is not None
    assert (outcome["outcome"], outcome["status"]) == ("internal.unexpected", "processing")
    [row] = rows(database, "SELECT error_code, error FROM tasks")
    assert row["error_code"] == "internal.unexpected"
    assert type(error).__name__ in str(row["error"])


def test_redis_away_is_no_reason_not_to_work(database: Database, make: Make, hint: Hint) -> None:
    nowhere = f"redis://127.0.0.1:{free_port()}"
    told = News(f"{nowhere}/1")
    worker = make(told=told, broker_url=f"{nowhere}/0", redis_url=f"{nowhere}/1")
    outcome = worker.run(hint, _finish_cut(database))
    assert outcome is not None
    assert outcome["status"] == "completed"
    told.close()


@pytest.mark.timeout(120)
def test_an_outcome_waits_for_postgresql(
    database: Database, worker: Worker, hint: Hint, outage: Outage
) -> None:
    cut_off, done = threading.Event(), threading.Event()

    def work_on(lease: Lease) -> None:
        work.finish_cut(database, lease.task, 1000)
        done.set()
        assert cut_off.wait(30)

    with _running(worker, hint, work_on) as running:
        assert done.wait(20)
        with outage():
            cut_off.set()
            time.sleep(1.5)
        outcome = running.outcome()
    assert outcome is not None
    assert (outcome["outcome"], outcome["status"]) == ("done", "completed")
    assert worker.healthy() is None


@pytest.mark.timeout(120)
def test_a_worker_without_postgresql_for_longer_than_its_lease_lets_the_task_go(
    database: Database, make: Make, hint: Hint, outage: Outage
) -> None:
    worker = make(lease_s=1)
    with _running(worker, hint) as running, outage():
        assert running.outcome() is None
        assert worker.ready() is not None
        assert worker.healthy() is None
    _wait_for(lambda: worker.ready() is None)
    _wait_for(lambda: len(leases.take_back(database, AT_ONCE, EN)) == 1)
    assert _job(database, hint).status is JobStatus.PROCESSING


@pytest.mark.timeout(120)
def test_a_hint_that_comes_while_postgresql_is_away_is_left_to_be_sent_again(
    *,
    database: Database,
    database_url: str,
    news: News,
    settings: WorkerSettings,
    hint: Hint,
    outage: Outage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database_module, "CONNECT_TIMEOUT_S", 1)
    impatient = Database(database_url, pool_size=2, application="hearsight-test-worker")
    hints = HintSender(celery_app(settings), impatient, settings)
    worker = Worker(
        queue=DOWNLOAD, slots=1, settings=settings, database=impatient, news=news, hints=hints
    )
    worker.start()
    with outage():
        assert worker.run(hint, _forever) is None
    worker.close()
    impatient.close()
    assert states(database, _job(database, hint).id) == ["waiting"]


def test_a_worker_that_ends_signs_off(
    database: Database, news: News, settings: WorkerSettings
) -> None:
    hints = HintSender(celery_app(settings), database, settings)
    worker = Worker(
        queue=ASR, slots=3, settings=settings, database=database, news=news, hints=hints
    )
    worker.start()
    assert leases.live_slots(database, ASR, within_s=30) == 3
    assert worker.ready() is None
    worker.close()
    assert leases.live_slots(database, ASR, within_s=30) == 0
    assert worker.healthy() == "the heartbeat thread has ended"


def test_a_finished_task_lets_the_next_hint_go(
    database: Database, worker: Worker, hint: Hint
) -> None:
    another = accepted(database).task_id
    worker.run(hint, _finish_cut(database))
    worker.top_ups.close()  # which sends what was asked for
    [row] = rows(
        database,
        "SELECT hinted_at IS NOT NULL AS hinted FROM tasks WHERE id = CAST(:id AS uuid)",
        id=another,
    )
    assert row["hinted"] is True


def test_one_worker_does_many_tasks_at_once(database: Database, make: Make) -> None:
    worker = make(slots=8)
    together = threading.Barrier(8, timeout=30)

    def work_on(lease: Lease) -> None:
        together.wait()
        lease.check()
        work.finish_cut(database, lease.task, 1000)

    hints = [Hint(task_id=accepted(database).task_id, attempt=0) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        ends = list(pool.map(lambda one: worker.run(one, work_on), hints))
    assert [end and end["status"] for end in ends] == ["completed"] * 8


def test_a_job_that_ends_is_counted_once_by_who_ended_it(database: Database, make: Make) -> None:
    failed = JOBS_FINISHED.labels(status="failed", code="media.corrupt")._value
    seconds = JOB_SECONDS.labels(status="failed")._sum
    before = failed.get(), seconds.get()
    job, parts = cut(database, parts=2)
    worker = make(queue=ASR)

    def fail(_: Lease) -> None:
        raise CorruptError

    with _running(worker, Hint(task_id=parts[0], attempt=0)) as running:
        worker.run(Hint(task_id=parts[1], attempt=0), fail)
        outcome = running.outcome()
    assert outcome is not None
    assert (outcome["outcome"], outcome["status"]) == ("stopped", "failed")
    assert listing.get(database, job.id).status is JobStatus.FAILED
    assert failed.get() == before[0] + 1
    assert seconds.get() > before[1]


def test_a_try_again_is_counted_by_its_reason_and_the_wait_from_when_it_was_due(
    database: Database, worker: Worker, hint: Hint
) -> None:
    def fail(_: Lease) -> None:
        raise DnsError(host="example.org")

    retries = RETRIES.labels(queue=DOWNLOAD, code="network.dns")._value
    waited = TASK_WAIT_SECONDS.labels(queue=DOWNLOAD)._sum
    before = retries.get(), waited.get()
    rows(database, "UPDATE tasks SET ready_at = now() - interval '1 hour' RETURNING id")
    worker.run(hint, fail)
    assert retries.get() == before[0] + 1
    assert 3600 <= waited.get() - before[1] < 3700
    worker.run(Hint(task_id=hint.task_id, attempt=1), _finish_cut(database))
    assert waited.get() - before[1] < 3700, "not since the job was accepted"


def test_settings_say_how_to_try_again(settings: WorkerSettings) -> None:
    policy = RetryPolicy.of(settings)
    assert (policy.max_failures, policy.backoff_s, policy.backoff_max_s) == (3, 0, 300)


def test_a_part_lost_by_a_worker_that_hangs_is_taken_by_another(
    database: Database, make: Make, hint: Hint
) -> None:
    hung = make()
    with _running(hung, hint) as running:
        hung._ended.set()  # its heartbeat stops, as in a process that the machine has frozen
        hung._thread.join()
        expire(database, hint.task_id)
        leases.take_back(database, AT_ONCE, EN)
        other = make()
        outcome = other.run(Hint(task_id=hint.task_id, attempt=1), _finish_cut(database))
        hung.drain()
        assert running.outcome() is None
    assert outcome is not None
    assert outcome["status"] == "completed"


def _wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "it did not come about within 30 s"
        time.sleep(0.02)
