"""Which channel of its recording a part and a segment belong to."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("parts", "segments"):
        op.add_column(table, sa.Column("channel", sa.Integer(), nullable=True))


def downgrade() -> None:
    for table in ("segments", "parts"):
        op.drop_column(table, "channel")
