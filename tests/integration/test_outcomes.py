"""However an attempt ends, the job ends when and as it should, and never hangs."""

import itertools
import random
from collections.abc import Callable
from functools import partial

import pytest

from hearsight_core.contract import JobStatus, Stage
from hearsight_core.errors import (
    CorruptError,
    DnsError,
    HearSightError,
    LeaseLost,
    RecognitionError,
    UnexpectedError,
)
from hearsight_core.jobs import Job, Task
from hearsight_core.store import control, leases, listing, outcomes, work
from hearsight_core.store.database import Database
from hearsight_core.store.outcomes import RetryPolicy
from tests.integration.conftest import Together
from tests.store import (
    AT_ONCE,
    CHUNK_MS,
    EN,
    accepted,
    add_part,
    claimed,
    cut,
    downloading,
    expire,
    fetched,
    recognise,
    rows,
    states,
    transcribed,
)


def _failed(database: Database, task: Task, error: HearSightError | None = None) -> Job:
    return outcomes.fail(database, task, error or RecognitionError(), AT_ONCE, EN)


OUTCOMES: dict[str, Callable[[Database, Task], Job]] = {
    "finish": lambda database, task: outcomes.finish(database, task, EN),
    "let_go": lambda database, task: outcomes.let_go(database, task, EN),
    "fail": _failed,
}


@pytest.mark.parametrize("outcome", OUTCOMES.values(), ids=OUTCOMES.keys())
@pytest.mark.parametrize("how", ["taken back", "taken over", "let go", "purged"])
def test_a_stale_attempt_records_nothing(
    database: Database, outcome: Callable[[Database, Task], Job], how: str
) -> None:
    stale = downloading(database).task
    if how == "let go":
        outcomes.let_go(database, stale, EN)
    else:
        if how == "purged":
            control.mark_deleted(database, stale.job_id, EN)
        expire(database, stale.id)
        leases.take_back(database, AT_ONCE, EN)
    if how == "taken over":
        claimed(database, stale.id, owner="another")
    if how == "purged":
        control.purge(database, stale.job_id)
    before = rows(database, "SELECT * FROM tasks"), rows(database, "SELECT * FROM jobs")
    with pytest.raises(LeaseLost):
        outcome(database, stale)
    assert (rows(database, "SELECT * FROM tasks"), rows(database, "SELECT * FROM jobs")) == before


def test_no_outcome_is_recorded_twice(database: Database) -> None:
    _, [task_id] = cut(database, parts=1)
    part = claimed(database, task_id).task
    outcomes.finish(database, part, EN)
    for name, outcome in OUTCOMES.items():
        if name != "finish":
            with pytest.raises(LeaseLost):
                outcome(database, part)


def test_who_missed_the_answer_to_its_finish_learns_that_it_counts(database: Database) -> None:
    _, [task_id] = cut(database, parts=1)
    part = claimed(database, task_id).task
    first = outcomes.finish(database, part, EN)
    before = rows(database, "SELECT * FROM tasks"), rows(database, "SELECT * FROM jobs")
    again = outcomes.finish(database, part, EN)
    assert (again.id, again.status, again.version) == (first.id, first.status, first.version)
    assert (rows(database, "SELECT * FROM tasks"), rows(database, "SELECT * FROM jobs")) == before


def test_a_job_without_speech_completes_with_its_download(database: Database) -> None:
    job, _ = cut(database, parts=0)
    assert (job.status, job.stage, job.overall_percent) == (
        JobStatus.COMPLETED,
        Stage.COMPLETED,
        100,
    )
    assert job.message == "Completed: no speech was found"
    assert job.finished_at is not None


def test_a_job_completes_with_its_last_part_not_before(database: Database) -> None:
    job, ids = cut(database, parts=3)
    assert job.status is JobStatus.PROCESSING
    ends = [transcribed(database, task_id).status for task_id in ids]
    assert ends == [JobStatus.PROCESSING, JobStatus.PROCESSING, JobStatus.COMPLETED]
    assert listing.get(database, job.id).message == "Completed"


