"""What a running attempt writes counts once, in order, and only while the attempt is current."""

import threading
import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy.exc import IntegrityError

from hearsight_core.contract import JobStatus, Segment, Stage, Word
from hearsight_core.errors import Cancelled, CorruptError, LeaseLost
from hearsight_core.jobs import ModelUsed, Task, overall_percent, progress_of
from hearsight_core.store import control, leases, listing, outcomes, work
from hearsight_core.store.database import Database
from hearsight_core.store.rows import StoredSegment
from hearsight_core.store.work import Media, OutOfOrderError
from tests.integration.conftest import Together
from tests.store import (
    ASR,
    AT_ONCE,
    CHUNK_MS,
    EN,
    a_part,
    add_part,
    claimed,
    cut,
    downloading,
    expire,
    fetched,
    queued,
    recognise,
    rows,
    said,
    states,
    transcribed,
)

MODEL = ModelUsed(name="tiny.en", revision=None, device="cpu", compute_type="int8")
MEDIA = Media(key="jobs/1/media", filename="talk.mp4", size_bytes=10, media_type="video/mp4")

Write = Callable[[Database, Task], object]
DOWNLOAD_WRITES: dict[str, Write] = {
    "report": lambda database, task: work.report(database, task, Stage.DOWNLOAD, 50, "half"),
    "set_media": lambda database, task: work.set_media(database, task, MEDIA, "stored"),
    "set_duration": lambda database, task: work.set_duration(database, task, 1000),
    "add_part": lambda database, task: work.add_part(
        database, task, a_part(task.job_id, 0), task_id=str(uuid.uuid4())
    ),
    "finish_cut": lambda database, task: work.finish_cut(database, task, 1000),
}
PART_WRITES: dict[str, Write] = {
    "set_language": lambda database, task: work.set_language(database, task, "en", 0.9, MODEL),
    "add_segments": lambda database, task: work.add_segments(
        database,
        task,
        a_part(task.job_id, task.part_index or 0),
        chunk_index=0,
        found=said("hello"),
        language=EN,
    ),
    "mark_recognising": lambda database, task: work.mark_recognising(database, task, EN),
    "mark_postprocessing": lambda database, task: work.mark_postprocessing(database, task, EN),
}


def _everything(database: Database) -> list[list[dict[str, object]]]:
    return [
        rows(database, f"SELECT * FROM {table} ORDER BY 1, 2")  # noqa: S608  names of our own
        for table in ("jobs", "tasks", "parts", "segments")
    ]


@pytest.mark.parametrize("write", DOWNLOAD_WRITES.values(), ids=DOWNLOAD_WRITES.keys())
@pytest.mark.parametrize("purged", [False, True])
def test_a_stale_download_writes_nothing(database: Database, write: Write, *, purged: bool) -> None:
    stale = downloading(database).task
    if purged:
        control.mark_deleted(database, stale.job_id, EN)
    expire(database, stale.id)
    leases.take_back(database, AT_ONCE, EN)
    if purged:
        control.purge(database, stale.job_id)
    else:
        claimed(database, stale.id, owner="another")
    before = _everything(database)
    with pytest.raises(LeaseLost):
        write(database, stale)
    assert _everything(database) == before


@pytest.mark.parametrize("write", PART_WRITES.values(), ids=PART_WRITES.keys())
@pytest.mark.parametrize("taken_over", [False, True])
def test_a_stale_part_writes_nothing(database: Database, write: Write, *, taken_over: bool) -> None:
    _, [task_id] = cut(database, parts=1)
    stale = claimed(database, task_id).task
    expire(database, task_id)
    leases.take_back(database, AT_ONCE, EN)
    if taken_over:
        claimed(database, task_id, owner="another")
    before = _everything(database)
    with pytest.raises(LeaseLost):
        write(database, stale)
    assert _everything(database) == before


@pytest.mark.parametrize("write", DOWNLOAD_WRITES.values(), ids=DOWNLOAD_WRITES.keys())
def test_a_download_whose_job_has_failed_is_told_to_stop(database: Database, write: Write) -> None:
    download = downloading(database).task
    part = claimed(database, add_part(database, download, 7)).task
    outcomes.fail(database, part, CorruptError(), AT_ONCE, EN)
    before = _everything(database)
    with pytest.raises(Cancelled):
        write(database, download)
    assert _everything(database) == before


@pytest.mark.parametrize("write", PART_WRITES.values(), ids=PART_WRITES.keys())
def test_a_part_whose_job_has_failed_is_told_to_stop(database: Database, write: Write) -> None:
    _, ids = cut(database, parts=2)
    first, second = (claimed(database, task_id).task for task_id in ids)
    outcomes.fail(database, second, CorruptError(), AT_ONCE, EN)
    before = _everything(database)
    with pytest.raises(Cancelled):
        write(database, first)
    assert _everything(database) == before


