"""How much work waits in each queue, as an autoscaler reads it."""

from hearsight_core.errors import DnsError
from hearsight_core.store import control, outcomes
from hearsight_core.store.database import Database
from tests.store import (
    ASR,
    AT_ONCE,
    CHUNK_MS,
    DOWNLOAD,
    EN,
    LATER,
    accepted,
    add_part,
    claimed,
    cut,
    downloading,
    recognise,
    rows,
    transcribed,
)

CHUNK_S = CHUNK_MS / 1000


def load(database: Database) -> dict[str, dict[str, object]]:
    """What the view shows, by queue, without the ages."""
    found = rows(database, "SELECT queue, waiting, running, audio_seconds FROM queue_load")
    return {str(row.pop("queue")): row for row in found}


def oldest_s(database: Database, queue: str) -> float:
    found = rows(database, "SELECT * FROM queue_load WHERE queue = :queue", queue=queue)
    return float(str(found[0]["oldest_waiting_s"]))


def counted(waiting: int, running: int, audio_s: float = 0) -> dict[str, object]:
    return {"waiting": waiting, "running": running, "audio_seconds": audio_s}


def test_without_work_no_queue_is_listed(database: Database) -> None:
    job, [part] = cut(database, parts=1)
    transcribed(database, part)
    control.cancel(database, accepted(database).job.id, EN)
    assert load(database) == {}
    assert job.cut_done


def test_downloads_count_whether_they_wait_or_run(database: Database) -> None:
    accepted(database)
    accepted(database)
    downloading(database)
    assert load(database) == {DOWNLOAD: counted(2, 1)}


def test_speech_that_is_not_recognised_yet_counts_in_seconds(database: Database) -> None:
    _, [first, second, _] = cut(database, parts=3, chunks=4)
    assert load(database) == {ASR: counted(3, 0, 12 * CHUNK_S)}
    recognise(database, claimed(database, first), chunks=3)
    assert load(database) == {ASR: counted(2, 1, 9 * CHUNK_S)}
    transcribed(database, second)
    assert load(database) == {ASR: counted(1, 1, 5 * CHUNK_S)}


def test_what_is_given_back_counts_for_what_is_left_of_it(database: Database) -> None:
    _, [part] = cut(database, parts=1, chunks=4)
    begun = claimed(database, part)
    recognise(database, begun, chunks=3)
    outcomes.let_go(database, begun.task, EN)
    assert load(database) == {ASR: counted(1, 0, CHUNK_S)}


def test_each_pool_has_its_own_load(database: Database) -> None:
    cut(database, parts=1, chunks=1)
    cut(database, parts=2, chunks=2, pool="large")
    accepted(database, pool="large")
    assert load(database) == {
        DOWNLOAD: counted(1, 0),
        ASR: counted(1, 0, CHUNK_S),
        "asr.large": counted(2, 0, 4 * CHUNK_S),
    }


def test_a_job_that_is_being_stopped_calls_for_no_worker(database: Database) -> None:
    download = downloading(database)
    control.cancel(database, download.job.id, EN)
    add_part(database, download.task, 0)  # the worker has not seen it yet
    assert load(database) == {DOWNLOAD: counted(0, 1)}


def test_the_age_is_that_of_the_task_that_could_be_claimed_longest(database: Database) -> None:
    first, _ = accepted(database), accepted(database)
    rows(
        database,
        "UPDATE tasks SET ready_at = now() - interval '90 seconds'"
        " WHERE id = CAST(:id AS uuid) RETURNING id",
        id=first.task_id,
    )
    assert 90 <= oldest_s(database, DOWNLOAD) < 600
    claimed(database, first.task_id)
    assert 0 <= oldest_s(database, DOWNLOAD) < 60


def test_a_task_that_pauses_before_its_retry_has_no_age(database: Database) -> None:
    outcomes.fail(database, downloading(database).task, DnsError(host="x"), LATER, EN)
    assert load(database) == {DOWNLOAD: counted(1, 0)}
    assert oldest_s(database, DOWNLOAD) == 0
    outcomes.fail(database, downloading(database).task, DnsError(host="x"), AT_ONCE, EN)
    assert load(database) == {DOWNLOAD: counted(2, 0)}
