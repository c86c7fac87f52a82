"""Whether an attempt has its process to itself, and why a worker ended itself."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "tasks", sa.Column("alone", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.add_column("workers", sa.Column("error_code", sa.Text(), nullable=True))
    op.add_column("workers", sa.Column("error_detail", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("workers", "error_detail")
    op.drop_column("workers", "error_code")
    op.drop_column("tasks", "alone")
