"""The names all services share: statuses, stages, queues, task names, payloads, keys.

Nothing here does anything; people's scripts and dashboards hold on to these names, so they change
only with a new major version.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

SpeechTask = Literal["transcribe", "translate"]
"""Write down what is said, or turn it into English."""

JobId = Annotated[int, Field(ge=1, le=2**63 - 1)]
"""A job's number; the client may choose it."""


class JobStatus(StrEnum):
    """Where a job stands, as people see it. `idle` is the answer for an unknown job only."""

    IDLE = "idle"
    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED})


class Stage(StrEnum):
    """What is being done to a job; `progress_percent` counts within the stage."""

    UPLOAD_PROCESSING = "upload_processing"
    UPLOAD = "upload"
    DOWNLOAD_START = "download_start"
    DOWNLOAD = "download"
    ASR_PREPROCESSING = "asr_preprocessing"
    ASR_RECOGNIZING = "asr_recognizing"
    ASR_POSTPROCESSING = "asr_postprocessing"
    COMPLETED = "completed"
    ERROR = "error"


STAGE_PERCENT: dict[Stage, float] = {
    Stage.UPLOAD_PROCESSING: 10,
    Stage.UPLOAD: 100,
    Stage.DOWNLOAD_START: 0,
    Stage.DOWNLOAD: 0,
    Stage.ASR_PREPROCESSING: 5,
    Stage.ASR_RECOGNIZING: 10,
    Stage.ASR_POSTPROCESSING: 80,
    Stage.COMPLETED: 100,
    Stage.ERROR: 0,
}
"""The percentage a stage begins with; `download` and `asr_recognizing` rise from there."""


class TaskKind(StrEnum):
    """What a task row asks for."""

    DOWNLOAD = "download"
    TRANSCRIBE = "transcribe"


POOL_PATTERN = "[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?"

Pool = Annotated[str, Field(pattern=f"^{POOL_PATTERN}$")]
"""Name of a pool: ASR workers of one model on one kind of device."""

DEFAULT_POOL = "default"

QUEUE_PATTERN = rf"download|asr(\.{POOL_PATTERN})?"
"""What names of queues look like."""


def queue_of(kind: TaskKind, pool: str = DEFAULT_POOL) -> str:
    """The Celery queue of such tasks; a worker reads exactly one.

    Any download worker can fetch for any pool. The default pool's queue carries no name, so that a
    deployment without pools knows nothing of them.
    """
    if kind is TaskKind.DOWNLOAD:
        return "download"
    return "asr" if pool == DEFAULT_POOL else f"asr.{pool}"


def kind_of(queue: str) -> TaskKind:
    """What the tasks of a queue ask for."""
    return TaskKind.DOWNLOAD if queue == queue_of(TaskKind.DOWNLOAD) else TaskKind.TRANSCRIBE


CELERY_TASK_NAME: dict[TaskKind, str] = {
    TaskKind.DOWNLOAD: "process_job_task",
    TaskKind.TRANSCRIBE: "transcribe_part_task",
}

BROKER_DB = 0
NEWS_DB = 1
NEWS_TTL_S = 24 * 60 * 60
"""Celery results and progress snapshots live this long in Redis."""

EVENTS_CHANNEL = "hearsight:events"
"""The Redis channel that tells every API process what changed."""


def progress_key(job_id: int) -> str:
    """The Redis key of a job's progress snapshot (db 1, JSON, 24 h)."""
    return f"task_progress:{job_id}"


