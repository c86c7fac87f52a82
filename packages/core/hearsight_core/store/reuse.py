"""What was recognised before of the same audio, and need not be recognised again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Select, select

from hearsight_core.contract import JobStatus, Segment
from hearsight_core.jobs import Job, Part
from hearsight_core.store.database import Database
from hearsight_core.store.rows import segment_of
from hearsight_core.store.tables import jobs, parts, segments


@dataclass(frozen=True, kw_only=True)
class Reusable:
    """The segments of a whole part, by chunk, with the times of the part that they are for."""

    job_id: int
    """The job that recognised them."""
    language: str
    language_probability: float | None
    chunks: tuple[tuple[Segment, ...], ...]


def reusable(database: Database, job: Job, part: Part, way: str) -> Reusable | None:
    """Finds what a completed job of the same owner recognised of such a part, in the same `way`.

    If the language of `job` is decided, only what was recognised in that language.

    It is one statement, and so one view of the tables: a job that is removed meanwhile is found
    with all of its segments or not at all.
    """
    if part.audio_digest is None:
        return None
    with database.begin() as connection:
        rows = connection.execute(source_of(job, part, way)).all()
    return _found(rows, part) if rows else None


def source_of(job: Job, part: Part, way: str) -> Select[Any]:  # Any: columns of several tables
    """The query for the segments of one such part, in order, each with its job's language."""
    source = (
        select(
            parts.c.job_id.label("source_id"),
            parts.c.part_index.label("source_index"),
            parts.c.start_ms.label("source_start_ms"),
            jobs.c.language,
            jobs.c.language_probability,
        )
        .join(jobs, jobs.c.id == parts.c.job_id)
        .where(
            parts.c.audio_digest == part.audio_digest,
            parts.c.way == way,
            parts.c.chunks_done == len(part.chunks),
            jobs.c.owner == job.owner,
            jobs.c.status == JobStatus.COMPLETED,
            jobs.c.deleted_at.is_(None),
            jobs.c.language.is_not(None),
        )
        .limit(1)
    )
    if job.language is not None:
        source = source.where(jobs.c.language == job.language)
    one = source.subquery("source")
    return (
        select(one, segments)
        .outerjoin(
            segments,
            (segments.c.job_id == one.c.source_id) & (segments.c.part_index == one.c.source_index),
        )
        .order_by(segments.c.chunk_index, segments.c.position)
    )


def _found(rows: Sequence[Row[Any]], part: Part) -> Reusable:  # Any: as above
    chunks: list[list[Segment]] = [[] for _ in part.chunks]
    first = rows[0]
    for row in rows:
        # A part of which nothing was understood has one row without a segment.
        if row.chunk_index is not None:
            later_ms = part.start_ms - row.source_start_ms
            chunks[row.chunk_index].append(_moved(segment_of(row).segment, later_ms))
    return Reusable(
        job_id=first.source_id,
        language=first.language,
        language_probability=first.language_probability,
        chunks=tuple(map(tuple, chunks)),
    )


def _moved(segment: Segment, later_ms: int) -> Segment:
    """The segment with times that are so much later; earlier if negative."""
    words = segment.words
    if words is not None:
        words = tuple(
            word.model_copy(
                update={"start_ms": word.start_ms + later_ms, "end_ms": word.end_ms + later_ms}
            )
            for word in words
        )
    return segment.model_copy(
        update={
            "start_ms": segment.start_ms + later_ms,
            "end_ms": segment.end_ms + later_ms,
            "words": words,
        }
    )
