"""Whose turn it is: each owner's place in the order of work."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_WAITING = sa.text("state = 'waiting'")


def upgrade() -> None:
    op.add_column(
        "tasks",
        sa.Column("job_owner", sa.Text(), server_default=sa.text("'default'"), nullable=False),
    )
    op.execute(
        "UPDATE tasks SET job_owner = jobs.owner FROM jobs"
        " WHERE jobs.id = tasks.job_id AND jobs.owner <> tasks.job_owner"
    )
    op.drop_index("ix_tasks_waiting", table_name="tasks")
    op.create_index(
        "ix_tasks_waiting",
        "tasks",
        ["queue", "job_owner", "rank_at", "created_at", "part_index", "id"],
        postgresql_where=_WAITING,
    )
    op.create_table(
        "turns",
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("served_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("queue", "owner", name=op.f("pk_turns")),
    )


def downgrade() -> None:
    op.drop_table("turns")
    op.drop_index("ix_tasks_waiting", table_name="tasks")
    op.create_index(
        "ix_tasks_waiting", "tasks", ["queue", "rank_at", "id"], postgresql_where=_WAITING
    )
    op.drop_column("tasks", "job_owner")
