"""The tables of control data, one definition for SQLite and PostgreSQL.

Owns names, types and constraints as the program uses them. How a database gets from one
version to the next is `migrations/`; a test holds the two against each other.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, UTC on both sides: SQLite's own type forgets the offset."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002 - SQLAlchemy's signature
    ) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002 - SQLAlchemy's signature
    ) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata: Final = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

workspaces: Final = sa.Table(
    "workspaces",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("name", sa.String(100), nullable=False, unique=True),
    sa.Column("requests_per_minute", sa.Integer),
    sa.Column("rate_limit_dry_run", sa.Boolean, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

api_keys: Final = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column(
        "workspace_id", sa.String(32), sa.ForeignKey("workspaces.id"), nullable=False, index=True
    ),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("hint", sa.String(32), nullable=False, index=True),
    sa.Column("sha256", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("scopes", sa.String(100), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime),
    sa.Column("revoked_at", UtcDateTime),
    sa.Column("last_used_at", UtcDateTime),
)

store_users: Final = sa.Table(
    "store_users",
    metadata,
    sa.Column("name", sa.String(100), primary_key=True),
    sa.Column("role", sa.String(20), nullable=False),
    sa.Column("password_sha256", sa.LargeBinary(32), nullable=False),
    sa.Column("database", sa.String(64), nullable=False),
    sa.Column("workspace_id", sa.String(32), sa.ForeignKey("workspaces.id"), index=True),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

logs: Final = sa.Table(
    "logs",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(249), nullable=False),
    sa.Column("partitions", sa.Integer, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

revision: Final = sa.Table(
    "revision",
    metadata,
    sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1", name="single"), primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)
"""One row, raised by every transaction that changes what a snapshot shows."""
