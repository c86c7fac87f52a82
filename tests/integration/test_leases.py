"""A task belongs to one worker at a time, for as long as its lease holds."""

import uuid
from collections.abc import Callable
from functools import partial

import pytest

from hearsight_core.contract import Hint, JobStatus
from hearsight_core.errors import DnsError
from hearsight_core.jobs import Job
from hearsight_core.store import control, leases, listing, outcomes
from hearsight_core.store.database import Database
from hearsight_core.store.leases import Beat
from hearsight_core.store.outcomes import RetryPolicy
from tests.integration.conftest import Together
from tests.store import (
    ASR,
    AT_ONCE,
    DOWNLOAD,
    EN,
    LATER,
    accepted,
    add_part,
    claim,
    claimed,
    cut,
    die_alone,
    downloading,
    expire,
    recognise,
    rows,
    states,
    transcribed,
)


def _beat(
    database: Database, held: dict[str, int], *, owner: str = "worker", lease_s: float = 60
) -> Beat:
    return leases.heartbeat(database, owner=owner, queue=ASR, slots=2, held=held, lease_s=lease_s)


def _lease_left_s(database: Database, task_id: str) -> float:
    [row] = rows(
        database,
        "SELECT extract(epoch FROM lease_until - now()) AS left FROM tasks"
        " WHERE id = CAST(:id AS uuid)",
        id=task_id,
    )
    return float(str(row["left"]))


def _taken_back(database: Database, policy: RetryPolicy = AT_ONCE) -> list[Job]:
    return [taken.job for taken in leases.take_back(database, policy, EN)]


def test_a_claim_gives_task_job_and_part(database: Database) -> None:
    job, [task_id] = cut(database, parts=1)
    found = claimed(database, task_id)
    assert (found.task.id, found.task.attempt, found.job.id) == (task_id, 1, job.id)
    assert found.part is not None
    assert (found.part.index, found.part.chunks_done) == (0, 0)
    assert 50 < _lease_left_s(database, task_id) <= 60


def test_the_first_claim_starts_the_job(database: Database) -> None:
    made = accepted(database)
    job = claimed(database, made.task_id).job
    assert (job.status, job.attempt) == (JobStatus.PROCESSING, 1)
    assert job.started_at is not None


def test_of_many_threads_one_gets_the_task(database: Database, together: Together) -> None:
    hint = Hint(task_id=accepted(database).task_id, attempt=0)
    claims = [
        partial(leases.claim, database, hint, owner=f"worker-{n}", lease_s=60) for n in range(16)
    ]
    found = together(claims)
    [won] = [one for one in found if one is not None]
    assert won.task.attempt == 1


def test_a_doubled_hint_loses(database: Database) -> None:
    made = accepted(database)
    hint = Hint(task_id=made.task_id, attempt=0)
    assert leases.claim(database, hint, owner="first", lease_s=60) is not None
    assert leases.claim(database, hint, owner="second", lease_s=60) is None


def test_a_hint_of_an_earlier_attempt_loses(database: Database) -> None:
    download = downloading(database)
    outcomes.let_go(database, download.task, EN)
    stale = Hint(task_id=download.task.id, attempt=0)
    assert leases.claim(database, stale, owner="late", lease_s=60) is None
    assert claim(database, download.task.id) is not None


def test_a_hint_for_a_task_that_is_gone_loses(database: Database) -> None:
    hint = Hint(task_id=str(uuid.uuid4()), attempt=0)
    assert leases.claim(database, hint, owner="worker", lease_s=60) is None


def test_a_task_in_its_pause_can_not_be_claimed(database: Database) -> None:
    download = downloading(database)
    outcomes.fail(database, download.task, DnsError(host="example.org"), LATER, EN)
    assert claim(database, download.task.id) is None


def test_a_task_whose_worker_died_is_tried_again_at_once(database: Database) -> None:
    download = downloading(database)
    for _time in range(2):
        expire(database, download.task.id)
        assert len(_taken_back(database, LATER)) == 1
        assert claim(database, download.task.id) is not None


def test_nothing_of_a_cancelled_failed_or_deleted_job_can_be_claimed(database: Database) -> None:
    cancelled, deleted = accepted(database), accepted(database)
    control.cancel(database, cancelled.job.id, EN)
    control.mark_deleted(database, deleted.job.id, EN)
    for made in (cancelled, deleted):
        hint = Hint(task_id=made.task_id, attempt=0)
        assert leases.claim(database, hint, owner="worker", lease_s=60) is None


def test_a_claim_that_meets_a_purge_finds_nothing(database: Database, together: Together) -> None:
    for _ in range(5):
        made = accepted(database)
        hint = Hint(task_id=made.task_id, attempt=0)
        control.mark_deleted(database, made.job.id, EN)
        calls: list[Callable[[], object]] = [
            partial(leases.claim, database, hint, owner="worker", lease_s=60)
        ] * 4
        calls.append(partial(control.purge, database, made.job.id))
        assert together(calls) == [None] * 5


def test_a_heartbeat_renews_the_leases_it_names(database: Database) -> None:
    _, ids = cut(database, parts=2)
    first, second = (claimed(database, task_id, lease_s=5).task for task_id in ids)
    beat = _beat(database, {first.id: first.attempt})
    assert beat.held == {first.id}
    assert beat.stop == frozenset()
    assert _lease_left_s(database, first.id) > 50
    assert _lease_left_s(database, second.id) <= 5


def test_a_heartbeat_reports_what_another_worker_took_over(database: Database) -> None:
    mine = downloading(database).task
    expire(database, mine.id)
    _taken_back(database)
    theirs = claimed(database, mine.id, owner="another").task
    assert _beat(database, {mine.id: mine.attempt}).held == frozenset()
    assert _beat(database, {theirs.id: theirs.attempt}, owner="another").held == {mine.id}


