"""Which task is next is decided when its hint is sent, and hints in flight are bounded."""

from functools import partial

from sqlalchemy import text

from hearsight_core.contract import Hint
from hearsight_core.errors import DnsError
from hearsight_core.store import control, hints, outcomes
from hearsight_core.store.database import Database
from tests.integration.conftest import Together
from tests.store import (
    ASR,
    DOWNLOAD,
    EN,
    LATER,
    accepted,
    add_part,
    claimed,
    cut,
    downloading,
    queued,
    rows,
)


def _due(database: Database, *, most: int = 100, resend_s: float = 60) -> list[str]:
    found = hints.take_due(database, DOWNLOAD, in_flight_max=most, resend_s=resend_s)
    return [due.hint.task_id for due in found]


def _age_hints(database: Database) -> None:
    rows(database, "UPDATE tasks SET hinted_at = hinted_at - interval '1 hour' RETURNING id")


def test_what_waits_is_hinted_once(database: Database) -> None:
    made = accepted(database)
    [due] = hints.take_due(database, DOWNLOAD, in_flight_max=4, resend_s=60)
    assert due.hint == Hint(task_id=made.task_id, attempt=0)
    assert _due(database) == []


def test_no_more_hints_are_in_flight_than_allowed(database: Database) -> None:
    ids = [accepted(database).task_id for _ in range(10)]
    assert _due(database, most=4) == ids[:4]
    assert _due(database, most=4) == []
    claimed(database, ids[0])
    assert _due(database, most=4) == [ids[4]]
    assert _due(database, most=6) == ids[5:7]


def test_a_hint_that_nobody_took_is_sent_again(database: Database) -> None:
    ids = [accepted(database).task_id for _ in range(3)]
    assert _due(database, most=2) == ids[:2]
    _age_hints(database)
    assert _due(database, most=2) == ids[:2]


def test_the_order_is_by_priority_then_by_age(database: Database) -> None:
    low = accepted(database, priority="low").task_id
    normal = [accepted(database).task_id for _ in range(2)]
    high = accepted(database, priority="high").task_id
    assert _due(database) == [high, *normal, low]


def test_hints_are_recalled_and_taken_without_waiting_for_who_changes_their_tasks(
    database: Database,
) -> None:
    ids = [accepted(database).task_id for _ in range(3)]
    _due(database)
    with database.begin() as other:
        other.execute(
            text("SELECT FROM tasks WHERE id = CAST(:id AS uuid) FOR UPDATE"), {"id": ids[0]}
        )
        hints.recall(database, ids)
        assert [due.hint.task_id for due in hints.take(database, ids)] == ids[1:]
    hints.recall(database, ids[1:])
    assert _due(database) == ids[1:]


def test_a_part_that_is_ahead_goes_before_the_others_of_its_job_alone(database: Database) -> None:
    _, [older] = cut(database, parts=1)
    download = downloading(database).task
    first = add_part(database, download, 0)
    ahead = add_part(database, download, 1, ahead=True)
    found = hints.take_due(database, ASR, in_flight_max=4, resend_s=60)
    assert [due.hint.task_id for due in found] == [older, ahead, first]


def test_a_low_job_that_waited_long_goes_before_a_new_high_one(database: Database) -> None:
    low = accepted(database, priority="low").task_id
    rows(database, "UPDATE tasks SET rank_at = rank_at - interval '49 hours' RETURNING id")
    high = accepted(database, priority="high").task_id
    assert _due(database) == [low, high]


def test_a_job_s_parts_go_in_their_order_and_an_old_job_s_before_a_young_one_s(
    database: Database,
) -> None:
    _, old = cut(database, parts=12)
    _, young = cut(database, parts=2)
    found = hints.take_due(database, ASR, in_flight_max=100, resend_s=60)
    assert [due.hint.task_id for due in found] == [*old, *young]


def test_queues_are_told_apart(database: Database) -> None:
    _, [part] = cut(database, parts=1)
    download = accepted(database).task_id
    assert _due(database) == [download]
    [due] = hints.take_due(database, ASR, in_flight_max=1, resend_s=60)
    assert due.hint.task_id == part


def test_the_queues_that_tasks_wait_in_are_told_by_the_database(database: Database) -> None:
    assert hints.queues(database) == []
    cut(database, parts=2)
    accepted(database)
    for pool in ("large", "small"):
        cut(database, parts=3, pool=pool)
    for task_id in queued(database, "asr.small"):
        claimed(database, task_id)
    assert hints.queues(database) == [ASR, "asr.large", DOWNLOAD]


def test_a_task_in_its_pause_is_not_hinted(database: Database) -> None:
    download = downloading(database).task
    outcomes.fail(database, download, DnsError(host="x"), LATER, EN)
    assert _due(database) == []
    rows(database, "UPDATE tasks SET ready_at = now() RETURNING id")
    assert _due(database) == [download.id]


def test_what_is_given_back_is_hinted_at_once_with_its_attempt(database: Database) -> None:
    made = accepted(database)
    assert _due(database) == [made.task_id]
    outcomes.let_go(database, claimed(database, made.task_id).task, EN)
    [due] = hints.take_due(database, DOWNLOAD, in_flight_max=1, resend_s=60)
    assert due.hint == Hint(task_id=made.task_id, attempt=1)


def test_tasks_of_ended_jobs_are_not_hinted(database: Database) -> None:
    control.cancel(database, accepted(database).job.id, EN)
    control.mark_deleted(database, accepted(database).job.id, EN)
    assert _due(database) == []


def test_callers_at_the_same_time_never_mark_the_same_task(
    database: Database, together: Together
) -> None:
    ids = [accepted(database).task_id for _ in range(60)]
    taken = together([partial(_due, database, most=60)] * 8)
    every = [task_id for one in taken for task_id in one]
    assert sorted(every) == sorted(ids)


def test_a_claim_in_progress_holds_nobody_up(database: Database) -> None:
    first, second = (accepted(database).task_id for _ in range(2))
    with database.begin() as connection:
        connection.exec_driver_sql(f"SELECT 1 FROM tasks WHERE id = '{first}' FOR UPDATE")  # noqa: S608  an id of our own
        assert _due(database) == [second]
    assert _due(database) == [first]


def test_the_statistics_of_a_large_table_do_not_lift_the_bound(database: Database) -> None:
    for _ in range(60):
        accepted(database)
    rows(database, "SELECT 1")
    with database.begin() as connection:
        connection.exec_driver_sql("ANALYZE tasks")
    assert len(_due(database, most=7)) == 7
