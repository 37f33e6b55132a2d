"""Logs that were seen, each with the number of partitions it keeps."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "logs",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(249), nullable=False),
        sa.Column("partitions", sa.Integer, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_logs"),
    )
