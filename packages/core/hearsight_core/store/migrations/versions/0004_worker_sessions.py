"""The lock that tells whether a worker's session with PostgreSQL lives."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workers", sa.Column("session_lock", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("workers", "session_lock")
