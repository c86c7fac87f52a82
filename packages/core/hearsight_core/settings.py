"""Every setting of every process, read from the environment (`HEARSIGHT_...`).

An entry point builds one of these once and passes it down; importing this module reads nothing.
`docs/settings.md` is the same list for people, and a test holds the two together.
"""

import re
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from hearsight_core.contract import DEFAULT_POOL, Pool
from hearsight_core.keys import is_token
from hearsight_core.messages import Language

MIB = 1024 * 1024

Auth = Literal["auto", "on", "loopback", "off"]


_USER_AND_PASSWORD = re.compile(r"(?<=://)([^:/?#@]*):.*@", re.DOTALL)
_SECRET_PARAMETER = re.compile(r"(?i)([?&][^=&]*(?:pass|secret|token|key)[^=&]*=)[^&]*")


def masked(url: str) -> str:
    """The URL with its passwords replaced by `***`, fit for logs and screens.

    Drivers take passwords with `/`, `?` or `#` in them, and as parameters; so whatever stands
    between the first colon and the last `@` is taken for one.
    """
    return _SECRET_PARAMETER.sub(r"\1***", _USER_AND_PASSWORD.sub(r"\1:***@", url))


@lru_cache(maxsize=64)  # the API asks at every request, and mostly for the same name
def is_loopback(host: str) -> bool:
    """Whether a server bound to `host` can be reached from this machine alone."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class CoreSettings(BaseSettings):
    """What every process needs."""

    model_config = SettingsConfigDict(
        # Values are not shown in errors: some are secrets.
        env_prefix="HEARSIGHT_",
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
    )

    database_url: str = Field(
        "postgresql://hearsight@127.0.0.1:5432/hearsight",
        # Its driver takes other forms too, and repeats what it can't read, the password with it.
        pattern="^postgres(ql)?://",
        description="PostgreSQL, the truth.",
    )
    database_pool_size: int = Field(10, ge=2, description="Connections a process keeps at most.")
    broker_url: str = Field(
        "redis://127.0.0.1:6379/0", description="Redis db that carries the Celery queues."
    )
    redis_url: str = Field(
        "redis://127.0.0.1:6379/1", description="Redis db for Celery results and progress."
    )
    storage_url: str = Field(
        "file:///var/lib/hearsight/media",
        description="Where media and parts lie: file:///folder, s3://bucket/prefix, gs:// or az://.",
    )
    storage_endpoint: str | None = Field(
        None, description="URL of an S3 server that is not Amazon's (MinIO, Ceph, ...)."
    )
    storage_region: str | None = Field(None, description="Region of the S3 bucket.")
    storage_access_key_id: str | None = Field(
        None, description="S3 key; unset: the usual AWS chain (environment, role)."
    )
    storage_secret_access_key: str | None = Field(None, description="S3 secret.")
    language: Language = Field("en", description="Language of messages for people: en or zh.")
    log_format: Literal["console", "json"] = Field("console", description="How logs are written.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe level written; workers take CELERY_LOG_LEVEL first."
    )
    metrics_host: str = Field("127.0.0.1", description="Address of a process's health and metrics.")
    metrics_port: int = Field(
        0, ge=0, le=65535, description="Port of a process's health and metrics; 0: any free one."
    )
    lease_s: float = Field(
        60, gt=0, description="Seconds without a heartbeat after which a task is taken back."
    )
    heartbeat_s: float = Field(
        5, gt=0, description="Seconds between heartbeats; a cancel is seen as quickly."
    )
    max_failures: int = Field(
        3, ge=1, description="Tries without any progress that a task has before its job fails."
    )
    max_store_failures: int = Field(
        20,
        ge=1,
        description="The same, where one of our own stores (objects, disk, database) failed: about "
        "an hour with the usual pauses.",
    )
    retry_backoff_s: float = Field(
        5, ge=0, description="Pause before the first retry; doubles with each, with jitter."
    )
    retry_backoff_max_s: float = Field(300, ge=0, description="Longest pause before a retry.")
    otlp_endpoint: str | None = Field(
        None,
        pattern="^https?://",
        description="Where traces go, by OTLP over HTTP, such as http://collector:4318; unset:"
        " nowhere.",
    )
    hint_resend_s: float = Field(
        2, gt=0, description="Seconds after which a hint that led to no claim is sent again."
    )
    hints_per_slot: float = Field(
        2, ge=1, description="Hints in flight for each live worker slot, at most."
    )


class MigrationSettings(CoreSettings):
    """What the migration of the database needs on top."""

    database_reader_password: SecretStr | None = Field(
        None,
        min_length=1,
        description="Password of the role hearsight_reader, which may read the view queue_load and"
        " nothing else; unset: no such role is made.",
    )

    bootstrap_api_key: SecretStr | None = Field(
        None,
        description="API key that is put in force, with every scope, when the database is migrated;"
        " hs_ and 32 to 200 letters, digits, - or _.",
    )

    @field_validator("bootstrap_api_key", mode="before")
    @classmethod
    def _unset_if_empty(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("bootstrap_api_key")
    @classmethod
    def _is_token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not is_token(value.get_secret_value()):
            raise ValueError("must be hs_ and 32 to 200 letters, digits, - or _")
        return value


class ApiSettings(CoreSettings):
    """What the API needs on top."""

    host: str = Field("127.0.0.1", description="Address the API listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port the API listens on.")
    auth: Auth = Field(
        "auto",
        description="Whether requests need an API key: on; loopback: no, but they must name this"
        " machine; off: no; auto: loopback if HEARSIGHT_HOST is such an address, else on.",
    )
    max_upload_bytes: int = Field(4096 * MIB, gt=0, description="Largest upload taken, bytes.")
    dispatch_interval_s: float = Field(
        1.0, gt=0, description="Seconds between two rounds of the dispatcher."
    )
    orphan_age_s: float = Field(
        24 * 3600,
        gt=0,
        description="Age from which an object that no job points at is removed, seconds.",
    )
    sweep_interval_s: float = Field(
        3600, gt=0, description="Seconds between two searches for such objects."
    )
    retention_job_days: float = Field(
        0,
        ge=0,
        description="Days after its end from which a job is deleted with all it has; 0: never.",
    )
    retention_media_days: float = Field(
        0,
        ge=0,
        description="Days after its end from which a job's media is removed and its transcript"
        " kept; 0: with the job.",
    )
    quota_requests_per_minute: int = Field(
        3000,
        ge=0,
        description="Requests a key may send, unless it has its own limit; 0: any number.",
    )
    quota_queued_jobs: int = Field(
        1000,
        ge=0,
        description="Jobs of one owner that are not done yet, unless the key has its own limit; 0:"
        " any number.",
    )
    quota_audio_minutes_per_day: int = Field(
        0,
        ge=0,
        description="Minutes of audio of one owner taken in a day (UTC), unless the key has its own"
        " limit; 0: any number.",
    )
    max_queued_jobs: int = Field(
        200_000, ge=1, description="Jobs of all owners that are not done yet; more get 503."
    )
    max_requests: int = Field(
        1000, ge=1, description="Requests a process answers at once, event streams left out."
    )
    max_uploads: int = Field(16, ge=1, description="Uploads a process receives at once.")
    max_watchers: int = Field(10_000, ge=1, description="Event streams a process feeds at once.")
    min_upload_bytes_per_s: int = Field(
        8192, ge=0, description="Slowest sender of a body that is borne with, bytes a second."
    )

    @property
    def keys(self) -> Literal["on", "off", "loopback"]:
        """Whether keys are asked for; `loopback`: not, as nobody else can reach this address."""
        if self.auth == "auto":
            return "loopback" if is_loopback(self.host) else "on"
        return self.auth

    asr_pools: Annotated[tuple[Pool, ...], NoDecode] = Field(
        (DEFAULT_POOL,),
        min_length=1,
        description="Pools of ASR workers that a request may name, separated by commas; one that"
        " names none goes to the first.",
    )
    allow_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        validation_alias="HEARSIGHT_DOWNLOAD_ALLOW_HOSTS",
        description="Hosts (name or host:port) that may be fetched though they lie inside.",
    )

    @field_validator("asr_pools", "allow_hosts", mode="before")
    @classmethod
    def _split_lists(cls, value: object) -> object:
        return _split(value)


class WorkerSettings(CoreSettings):
    """What both kinds of worker need on top."""

    scratch_dir: Path | None = Field(
        None, description="Folder for files in work; unset: the system's temporary folder."
    )
    worker_concurrency: int | None = Field(
        None,
        ge=1,
        validation_alias="CELERY_WORKER_CONCURRENCY",
        description="Tasks a worker does at once; unset: 2 downloads, or one part more than what "
        "the ASR engine recognises at once (its streams, on cuda times the batch size).",
    )
    celery_log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] | None = Field(
        None, validation_alias="CELERY_LOG_LEVEL", description="Log level of a worker."
    )

    @field_validator("celery_log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value


class DownloadSettings(WorkerSettings):
    """What a download worker needs on top."""

    allow_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        validation_alias="HEARSIGHT_DOWNLOAD_ALLOW_HOSTS",
        description="Hosts (name or host:port) that may be fetched though they lie inside.",
    )
    max_download_bytes: int = Field(8192 * MIB, gt=0, description="Largest download, bytes.")
    max_duration_s: float = Field(12 * 3600, gt=0, description="Longest recording, seconds.")
    download_timeout_s: float = Field(
        4 * 3600, gt=0, description="Longest time a download may take, seconds."
    )
    socket_timeout_s: float = Field(20, gt=0, description="Longest silence of a host, seconds.")
    part_target_s: float = Field(
        150, ge=30, description="Speech a part aims to hold, seconds; parts are cut at silences."
    )
    part_shortest_s: float = Field(
        15,
        ge=10,
        description="Speech a part aims to hold where ASR workers are idle, seconds, at least.",
    )
    vad_threshold: float = Field(
        0.5, gt=0, lt=1, description="Probability from which the VAD takes sound for speech."
    )
    fetcher_memory_mib: int = Field(
        2048, ge=512, description="Memory a fetch's child may use, MiB; deno needs 1024."
    )
    decoder_memory_mib: int = Field(
        4096, ge=512, description="Address space a decoder child may use, MiB."
    )

    @field_validator("allow_hosts", mode="before")
    @classmethod
    def _split_allow_hosts(cls, value: object) -> object:
        return _split(value)


class AsrSettings(WorkerSettings):
    """What an ASR worker needs on top."""

    asr_pool: Pool = Field(
        DEFAULT_POOL, description="Pool the worker belongs to: whose jobs it recognises."
    )
    model: str = Field(
        "tiny.en",
        description="Name known to faster-whisper, or path of a converted model. The packaged"
        " tiny.en needs no hub.",
    )
    model_dir: Path | None = Field(
        None, description="Folder for models fetched from the hub; unset: the hub's own cache."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where to recognise; cuda without one refuses to start."
    )
    compute_type: str = Field(
        "auto", description="CTranslate2's compute type; auto: float16 on cuda, int8 on cpu."
    )
    asr_batch_size: int | None = Field(
        None,
        ge=1,
        le=128,
        description="Chunks (up to 30 s each) recognised in one go; unset: as many as the memory"
        " allows that is free at the start, 8 at most on cpu, 16 on cuda.",
    )
    asr_streams: int | None = Field(
        None,
        ge=1,
        description="Batches in work at once; unset: one a core on cpu, or as many as the memory"
        " allows, 1 on cuda.",
    )
    asr_memory_share: float = Field(
        0.8,
        gt=0,
        le=1,
        description="Share of the memory that is free once the model is loaded (the GPU's, the"
        " machine's or what the container's limit leaves) that batches may take, where their size"
        " or number is not set.",
    )
    asr_batch_timeout_s: float | None = Field(
        None,
        gt=0,
        description="Seconds after which a batch counts as hung and the worker ends itself; unset:"
        " the length of the audio that a batch can hold, ten times that on cpu, what an endpoint"
        " may take with its waits; 300 at least.",
    )
    asr_unload_idle_s: float | None = Field(
        None,
        gt=0,
        description="Seconds with nothing to do after which a Whisper model gives its memory back,"
        " until the next task; unset: never.",
    )
    beam_size: int = Field(5, ge=1, description="Hypotheses the decoder follows.")
    engine: Literal["whisper", "openai"] = Field(
        "whisper",
        description="What recognises: a Whisper model in the worker, or an endpoint that speaks as"
        " OpenAI's does (the settings from here on).",
    )
    openai_url: str = Field(
        "https://api.openai.com/v1",
        pattern=r"^https?://([\w.-]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?(/[^\s@?#]*)?$",
        description="Base address of the endpoint; `/audio/transcriptions` is added.",
    )
    openai_api_key: SecretStr | None = Field(None, description="Key that the endpoint asks for.")
    openai_model: str = Field(
        "whisper-1", min_length=1, description="Name of the model at the endpoint."
    )
    openai_requests: int = Field(
        4, ge=1, le=64, description="Requests sent to the endpoint at once, by one worker."
    )
    openai_timeout_s: float = Field(
        120, gt=0, description="Longest silence of the endpoint, seconds."
    )
    openai_max_wait_s: float = Field(
        60,
        ge=0,
        description="How long a request that the endpoint puts off (429) or fails at (5xx) is sent"
        " again, seconds; then the task is.",
    )

    @field_validator("openai_api_key")
    @classmethod
    def _fits_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        # A library that finds a line's end in a header tells the whole header in its error.
        key = value.get_secret_value().strip() if value is not None else ""
        if not all("!" <= character <= "~" for character in key):
            raise ValueError("must be printable ASCII without spaces")
        return SecretStr(key) if key else None


class StackSettings(BaseSettings):
    """What the command `hearsight` and the local stack need."""

    model_config = SettingsConfigDict(
        # Values are not shown in errors: some are secrets.
        env_prefix="HEARSIGHT_",
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
    )

    home: Path = Field(Path(".hearsight"), description="Folder of the local stack's state.")
    port: int = Field(8000, ge=1, le=65535, description="Port the API listens on.")
    url: str | None = Field(
        None, description="Address of the API that the command speaks to; unset: the local stack's."
    )
    api_key: SecretStr | None = Field(
        None, description="API key that the command sends; unset: the local stack's, if it has one."
    )


def _split(value: object) -> object:
    """`a, b` -> (`a`, `b`): how a list is written in one environment variable."""
    if isinstance(value, str):
        return tuple(part.strip().lower() for part in value.split(",") if part.strip())
    return value
