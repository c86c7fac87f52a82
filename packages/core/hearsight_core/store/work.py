"""What a running attempt writes: progress, the stored media, parts, segments.

Every function here refuses with LeaseLost once the attempt is no longer the current one, and with
Cancelled once the job has ended (another of its tasks failed for good): the work has to stop.
"""

from dataclasses import asdict, dataclass
from datetime import timedelta

from sqlalchemy import Connection, case, insert, null, select, update

from hearsight_core.contract import (
    STAGE_PERCENT,
    TERMINAL,
    Segment,
    Stage,
    TaskKind,
    queue_of,
)
from hearsight_core.errors import Cancelled
from hearsight_core.jobs import (
    RANK_OFFSET,
    Job,
    ModelUsed,
    Part,
    Task,
    TaskState,
    recognising_percent,
)
from hearsight_core.messages import Language, render
from hearsight_core.store import quotas
from hearsight_core.store.changes import change_job, staged
from hearsight_core.store.database import Database
from hearsight_core.store.outcomes import locked_attempt
from hearsight_core.store.rows import StoredSegment, part_of
from hearsight_core.store.tables import jobs, parts, segments, tasks

AHEAD = timedelta(microseconds=1)
"""By how much a part ranks before the others of its job: not enough to pass another job's."""


def working_on(connection: Connection, task: Task) -> Job:
    """The task's job, locked, if this attempt may still write to it.

    An ended job must keep showing how it ended, and a task added to it would wait forever.

    Raises:
        LeaseLost: the attempt is no longer the current one.
        Cancelled: the job has ended.
    """
    job = locked_attempt(connection, task)
    if job.status in TERMINAL:
        raise Cancelled
    return job


def _moved_on(connection: Connection, task: Task) -> None:
    """Forgets the task's failures: it has come further than the attempts that failed.

    So a task that is interrupted again and again comes to its end as long as it gets on, and one
    that fails at the same place is given up.
    """
    # As claimed: a failure that comes after that ends the attempt.
    if task.failures or task.store_failures:
        connection.execute(
            update(tasks).where(tasks.c.id == task.id).values(failures=0, store_failures=0)
        )


def report(database: Database, task: Task, stage: Stage, percent: float, message: str) -> Job:
    """Shows the job in `stage` at `percent` of it."""
    with database.begin() as connection:
        job = working_on(connection, task)
        return change_job(connection, job, **staged(job, stage, percent, message))


@dataclass(frozen=True, kw_only=True)
class Media:
    """The original as it lies in the object store."""

    key: str
    filename: str
    size_bytes: int
    media_type: str | None


def set_media(database: Database, task: Task, media: Media, message: str) -> Job:
    """Points the job at its stored original; its bytes are never fetched again."""
    with database.begin() as connection:
        job = working_on(connection, task)
        _moved_on(connection, task)
        return change_job(
            connection,
            job,
            media_key=media.key,
            filename=media.filename,
            media_bytes=media.size_bytes,
            media_type=media.media_type,
            **staged(job, Stage.DOWNLOAD, 100, message),
        )


def set_duration(database: Database, task: Task, duration_ms: int) -> Job:
    """Notes how long the recording is, as far as its container tells."""
    with database.begin() as connection:
        job = working_on(connection, task)
        return change_job(connection, job, duration_ms=duration_ms)


def last_part(database: Database, job_id: int) -> Part | None:
    """Finds the last part that is cut so far: where a resumed cut goes on."""
    with database.begin() as connection:
        row = connection.execute(
            select(parts)
            .where(parts.c.job_id == job_id)
            .order_by(parts.c.part_index.desc())
            .limit(1)
        ).first()
        return part_of(row) if row is not None else None


def add_part(
    database: Database,
    task: Task,
    part: Part,
    *,
    task_id: str,
    ahead: bool = False,
    trace_parent: str | None = None,
) -> Job:
    """Adds a part, whose object is stored already, and the task that transcribes it.

    One that is `ahead` is recognised before the others of its job that wait. `trace_parent` is the
    span below which the part is recognised.
    """
    with database.begin() as connection:
        job = working_on(connection, task)
        _moved_on(connection, task)
        connection.execute(
            insert(parts).values(
                job_id=job.id,
                part_index=part.index,
                start_ms=part.start_ms,
                end_ms=part.end_ms,
                speech_ms=part.speech_ms,
                object_key=part.object_key,
                chunks=[list(chunk) for chunk in part.chunks],
                channel=part.channel,
                audio_digest=part.audio_digest,
            )
        )
        connection.execute(
            insert(tasks).values(
                id=task_id,
                job_id=job.id,
                kind=TaskKind.TRANSCRIBE,
                queue=queue_of(TaskKind.TRANSCRIBE, job.pool),
                state=TaskState.WAITING,
                part_index=part.index,
                # The place of the job, not of the part: an old job's last part goes before a
                # young job's first.
                rank_at=job.created_at + RANK_OFFSET[job.priority] - AHEAD * ahead,
                trace_parent=trace_parent,
                job_owner=job.owner,
            )
        )
        # Once for each part, however often the job is tried: the part's row is there once.
        quotas.charge(connection, job.owner, part.end_ms - part.start_ms)
        return change_job(connection, job, speech_ms=jobs.c.speech_ms + part.speech_ms)


def finish_cut(database: Database, task: Task, duration_ms: int, *, truncated: bool = False) -> Job:
    """Declares that the last part is there, how long the recording is, and if it broke off."""
    with database.begin() as connection:
        job = working_on(connection, task)
        return change_job(
            connection, job, cut_done=True, duration_ms=duration_ms, truncated=truncated
        )


