"""Why a segment's text is not to be trusted."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("segments", sa.Column("doubt", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("segments", "doubt")
