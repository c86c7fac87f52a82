"""Pools of ASR workers, each with a queue of its own; how much work waits in each queue."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_POOL = "[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?"

# Two branches, each on a partial index of its own, and a part looked up for each task: what is
# done, by far the most, is never read. Waiting tasks of a job that is being stopped are not work
# any more; of one that has ended there are none.
_QUEUE_LOAD = """
CREATE VIEW queue_load AS
WITH unfinished AS NOT MATERIALIZED (
    SELECT queue, job_id, part_index, 1 AS waiting, 0 AS running, ready_at AS waits_since
    FROM tasks
    WHERE state = 'waiting' AND NOT EXISTS (
        SELECT FROM jobs
        WHERE jobs.id = tasks.job_id
        AND jobs.cancel_requested_at IS NOT NULL AND jobs.finished_at IS NULL
    )
    UNION ALL
    SELECT queue, job_id, part_index, 0, 1, NULL FROM tasks WHERE state = 'running'
)
SELECT
    queue,
    sum(waiting) AS waiting,
    sum(running) AS running,
    coalesce(sum((
        SELECT CASE
            WHEN chunks_done = 0 THEN speech_ms
            ELSE (
                SELECT sum((chunk ->> 1)::bigint - (chunk ->> 0)::bigint)
                FROM jsonb_array_elements(chunks) WITH ORDINALITY AS listed (chunk, number)
                WHERE number > chunks_done
            )
        END
        FROM parts
        WHERE parts.job_id = unfinished.job_id AND parts.part_index = unfinished.part_index
    )), 0)::double precision / 1000 AS audio_seconds,
    greatest(coalesce(extract(epoch FROM now() - min(waits_since)), 0), 0)::double precision
        AS oldest_waiting_s
FROM unfinished
GROUP BY queue
"""


def upgrade() -> None:
    op.add_column(
        "jobs",
        sa.Column("pool", sa.Text(), server_default=sa.text("'default'"), nullable=False),
    )
    op.create_check_constraint("pool", "jobs", f"pool ~ '^({_POOL})$'")
    op.create_index(
        "ix_jobs_stopping",
        "jobs",
        ["id"],
        unique=False,
        postgresql_where=sa.text("cancel_requested_at IS NOT NULL AND finished_at IS NULL"),
    )
    for table in ("tasks", "workers"):
        op.drop_constraint(op.f(f"ck_{table}_queue"), table)
        op.alter_column(table, "queue", type_=sa.Text(), existing_type=sa.String(24))
        op.create_check_constraint("queue", table, rf"queue ~ '^(download|asr(\.{_POOL})?)$'")
    op.execute(_QUEUE_LOAD)


def downgrade() -> None:
    op.execute("DROP VIEW queue_load")
    for table in ("workers", "tasks"):
        op.drop_constraint(op.f(f"ck_{table}_queue"), table)
        # Without pools the one queue of all ASR workers takes what waits in any.
        op.execute(f"UPDATE {table} SET queue = 'asr' WHERE queue LIKE 'asr.%'")  # noqa: S608  a name of ours
        op.alter_column(table, "queue", type_=sa.String(24), existing_type=sa.Text())
        op.create_check_constraint("queue", table, "queue IN ('download', 'asr')")
    op.drop_index(
        "ix_jobs_stopping",
        table_name="jobs",
        postgresql_where=sa.text("cancel_requested_at IS NOT NULL AND finished_at IS NULL"),
    )
    op.drop_constraint(op.f("ck_jobs_pool"), "jobs")
    op.drop_column("jobs", "pool")
