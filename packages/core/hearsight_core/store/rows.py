"""Rows of the tables as the values of `hearsight_core.jobs`."""

from dataclasses import dataclass

from sqlalchemy import Row

from hearsight_core.contract import (
    JobStatus,
    RecognitionOptions,
    Segment,
    Stage,
    TaskKind,
    Word,
)
from hearsight_core.jobs import Job, ModelUsed, Part, Task, TaskState


def job_of(row: Row[tuple[object, ...]]) -> Job:
    """The job that a row of `jobs` holds."""
    columns = row._asdict()
    model = columns["model"]
    return Job(
        id=columns["id"],
        status=JobStatus(columns["status"]),
        stage=Stage(columns["stage"]),
        stage_percent=columns["stage_percent"],
        overall_percent=columns["overall_percent"],
        message=columns["message"],
        source_url=columns["source_url"],
        filename=columns["filename"],
        media_key=columns["media_key"],
        media_bytes=columns["media_bytes"],
        media_type=columns["media_type"],
        duration_ms=columns["duration_ms"],
        options=RecognitionOptions.model_validate(columns["options"]),
        priority=columns["priority"],
        owner=columns["owner"],
        pool=columns["pool"],
        request_digest=columns["request_digest"],
        language=columns["language"],
        language_probability=columns["language_probability"],
        model=ModelUsed(**model) if model else None,
        speech_ms=columns["speech_ms"],
        recognised_ms=columns["recognised_ms"],
        reused_ms=columns["reused_ms"],
        cut_done=columns["cut_done"],
        truncated=columns["truncated"],
        cancel_requested=columns["cancel_requested_at"] is not None,
        deleted=columns["deleted_at"] is not None,
        error_code=columns["error_code"],
        error=columns["error"],
        attempt=columns["attempt"],
        version=columns["version"],
        created_at=columns["created_at"],
        started_at=columns["started_at"],
        finished_at=columns["finished_at"],
        media_removed_at=columns["media_removed_at"],
        trace_id=columns["trace_id"],
    )


def task_of(row: Row[tuple[object, ...]]) -> Task:
    """The task that a row of `tasks` holds."""
    columns = row._asdict()
    return Task(
        id=columns["id"],
        job_id=columns["job_id"],
        kind=TaskKind(columns["kind"]),
        state=TaskState(columns["state"]),
        attempt=columns["attempt"],
        failures=columns["failures"],
        store_failures=columns["store_failures"],
        part_index=columns["part_index"],
        error_code=columns["error_code"],
        trace_parent=columns["trace_parent"],
    )


def part_of(row: Row[tuple[object, ...]]) -> Part:
    """The part that a row of `parts` holds."""
    columns = row._asdict()
    return Part(
        job_id=columns["job_id"],
        index=columns["part_index"],
        start_ms=columns["start_ms"],
        end_ms=columns["end_ms"],
        speech_ms=columns["speech_ms"],
        object_key=columns["object_key"],
        chunks=tuple((start, end) for start, end in columns["chunks"]),
        chunks_done=columns["chunks_done"],
        channel=columns["channel"],
        audio_digest=columns["audio_digest"],
    )


@dataclass(frozen=True, kw_only=True)
class StoredSegment:
    """A segment with its place in the job's order of events: `seq` grows in order of commit."""

    seq: int
    part_index: int
    segment: Segment


def segment_of(row: Row[tuple[object, ...]]) -> StoredSegment:
    """The segment that a row of `segments` holds."""
    columns = row._asdict()
    words = columns["words"]
    return StoredSegment(
        seq=columns["seq"],
        part_index=columns["part_index"],
        segment=Segment(
            start_ms=columns["start_ms"],
            end_ms=columns["end_ms"],
            text=columns["text"],
            words=None if words is None else tuple(Word.model_validate(word) for word in words),
            avg_logprob=columns["avg_logprob"],
            no_speech_prob=columns["no_speech_prob"],
            compression_ratio=columns["compression_ratio"],
            channel=columns["channel"],
            doubt=columns["doubt"],
        ),
    )
