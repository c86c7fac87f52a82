"""A worker tells how many tasks it works on at once, beside how many it takes.

One of an earlier version, which does not, counts as one until it is replaced.
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "workers", sa.Column("at_once", sa.Integer(), nullable=False, server_default=sa.text("1"))
    )


def downgrade() -> None:
    op.drop_column("workers", "at_once")
