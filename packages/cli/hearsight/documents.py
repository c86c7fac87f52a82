"""What goes to the API and comes from it, as the command needs to know it."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hearsight_core.contract import JobStatus, ProgressData, Segment, SpeechTask

Priority = Literal["high", "normal", "low"]

Format = Literal["json", "srt", "vtt", "txt", "tsv"]


class Options(BaseModel):
    """How a job is to be done; what is None is the API's to decide."""

    model_config = ConfigDict(frozen=True)

    job_id: int | None = None
    language: str | None = None
    task: SpeechTask | None = None
    word_timestamps: bool | None = None
    initial_prompt: str | None = None
    hotwords: str | None = None
    from_: str | None = Field(None, serialization_alias="from")
    to: str | None = None
    split_channels: bool | None = None
    beam_size: int | None = None
    temperature: str | None = None
    compression_ratio_threshold: float | None = None
    log_prob_threshold: float | None = None
    no_speech_threshold: float | None = None
    vad_threshold: float | None = None
    vad_min_speech_duration_ms: int | None = None
    vad_min_silence_duration_ms: int | None = None
    vad_speech_pad_ms: int | None = None
    reuse: bool | None = None
    priority: Priority | None = None
    pool: str | None = None

    def sent(self) -> dict[str, Any]:  # Any: JSON as it goes out
        """What is asked for, by the API's names."""
        return self.model_dump(exclude_none=True, by_alias=True)


class Accepted(BaseModel):
    """What the API answers to a new job."""

    job_id: int
    task_id: str
    status: JobStatus


class Job(BaseModel):
    """A job, with whatever else the API tells of it."""

    model_config = ConfigDict(extra="allow")

    job_id: int
    status: JobStatus
    overall_percent: float = 0
    message: str = ""
    source_url: str | None = None
    filename: str | None = None
    duration_ms: int | None = None
    language: str | None = None
    created_at: str
    started_at: str | None = None
    finished_at: str | None = None
    error: str | None = None
    error_code: str | None = None


class JobPage(BaseModel):
    """Jobs, newest first."""

    jobs: list[Job]
    next_cursor: str | None = None


class NumberedSegment(Segment):
    """A recognised segment with its place in the job's order of events."""

    seq: int


class Transcript(BaseModel):
    """What a job recognised, as far as it is."""

    segments: list[NumberedSegment]


Event = ProgressData | NumberedSegment
