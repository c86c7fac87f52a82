# ruff: noqa: D102  rules and invariants are named as tests are
"""Whatever is done to jobs and in whichever order, the store is where a simple model says."""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from hearsight_core.contract import Hint, JobStatus
from hearsight_core.errors import (
    Cancelled,
    CorruptError,
    JobConflictError,
    JobNotFoundError,
    JobStateError,
    LeaseLost,
    RefusedError,
)
from hearsight_core.jobs import JOB_TRANSITIONS
from hearsight_core.store import control, leases, listing, outcomes, submission, work
from hearsight_core.store.database import Database
from hearsight_core.store.leases import Claim
from tests.integration.security.job_model import (
    CANCELLED,
    DONE,
    FAILED,
    RUNNING,
    WAITING,
    AJob,
    ATask,
)
from tests.store import ASR, AT_ONCE, CHUNK_MS, DOWNLOAD, EN, a_part, expire, request, rows, said

RUNS = int(os.environ.get("HEARSIGHT_TEST_EXAMPLES", "0")) or 12
STEPS = 40
CHUNKS = 2
"""Chunks of a part."""


@dataclass
class Held:
    """A lease as a worker has it in hand, in force or not."""

    job: AJob
    task: ATask
    claim: Claim

    @property
    def in_force(self) -> bool:
        """Whether it is the task's current attempt."""
        return self.task.state == RUNNING and self.task.attempt == self.claim.task.attempt