class Frozen(BaseModel):
    """A value that is not changed after it was made, and takes no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Hint(Frozen):
    """What a Celery message carries: which task may be claimed, and after which attempt."""

    task_id: str
    attempt: int


class RecognitionOptions(Frozen):
    """What the person asked of recognition."""

    language: str | None = None
    """ISO 639-1 code as Whisper knows it, such as `en`; None: detect it."""
    task: SpeechTask = "transcribe"
    word_timestamps: bool = False
    initial_prompt: str | None = None
    hotwords: str | None = None
    beam_size: int | None = None
    """Hypotheses followed; None: as many as the worker's setting says."""
    temperature: tuple[float, ...] | None = None
    """Tried in turn while the text is doubtful; None: 0, then up to 1 in steps of 0.2."""
    compression_ratio_threshold: float | None = None
    log_prob_threshold: float | None = None
    no_speech_threshold: float | None = None
    """When text is doubtful, and when it is silence; None: Whisper's own."""
    vad_threshold: float | None = None
    vad_min_speech_duration_ms: int | None = None
    vad_min_silence_duration_ms: int | None = None
    vad_speech_pad_ms: int | None = None
    """How speech is found, as Silero VAD has it; None: as the cutter does by itself."""
    from_ms: int = 0
    to_ms: int | None = None
    """The stretch of the recording that is wanted; None: to its end."""
    split_channels: bool = False
    """Recognise each channel of the recording by itself."""
    reuse: bool = True
    """Take what was recognised of the same audio in the same way, if it is there."""

    def stored(self) -> dict[str, object]:
        """The options as they are stored, and compared with another request's.

        Those that came later only if they are set: so a request taken by an earlier version is
        still the same request, and a worker of that version can read what it knows.
        """
        return {
            name: value
            for name, value in self.model_dump(mode="json").items()
            if name in _FIRST_OPTIONS or value != type(self).model_fields[name].default
        }

    def wanted_ms(self, duration_ms: int) -> int:
        """How much of a recording is to be gone through; a split one counts for two channels."""
        end_ms = duration_ms if self.to_ms is None else min(self.to_ms, duration_ms)
        return max(0, end_ms - self.from_ms) * (2 if self.split_channels else 1)


_FIRST_OPTIONS = frozenset({"language", "task", "word_timestamps", "initial_prompt", "hotwords"})
"""The options of version 0.1."""


class Word(Frozen):
    """One recognised word; as Whisper has it, with the space that stands before it."""

    start_ms: int
    end_ms: int
    word: str
    probability: float | None
    """None where the engine does not tell."""


Doubt = Literal["loop", "improbable"]
"""Why a segment is not to be trusted, after all that was tried: its text says the same again and
again, without time in the audio to say all that; or the model itself holds it for improbable."""


class Segment(Frozen):
    """A stretch of recognised speech. Times are milliseconds from the start of the recording."""

    start_ms: int
    end_ms: int
    text: str
    words: tuple[Word, ...] | None = None
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    channel: int | None = None
    """Which channel of the recording, from 0; None: all of them, mixed."""
    doubt: Doubt | None = None
    """Why its text is not to be trusted; None: nothing speaks against it."""

    @property
    def said(self) -> bool:
        """Whether anyone said so: a loop is the model's own doing."""
        return self.doubt != "loop"

    @property
    def voice(self) -> str | None:
        """Who speaks, as far as the channel tells; None: nobody knows."""
        return None if self.channel is None else f"Channel {self.channel}"


class ProgressData(BaseModel):
    """What a job is doing right now, for people and scripts."""

    model_config = ConfigDict(extra="ignore")

    job_id: int
    owner: str | None = Field(default=None, description="Whose job it is.")
    status: JobStatus
    stage: Stage | None = None
    progress_percent: float = Field(default=0, ge=0, le=100, description="Of the stage.")
    overall_percent: float = Field(
        default=0, ge=0, le=100, description="Of the whole job; never goes back."
    )
    filename: str | None = None
    message: str = ""
    current_bytes: int | None = None
    total_bytes: int | None = None
    speed: float | None = Field(default=None, description="Bytes a second.")
    eta_seconds: float | None = None
    position_ms: int | None = Field(
        default=None, description="Audio recognised so far, milliseconds of speech."
    )
    duration_ms: int | None = Field(default=None, description="Length of the recording.")
    real_time_factor: float | None = Field(
        default=None, description="Seconds of work for a second of audio; below 1 is faster."
    )
    error: str | None = None
    error_code: str | None = None
    attempt: int = 0
    version: int = Field(
        default=0, description="Grows with every change that is stored; news never goes back."
    )
