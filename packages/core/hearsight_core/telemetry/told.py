"""What is told in logs, traces and metrics at once: attempts, their stages, how jobs end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from hearsight_core.contract import TERMINAL
from hearsight_core.jobs import Job, Task
from hearsight_core.telemetry import traces
from hearsight_core.telemetry.metrics import (
    ATTEMPT_SECONDS,
    ATTEMPTS,
    JOB_SECONDS,
    JOBS_FINISHED,
    OUTCOMES,
    RETRIES,
    STAGE_SECONDS,
    TASK_WAIT_SECONDS,
    TASKS_RUNNING,
)


@contextmanager
def attempt(queue: str, task: Task, *, waited_s: float) -> Iterator[None]:
    """An attempt at a task that had waited to be claimed: its span, its time, its log fields.

    The span is below the one that made the task, whoever tried before.
    """
    named: dict[str, str | int] = {
        traces.JOB_ID: task.job_id,
        traces.TASK_ID: task.id,
        traces.ATTEMPT: task.attempt,
    }
    if task.part_index is not None:
        named[traces.PART_INDEX] = task.part_index
    TASK_WAIT_SECONDS.labels(queue=queue).observe(waited_s)
    TASKS_RUNNING.labels(queue=queue).inc()
    started = time.monotonic()
    try:
        with (
            traces.span(
                task.kind, kind=SpanKind.CONSUMER, parent=task.trace_parent or "", attributes=named
            ),
            structlog.contextvars.bound_contextvars(
                job_id=task.job_id,
                task_id=task.id,
                attempt=task.attempt,
                **traces.log_fields(),
            ),
        ):
            yield
    finally:
        TASKS_RUNNING.labels(queue=queue).dec()
        ATTEMPT_SECONDS.labels(queue=queue).observe(time.monotonic() - started)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """A stage of a task's work: a span below the attempt's, and its time."""
    started = time.monotonic()
    try:
        with traces.span(name.replace("_", " ")):
            yield
    finally:
        STAGE_SECONDS.labels(stage=name).observe(time.monotonic() - started)


def tell_outcome(queue: str, outcome: str, job: Job | None) -> None:
    """How the current attempt ended: one of `OUTCOMES`, or an error's code; and its job with it."""
    ATTEMPTS.labels(queue=queue, outcome=outcome).inc()
    span = trace.get_current_span()
    span.set_attribute(traces.OUTCOME, outcome)
    if outcome not in OUTCOMES:
        traces.failed(span, outcome)
    if job is not None:
        if outcome not in OUTCOMES:
            tell_retry(queue, outcome, job)
        tell_end(job)


def tell_retry(queue: str, code: str, job: Job) -> None:
    """Counts a failed attempt if the transaction that brought `job` left the task another try."""
    if job.status not in TERMINAL and not job.cancel_requested:
        RETRIES.labels(queue=queue, code=code).inc()


def tell_end(job: Job) -> None:
    """Counts the job if the transaction that brought it ended it, and notes it in the span."""
    if not job.ended_here or job.finished_at is None:
        return
    JOBS_FINISHED.labels(status=job.status, code=job.error_code or "").inc()
    taken = job.finished_at - job.created_at
    JOB_SECONDS.labels(status=job.status).observe(taken.total_seconds())
    trace.get_current_span().add_event(f"job {job.status}")
