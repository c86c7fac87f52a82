"""The tables. The migrations make them; a test holds the two together."""

import re

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Dialect,
    Enum,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Sequence,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from hearsight_core.contract import (
    DEFAULT_POOL,
    POOL_PATTERN,
    QUEUE_PATTERN,
    JobStatus,
    Stage,
    TaskKind,
)
from hearsight_core.jobs import TaskState
from hearsight_core.keys import DEFAULT_OWNER, OWNER_PATTERN


def storable(text: str) -> str:
    """The text, with U+FFFD for what PostgreSQL can't keep: NUL and lone surrogates."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


class AnyText(TypeDecorator[str]):
    """Text that comes from outside (a site's title, a library's words), stored whatever it holds.

    An outcome must not stay unrecorded because of a letter in its message.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """The text as it is stored."""
        del dialect
        return None if value is None else storable(value)


_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

job_id_sequence = Sequence("job_id_seq", metadata=metadata)


def _one_of(*values: str, name: str) -> Enum:
    """A text column that takes these values only."""
    return Enum(*map(str, values), name=name, native_enum=False, create_constraint=True, length=24)


_QUEUE_NAME = f"queue ~ '^({QUEUE_PATTERN})$'"

jobs = Table(
    "jobs",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column(
        "status", _one_of(*(s for s in JobStatus if s != "idle"), name="status"), nullable=False
    ),
    Column("stage", _one_of(*Stage, name="stage"), nullable=False),
    Column("stage_percent", Float, nullable=False),
    Column("overall_percent", Float, nullable=False, server_default=text("0")),
    Column("message", AnyText, nullable=False),
    Column("source_url", AnyText),
    Column("filename", AnyText),
    Column("media_key", Text),
    Column("media_bytes", BigInteger),
    Column("media_type", Text),
    Column("duration_ms", BigInteger),
    Column("options", JSONB, nullable=False),
    Column("priority", _one_of("high", "normal", "low", name="priority"), nullable=False),
    Column("request_digest", Text, nullable=False),
    Column("language", Text),
    Column("language_probability", Float),
    Column("model", JSONB),
    Column("speech_ms", BigInteger, nullable=False, server_default=text("0")),
    Column("recognised_ms", BigInteger, nullable=False, server_default=text("0")),
    Column("cut_done", Boolean, nullable=False, server_default=text("false")),
    Column("truncated", Boolean, nullable=False, server_default=text("false")),
    Column("cancel_requested_at", DateTime(timezone=True)),
    Column("deleted_at", DateTime(timezone=True)),
    Column("error_code", Text),
    Column("error", AnyText),
    Column("attempt", Integer, nullable=False, server_default=text("0")),
    Column("version", BigInteger, nullable=False, server_default=text("1")),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("started_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    Column("owner", Text, nullable=False, server_default=text(f"'{DEFAULT_OWNER}'")),
    Column("pool", Text, nullable=False, server_default=text(f"'{DEFAULT_POOL}'")),
    Column("trace_id", Text),
    Column("media_removed_at", DateTime(timezone=True)),
    Column("reused_ms", BigInteger, nullable=False, server_default=text("0")),
    CheckConstraint("id > 0", name="id_positive"),
    CheckConstraint(f"owner ~ '^({OWNER_PATTERN})$'", name="owner"),
    CheckConstraint(f"pool ~ '^({POOL_PATTERN})$'", name="pool"),
    CheckConstraint(
        "(status IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL)",
        name="finished_when_terminal",
    ),
    CheckConstraint("(status = 'failed') = (error_code IS NOT NULL)", name="error_when_failed"),
    Index("ix_jobs_newest", text("created_at DESC"), text("id DESC")),
    Index("ix_jobs_by_status", "status", text("created_at DESC"), text("id DESC")),
    Index("ix_jobs_media_key", "media_key"),
    Index("ix_jobs_of_owner", "owner", text("created_at DESC"), text("id DESC")),
    Index(
        "ix_jobs_of_owner_by_status", "owner", "status", text("created_at DESC"), text("id DESC")
    ),
    Index("ix_jobs_unfinished", "owner", postgresql_where=text("finished_at IS NULL")),
    Index(
        "ix_jobs_ended",
        "finished_at",
        postgresql_where=text("finished_at IS NOT NULL AND deleted_at IS NULL"),
    ),
    Index(
        "ix_jobs_media_kept",
        "finished_at",
        # Parts may have been cut of what was never wholly fetched.
        postgresql_where=text(
            "finished_at IS NOT NULL AND media_removed_at IS NULL"
            " AND (media_key IS NOT NULL OR speech_ms > 0)"
        ),
    ),
    Index("ix_jobs_deleted", "deleted_at", postgresql_where=text("deleted_at IS NOT NULL")),
    Index(
        "ix_jobs_stopping",
        "id",
        postgresql_where=text("cancel_requested_at IS NOT NULL AND finished_at IS NULL"),
    ),
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    Column("job_id", ForeignKey(jobs.c.id, ondelete="CASCADE"), nullable=False),
    Column("kind", _one_of(*TaskKind, name="kind"), nullable=False),
    Column("queue", Text, nullable=False),
    Column("state", _one_of(*TaskState, name="state"), nullable=False),
    Column("attempt", Integer, nullable=False, server_default=text("0")),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    # Those that one of our own stores is to blame for, which are not among `failures`.
    Column("store_failures", Integer, nullable=False, server_default=text("0")),
    Column("part_index", Integer),
    Column("ready_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("rank_at", DateTime(timezone=True), nullable=False),
    Column("hinted_at", DateTime(timezone=True)),
    Column("owner", Text),
    Column("lease_until", DateTime(timezone=True)),
    Column("error_code", Text),
    Column("error", AnyText),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("finished_at", DateTime(timezone=True)),
    Column("trace_parent", Text),
    # The job's owner, who never changes; `owner` is the worker that has the task.
    Column("job_owner", Text, nullable=False, server_default=text(f"'{DEFAULT_OWNER}'")),
    Column("alone", Boolean, nullable=False, server_default=text("false")),
    UniqueConstraint("job_id", "kind", "part_index", postgresql_nulls_not_distinct=True),
    CheckConstraint(
        "(state = 'running') = (owner IS NOT NULL AND lease_until IS NOT NULL)",
        name="leased_when_running",
    ),
    CheckConstraint(
        "(kind = 'transcribe') = (part_index IS NOT NULL)", name="part_when_transcribe"
    ),
    CheckConstraint(_QUEUE_NAME, name="queue"),
    Index(
        "ix_tasks_waiting",
        "queue",
        "job_owner",
        "rank_at",
        "created_at",
        "part_index",
        "id",
        postgresql_where=text("state = 'waiting'"),
    ),
    Index(
        "ix_tasks_hinted",
        "queue",
        "hinted_at",
        postgresql_where=text("state = 'waiting' AND hinted_at IS NOT NULL"),
    ),
    Index("ix_tasks_leases", "lease_until", postgresql_where=text("state = 'running'")),
)

turns = Table(
    "turns",
    metadata,
    Column("queue", Text, primary_key=True),
    Column("owner", Text, primary_key=True),
    Column("served_at", DateTime(timezone=True), nullable=False),
)

parts = Table(
    "parts",
    metadata,
    Column("job_id", ForeignKey(jobs.c.id, ondelete="CASCADE"), primary_key=True),
    Column("part_index", Integer, primary_key=True),
    Column("start_ms", BigInteger, nullable=False),
    Column("end_ms", BigInteger, nullable=False),
    Column("speech_ms", BigInteger, nullable=False),
    Column("object_key", Text, nullable=False),
    Column("chunks", JSONB, nullable=False),
    Column("chunks_done", Integer, nullable=False, server_default=text("0")),
    Column("channel", Integer),
    Column("audio_digest", Text),
    # How all of its chunks so far were recognised; null: not known, or not all in the same way.
    Column("way", Text),
    CheckConstraint("start_ms >= 0 AND end_ms > start_ms", name="span"),
    CheckConstraint(
        "chunks_done >= 0 AND chunks_done <= jsonb_array_length(chunks)", name="chunks_done"
    ),
    Index("ix_parts_reusable", "audio_digest", "way", postgresql_where=text("way IS NOT NULL")),
)

segments = Table(
    "segments",
    metadata,
    Column("job_id", ForeignKey(jobs.c.id, ondelete="CASCADE"), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("part_index", Integer, nullable=False),
    Column("chunk_index", Integer, nullable=False),
    Column("position", Integer, nullable=False),
    Column("start_ms", BigInteger, nullable=False),
    Column("end_ms", BigInteger, nullable=False),
    Column("text", AnyText, nullable=False),
    Column("words", JSONB),
    Column("avg_logprob", Float, nullable=False),
    Column("no_speech_prob", Float, nullable=False),
    Column("compression_ratio", Float, nullable=False),
    Column("channel", Integer),
    Column("doubt", Text),
    UniqueConstraint("job_id", "part_index", "chunk_index", "position"),
    CheckConstraint("start_ms >= 0 AND end_ms >= start_ms", name="span"),
)

workers = Table(
    "workers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("queue", Text, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("seen_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("session_lock", Integer),
    Column("error_code", Text),
    Column("error_detail", AnyText),
    CheckConstraint(_QUEUE_NAME, name="queue"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("digest", Text, nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("note", AnyText, nullable=False, server_default=text("''")),
    Column("bootstrap", Boolean, nullable=False, server_default=text("false")),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("last_used_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    Column("requests_per_minute", Integer),
    Column("queued_jobs", Integer),
    Column("audio_minutes_per_day", Integer),
    CheckConstraint(
        "least(requests_per_minute, queued_jobs, audio_minutes_per_day) >= 0", name="limits"
    ),
    CheckConstraint("digest ~ '^[0-9a-f]{64}$' AND id = left(digest, 12)", name="digest"),
    CheckConstraint(f"owner ~ '^({OWNER_PATTERN})$'", name="owner"),
    CheckConstraint(
        "cardinality(scopes) > 0 AND scopes <@ ARRAY['submit', 'read', 'admin']", name="scopes"
    ),
)

usage = Table(
    "usage",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("audio_ms", BigInteger, nullable=False),
)
