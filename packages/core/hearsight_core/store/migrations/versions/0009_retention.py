"""What is old: the jobs that ended long ago, and whether their media is removed."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("media_removed_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_jobs_ended",
        "jobs",
        ["finished_at"],
        postgresql_where=sa.text("finished_at IS NOT NULL AND deleted_at IS NULL"),
    )
    op.create_index(
        "ix_jobs_media_kept",
        "jobs",
        ["finished_at"],
        postgresql_where=sa.text("finished_at IS NOT NULL AND media_key IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_media_kept", table_name="jobs")
    op.drop_index("ix_jobs_ended", table_name="jobs")
    op.drop_column("jobs", "media_removed_at")
