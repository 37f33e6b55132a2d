"""A Redis of the test's own, that may be flushed, frozen and killed, and collectors on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.collector.redis.gates import Collectors
from tests.contracts.gates import patience
from tests.services.redis import RedisServer


@pytest.fixture(autouse=True)
def patient() -> Iterator[None]:
    with patience():
        yield


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """It keeps a file, as one that is to be relied upon does."""
    with RedisServer(tmp_path, appendonly=True) as server:
        yield server


@pytest.fixture
async def collectors(server: RedisServer) -> AsyncIterator[Collectors]:
    collectors = Collectors(server)
    yield collectors
    await collectors.stop()
