"""What a watcher reads: ProgressData and the events around it."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from hearsight_core.contract import JobStatus, ProgressData, RecognitionOptions, Segment, Stage
from hearsight_core.jobs import Job, progress_of
from hearsight_core.progress import Event, SegmentEvent
from hearsight_core.store.rows import StoredSegment

JOB = Job(
    id=7,
    status=JobStatus.PROCESSING,
    stage=Stage.ASR_RECOGNIZING,
    stage_percent=45,
    overall_percent=66.5,
    message="Recognising",
    source_url="https://example.org/talk.mp4",
    filename="talk.mp4",
    media_key="jobs/7/media",
    media_bytes=1000,
    media_type="video/mp4",
    duration_ms=60_000,
    options=RecognitionOptions(),
    priority="normal",
    pool="default",
    owner="default",
    request_digest="d",
    language="en",
    language_probability=0.9,
    model=None,
    speech_ms=50_000,
    recognised_ms=25_000,
    cut_done=True,
    cancel_requested=False,
    deleted=False,
    error_code=None,
    error=None,
    attempt=1,
    version=12,
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    started_at=None,
    finished_at=None,
)


def test_every_field_that_people_know_is_there() -> None:
    known = {
        "status",
        "stage",
        "progress_percent",
        "filename",
        "message",
        "job_id",
        "current_bytes",
        "total_bytes",
        "speed",
        "eta_seconds",
        "error",
    }
    ours = {"overall_percent", "error_code", "attempt"}
    assert known | ours <= set(ProgressData.model_fields)


def test_the_stored_job_tells_its_progress() -> None:
    told = progress_of(JOB)
    assert told.job_id == 7
    assert (told.status, told.stage) == (JobStatus.PROCESSING, Stage.ASR_RECOGNIZING)
    assert (told.progress_percent, told.overall_percent) == (45, 66.5)
    assert (told.position_ms, told.duration_ms) == (25_000, 60_000)
    assert (told.current_bytes, told.total_bytes) == (1000, 1000)
    assert told.version == 12


@pytest.mark.parametrize("percent", [-0.1, 100.1])
def test_a_percentage_outside_its_range_is_refused(percent: float) -> None:
    with pytest.raises(ValidationError):
        ProgressData(job_id=1, status=JobStatus.PENDING, progress_percent=percent)
    with pytest.raises(ValidationError):
        ProgressData(job_id=1, status=JobStatus.PENDING, overall_percent=percent)


def test_a_snapshot_of_a_newer_version_can_be_read() -> None:
    told = ProgressData.model_validate(
        {"job_id": 1, "status": "pending", "a_field_of_tomorrow": True}
    )
    assert told.status is JobStatus.PENDING


def test_an_unknown_job_is_idle() -> None:
    told = ProgressData(job_id=5, status=JobStatus.IDLE)
    assert (told.stage, told.progress_percent, told.version) == (None, 0, 0)


def test_an_event_survives_the_way_over_redis() -> None:
    segment = Segment(
        start_ms=0,
        end_ms=900,
        text="你好, world",
        avg_logprob=-0.1,
        no_speech_prob=0.0,
        compression_ratio=1.0,
    )
    stored = StoredSegment(seq=12, part_index=0, segment=segment)
    event = Event(progress=progress_of(JOB), segments_after=11, segments=[SegmentEvent.of(stored)])
    assert Event.model_validate_json(event.model_dump_json()) == event
