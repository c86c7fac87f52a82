"""A job is accepted once, whoever asks how often, and then it is there."""

import uuid
from collections.abc import Sequence
from functools import partial
from urllib.parse import urlsplit

import pytest

from hearsight_core.contract import JobStatus, RecognitionOptions, Stage
from hearsight_core.errors import JobConflictError, RequestError
from hearsight_core.jobs import Priority
from hearsight_core.keys import DEFAULT_OWNER, NO_QUOTA, Quota
from hearsight_core.store import control, listing, submission
from hearsight_core.store.database import Database
from hearsight_core.store.submission import Accepted, Asked, Submission, Upload
from tests.chaos.proxy import Proxy
from tests.integration.conftest import Together
from tests.store import DOWNLOAD, EN, accepted, queued, request, rows, states


def _upload(sha256: str, key: str | None = None) -> Submission:
    upload = Upload(
        key=key or f"uploads/{uuid.uuid4()}",
        filename="talk.mp3",
        size_bytes=1234,
        media_type="audio/mpeg",
        sha256=sha256,
    )
    return Submission(url=None, upload=upload, options=RecognitionOptions(), priority="normal")


def test_an_accepted_job_waits_with_its_download(database: Database) -> None:
    made = submission.accept(database, request(), EN)
    assert made.created
    job = listing.get(database, made.job.id)
    assert job == made.job
    assert (job.status, job.stage, job.overall_percent) == (
        JobStatus.PENDING,
        Stage.DOWNLOAD_START,
        0,
    )
    assert states(database, job.id) == ["waiting"]


def test_the_same_id_and_request_is_accepted_once(database: Database) -> None:
    first = submission.accept(database, request(), EN, job_id=42)
    again = submission.accept(database, request(), EN, job_id=42)
    assert (first.created, again.created) == (True, False)
    assert (again.job, again.task_id) == (first.job, first.task_id)
    assert states(database, 42) == ["waiting"]


def test_an_accepted_job_is_told_as_such_though_the_answer_to_its_commit_was_lost(
    database: Database, database_url: str
) -> None:
    server = urlsplit(database_url)
    assert server.port is not None
    with Proxy(server.port) as proxy:
        through = database_url.replace(f":{server.port}/", f":{proxy.port}/")
        behind = Database(through, pool_size=2, application="tests")
        rows(behind, "SELECT 1")
        proxy.lose_answers(1, after=b"COMMIT")
        taken = submission.accept(behind, request(), EN)
        behind.close()
    assert taken.created
    assert rows(database, "SELECT id::text AS id, job_id FROM tasks") == [
        {"id": taken.task_id, "job_id": taken.job.id}
    ]


def test_twenty_threads_with_the_same_request_make_one_job(
    database: Database, together: Together
) -> None:
    made = together([lambda: submission.accept(database, request(), EN, job_id=42)] * 20)
    assert [one.created for one in made].count(True) == 1
    assert {one.task_id for one in made} == {made[0].task_id}
    assert states(database, 42) == ["waiting"]


def test_of_two_requests_for_one_id_one_is_taken_and_the_other_told(
    database: Database, together: Together
) -> None:
    def submit(url: str) -> str:
        try:
            return submission.accept(database, request(url), EN, job_id=42).job.source_url or ""
        except JobConflictError:
            return "conflict"

    urls = [f"https://example.org/{n}" for n in range(8)]
    answers = together([partial(submit, url) for url in urls])
    assert answers.count("conflict") == 7
    assert listing.get(database, 42).source_url in answers


def _asked(
    url: str = "https://example.org/talk.mp4",
    *,
    job_id: int | None = None,
    owner: str = DEFAULT_OWNER,
    priority: Priority = "normal",
    quota: Quota = NO_QUOTA,
) -> Asked:
    wanted = request(url, owner=owner, priority=priority)
    return Asked(submission=wanted, job_id=job_id, quota=quota)


