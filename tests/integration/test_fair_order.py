"""Owners take turns, and within an owner nothing starves: shown on the store's own statements.

The simulations play a queue with workers in a time of their own; what is next is decided by the
real SQL on a real database.
"""

import random
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from hearsight_core.contract import Hint
from hearsight_core.jobs import RANK_OFFSET, Priority, Task
from hearsight_core.store import hints, leases, outcomes
from hearsight_core.store.database import Database
from tests.store import ASR, DOWNLOAD, EN, accepted, claimed, cut, fill, rows

MANY = 10_000


def _owner(database: Database, task_id: str) -> str:
    [row] = rows(database, "SELECT job_owner FROM tasks WHERE id = CAST(:id AS uuid)", id=task_id)
    return str(row["job_owner"])


@dataclass
class _Workers:
    """Slots that take hints and are busy with what they claim for a while of simulated time."""

    database: Database
    slots: int
    hints_in_flight: int = 4
    now: int = 0
    hinted: deque[Hint] = field(default_factory=deque)
    running: list[tuple[int, Task]] = field(default_factory=list)

    def top_up(self) -> list[str]:
        """Sends the hints that are due; returns the ids of their tasks."""
        due = hints.take_due(
            self.database, DOWNLOAD, in_flight_max=self.hints_in_flight, resend_s=3600
        )
        self.hinted.extend(one.hint for one in due)
        return [one.hint.task_id for one in due]

    def claim(self, lasts: int) -> str | None:
        """Gives a free slot the next hint's task, for `lasts` ticks; returns the task's id."""
        if len(self.running) >= self.slots or not self.hinted:
            return None
        found = leases.claim(
            self.database, self.hinted.popleft(), owner="worker", lease_s=24 * 3600
        )
        assert found is not None
        self.running.append((self.now + lasts, found.task))
        return found.task.id

    def tick(self) -> None:
        """Lets time pass, and tasks end."""
        self.now += 1
        for ends, task in list(self.running):
            if ends <= self.now:
                outcomes.finish(self.database, task, EN)
                self.running.remove((ends, task))


def test_one_job_goes_before_the_ten_thousand_of_another_owner(database: Database) -> None:
    fill(database, MANY, owners=["many"])
    workers = _Workers(database, slots=2)
    for _ in range(5):
        workers.top_up()
        while workers.claim(lasts=1):
            pass
        workers.tick()
    workers.top_up()
    one = accepted(database, owner="one").task_id
    before = len(workers.hinted)
    while workers.claim(lasts=1):
        pass
    # The very next hint, behind those that were in flight when it came.
    assert workers.top_up()[0] == one
    assert before <= workers.hints_in_flight


def test_a_new_owner_waits_for_no_task_of_its_own_making(database: Database) -> None:
    fill(database, MANY, owners=[f"owner-{n}" for n in range(50)])
    first = [_owner(database, hint) for hint in _Workers(database, 8, hints_in_flight=50).top_up()]
    assert sorted(first) == sorted({f"owner-{n}" for n in range(50)})


