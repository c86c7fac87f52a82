"""Which trace a job belongs to, and below which span of it a task's work is told.

Both may be empty: of what was stored before, and by processes of an older version.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("trace_id", sa.Text(), nullable=True))
    op.add_column("tasks", sa.Column("trace_parent", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("tasks", "trace_parent")
    op.drop_column("jobs", "trace_id")