class JobMachine(RuleBasedStateMachine):
    """Everything that people, workers and the dispatcher do to jobs, in any order."""

    database: ClassVar[Database]

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[int, AJob] = {}
        self.held: list[Held] = []
        self.seen: dict[int, str] = {}

    @initialize()
    def nothing(self) -> None:
        rows(self.database, "DELETE FROM jobs RETURNING id")

    # What people do

    @rule(job_id=st.integers(1, 3), which=st.sampled_from(["a", "a", "a", "b"]))
    def submit(self, job_id: int, which: str) -> None:
        wanted = request(f"https://example.org/{which}.mp4")
        known = self.jobs.get(job_id)
        if known is not None and (known.deleted or known.url != wanted.url):
            with pytest.raises(JobConflictError):
                submission.accept(self.database, wanted, EN, job_id=job_id)
            return
        accepted = submission.accept(self.database, wanted, EN, job_id=job_id)
        assert accepted.created == (known is None)
        if known is None:
            assert wanted.url is not None
            self.jobs[job_id] = AJob(job_id, wanted.url, [ATask(accepted.task_id)])
        else:
            assert accepted.task_id == known.tasks[0].id

    @rule(job_id=st.integers(1, 3), what=st.sampled_from(["cancel", "retry", "retry", "delete"]))
    def people(self, job_id: int, what: str) -> None:
        getattr(self, what)(job_id)

    def cancel(self, job_id: int) -> None:
        job = self.jobs.get(job_id)
        if job is None or job.deleted:
            with pytest.raises(JobNotFoundError):
                control.cancel(self.database, job_id, EN)
        elif job.status in {"completed", "failed"} and not job.stopping:
            with pytest.raises(JobStateError):
                control.cancel(self.database, job_id, EN)
        else:
            control.cancel(self.database, job_id, EN)
            if not job.stopping:
                job.stop()

    def retry(self, job_id: int) -> None:
        job = self.jobs.get(job_id)
        if job is None or job.deleted:
            with pytest.raises(JobNotFoundError):
                control.retry(self.database, job_id, EN)
        elif job.status not in {"failed", "cancelled"}:
            with pytest.raises(JobStateError):
                control.retry(self.database, job_id, EN)
        else:
            control.retry(self.database, job_id, EN)
            job.status, job.stopping = "pending", False
            for task in job.tasks:
                if task.state in {FAILED, CANCELLED}:
                    task.state, task.failures = WAITING, 0

    def delete(self, job_id: int) -> None:
        job = self.jobs.get(job_id)
        if job is None or job.deleted:
            with pytest.raises(JobNotFoundError):
                control.mark_deleted(self.database, job_id, EN)
            return
        control.mark_deleted(self.database, job_id, EN)
        job.deleted = True
        if not job.ended:
            job.stop()

    @rule()
    def purge(self) -> None:
        expected = {
            job.id
            for job in self.jobs.values()
            if job.deleted and not any(task.state == RUNNING for task in job.tasks)
        }
        assert {job_id for job_id, _ in control.purgeable(self.database)} == expected
        for job_id in expected:
            control.purge(self.database, job_id)
            job = self.jobs.pop(job_id)
            self.seen.pop(job_id, None)
            for task in job.tasks:
                task.state = CANCELLED

    # What workers do

    @precondition(lambda self: self.waiting())
    @rule(data=st.data(), stale=st.integers(0, 1), twice=st.booleans())
    def claim(self, data: st.DataObject, stale: int, twice: bool) -> None:  # noqa: FBT001  as hypothesis calls it
        job, task = data.draw(st.sampled_from(self.waiting()), label="task")
        self._claim(job, task, stale=stale, twice=twice)

    def _claim(self, job: AJob, task: ATask, *, stale: int = 0, twice: bool = False) -> Held | None:
        hint = Hint(task_id=task.id, attempt=task.attempt - stale)
        found = leases.claim(self.database, hint, owner="worker", lease_s=3600)
        if stale or job.stopping or job.ended:
            assert found is None
            return None
        assert found is not None
        task.state, task.attempt = RUNNING, task.attempt + 1
        job.status = self.seen[job.id] = "processing"
        assert found.task.attempt == task.attempt
        assert (found.part.chunks_done if found.part else 0) == task.chunks
        held = Held(job, task, found)
        self.held.append(held)
        if twice:
            assert leases.claim(self.database, hint, owner="other", lease_s=3600) is None
        return held

    @precondition(lambda self: self.waiting())
    @rule(data=st.data(), parts=st.integers(0, 2))
    def work_through(self, data: st.DataObject, parts: int) -> None:
        """A task whose worker nobody disturbs: without it few jobs would come to their end."""
        job, task = data.draw(st.sampled_from(self.waiting()), label="task")
        held = self._claim(job, task)
        if held is None:
            return
        if task.part is None:
            for _ in range(0 if job.cut_done else parts):
                self._publish(held)
            self._cut_done(held)
        else:
            while task.chunks < CHUNKS:
                self._store(held)
        self._finish(held)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def heartbeat(self, data: st.DataObject) -> None:
        held = data.draw(st.sampled_from(self.held), label="lease")
        beat = leases.heartbeat(
            self.database,
            owner="worker",
            queue=DOWNLOAD if held.task.part is None else ASR,
            slots=1,
            held={held.task.id: held.claim.task.attempt},
            lease_s=3600,
        )
        assert (held.task.id in beat.held) == held.in_force
        stops = held.in_force and (held.job.stopping or held.job.ended)
        assert (held.task.id in beat.stop) == stops

    @precondition(lambda self: self.downloads())
    @rule(data=st.data())
    def publish_a_part(self, data: st.DataObject) -> None:
        held = data.draw(st.sampled_from(self.downloads()), label="lease")
        self._publish(held)

    def _publish(self, held: Held) -> None:
        index = len(held.job.tasks) - 1
        task_id = f"00000000-0000-4000-8000-{held.job.id:06}{index:06}"
        part = a_part(held.job.id, index, chunks=CHUNKS)
        if self._refused(
            held, lambda: work.add_part(self.database, held.claim.task, part, task_id=task_id)
        ):
            return
        held.task.failures = 0
        held.job.tasks.append(ATask(task_id, part=index))

    @precondition(lambda self: self.downloads())
    @rule(data=st.data())
    def declare_the_cut_done(self, data: st.DataObject) -> None:
        held = data.draw(st.sampled_from(self.downloads()), label="lease")
        self._cut_done(held)

    def _cut_done(self, held: Held) -> None:
        length = CHUNKS * CHUNK_MS * (len(held.job.tasks) - 1)
        task = held.claim.task
        if not self._refused(held, lambda: work.finish_cut(self.database, task, length)):
            held.job.cut_done = True

    @precondition(lambda self: self.recognitions())
    @rule(data=st.data())
    def store_segments(self, data: st.DataObject) -> None:
        held = data.draw(st.sampled_from(self.recognitions()), label="lease")
        self._store(held)

    def _store(self, held: Held) -> None:
        part = held.claim.part
        assert part is not None
        index = held.task.chunks if held.in_force else part.chunks_done
        if index >= len(part.chunks):
            return
        words = f"part {part.index} chunk {index}"
        if self._refused(
            held,
            lambda: work.add_segments(
                self.database,
                held.claim.task,
                part,
                chunk_index=index,
                found=said(words),
                language=EN,
            ),
        ):
            return
        held.task.chunks, held.task.failures = index + 1, 0
        held.job.texts.append(words)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        held = data.draw(st.sampled_from(self.held), label="lease")
        self._finish(held)

    def _finish(self, held: Held) -> None:
        if not held.in_force:
            with pytest.raises(LeaseLost):
                outcomes.finish(self.database, held.claim.task, EN)
            self.held.remove(held)
        elif held.job.cut_done if held.task.part is None else held.task.chunks == CHUNKS:
            # No worker says that it is done before it is.
            outcomes.finish(self.database, held.claim.task, EN)
            held.task.state = DONE
            held.job.settle()
            self.held.remove(held)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), again=st.booleans())
    def fail(self, data: st.DataObject, again: bool) -> None:  # noqa: FBT001  as hypothesis calls it
        held = data.draw(st.sampled_from(self.held), label="lease")
        error = RefusedError(host="example.org") if again else CorruptError()
        self.held.remove(held)
        if not held.in_force:
            with pytest.raises(LeaseLost):
                outcomes.fail(self.database, held.claim.task, error, AT_ONCE, EN)
            return
        outcomes.fail(self.database, held.claim.task, error, AT_ONCE, EN)
        held.job.attempt_failed(held.task, retryable=again)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def let_go(self, data: st.DataObject) -> None:
        held = data.draw(st.sampled_from(self.held), label="lease")
        self.held.remove(held)
        if not held.in_force:
            with pytest.raises(LeaseLost):
                outcomes.let_go(self.database, held.claim.task, EN)
            return
        outcomes.let_go(self.database, held.claim.task, EN)
        stops = held.job.stopping or held.job.ended
        held.task.state = CANCELLED if stops else WAITING
        held.job.settle()

    # What the dispatcher does

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def let_a_lease_run_out(self, data: st.DataObject) -> None:
        """The worker that held it knows nothing of it, and goes on."""
        held = data.draw(st.sampled_from(self.held), label="lease")
        if held.in_force:
            expire(self.database, held.task.id)
        taken = leases.take_back(self.database, AT_ONCE, EN)
        assert [found.task.id for found in taken] == ([held.task.id] if held.in_force else [])
        if held.in_force:
            held.job.attempt_failed(held.task, retryable=True)

    # What holds at any moment

    @invariant()
    def every_job_is_where_the_model_says(self) -> None:
        stored = rows(self.database, "SELECT id, status, cut_done FROM jobs")
        assert {row["id"]: (row["status"], row["cut_done"]) for row in stored} == {
            job.id: (job.status, job.cut_done) for job in self.jobs.values()
        }
        tasks = rows(self.database, "SELECT id, state, attempt, failures FROM tasks")
        assert {
            str(row["id"]): (row["state"], row["attempt"], row["failures"]) for row in tasks
        } == {
            task.id: (task.state, task.attempt, task.failures)
            for job in self.jobs.values()
            for task in job.tasks
        }

    @invariant()
    def no_segment_is_lost_or_doubled(self) -> None:
        for job in self.jobs.values():
            found = listing.transcript(self.database, job.id)
            assert Counter(item.segment.text for item in found) == Counter(job.texts)

    @invariant()
    def no_job_takes_a_way_that_there_is_not(self) -> None:
        for job in self.jobs.values():
            before, now = self.seen.get(job.id), job.status
            if before is not None and before != now:
                assert JobStatus(now) in JOB_TRANSITIONS[JobStatus(before)]
            self.seen[job.id] = now

    def waiting(self) -> list[tuple[AJob, ATask]]:
        """The tasks that a hint could be sent for."""
        return [
            (job, task) for job in self.jobs.values() for task in job.tasks if task.state == WAITING
        ]

    def downloads(self) -> list[Held]:
        """The leases on downloads whose cut is not declared done."""
        return [held for held in self.held if held.task.part is None and not held.job.cut_done]

    def recognitions(self) -> list[Held]:
        """The leases on parts."""
        return [held for held in self.held if held.task.part is not None]

    @staticmethod
    def _refused(held: Held, write: Callable[[], object]) -> bool:
        """Tries a write of an attempt; whether it was refused, as it then has to be."""
        if not held.in_force:
            with pytest.raises(LeaseLost):
                write()
        elif held.job.ended:
            with pytest.raises(Cancelled):
                write()
        else:
            write()
            return False
        return True


@pytest.mark.timeout(3600)
def test_the_store_does_as_the_model(database: Database) -> None:
    JobMachine.database = database
    run_state_machine_as_test(
        JobMachine,
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            derandomize="HEARSIGHT_TEST_EXAMPLES" not in os.environ,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )
