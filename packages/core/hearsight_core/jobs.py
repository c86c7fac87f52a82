"""The life of a job and of its tasks: states, allowed transitions, percentages. Pure: no I/O.

The store enforces the same tables with guarded UPDATEs; the tests walk every pair of states.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from hearsight_core.contract import (
    STAGE_PERCENT,
    JobStatus,
    ProgressData,
    RecognitionOptions,
    Stage,
    TaskKind,
)

Priority = Literal["high", "normal", "low"]

RANK_OFFSET: dict[Priority, timedelta] = {
    "high": timedelta(days=-1),
    "normal": timedelta(0),
    "low": timedelta(days=1),
}
"""A priority moves a task's place in the queue by so much waiting time.

Ageing by construction: a low task stands behind what its owner sent with high priority up to two
days after it, and never behind anything later, so nothing starves.
"""

JOB_TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    # a worker claims the first task, or someone cancels before that; a job that is rejected before
    # any worker saw it (its last task given up while waiting) fails
    JobStatus.PENDING: frozenset({JobStatus.PROCESSING, JobStatus.CANCELLED, JobStatus.FAILED}),
    JobStatus.PROCESSING: frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED}),
    # a person retries
    JobStatus.FAILED: frozenset({JobStatus.PENDING}),
    JobStatus.CANCELLED: frozenset({JobStatus.PENDING}),
    # a completed job stays as it is: its transcript may have been handed out
    JobStatus.COMPLETED: frozenset(),
    # not a state of a stored job
    JobStatus.IDLE: frozenset(),
}


class TaskState(StrEnum):
    """Where a unit of work stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


TASK_TRANSITIONS: dict[TaskState, frozenset[TaskState]] = {
    # claimed, or cancelled before that
    TaskState.WAITING: frozenset({TaskState.RUNNING, TaskState.CANCELLED}),
    # finished, given up, stopped on request; back to waiting: drained, lease lost, or to be retried
    TaskState.RUNNING: frozenset(
        {TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED, TaskState.WAITING}
    ),
    # the job is retried
    TaskState.FAILED: frozenset({TaskState.WAITING}),
    TaskState.CANCELLED: frozenset({TaskState.WAITING}),
    # what is done is never done again
    TaskState.DONE: frozenset(),
}


@dataclass(frozen=True, kw_only=True)
class ModelUsed:
    """What recognised a job, as the transcript names it."""

    name: str
    revision: str | None
    device: str
    compute_type: str


@dataclass(frozen=True, kw_only=True)
class Job:
    """One accepted job, as stored."""

    id: int
    status: JobStatus
    stage: Stage
    stage_percent: float
    overall_percent: float
    message: str
    source_url: str | None
    filename: str | None
    media_key: str | None
    media_bytes: int | None
    media_type: str | None
    duration_ms: int | None
    options: RecognitionOptions
    priority: Priority
    owner: str
    pool: str
    request_digest: str
    language: str | None
    language_probability: float | None
    model: ModelUsed | None
    speech_ms: int
    recognised_ms: int
    reused_ms: int = 0
    """How much of `recognised_ms` an earlier job had recognised."""
    cut_done: bool
    truncated: bool = False
    """The media broke off before the end that it announced."""
    cancel_requested: bool
    deleted: bool
    error_code: str | None
    error: str | None
    attempt: int
    version: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    media_removed_at: datetime | None = None
    """When its media had been kept long enough; it can't be retried any more."""
    trace_id: str | None = None
    """The trace that tells of it, 32 hexadecimal digits."""
    ended_here: bool = field(default=False, compare=False)
    """Not stored: the transaction that returned this value ended the job, so one reader sees it."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One unit of work, as stored. `attempt` is the fence: it grows with every claim."""

    id: str
    job_id: int
    kind: TaskKind
    state: TaskState
    attempt: int
    failures: int
    store_failures: int
    part_index: int | None
    error_code: str | None = None
    """How the last failed attempt ended."""
    trace_parent: str | None = None
    """The span that made the task, as a W3C traceparent; every attempt's is below it."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A stretch of a recording whose audio is an object of its own.

    `chunks` are (start_ms, end_ms) of speech from the start of the recording, in order; the first
    `chunks_done` of them are recognised and their segments stored.
    """

    job_id: int
    index: int
    start_ms: int
    end_ms: int
    speech_ms: int
    object_key: str
    chunks: tuple[tuple[int, int], ...]
    chunks_done: int
    channel: int | None = None
    """Which channel of the recording, from 0; None: all of them, mixed."""
    audio_digest: str | None = None
    """Equal for parts of one owner that sound the same and are cut the same; see `sound.digest`."""


def overall_percent(stage: Stage, stage_percent: float) -> float:
    """Progress of the whole job, 0-100: fetching counts for 30, recognising for 65."""
    low, high = {
        Stage.UPLOAD_PROCESSING: (0.0, 0.0),
        Stage.UPLOAD: (0.0, 10.0),
        Stage.DOWNLOAD_START: (0.0, 1.0),
        Stage.DOWNLOAD: (1.0, 30.0),
        Stage.ASR_PREPROCESSING: (30.0, 34.0),
        # the stage itself runs from 10 to 80 %, which is 34 to 99 of the whole
        Stage.ASR_RECOGNIZING: (34.0 - 65 / 7, 99.0 + 65 * 2 / 7),
        Stage.ASR_POSTPROCESSING: (99.0, 99.0),
        Stage.COMPLETED: (100.0, 100.0),
        Stage.ERROR: (0.0, 0.0),
    }[stage]
    return round(low + (high - low) * stage_percent / 100, 2)


def recognising_percent(recognised_ms: int, speech_ms: int) -> float:
    """Percentage of the stage `asr_recognizing`: from 10 up to 80, where post-processing begins."""
    start, end = STAGE_PERCENT[Stage.ASR_RECOGNIZING], STAGE_PERCENT[Stage.ASR_POSTPROCESSING]
    share = min(1.0, recognised_ms / speech_ms) if speech_ms else 0.0
    return round(start + (end - start) * share, 2)


def progress_of(job: Job) -> ProgressData:
    """What the stored job alone tells about its progress."""
    recognising = job.stage in {
        Stage.ASR_RECOGNIZING,
        Stage.ASR_POSTPROCESSING,
        Stage.COMPLETED,
    }
    return ProgressData(
        job_id=job.id,
        owner=job.owner,
        status=job.status,
        stage=job.stage,
        progress_percent=job.stage_percent,
        overall_percent=job.overall_percent,
        filename=job.filename,
        message=job.message,
        current_bytes=job.media_bytes,
        total_bytes=job.media_bytes,
        # Recognition may be under way while the media is still being fetched.
        position_ms=job.recognised_ms if recognising or job.recognised_ms else None,
        duration_ms=job.duration_ms,
        error=job.error,
        error_code=job.error_code,
        attempt=job.attempt,
        version=job.version,
    )
