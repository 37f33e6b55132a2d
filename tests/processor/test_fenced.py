"""A processor whose partition of the local log another one took."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from headrace.eventlog.port import Batch, NewRecord
from headrace.processor.failpoints import Point
from headrace.processor.processor import Processor
from headrace.processor.ranges import Flush
from headrace.runtime.clock import SystemClock
from headrace.schemas.errors import Fenced
from headrace.schemas.taxonomy import load_taxonomy
from tests.eventlog.adapters import owned
from tests.eventlog.sqlite_files import appending, membership
from tests.processor.trial import Freeze, Trial


async def test_a_fenced_processor_ends_with_an_error(tmp_path: Path) -> None:
    """Its supervisor starts it again; one that only warned would idle for ever."""
    freeze = Freeze(Point.ANNOUNCED)
    trial = Trial()
    processor = Processor(
        membership(tmp_path),
        trial.store,
        load_taxonomy(),
        SystemClock(),
        Flush(seconds=0.01, poll_seconds=0.01),
        fail_point=freeze,
    )
    async with appending(tmp_path) as log:
        value = msgspec.json.encode(trial.make_event())
        await log.append(Batch([NewRecord(b"key", value)]))
        running = asyncio.create_task(processor.run())
        await freeze.reached.wait()
        async with owned(membership(tmp_path)):
            freeze.thawed.set()
            with pytest.raises(Fenced):
                await asyncio.wait_for(running, 30)
