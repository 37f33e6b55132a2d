"""Control data in a SQLite file of its own, on a clock that stands still."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.runtime.clock import ManualClock
from headrace.workspaces.database import ControlData


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'control.sqlite'}"


@pytest.fixture
def control(url: str, clock: ManualClock) -> Iterator[ControlData]:
    control = ControlData.open(url, clock)
    yield control
    control.close()
