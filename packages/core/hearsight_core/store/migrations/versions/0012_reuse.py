"""What a part sounds like and how it was recognised, so that it need not be recognised again."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("parts", sa.Column("audio_digest", sa.Text(), nullable=True))
    op.add_column("parts", sa.Column("way", sa.Text(), nullable=True))
    op.create_index(
        "ix_parts_reusable",
        "parts",
        ["audio_digest", "way"],
        postgresql_where=sa.text("way IS NOT NULL"),
    )
    op.add_column(
        "jobs",
        sa.Column("reused_ms", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
    )


def downgrade() -> None:
    op.drop_column("jobs", "reused_ms")
    op.drop_index("ix_parts_reusable", "parts")
    op.drop_column("parts", "way")
    op.drop_column("parts", "audio_digest")
