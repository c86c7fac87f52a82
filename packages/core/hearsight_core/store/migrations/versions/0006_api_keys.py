"""API keys, and whose a job is."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_OWNER = "owner ~ '^([a-z0-9]([a-z0-9._@-]{0,62}[a-z0-9])?)$'"

_NEWEST = (sa.text("created_at DESC"), sa.text("id DESC"))


def upgrade() -> None:
    op.add_column(
        "jobs", sa.Column("owner", sa.Text(), server_default=sa.text("'default'"), nullable=False)
    )
    op.create_check_constraint(op.f("ck_jobs_owner"), "jobs", _OWNER)
    op.create_index("ix_jobs_of_owner", "jobs", ["owner", *_NEWEST])
    op.create_index("ix_jobs_of_owner_by_status", "jobs", ["owner", "status", *_NEWEST])
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("note", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("bootstrap", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "digest ~ '^[0-9a-f]{64}$' AND id = left(digest, 12)", name=op.f("ck_api_keys_digest")
        ),
        sa.CheckConstraint(_OWNER, name=op.f("ck_api_keys_owner")),
        sa.CheckConstraint(
            "cardinality(scopes) > 0 AND scopes <@ ARRAY['submit', 'read', 'admin']",
            name=op.f("ck_api_keys_scopes"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_keys_digest")),
    )


def downgrade() -> None:
    op.drop_table("api_keys")
    op.drop_index("ix_jobs_of_owner_by_status", table_name="jobs")
    op.drop_index("ix_jobs_of_owner", table_name="jobs")
    op.drop_constraint(op.f("ck_jobs_owner"), "jobs", type_="check")
    op.drop_column("jobs", "owner")
