"""Control data in a SQLite file or PostgreSQL database of its own, on a clock that stands still."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.runtime.clock import ManualClock
from headrace.workspaces.database import ControlData
from tests.services.postgres import PostgresServer


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'control.sqlite'}"


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> str:
    return postgres.make_database()


@pytest.fixture(params=["sqlite_url", "postgres_url"], ids=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """What is tested with it holds for both."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def control(url: str, clock: ManualClock) -> Iterator[ControlData]:
    control = ControlData.open(url, clock)
    yield control
    control.close()