def test_parts_cut_after_a_cancel_do_not_outlive_it(database: Database) -> None:
    download = downloading(database).task
    control.cancel(database, download.job_id, EN)
    add_part(database, download, 0)
    job = outcomes.let_go(database, download, EN)
    assert job.status is JobStatus.CANCELLED
    assert states(database, job.id) == ["cancelled", "cancelled"]


def test_progress_is_stored_and_its_version_grows(database: Database) -> None:
    download = downloading(database)
    job = work.report(database, download.task, Stage.DOWNLOAD, 50, "half")
    assert (job.stage, job.stage_percent, job.message) == (Stage.DOWNLOAD, 50, "half")
    assert job.overall_percent == overall_percent(Stage.DOWNLOAD, 50)
    assert job.version == download.job.version + 1
    assert listing.get(database, job.id) == job


def test_the_overall_percentage_never_goes_back(database: Database) -> None:
    download = downloading(database).task
    high = work.report(database, download, Stage.DOWNLOAD, 80, "").overall_percent
    for stage, percent in [(Stage.DOWNLOAD, 10), (Stage.DOWNLOAD_START, 0), (Stage.DOWNLOAD, 79)]:
        assert work.report(database, download, stage, percent, "").overall_percent == high


def test_the_stored_media_are_pointed_at(database: Database) -> None:
    download = downloading(database).task
    job = work.set_media(database, download, MEDIA, "stored")
    assert (job.media_key, job.filename) == (MEDIA.key, MEDIA.filename)
    assert (job.media_bytes, job.media_type) == (MEDIA.size_bytes, MEDIA.media_type)
    assert (job.stage, job.stage_percent) == (Stage.DOWNLOAD, 100)


@pytest.mark.parametrize("name", ["a\x00b.mp4", "a\ud83db.mp4", "纪录片 🎬.mp4"])
def test_a_site_s_name_for_its_media_is_stored_whatever_it_holds(
    database: Database, name: str
) -> None:
    media = Media(key="k", filename=name, size_bytes=1, media_type=None)
    job = work.set_media(database, downloading(database).task, media, "")
    assert (job.filename or "").startswith(name[0])
    assert (job.filename or "").endswith(name[2:])


def test_a_resumed_cut_goes_on_after_the_last_part(database: Database) -> None:
    download = downloading(database).task
    assert work.last_part(database, download.job_id) is None
    for index in range(3):
        add_part(database, download, index)
    assert work.last_part(database, download.job_id) == a_part(download.job_id, 2)


def test_a_part_waits_at_its_job_s_place_in_the_queue(database: Database) -> None:
    old, young = downloading(database).task, downloading(database).task
    late = [add_part(database, task, index) for index, task in enumerate([young, old])]
    assert queued(database, ASR) == late[::-1]


def test_a_part_is_added_once(database: Database) -> None:
    download = downloading(database).task
    add_part(database, download, 0)
    with pytest.raises(IntegrityError):
        add_part(database, download, 0)
    assert listing.get(database, download.job_id).speech_ms == 2 * CHUNK_MS


def test_the_first_part_that_knows_the_language_decides(database: Database) -> None:
    _, ids = cut(database, parts=2)
    first, second = (claimed(database, task_id).task for task_id in ids)
    assert work.set_language(database, first, "fr", 0.7, MODEL).language == "fr"
    other = ModelUsed(name="large", revision="r", device="cuda", compute_type="float16")
    job = work.set_language(database, second, "en", 0.99, other)
    assert (job.language, job.language_probability, job.model) == ("fr", 0.7, MODEL)


def test_segments_are_read_back_as_they_were_stored(database: Database) -> None:
    job, [task_id] = cut(database, parts=1)
    part = claimed(database, task_id)
    assert part.part is not None
    segment = Segment(
        start_ms=0,
        end_ms=900,
        text=" 你好 \U0001f642",
        words=(Word(start_ms=0, end_ms=400, word="你好", probability=0.9),),
        avg_logprob=-0.25,
        no_speech_prob=0.125,
        compression_ratio=1.5,
    )
    appended = work.add_segments(
        database, part.task, part.part, chunk_index=0, found=(segment,), language=EN
    )
    assert [stored.segment for stored in listing.transcript(database, job.id)] == [segment]
    assert appended.segments == tuple(listing.transcript(database, job.id))
    assert appended.version_before == part.job.version


def test_a_chunk_without_words_moves_the_checkpoint_too(database: Database) -> None:
    _, [task_id] = cut(database, parts=1)
    part = claimed(database, task_id)
    assert part.part is not None
    appended = work.add_segments(
        database, part.task, part.part, chunk_index=0, found=(), language=EN
    )
    assert appended.segments == ()
    assert appended.job.version == appended.version_before + 1
    assert appended.job.recognised_ms == CHUNK_MS
    assert rows(database, "SELECT chunks_done FROM parts") == [{"chunks_done": 1}]


