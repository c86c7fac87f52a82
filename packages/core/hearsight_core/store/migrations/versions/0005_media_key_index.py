"""Finds the job that an object belongs to, so that orphans are told from media."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_jobs_media_key", "jobs", ["media_key"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_jobs_media_key", table_name="jobs")