def _kinds(outcomes: Sequence[Accepted | RequestError]) -> list[str]:
    """What became of each: `new`, `known`, or the name of its error."""
    return [
        ("new" if one.created else "known") if isinstance(one, Accepted) else type(one).__name__
        for one in outcomes
    ]


def test_of_many_at_once_each_is_told_its_own_outcome(database: Database) -> None:
    known = submission.accept(database, request(), EN, job_id=3)
    outcomes = submission.accept_all(
        database,
        [
            _asked(),
            _asked(job_id=9),
            _asked(job_id=3),
            _asked("https://example.org/other", job_id=3),
            _asked("https://example.org/other", job_id=9),
            _asked(job_id=9),
            _asked(owner="ada", quota=Quota(queued_jobs=1)),
            _asked(owner="ada", quota=Quota(queued_jobs=1)),
            _asked(owner="ada", quota=Quota(queued_jobs=2)),
        ],
        EN,
    )
    assert _kinds(outcomes) == [
        *("new", "new", "known", "JobConflictError", "JobConflictError", "known"),
        *("new", "QueuedJobsError", "new"),
    ]
    made = [one for one in outcomes if isinstance(one, Accepted)]
    assert (made[1].job.id, made[3].job, made[3].task_id) == (9, made[1].job, made[1].task_id)
    assert (made[2].job, made[2].task_id) == (known.job, known.task_id)
    assert rows(database, "SELECT count(*) AS count FROM jobs") == [{"count": 5}]
    for one in made:
        assert listing.get(database, one.job.id) == one.job
        assert states(database, one.job.id) == ["waiting"]


def test_many_at_once_wait_in_the_order_in_which_they_came(database: Database) -> None:
    # Numbers that go the other way: the order is not theirs.
    asked = [_asked(job_id=1000 - n) for n in range(50)]
    asked.insert(20, _asked(job_id=7, priority="high"))
    outcomes = submission.accept_all(database, asked, EN)
    made = [one.task_id for one in outcomes if isinstance(one, Accepted)]
    assert queued(database, DOWNLOAD) == [made[20], *made[:20], *made[21:]]


def test_a_number_refused_for_its_owner_s_quota_is_free_again(database: Database) -> None:
    accepted(database, owner="ada")
    one_job = Quota(queued_jobs=1)
    asked = [_asked(job_id=5, owner="ada", quota=one_job), _asked(job_id=5, owner="bob")]
    assert _kinds(submission.accept_all(database, asked, EN)) == ["QueuedJobsError", "new"]
    assert listing.get(database, 5).owner == "bob"


def test_numbers_drawn_for_many_skip_those_that_people_chose(database: Database) -> None:
    accepted(database, job_id=2)
    asked = [_asked(job_id=4), *(_asked() for _ in range(4))]
    outcomes = submission.accept_all(database, asked, EN)
    numbers = [one.job.id for one in outcomes if isinstance(one, Accepted)]
    assert len(set(numbers)) == 5
    assert numbers[0] == 4
    assert 2 not in numbers


def test_many_at_once_from_several_processes_with_the_same_numbers_make_each_job_once(
    database: Database, together: Together
) -> None:
    numbers = range(1, 31)

    def submit(order: Sequence[int]) -> list[str]:
        asked = [_asked(job_id=number) for number in order] + [_asked() for _ in range(10)]
        return _kinds(submission.accept_all(database, asked, EN))

    kinds = together([partial(submit, numbers), partial(submit, numbers[::-1])] * 4)
    assert sum(one.count("new") for one in kinds) + sum(one.count("known") for one in kinds) == 320
    assert rows(database, "SELECT count(*) AS count FROM jobs WHERE id <= 30") == [{"count": 30}]


