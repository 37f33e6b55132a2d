"""Old rows are deleted beside the work."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from headrace.processor import retention
from headrace.store.memory import ROW_BYTES
from tests.processor.trial import Trial, finish, until


async def test_old_rows_are_deleted_beside_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Again and again, also after the store was away."""
    monkeypatch.setattr(retention, "EVERY_SECONDS", 0.0001)
    trial = Trial()
    trial.store.kept_days = {"ws": 2}
    await trial.append(trial.make_event(), trial.make_event(workspace_id="other"))
    processor = trial.processor()
    run = asyncio.create_task(processor.run())
    await until(trial.is_settled)
    trial.store.is_down = True
    trial.clock.advance(timedelta(days=3).total_seconds())
    await asyncio.sleep(0.05)
    trial.store.is_down = False
    await until(lambda: len(trial.store.events) == 1)
    await finish(run, processor)
    assert [row.workspace_id for row in trial.store.events] == ["other"]


async def test_what_is_too_much_is_deleted_beside_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where a bound is set."""
    monkeypatch.setattr(retention, "EVERY_SECONDS", 0.01)
    trial = Trial()
    await trial.append(*(trial.make_event() for _ in range(10)))
    processor = trial.processor(store_max_bytes=4 * ROW_BYTES)
    run = asyncio.create_task(processor.run())
    await until(trial.is_settled)
    trial.clock.advance(timedelta(hours=2).total_seconds())
    await until(lambda: len(trial.store.events) <= 4)
    await finish(run, processor)
    assert len(trial.store.events) == 3
