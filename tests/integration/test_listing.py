"""Jobs are listed newest first, page by page, each once; transcripts are read in order of time."""

import pytest

from hearsight_core.contract import JobStatus
from hearsight_core.errors import JobNotFoundError
from hearsight_core.jobs import Job
from hearsight_core.store import control, listing, outcomes, work
from hearsight_core.store.database import Database
from tests.store import EN, accepted, claimed, cut, downloading, recognise, rows, transcribed


def _pages(database: Database, limit: int, status: JobStatus | None = None) -> list[Job]:
    found: list[Job] = []
    before = None
    while page := listing.newest(database, limit=limit, status=status, before=before):
        assert len(page) <= limit
        found += page
        before = (page[-1].created_at, page[-1].id)
    return found


def test_an_unknown_job_is_told_as_such(database: Database) -> None:
    with pytest.raises(JobNotFoundError):
        listing.get(database, 42)
    with pytest.raises(JobNotFoundError):
        listing.since(database, 42, 0)


def test_the_newest_jobs_come_first(database: Database) -> None:
    ids = [accepted(database).job.id for _ in range(5)]
    assert [job.id for job in listing.newest(database, limit=3)] == ids[:1:-1]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_paging_shows_every_job_once(database: Database, limit: int) -> None:
    ids = [accepted(database).job.id for _ in range(7)]
    assert [job.id for job in _pages(database, limit)] == ids[::-1]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_jobs_of_the_same_moment_are_paged_by_their_id(database: Database, limit: int) -> None:
    ids = [accepted(database).job.id for _ in range(5)]
    rows(database, "UPDATE jobs SET created_at = now() RETURNING id")
    assert [job.id for job in _pages(database, limit)] == ids[::-1]


def test_what_comes_while_paging_moves_no_page(database: Database) -> None:
    ids = [accepted(database).job.id for _ in range(4)]
    first = listing.newest(database, limit=2)
    accepted(database)
    second = listing.newest(database, limit=2, before=(first[-1].created_at, first[-1].id))
    assert [job.id for job in [*first, *second]] == ids[::-1]


def test_jobs_are_listed_by_status(database: Database) -> None:
    waiting = [accepted(database).job.id for _ in range(3)]
    control.cancel(database, waiting[1], EN)
    downloading(database)
    assert [job.id for job in _pages(database, 2, JobStatus.PENDING)] == [waiting[2], waiting[0]]
    assert [job.id for job in _pages(database, 2, JobStatus.CANCELLED)] == [waiting[1]]
    assert _pages(database, 2, JobStatus.COMPLETED) == []


def test_a_transcript_is_read_in_order_of_time_whatever_was_recognised_first(
    database: Database,
) -> None:
    job, ids = cut(database, parts=3)
    for task_id in reversed(ids):
        recognise(database, claimed(database, task_id))
    rows(
        database,
        "UPDATE segments SET start_ms = (part_index * 10 + chunk_index) * 1000,"
        " end_ms = (part_index * 10 + chunk_index) * 1000 + 500 RETURNING seq",
    )
    assert [stored.segment.text for stored in listing.transcript(database, job.id)] == [
        f"part {part} chunk {chunk}" for part in range(3) for chunk in range(2)
    ]


def test_a_reader_gets_what_it_has_not_seen(database: Database) -> None:
    job, [task_id] = cut(database, parts=1, chunks=3)
    part = claimed(database, task_id)
    recognise(database, part, chunks=1)
    first = listing.since(database, job.id, 0)
    assert [stored.segment.text for stored in first.segments] == ["part 0 chunk 0"]
    assert listing.since(database, job.id, first.job.version).segments == ()
    outcomes.let_go(database, part.task, EN)
    transcribed(database, task_id)
    then = listing.since(database, job.id, first.job.version)
    assert [stored.segment.text for stored in then.segments] == [
        "part 0 chunk 1",
        "part 0 chunk 2",
    ]


def test_a_long_backlog_is_read_in_bits(database: Database) -> None:
    job, [task_id] = cut(database, parts=1, chunks=10)
    transcribed(database, task_id)
    seen: list[str] = []
    upto = 0
    while found := listing.since(database, job.id, upto, limit=3).segments:
        assert len(found) <= 3
        seen += [stored.segment.text for stored in found]
        upto = found[-1].seq
    assert seen == [f"part 0 chunk {chunk}" for chunk in range(10)]


def test_what_is_being_deleted_is_hidden_everywhere(database: Database) -> None:
    job, ids = cut(database, parts=1)
    transcribed(database, ids[0])
    control.mark_deleted(database, job.id, EN)
    for read in (
        lambda: listing.get(database, job.id),
        lambda: listing.since(database, job.id, 0),
    ):
        with pytest.raises(JobNotFoundError):
            read()
    assert listing.newest(database, limit=10) == []


def test_jobs_without_segments_have_an_empty_transcript(database: Database) -> None:
    download = downloading(database).task
    work.finish_cut(database, download, 1000)
    assert listing.transcript(database, download.job_id) == []
