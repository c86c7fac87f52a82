"""Whatever workers, people and crashes do to a job in whatever order, it never hangs.

Hypothesis makes up the lives; after every step the rows are held to what must always be true.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hearsight_core.contract import TERMINAL, JobStatus, TaskKind
from hearsight_core.errors import (
    Cancelled,
    CorruptError,
    JobStateError,
    LeaseLost,
    RecognitionError,
)
from hearsight_core.jobs import JOB_TRANSITIONS, TASK_TRANSITIONS, Job, TaskState
from hearsight_core.store import control, leases, listing, outcomes, work
from hearsight_core.store.database import Database
from hearsight_core.store.leases import Claim
from tests.store import AT_ONCE, CHUNK_MS, EN, accepted, add_part, claim, expire, rows, said

PARTS = 3
CHUNKS = 2

Choose = Callable[[int], int]
"""Picks one of so many."""


@dataclass
class Life:
    """One job, and every claim that a worker, living or cut off, believes to hold."""

    database: Database
    job_id: int
    claims: list[Claim] = field(default_factory=list)
    overall: float = 0
    version: int = 0
    status: JobStatus = JobStatus.PENDING
    tasks: dict[str, TaskState] = field(default_factory=dict)

    def claim(self, choose: Choose) -> None:
        """A worker takes a task that waits."""
        waiting = [task_id for task_id, state in self.tasks.items() if state is TaskState.WAITING]
        if waiting and (found := claim(self.database, waiting[choose(len(waiting))])):
            self.claims.append(found)

    def advance(self, choose: Choose) -> None:
        """Someone who believes to hold a task does its next step."""
        if self.claims:
            self._step(self.claims[choose(len(self.claims))])

    def _step(self, held: Claim) -> None:
        try:
            if held.task.kind is TaskKind.DOWNLOAD:
                done = self._step_of_download(held)
            else:
                done = self._step_of_part(held)
            if done:
                self.claims.remove(held)
        except LeaseLost:
            self.claims.remove(held)
        except Cancelled:
            self.claims.remove(held)
            outcomes.let_go(self.database, held.task, EN)

    def _step_of_download(self, held: Claim) -> bool:
        last = work.last_part(self.database, self.job_id)
        following = 0 if last is None else last.index + 1
        if following < PARTS:
            add_part(self.database, held.task, following, chunks=CHUNKS)
            return False
        if not listing.get(self.database, self.job_id).cut_done:
            work.finish_cut(self.database, held.task, PARTS * CHUNKS * CHUNK_MS)
            return False
        outcomes.finish(self.database, held.task, EN)
        return True

    def _step_of_part(self, held: Claim) -> bool:
        part = held.part
        assert part is not None
        [row] = rows(
            self.database,
            "SELECT chunks_done FROM parts WHERE job_id = :job AND part_index = :part",
            job=self.job_id,
            part=part.index,
        )
        chunk = cast("int", row["chunks_done"])
        if chunk < CHUNKS:
            found = said(f"{part.index}/{chunk}")
            work.add_segments(
                self.database, held.task, part, chunk_index=chunk, found=found, language=EN
            )
            return False
        outcomes.finish(self.database, held.task, EN)
        return True

    def fail(self, choose: Choose) -> None:
        """A worker's attempt fails, once in a while for good."""
        self._end(
            choose,
            lambda held: outcomes.fail(
                self.database,
                held.task,
                RecognitionError() if choose(4) else CorruptError(),
                AT_ONCE,
                EN,
            ),
        )

    def drain(self, choose: Choose) -> None:
        """A worker ends before its task does."""
        self._end(choose, lambda held: outcomes.let_go(self.database, held.task, EN))

    def _end(self, choose: Choose, how: Callable[[Claim], Job]) -> None:
        if self.claims:
            held = self.claims.pop(choose(len(self.claims)))
            with contextlib.suppress(LeaseLost):
                how(held)

    def cut_off(self, choose: Choose) -> None:
        """A worker's lease runs out, though the worker may still write."""
        if self.claims:
            task = self.claims[choose(len(self.claims))].task
            if choose(2):
                with contextlib.suppress(LeaseLost):
                    leases.mark_alone(self.database, task)
            expire_if_running(self.database, task.id)
            leases.take_back(self.database, AT_ONCE, EN)

    def cancel(self, _: Choose) -> None:
        """A person cancels the job."""
        with contextlib.suppress(JobStateError):
            control.cancel(self.database, self.job_id, EN)

    def retry(self, _: Choose) -> None:
        """A person retries the job."""
        with contextlib.suppress(JobStateError):
            control.retry(self.database, self.job_id, EN)

    def look(self) -> None:
        """Reads the rows and holds them to what must always be true."""
        job = listing.get(self.database, self.job_id)
        tasks = {
            str(row["id"]): TaskState(str(row["state"]))
            for row in rows(
                self.database,
                "SELECT id, state FROM tasks WHERE job_id = :id ORDER BY part_index NULLS FIRST",
                id=self.job_id,
            )
        }
        states = set(tasks.values())
        if job.status in TERMINAL:
            assert TaskState.WAITING not in states, "a task waits in a job that has ended"
        else:
            assert states & {TaskState.WAITING, TaskState.RUNNING}, "nobody will ever end this job"
            if job.cancel_requested:
                assert TaskState.RUNNING in states, "a cancelled job waits for nobody"
        if job.status is JobStatus.COMPLETED:
            assert job.cut_done
            assert states == {TaskState.DONE}
        assert job.overall_percent >= self.overall
        assert job.version >= self.version
        assert self._reachable(self.status, job.status)
        for task_id, before in self.tasks.items():
            after = tasks[task_id]
            assert after is before or after in TASK_TRANSITIONS[before], (before, after)
        self.overall, self.version, self.status = job.overall_percent, job.version, job.status
        self.tasks = tasks

    @staticmethod
    def _reachable(before: JobStatus, after: JobStatus) -> bool:
        return after is before or after in JOB_TRANSITIONS[before]

    def live_happily(self) -> None:
        """From wherever it is, undisturbed work completes the job, each chunk stored once."""
        while True:
            self.look()
            if self.status is JobStatus.COMPLETED:
                break
            self.retry(lambda _: 0)
            for held in self.claims:
                expire_if_running(self.database, held.task.id)
            self.claims.clear()
            leases.take_back(self.database, AT_ONCE, EN)
            self.look()
            self.claim(lambda _: 0)
            self.look()
            while self.claims:
                self.advance(lambda _: 0)
                self.look()
        texts = [stored.segment.text for stored in listing.transcript(self.database, self.job_id)]
        assert sorted(texts) == [f"{p}/{c}" for p in range(PARTS) for c in range(CHUNKS)]


def expire_if_running(database: Database, task_id: str) -> None:
    """As `expire`, for a task that may have left its worker already."""
    [row] = rows(database, "SELECT state FROM tasks WHERE id = CAST(:id AS uuid)", id=task_id)
    if row["state"] == TaskState.RUNNING:
        expire(database, task_id)


STEPS: list[Callable[[Life, Choose], None]] = [
    *[Life.claim] * 4,
    *[Life.advance] * 8,
    Life.fail,
    Life.drain,
    Life.cut_off,
    Life.cancel,
    Life.retry,
    Life.retry,
]


@given(data=st.data())
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_job_hangs_and_every_job_can_be_completed(
    database: Database, data: st.DataObject
) -> None:
    life = Life(database, accepted(database).job.id)
    life.look()
    for step in data.draw(st.lists(st.sampled_from(STEPS), max_size=40), label="steps"):
        step(life, lambda many: data.draw(st.integers(0, many - 1)))
        life.look()
    life.live_happily()