def test_a_job_whose_parts_end_before_its_cut_completes_with_the_cut(database: Database) -> None:
    download = downloading(database).task
    ids = [add_part(database, download, index) for index in range(2)]
    for task_id in ids:
        assert transcribed(database, task_id).status is JobStatus.PROCESSING
    work.finish_cut(database, download, 4 * CHUNK_MS)
    assert listing.get(database, download.job_id).status is JobStatus.PROCESSING
    assert outcomes.finish(database, download, EN).status is JobStatus.COMPLETED


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_order_in_which_tasks_end_does_not_matter(
    database: Database, order: tuple[int, ...]
) -> None:
    download = downloading(database).task
    parts = [claimed(database, add_part(database, download, index)).task for index in range(2)]
    work.finish_cut(database, download, 4 * CHUNK_MS)
    tasks = [download, *parts]
    ends = [outcomes.finish(database, tasks[place], EN).status for place in order]
    assert ends == [JobStatus.PROCESSING, JobStatus.PROCESSING, JobStatus.COMPLETED]


@pytest.mark.parametrize("seed", range(3))
def test_parts_ended_by_many_threads_complete_the_job_once(
    database: Database, together: Together, seed: int
) -> None:
    download = downloading(database).task
    ids = [add_part(database, download, index) for index in range(8)]
    random.Random(seed).shuffle(ids)  # noqa: S311  any order will do
    work.finish_cut(database, download, 16 * CHUNK_MS)

    def worker(mine: list[str]) -> list[JobStatus]:
        return [transcribed(database, task_id).status for task_id in mine]

    calls: list[Callable[[], list[JobStatus]]] = [partial(worker, ids[n::4]) for n in range(4)]
    calls.append(lambda: [outcomes.finish(database, download, EN).status])
    ends = together(calls)
    assert [status for one in ends for status in one].count(JobStatus.COMPLETED) == 1
    assert listing.get(database, download.job_id).status is JobStatus.COMPLETED
    assert states(database, download.job_id) == ["done"] * 9


def test_a_failure_waits_and_is_tried_again(database: Database) -> None:
    download = downloading(database).task
    job = _failed(database, download, DnsError(host="example.org"))
    assert (job.status, job.error_code) == (JobStatus.PROCESSING, None)
    assert "example.org" in job.message
    assert "attempt 2 of 3" in job.message
    assert states(database, job.id) == ["waiting"]


def test_a_task_that_used_up_its_tries_fails_its_job_with_the_last_error(
    database: Database,
) -> None:
    made = accepted(database)
    errors = [DnsError(host="a.org"), UnexpectedError(), DnsError(host="z.org")]
    for error in errors:
        job = _failed(database, claimed(database, made.task_id).task, error)
    assert (job.status, job.stage, job.error_code) == (
        JobStatus.FAILED,
        Stage.ERROR,
        "network.dns",
    )
    assert job.error is not None
    assert "z.org" in job.error
    assert job.message == job.error


def test_an_error_that_stays_is_not_tried_again(database: Database) -> None:
    job = _failed(database, downloading(database).task, CorruptError())
    assert (job.status, job.error_code) == (JobStatus.FAILED, "media.corrupt")


def test_a_failed_job_lets_nothing_wait(database: Database) -> None:
    job, ids = cut(database, parts=3)
    transcribed(database, ids[0])
    job = _failed(database, claimed(database, ids[1]).task, CorruptError())
    assert job.status is JobStatus.FAILED
    assert states(database, job.id) == ["done", "done", "failed", "cancelled"]


def test_the_overall_percentage_stays_where_the_job_failed(database: Database) -> None:
    download = downloading(database).task
    fetched(database, download)
    first, second = (add_part(database, download, index) for index in range(2))
    before = transcribed(database, first).overall_percent
    job = _failed(database, claimed(database, second).task, CorruptError())
    assert before > 34
    assert job.overall_percent >= before


@pytest.mark.parametrize(
    "text", ["a NUL \x00 byte", "half a pair \ud83d"], ids=["nul", "surrogate"]
)
def test_an_error_s_words_are_recorded_whatever_they_hold(database: Database, text: str) -> None:
    job = _failed(database, downloading(database).task, CorruptError(detail=text))
    assert job.status is JobStatus.FAILED
    assert text[:6] in (job.error or "")


