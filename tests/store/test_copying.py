"""A migration that gives a filled table another sort key, by a copy of its rows."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from headrace.schemas.errors import Unavailable
from headrace.store.copying import CannotCopy
from headrace.store.engines import EMBEDDED, engines_for
from headrace.store.migrate import Migration, _Migrating, read_migrations, statements
from tests.store.filled import NEWEST, ROWS, Filled, die_again_and_again, make_event
from tests.store.harness import LOG
from tests.store.server_fixture import StoreServer


def other_sort_key() -> Migration:
    """`events_rows` by device, with a column that is computed."""
    made = read_migrations()[0].text.split(";\n")[0]
    made = made.replace("events_rows", "events_rows_next")
    made = made.replace("(workspace_id, event, timestamp)", "(workspace_id, anonymous_id)")
    made = made.replace("event_id String,", "event_id String, day Date MATERIALIZED timestamp,", 1)
    copy = (
        "COPY {database}.events_rows TO {database}.events_rows_next KEEP {database}.events_rows_1"
    )
    return Migration(NEWEST + 1, "9999_by_device", f"{made};\n{copy};\n")


@pytest.fixture
def filled(module_server: StoreServer) -> Iterator[Filled]:
    made = Filled(module_server, NEWEST, [*read_migrations(), other_sort_key()])
    yield made
    made.close()


def check_shape(filled: Filled) -> None:
    """The new layout under the old name, the old one kept, nothing else left behind."""
    tables = filled.rows(
        "SELECT name, sorting_key FROM system.tables "
        f"WHERE database = '{filled.database}' AND name LIKE 'events_rows%' ORDER BY name"
    )
    assert tables == [
        ("events_rows", "workspace_id, anonymous_id"),
        ("events_rows_1", "workspace_id, event, timestamp"),
    ]


def test_it_goes_on_after_dying_between_any_two_statements(
    filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Partitions that were copied stay so; no row is lost or there twice."""
    assert die_again_and_again(filled, monkeypatch) > 10
    filled.check()
    check_shape(filled)


def test_half_a_partition_is_replaced(filled: Filled) -> None:
    """Whatever a try that was killed has left in the new table or beside it."""
    source, target = (f"{filled.database}.{name}" for name in ("events_rows", "events_rows_next"))
    create = statements(other_sort_key(), filled.database, EMBEDDED)[0]
    half = f"SELECT * FROM {source} WHERE log_position % 3 = 1"
    left = f"CREATE TABLE {target}_part_of_the_dead AS {target}"
    for statement in (create, f"INSERT INTO {target} {half}", left):
        filled.connection.run(statement)
    filled.migrate()
    filled.check()
    check_shape(filled)


def test_several_may_copy_at_once(filled: Filled) -> None:
    """Neither fails nor undoes what another has done."""
    with ThreadPoolExecutor(3) as threads:
        for run in [threads.submit(filled.migrate) for _ in range(3)]:
            run.result()
    filled.check()
    check_shape(filled)


def test_events_may_come_in_meanwhile(filled: Filled) -> None:
    """Into partitions that were copied already, too; who finds no table looks and tries again."""
    began, is_done = threading.Event(), threading.Event()

    async def write() -> int:
        store = filled.open_store()
        blocks = 0
        while not is_done.is_set() or blocks < 5:
            first = 10_000 + blocks * 3
            block = [make_event(first + n) for n in range(3)]
            is_held = False
            while not is_held:
                try:
                    await store.insert_events(block, token=f"block {blocks}")
                    is_held = True
                except Unavailable:
                    await asyncio.sleep(0.01)
                    is_held = await is_there(first)
            blocks += 1
            began.set()
        await store.stop()
        return blocks

    async def is_there(position: int) -> bool:
        store = filled.open_store()
        try:
            return bool(await store.held_positions(LOG, 0, position, position))
        except Unavailable:
            return False
        finally:
            await store.stop()

    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(asyncio.run, write())
        try:
            began.wait(30)
            filled.migrate()
        finally:
            is_done.set()
        blocks = writing.result()
    check_shape(filled)
    assert set(filled.before["events_rows"]) <= set(filled.photograph()["events_rows"])
    counts = filled.rows(f"SELECT count(), uniqExact(event_id) FROM {filled.database}.events")
    assert counts == [(ROWS + 3 * blocks, ROWS + 3 * blocks)]


def test_a_cluster_is_left_alone(filled: Filled) -> None:
    """What cannot be done on replicas is refused before a row is touched."""
    migrating = _Migrating(filled.connection, filled.database, engines_for("c", "u", "p"))
    with pytest.raises(CannotCopy, match="not supported on a cluster"):
        migrating._copy((filled.database, "events_rows", "events_rows_next", "events_rows_1"))
