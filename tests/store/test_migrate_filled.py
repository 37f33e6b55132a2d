"""Migrating tables that hold rows: none is lost, doubled or changed, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.store.filled import FIRST_RELEASED, NEWEST, ROWS, Filled, die_again_and_again, make_event
from tests.store.harness import rejected_row
from tests.store.server_fixture import StoreServer


@pytest.fixture
def filled(module_server: StoreServer, version: int) -> Iterator[Filled]:
    made = Filled(module_server, version)
    yield made
    made.close()


@pytest.mark.parametrize("version", range(1, NEWEST))
def test_it_goes_on_after_dying_between_any_two_statements(
    filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies before its first statement, is run again, dies before its second, and so on."""
    assert len(filled.before["events_rows"]) == ROWS
    assert die_again_and_again(filled, monkeypatch) >= 2
    filled.check()


@pytest.mark.parametrize("version", [FIRST_RELEASED])
def test_it_goes_on_after_its_process_was_killed(filled: Filled) -> None:
    """SIGKILL between adding an index and recording that; nothing runs on behind it."""
    for after in (1, 2):
        assert filled.migrate_and_be_killed(after) == -signal.SIGKILL
    assert filled.rows(f"SELECT max(number) FROM {filled.database}.migrations") == [
        (FIRST_RELEASED,)
    ]
    filled.migrate()
    filled.check()


@pytest.mark.parametrize("version", [1, FIRST_RELEASED])
def test_several_may_migrate_it_at_once(filled: Filled) -> None:
    """Neither fails, and rows are there once."""
    with ThreadPoolExecutor(3) as threads:
        for run in [threads.submit(filled.migrate) for _ in range(3)]:
            run.result()
    filled.check()


@pytest.mark.parametrize("version", [FIRST_RELEASED])
def test_events_may_come_in_meanwhile(filled: Filled) -> None:
    """A processor that was started before goes on writing, also blocks that it must repeat."""
    began, is_done = threading.Event(), threading.Event()

    async def write() -> int:
        store = filled.open_store()
        blocks = 0
        while not is_done.is_set() or blocks < 5:
            block = [make_event(10_000 + blocks * 3 + n) for n in range(3)]
            for _ in range(2):
                await store.insert_events(block, token=f"block {blocks}")
            rejected = rejected_row(50_000 + blocks)
            await store.insert_rejected([rejected], token=f"reject {blocks}")
            blocks += 1
            began.set()
        await store.stop()
        return blocks

    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(asyncio.run, write())
        try:
            began.wait(30)
            filled.migrate()
        finally:
            is_done.set()
        blocks = writing.result()
    after = filled.photograph()
    for table, rows in filled.before.items():
        assert set(rows) <= set(after[table]), table
    counts = filled.rows(f"SELECT count(), uniqExact(event_id) FROM {filled.database}.events")
    assert counts == [(ROWS + 3 * blocks, ROWS + 3 * blocks)]
    rejects = filled.rows(f"SELECT count() FROM {filled.database}.rejected_events")
    assert rejects == [(10 + blocks,)]
