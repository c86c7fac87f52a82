"""What the API takes and answers. Field names are part of the contract."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from hearsight_api.options import JobOptions
from hearsight_core.contract import JobStatus, RecognitionOptions, Segment, Stage
from hearsight_core.jobs import Job, Priority

MAX_URL = 8192


class ProcessRequest(JobOptions):
    """A URL to transcribe."""

    model_config = ConfigDict(
        extra="forbid",
        # The fields of a form are text, and read as it says; JSON has types of its own.
        strict=True,
        json_schema_extra={
            "examples": [{"url": "https://example.org/talk.mp4", "job_id": 42, "language": "en"}]
        },
    )

    url: str = Field(
        max_length=MAX_URL,
        description="Address of a video, a recording, or a page that holds one (http, https).",
        examples=["https://example.org/talk.mp4"],
    )


class Accepted(BaseModel):
    """The job was taken, or had been taken before."""

    job_id: int = Field(examples=[42])
    task_id: str = Field(
        examples=["5f1d7a3e-3b44-4a52-9a2e-0d2b8a9d4e11"],
        description="Id of its first task, also in Celery.",
    )
    status: JobStatus = Field(examples=["pending"])


class JobView(BaseModel):
    """A job, as people see it."""

    job_id: int
    status: JobStatus
    stage: Stage
    progress_percent: float
    overall_percent: float
    message: str
    source_url: str | None
    filename: str | None
    media_bytes: int | None
    media_type: str | None
    duration_ms: int | None
    truncated: bool = Field(description="The media broke off before the end it announced.")
    reused_ms: int = Field(
        description="How much of its speech an earlier job had recognised, milliseconds."
    )
    language: str | None
    language_probability: float | None
    model: str | None
    options: RecognitionOptions
    priority: Priority
    owner: str = Field(description="Whose job it is: the owner of the key it was handed in with.")
    pool: str
    error_code: str | None
    error: str | None
    cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    media_removed_at: datetime | None = Field(
        description="When its media was removed, having been kept long enough."
    )
    trace_id: str | None = Field(
        description="The trace of all that is done for it; it stands in the logs too.",
        examples=["4bf92f3577b34da6a3ce929d0e0e4736"],
    )

    @classmethod
    def of(cls, job: Job) -> "JobView":
        """The view of a stored job."""
        return cls(
            job_id=job.id,
            progress_percent=job.stage_percent,
            model=job.model.name if job.model else None,
            **{
                name: getattr(job, name)
                for name in cls.model_fields
                if name not in {"job_id", "progress_percent", "model"}
            },
        )


class JobPage(BaseModel):
    """Jobs, newest first; `next_cursor` leads to the next page, null: that was the last."""

    jobs: list[JobView]
    next_cursor: str | None


class ModelView(BaseModel):
    """What recognised a job."""

    name: str
    revision: str | None
    device: str
    compute_type: str


class TranscriptSegment(Segment):
    """A segment with its place in the order of events."""

    seq: int


class Transcript(BaseModel):
    """Everything recognised so far; `partial` until the job is completed."""

    job_id: int
    status: JobStatus
    partial: bool
    filename: str | None
    duration_ms: int | None
    reused_ms: int = Field(
        description="How much of the speech an earlier job had recognised, milliseconds."
    )
    language: str | None
    language_probability: float | None
    task: str
    options: RecognitionOptions
    model: ModelView | None
    text: str
    segments: list[TranscriptSegment]