def test_a_heartbeat_can_not_renew_under_another_name(database: Database) -> None:
    mine = downloading(database).task
    assert _beat(database, {mine.id: mine.attempt}, owner="another").held == frozenset()


def test_an_expired_lease_that_nobody_took_back_can_be_renewed(database: Database) -> None:
    mine = downloading(database).task
    expire(database, mine.id)
    assert _beat(database, {mine.id: mine.attempt}).held == {mine.id}
    assert _taken_back(database) == []


@pytest.mark.parametrize("how", ["cancel", "delete", "fail"])
def test_a_heartbeat_tells_to_stop(database: Database, how: str) -> None:
    download = downloading(database).task
    if how == "cancel":
        control.cancel(database, download.job_id, EN)
    elif how == "delete":
        control.mark_deleted(database, download.job_id, EN)
    else:
        part = claimed(database, add_part(database, download, 0), owner="asr")
        die_alone(database, part.task)
        _taken_back(
            database,
            RetryPolicy(max_failures=1, max_store_failures=1, backoff_s=0, backoff_max_s=0),
        )
    assert _beat(database, {download.id: download.attempt}) == Beat(
        held=frozenset({download.id}), stop=frozenset({download.id})
    )


def test_live_slots_are_those_of_workers_seen_lately(database: Database) -> None:
    for owner in ("one", "two"):
        _beat(database, {}, owner=owner)
    assert leases.live_slots(database, ASR, within_s=30) == 4
    assert leases.live_slots(database, DOWNLOAD, within_s=30) == 0
    rows(
        database,
        "UPDATE workers SET seen_at = now() - interval '1 minute' WHERE id = 'one' RETURNING id",
    )
    assert leases.live_slots(database, ASR, within_s=30) == 2
    assert leases.forget_workers(database, unseen_s=30) == 1
    leases.sign_off(database, "two")
    assert leases.live_slots(database, ASR, within_s=3600) == 0


def test_an_expired_lease_is_taken_back_and_counts_as_a_failure(database: Database) -> None:
    download = downloading(database).task
    assert _taken_back(database) == []
    expire(database, download.id)
    [job] = _taken_back(database)
    assert (job.id, job.status) == (download.job_id, JobStatus.PROCESSING)
    assert "attempt 2 of 3" in job.message
    again = claimed(database, download.id)
    assert (again.task.attempt, again.task.failures, again.job.attempt) == (2, 1, 2)


def test_a_task_that_loses_its_worker_too_often_fails_its_job(database: Database) -> None:
    made = accepted(database)
    for _ in range(AT_ONCE.max_failures):
        die_alone(database, claimed(database, made.task_id).task)
        _taken_back(database)
    job = listing.get(database, made.job.id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "worker.lost")
    assert states(database, job.id) == ["failed"]


def test_an_expired_lease_of_a_cancelled_job_ends_the_job(database: Database) -> None:
    download = downloading(database).task
    control.cancel(database, download.job_id, EN)
    expire(database, download.id)
    [job] = _taken_back(database)
    assert job.status is JobStatus.CANCELLED
    assert states(database, job.id) == ["cancelled"]


def test_two_who_take_back_at_once_count_one_failure(
    database: Database, together: Together
) -> None:
    downloads = [downloading(database).task for _ in range(5)]
    for download in downloads:
        expire(database, download.id)
    found = together([lambda: _taken_back(database)] * 4)
    assert sorted(job.id for jobs in found for job in jobs) == [task.job_id for task in downloads]
    assert {row["failures"] for row in rows(database, "SELECT failures FROM tasks")} == {1}


def test_a_lost_part_goes_on_after_its_last_chunk(database: Database) -> None:
    job, [task_id] = cut(database, parts=1, chunks=3)
    part = claimed(database, task_id)
    recognise(database, part, chunks=2)
    expire(database, task_id)
    _taken_back(database)
    again = claimed(database, task_id, owner="another")
    assert again.part is not None
    assert again.part.chunks_done == 2
    recognise(database, again)
    assert outcomes.finish(database, again.task, EN).status is JobStatus.COMPLETED
    texts = [stored.segment.text for stored in listing.transcript(database, job.id)]
    assert sorted(texts) == [f"part 0 chunk {n}" for n in range(3)]


def test_a_done_task_is_never_claimed_again(database: Database) -> None:
    _, ids = cut(database, parts=2)
    transcribed(database, ids[0])
    assert claim(database, ids[0]) is None


def _idle(database: Database, job_id: int) -> int:
    return leases.idle_streams(database, ASR, job_id=job_id, within_s=30)


def test_idle_are_the_streams_that_other_jobs_leave(database: Database) -> None:
    mine = downloading(database)
    assert _idle(database, mine.job.id) == 0
    for owner, slots in (("one", 3), ("two", 3), ("small", 1), ("draining", 0)):
        leases.heartbeat(database, owner=owner, queue=ASR, slots=slots, held={}, lease_s=60)
    leases.heartbeat(database, owner="other", queue=DOWNLOAD, slots=9, held={}, lease_s=60)
    assert _idle(database, mine.job.id) == 5

    add_part(database, mine.task, 0)
    claimed(database, add_part(database, mine.task, 1))
    assert _idle(database, mine.job.id) == 5, "its own parts take nothing from it"

    _, [running, *_] = cut(database, parts=3)
    claimed(database, running)
    assert _idle(database, mine.job.id) == 2
    cut(database, parts=9)
    assert _idle(database, mine.job.id) == 0