@pytest.mark.parametrize(
    "other",
    [
        request("https://example.org/other.mp4"),
        request(priority="high"),
        request(pool="large"),
        Submission(
            url="https://example.org/talk.mp4",
            upload=None,
            options=RecognitionOptions(language="en"),
            priority="normal",
        ),
        _upload("ab" * 32),
    ],
    ids=["address", "priority", "pool", "options", "upload"],
)
def test_another_request_for_a_taken_id_conflicts(database: Database, other: Submission) -> None:
    first = submission.accept(database, request(), EN, job_id=42)
    with pytest.raises(JobConflictError) as caught:
        submission.accept(database, other, EN, job_id=42)
    assert caught.value.field == "job_id"
    assert listing.get(database, 42) == first.job


def test_a_request_taken_before_there_were_pools_is_still_the_same() -> None:
    assert request().digest == "5d4667b6809cb290fb88ade041d37714b6a6f97df26d930efc1e8cd7445f50c4"
    assert request(pool="default").digest == request().digest


def test_the_pool_is_kept_with_the_job(database: Database) -> None:
    assert listing.get(database, accepted(database, pool="large").job.id).pool == "large"
    assert listing.get(database, accepted(database).job.id).pool == "default"


def test_the_same_file_sent_twice_is_the_same_request(database: Database) -> None:
    first = submission.accept(database, _upload("ab" * 32, "uploads/first"), EN, job_id=42)
    again = submission.accept(database, _upload("ab" * 32, "uploads/second"), EN, job_id=42)
    assert (first.created, again.created) == (True, False)
    assert again.job.media_key == "uploads/first"
    with pytest.raises(JobConflictError):
        submission.accept(database, _upload("cd" * 32), EN, job_id=42)


def test_an_upload_is_kept_with_its_name_and_size(database: Database) -> None:
    job = submission.accept(database, _upload("ab" * 32, "uploads/x"), EN).job
    assert (job.media_key, job.filename, job.media_bytes) == ("uploads/x", "talk.mp3", 1234)
    assert (job.media_type, job.source_url) == ("audio/mpeg", None)
    assert (job.stage, job.stage_percent) == (Stage.UPLOAD, 100)


def test_drawn_ids_skip_those_that_people_chose(database: Database) -> None:
    for chosen in (1, 2, 4):
        accepted(database, job_id=chosen)
    assert [accepted(database).job.id for _ in range(3)] == [3, 5, 6]


def test_drawing_and_choosing_at_the_same_time_meets_no_job_twice(
    database: Database, together: Together
) -> None:
    def submit(job_id: int | None) -> int:
        return accepted(database, job_id=job_id).job.id

    ids = together([partial(submit, job_id) for job_id in [*range(1, 11), *[None] * 10]])
    # A drawn id that another thread chooses a moment later is the same request, so it is no fault.
    assert len(rows(database, "SELECT id FROM jobs")) == len(set(ids))


def test_a_reserved_id_is_drawn_once(database: Database, together: Together) -> None:
    ids = together([lambda: submission.reserve_job_id(database)] * 10)
    assert len(set(ids)) == 10


def test_the_largest_id_can_be_chosen(database: Database) -> None:
    assert accepted(database, job_id=2**63 - 1).job.id == 2**63 - 1


def test_the_id_of_a_job_in_deletion_is_not_given_again(database: Database) -> None:
    accepted(database, job_id=42)
    control.mark_deleted(database, 42, EN)
    with pytest.raises(JobConflictError):
        submission.accept(database, request(), EN, job_id=42)
    control.purge(database, 42)
    assert submission.accept(database, request(), EN, job_id=42).created


def test_priority_decides_the_place_in_the_queue(database: Database) -> None:
    for priority in ("high", "normal", "low"):
        accepted(database, priority=priority)
    [spread] = rows(
        database,
        "SELECT extract(epoch FROM max(rank_at) - min(rank_at)) / 3600 AS hours FROM tasks",
    )
    assert 47.9 < float(str(spread["hours"])) < 48.1


def test_texts_for_people_follow_the_language(database: Database) -> None:
    job = submission.accept(database, request(), "zh").job
    assert job.message == "等待下载"