def test_what_is_given_back_is_no_failure_and_waits_at_once(database: Database) -> None:
    download = downloading(database).task
    outcomes.let_go(database, download, EN)
    again = claimed(database, download.id)
    assert (again.task.attempt, again.task.failures, again.job.attempt) == (2, 0, 1)


def test_what_is_given_back_by_a_cancelled_job_s_worker_ends_the_job(database: Database) -> None:
    download = downloading(database).task
    control.cancel(database, download.job_id, EN)
    job = outcomes.let_go(database, download, EN)
    assert job.status is JobStatus.CANCELLED
    assert states(database, job.id) == ["cancelled"]


def test_what_is_given_back_to_a_failed_job_does_not_wait_forever(database: Database) -> None:
    _, ids = cut(database, parts=2)
    first, second = (claimed(database, task_id).task for task_id in ids)
    _failed(database, first, CorruptError())
    job = outcomes.let_go(database, second, EN)
    assert job.status is JobStatus.FAILED
    assert states(database, job.id) == ["done", "failed", "cancelled"]


def test_a_failure_after_a_cancel_is_a_cancel(database: Database) -> None:
    download = downloading(database).task
    control.cancel(database, download.job_id, EN)
    job = _failed(database, download, CorruptError())
    assert (job.status, job.error_code) == (JobStatus.CANCELLED, None)


def test_a_part_that_ends_after_its_job_failed_keeps_its_segments_for_a_retry(
    database: Database,
) -> None:
    _, ids = cut(database, parts=2)
    first, second = (claimed(database, task_id) for task_id in ids)
    recognise(database, second)
    _failed(database, first.task, CorruptError())
    job = outcomes.finish(database, second.task, EN)
    assert job.status is JobStatus.FAILED
    control.retry(database, job.id, EN)
    assert transcribed(database, ids[0]).status is JobStatus.COMPLETED
    assert len(listing.transcript(database, job.id)) == 4


@pytest.mark.parametrize("failures", range(1, 12))
def test_the_pause_doubles_up_to_its_limit_and_keeps_half_of_it(failures: int) -> None:
    policy = RetryPolicy(max_failures=20, max_store_failures=20, backoff_s=5, backoff_max_s=300)
    ceiling = min(300, 5 * 2 ** (failures - 1))
    for _ in range(50):
        assert ceiling / 2 <= policy.delay_s(failures) <= ceiling


def test_the_pause_has_a_limit_however_often_a_task_failed() -> None:
    policy = RetryPolicy(
        max_failures=10**6, max_store_failures=10**6, backoff_s=5, backoff_max_s=300
    )
    assert policy.delay_s(100_000) <= 300


def test_the_pause_is_kept_by_the_database(database: Database) -> None:
    download = downloading(database).task
    policy = RetryPolicy(max_failures=3, max_store_failures=3, backoff_s=100, backoff_max_s=300)
    outcomes.fail(database, download, DnsError(host="example.org"), policy, EN)
    [row] = rows(
        database, "SELECT extract(epoch FROM ready_at - now()) AS pause, hinted_at FROM tasks"
    )
    assert 45 < float(str(row["pause"])) <= 100
    assert row["hinted_at"] is None


def test_a_task_that_gets_on_is_never_given_up(database: Database) -> None:
    _, [task_id] = cut(database, parts=1, chunks=9)
    for done in range(1, 9):
        part = claimed(database, task_id)
        recognise(database, part, chunks=done)
        failed = outcomes.fail(database, part.task, RecognitionError(), AT_ONCE, EN)
        assert failed.status is JobStatus.PROCESSING
        assert rows(database, "SELECT failures FROM tasks WHERE part_index = 0") == [
            {"failures": 1}
        ]


def test_a_task_that_fails_at_the_same_place_is_given_up(database: Database) -> None:
    _, [task_id] = cut(database, parts=1, chunks=9)
    part = claimed(database, task_id)
    recognise(database, part, chunks=3)
    outcomes.fail(database, part.task, RecognitionError(), AT_ONCE, EN)
    outcomes.fail(database, claimed(database, task_id).task, RecognitionError(), AT_ONCE, EN)
    last = outcomes.fail(database, claimed(database, task_id).task, RecognitionError(), AT_ONCE, EN)
    assert (last.status, last.error_code) == (JobStatus.FAILED, "asr.failed")