@pytest.mark.parametrize("seed", range(3))
def test_nobody_without_work_in_progress_is_passed_over_twice(
    database: Database, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311  a test's chance, nothing secret
    owners = ["many", "some", "few", "late", "rare"]
    fill(database, 2000, owners=["many"])
    fill(database, 40, owners=["some"])
    workers = _Workers(database, slots=2)
    passed: dict[str, Counter[str]] = {owner: Counter() for owner in owners}
    served = Counter[str]()
    for step in range(120):
        if step > 20 and chance.random() < 0.3:
            accepted(database, owner=chance.choice(owners[2:]))
        idle = _waiting(database) - _in_work(database)
        for task_id in workers.top_up():
            owner = _owner(database, task_id)
            served[owner] += 1
            passed[owner].clear()
            idle.discard(owner)
            for other in idle:
                passed[other][owner] += 1
                assert passed[other][owner] < 2, f"{other} waits while {owner} is served twice"
        workers.claim(lasts=chance.randint(1, 6))
        workers.tick()
    assert served["many"] > 10
    assert served["some"] > 10
    assert not _waiting(database) & {"few", "late", "rare"} - _in_work(database)


def _waiting(database: Database) -> set[str]:
    """The owners that have tasks without a hint."""
    found = rows(
        database,
        "SELECT DISTINCT job_owner FROM tasks WHERE state = 'waiting' AND hinted_at IS NULL",
    )
    return {str(row["job_owner"]) for row in found}


def _in_work(database: Database) -> set[str]:
    """The owners that have tasks in work or hinted."""
    found = rows(
        database,
        "SELECT DISTINCT job_owner FROM tasks WHERE state = 'running'"
        " OR (state = 'waiting' AND hinted_at IS NOT NULL)",
    )
    return {str(row["job_owner"]) for row in found}


@pytest.mark.parametrize("seed", range(3))
def test_a_low_job_waits_for_none_that_came_two_days_after_it(
    database: Database, seed: int
) -> None:
    """More high jobs come, an hour each, than the one worker can do, for days."""
    chance = random.Random(seed)  # noqa: S311  a test's chance, nothing secret
    workers = _Workers(database, slots=1, hints_in_flight=1)
    came_at: dict[str, int] = {}

    def comes(priority: Priority) -> str:
        task_id = accepted(database, priority=priority).task_id
        rows(
            database,
            "UPDATE tasks SET rank_at = timestamptz '2026-01-01' + :at"
            " WHERE id = CAST(:id AS uuid) RETURNING id",
            id=task_id,
            at=timedelta(hours=workers.now) + RANK_OFFSET[priority],
        )
        came_at[task_id] = workers.now
        return task_id

    low = comes("low")
    done: list[str] = []
    while low not in done:
        for _ in range(chance.randint(1, 3)):
            comes("high" if chance.random() < 0.8 else "normal")
        workers.top_up()
        if task_id := workers.claim(lasts=1):
            done.append(task_id)
        workers.tick()
        assert workers.now < 1000
    assert max(came_at[task_id] for task_id in done) <= 48
    assert len(done) > 30, "nothing was passed by: the priority had no effect"


def test_within_an_owner_the_old_order_holds(database: Database) -> None:
    low = accepted(database, owner="a", priority="low").task_id
    normal = accepted(database, owner="a").task_id
    high = accepted(database, owner="a", priority="high").task_id
    other = accepted(database, owner="b", priority="low").task_id
    taken = _Workers(database, slots=1).top_up()
    assert [task_id for task_id in taken if task_id != other] == [high, normal, low]
    assert taken.index(other) <= 1


def test_an_owner_with_much_in_work_lets_others_go_first(database: Database) -> None:
    for _ in range(6):
        claimed(database, accepted(database, owner="busy").task_id)
    fill(database, 20, owners=["busy"])
    ids = [accepted(database, owner="idle").task_id for _ in range(3)]
    taken = _Workers(database, slots=1).top_up()
    assert taken[:3] == ids
    assert _owner(database, taken[3]) == "busy"


def test_parts_carry_their_job_s_owner(database: Database) -> None:
    job, parts = cut(database, parts=2)
    assert {_owner(database, part) for part in parts} == {job.owner}
    rows(database, "UPDATE tasks SET job_owner = 'another' WHERE part_index = 0 RETURNING id")
    taken = hints.take_due(database, ASR, in_flight_max=2, resend_s=60)
    assert {_owner(database, due.hint.task_id) for due in taken} == {job.owner, "another"}


def test_a_paused_task_of_one_owner_holds_no_other_owner_up(database: Database) -> None:
    for n in range(8):
        paused = accepted(database, owner=f"paused-{n}").task_id
        rows(
            database,
            "UPDATE tasks SET ready_at = now() + interval '1 hour' WHERE id = CAST(:id AS uuid)"
            " RETURNING id",
            id=paused,
        )
    ready = accepted(database, owner="ready").task_id
    assert _Workers(database, slots=1, hints_in_flight=1).top_up() == [ready]


def test_turns_are_forgotten_in_the_end(database: Database) -> None:
    fill(database, 4, owners=["a", "b"])
    _Workers(database, slots=1).top_up()
    assert len(rows(database, "SELECT owner FROM turns")) == 2
    assert hints.forget_turns(database, older_than_s=3600) == 0
    assert hints.forget_turns(database, older_than_s=-1) == 2
