"""What keys may ask for, and what their owners have had."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_LIMITS = ("requests_per_minute", "queued_jobs", "audio_minutes_per_day")


def upgrade() -> None:
    for name in _LIMITS:
        op.add_column("api_keys", sa.Column(name, sa.Integer(), nullable=True))
    op.create_check_constraint(
        op.f("ck_api_keys_limits"),
        "api_keys",
        "least(requests_per_minute, queued_jobs, audio_minutes_per_day) >= 0",
    )
    op.create_index(
        "ix_jobs_unfinished", "jobs", ["owner"], postgresql_where=sa.text("finished_at IS NULL")
    )
    op.create_table(
        "usage",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("audio_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "day", name=op.f("pk_usage")),
    )


def downgrade() -> None:
    op.drop_table("usage")
    op.drop_index("ix_jobs_unfinished", table_name="jobs")
    op.drop_constraint(op.f("ck_api_keys_limits"), "api_keys", type_="check")
    for name in reversed(_LIMITS):
        op.drop_column("api_keys", name)