def set_language(
    database: Database, task: Task, language: str, probability: float | None, model: ModelUsed
) -> Job:
    """Notes language and model; the part that says it first decides for the whole job."""
    with database.begin() as connection:
        job = working_on(connection, task)
        if job.language is not None:
            return job
        return change_job(
            connection,
            job,
            language=language,
            language_probability=probability,
            model=asdict(model),
        )


@dataclass(frozen=True, kw_only=True)
class Appended:
    """The changed job, the version before the change, and the segments with their numbers."""

    job: Job
    version_before: int
    segments: tuple[StoredSegment, ...]


def add_segments(
    database: Database,
    task: Task,
    part: Part,
    *,
    chunk_index: int,
    found: tuple[Segment, ...],
    language: Language,
    way: str | None = None,
    reused: bool = False,
) -> Appended:
    """Stores the segments of the part's next chunk and moves its checkpoint past that chunk.

    `way` says how they were recognised: equal for what gives equal segments of equal audio. They
    are `reused` if an earlier job recognised them.

    The job's row is locked, so the segments' numbers follow the order of commits: who has read up
    to a number has missed nothing below it.
    """
    start_ms, end_ms = part.chunks[chunk_index]
    with database.begin() as connection:
        job = working_on(connection, task)
        moved = connection.execute(
            update(parts)
            .where(
                parts.c.job_id == job.id,
                parts.c.part_index == part.index,
                parts.c.chunks_done == chunk_index,
            )
            .values(
                chunks_done=chunk_index + 1,
                # A part is known as recognised in one way if every chunk of it was.
                way=way if chunk_index == 0 else case((parts.c.way == way, way), else_=null()),
            )
        )
        if moved.rowcount != 1:
            raise OutOfOrderError(f"job {job.id}, part {part.index}, chunk {chunk_index}")
        _moved_on(connection, task)
        stored = tuple(
            StoredSegment(
                seq=job.version + 1 + position,
                part_index=part.index,
                segment=segment.model_copy(update={"channel": part.channel}),
            )
            for position, segment in enumerate(found)
        )
        if stored:
            connection.execute(
                insert(segments),
                [
                    {
                        "job_id": job.id,
                        "seq": item.seq,
                        "part_index": part.index,
                        "chunk_index": chunk_index,
                        "position": position,
                        **item.segment.model_dump(mode="json"),
                    }
                    for position, item in enumerate(stored)
                ],
            )
        recognised_ms = job.recognised_ms + end_ms - start_ms
        changed = change_job(
            connection,
            job,
            **_recognising(job, recognised_ms, language),
            recognised_ms=recognised_ms,
            reused_ms=job.reused_ms + (end_ms - start_ms if reused else 0),
            version=job.version + max(1, len(stored)),
        )
        return Appended(job=changed, version_before=job.version, segments=stored)


def _recognising(job: Job, recognised_ms: int, language: Language) -> dict[str, object]:
    """Columns that show the job as being recognised; none while its media is still being fetched.

    That is what such a job has to wait for, and what its stage goes on to tell.
    """
    if job.media_key is None:
        return {}
    percent = recognising_percent(recognised_ms, max(_speech_expected_ms(job), recognised_ms))
    # While parts are still being cut the share can fall; the percentage must not.
    if job.stage is Stage.ASR_RECOGNIZING:
        percent = max(percent, job.stage_percent)
    message = render("progress.asr_recognizing", language)
    return staged(job, Stage.ASR_RECOGNIZING, percent, message)


def _speech_expected_ms(job: Job) -> int:
    """How much speech there is to recognise: until the last part is cut, all that is left may be.

    Without this, a worker that keeps up with the cut would show a long recording as nearly done.
    """
    if job.cut_done:
        return job.speech_ms
    return max(job.speech_ms, job.options.wanted_ms(job.duration_ms or 0))


class OutOfOrderError(Exception):
    """A chunk was to be stored before its predecessor: a fault of the program."""


def to_mark_recognising(job: Job) -> bool:
    """Whether `mark_recognising` has something to show: not yet shown, and the media is there."""
    shown = job.stage in {Stage.ASR_RECOGNIZING, Stage.ASR_POSTPROCESSING}
    return not shown and job.media_key is not None


def mark_recognising(database: Database, task: Task, language: Language) -> Job:
    """Shows the job as being recognised, once its first part is claimed."""
    with database.begin() as connection:
        job = working_on(connection, task)
        if not to_mark_recognising(job):
            return job
        return change_job(connection, job, **_recognising(job, job.recognised_ms, language))


def mark_postprocessing(database: Database, task: Task, language: Language) -> Job | None:
    """Shows the job as being put together if this task is its last; else changes nothing."""
    with database.begin() as connection:
        others = connection.execute(
            select(tasks.c.id)
            .where(
                tasks.c.job_id == task.job_id,
                tasks.c.id != task.id,
                # One that failed has ended the job, and that is told below.
                tasks.c.state.not_in((TaskState.DONE, TaskState.FAILED)),
            )
            .limit(1)
        ).first()
        if others is not None:
            return None  # nearly always; so nobody waits for the job's lock in order to be told
        job = working_on(connection, task)
        if not job.cut_done:
            return None
        stage = Stage.ASR_POSTPROCESSING
        message = render("progress.asr_postprocessing", language)
        return change_job(connection, job, **staged(job, stage, STAGE_PERCENT[stage], message))