@pytest.mark.parametrize("chunk", [0, 2])
def test_a_chunk_is_stored_once_and_in_its_turn(database: Database, chunk: int) -> None:
    job, [task_id] = cut(database, parts=1, chunks=3)
    part = claimed(database, task_id)
    recognise(database, part, chunks=1)
    before = _everything(database)
    assert part.part is not None
    with pytest.raises(OutOfOrderError):
        work.add_segments(
            database, part.task, part.part, chunk_index=chunk, found=said("x"), language=EN
        )
    assert _everything(database) == before
    assert len(listing.transcript(database, job.id)) == 1


def test_numbers_follow_the_order_of_commits_and_none_is_given_twice(
    database: Database, together: Together
) -> None:
    job, ids = cut(database, parts=6, chunks=5)
    parts = [claimed(database, task_id) for task_id in ids]
    together([partial(recognise, database, part) for part in parts])
    stored = sorted(listing.transcript(database, job.id), key=lambda one: one.seq)
    numbers = [one.seq for one in stored]
    # Nothing but segments changed the job meanwhile, so the numbers have no gap.
    assert numbers == list(range(parts[-1].job.version + 1, parts[-1].job.version + 31))
    for part in range(6):
        texts = [one.segment.text for one in stored if one.part_index == part]
        assert texts == [f"part {part} chunk {chunk}" for chunk in range(5)]


def test_a_reader_that_asks_again_and_again_misses_nothing(
    database: Database, together: Together
) -> None:
    job, ids = cut(database, parts=4, chunks=8)
    ended = threading.Event()
    seen: list[StoredSegment] = []

    def read() -> None:
        upto, last_round = 0, False
        while not last_round:
            last_round = ended.is_set()
            news = listing.since(database, job.id, upto)
            seen.extend(news.segments)
            # All up to the job's version was seen, not only up to the last segment.
            upto = news.job.version

    def write() -> None:
        together([partial(transcribed, database, task_id) for task_id in ids])
        ended.set()

    together([read, write])
    numbers = [one.seq for one in seen]
    assert numbers == sorted(set(numbers))
    assert {one.segment.text for one in seen} == {
        f"part {part} chunk {chunk}" for part in range(4) for chunk in range(8)
    }


def test_recognising_rises_to_its_end_and_never_falls(database: Database) -> None:
    download = downloading(database).task
    fetched(database, download)
    marks: list[float] = []
    for index in range(3):
        part = claimed(database, add_part(database, download, index))
        work.mark_recognising(database, part.task, EN)
        recognise(database, part)
        marks.append(listing.get(database, download.job_id).stage_percent)
        outcomes.finish(database, part.task, EN)
    assert marks == sorted(marks)
    assert marks[-1] == 80


def test_a_job_whose_media_is_still_fetched_goes_on_to_show_the_download(
    database: Database,
) -> None:
    download = downloading(database).task
    work.report(database, download, Stage.DOWNLOAD, 40, "fetching")
    part = claimed(database, add_part(database, download, 0))
    work.mark_recognising(database, part.task, EN)
    recognise(database, part, chunks=1)
    job = listing.get(database, download.job_id)
    assert (job.stage, job.stage_percent, job.message) == (Stage.DOWNLOAD, 40, "fetching")
    assert progress_of(job).position_ms == job.recognised_ms == CHUNK_MS
    fetched(database, download)
    assert part.part is not None
    recognise(database, replace(part, part=replace(part.part, chunks_done=1)))
    job = listing.get(database, download.job_id)
    assert job.stage is Stage.ASR_RECOGNIZING


def test_a_worker_that_keeps_up_with_the_cut_does_not_show_a_job_as_nearly_done(
    database: Database,
) -> None:
    download = downloading(database).task
    fetched(database, download)
    work.set_duration(database, download, 20 * CHUNK_MS)
    recognise(database, claimed(database, add_part(database, download, 0, chunks=2)))
    job = listing.get(database, download.job_id)
    assert job.stage_percent == 10 + 70 * 2 / 20
    work.finish_cut(database, download, 20 * CHUNK_MS)
    # It has turned out that there is no more speech than that: the last part tells.
    assert listing.get(database, download.job_id).overall_percent == job.overall_percent


def test_only_the_last_task_puts_the_transcript_together(database: Database) -> None:
    job, ids = cut(database, parts=2)
    first = claimed(database, ids[0])
    assert work.mark_postprocessing(database, first.task, EN) is None
    outcomes.finish(database, first.task, EN)
    second = claimed(database, ids[1])
    last = work.mark_postprocessing(database, second.task, EN)
    assert last is not None
    assert (last.id, last.stage, last.stage_percent) == (job.id, Stage.ASR_POSTPROCESSING, 80)


def test_nobody_puts_a_transcript_together_while_parts_may_come(database: Database) -> None:
    download = downloading(database).task
    part = claimed(database, add_part(database, download, 0)).task
    assert work.mark_postprocessing(database, part, EN) is None
