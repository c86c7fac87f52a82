"""Which ended jobs have media to remove: those too that failed before all of it was stored.

Parts of it may have been cut, and lie in the object store.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def _kept(condition: str) -> None:
    op.drop_index("ix_jobs_media_kept", table_name="jobs")
    op.create_index(
        "ix_jobs_media_kept", "jobs", ["finished_at"], postgresql_where=sa.text(condition)
    )


def upgrade() -> None:
    _kept(
        "finished_at IS NOT NULL AND media_removed_at IS NULL"
        " AND (media_key IS NOT NULL OR speech_ms > 0)"
    )


def downgrade() -> None:
    _kept("finished_at IS NOT NULL AND media_key IS NOT NULL")
