"""The store's port, held against every adapter: what it takes, and what is there then."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from headrace.schemas.errors import Refused, Unavailable
from headrace.store.port import MarkedRequest
from tests.store.harness import (
    LOG,
    MORNING,
    WORKSPACE,
    MakeTables,
    MemoryTables,
    Tables,
    Wire,
    duplicate_row,
    event_row,
    link_row,
    rejected_row,
)

SECOND = timedelta(seconds=1)


# Inserting


async def test_events_are_there_when_the_insert_returns(tables: Tables) -> None:
    """What was inserted is read back with its bytes, position and times."""
    rows = [event_row(at, properties_raw=b'{"n":%d}' % at) for at in range(5)]
    await tables.store.insert_events(rows, token="t")
    assert tables.events() == [
        (row.event_id, row.place.position, row.properties_raw, row.timestamp, row.received_at)
        for row in rows
    ]


async def test_a_block_with_a_token_seen_within_the_window_is_dropped(tables: Tables) -> None:
    """The second insert succeeds and adds nothing, even if its rows differ."""
    await tables.store.insert_events([event_row(1)], token="same")
    await tables.store.insert_events([event_row(1), event_row(2)], token="same")
    await tables.store.insert_events([event_row(3)], token="other")
    assert [at for _, at, *_ in tables.events()] == [1, 3]


async def test_a_token_that_fell_out_of_the_window_is_forgotten(make: MakeTables) -> None:
    """With a window of one block only the last token is remembered."""
    tables = make(window=1)
    for token in ("a", "b", "b", "a"):
        await tables.store.insert_events([event_row(1)], token=token)
    assert len(tables.events()) == 3


async def test_tokens_of_different_tables_do_not_meet(tables: Tables) -> None:
    """Each table remembers its own tokens."""
    await tables.store.insert_events([event_row(1)], token="t")
    await tables.store.insert_rejected([rejected_row(2)], token="t")
    await tables.store.insert_duplicates([duplicate_row(3)], token="t")
    held = await tables.store.held_positions(LOG, 0, 0, 10)
    assert set(held) == {1, 2, 3}


async def test_rejected_and_duplicates_show_one_row_per_position(tables: Tables) -> None:
    """Blocks with other tokens that hold a position again add no row to the view."""
    store = tables.store
    await store.insert_rejected([rejected_row(1)], token="a")
    await store.insert_rejected([rejected_row(1), rejected_row(2)], token="b")
    await store.insert_rejected([rejected_row(1)], token="a")
    await store.insert_duplicates([duplicate_row(5)], token="a")
    await store.insert_duplicates([duplicate_row(5), duplicate_row(6)], token="b")
    assert tables.rejected() == [
        (1, "schema_violation", MORNING),
        (2, "schema_violation", MORNING),
    ]
    assert tables.duplicates() == [(5, "evt_" + "0" * 24, 0), (6, "evt_" + "0" * 24, 0)]


async def test_a_record_that_could_not_be_read_is_rejected_without_times(tables: Tables) -> None:
    """Bytes that are no record become a row all the same."""
    row = rejected_row(
        1, event_id="", event="", user_id="", timestamp=None, received_at=None, raw=b"\xff\x00{"
    )
    await tables.store.insert_rejected([row], token="t")
    assert tables.rejected() == [(1, "schema_violation", None)]


async def test_nothing_inserted_is_nothing_done(tables: Tables) -> None:
    """Empty blocks neither fail nor use up their token."""
    store = tables.store
    await store.insert_events([], token="t")
    await store.insert_rejected([], token="t")
    await store.insert_duplicates([], token="t")
    await store.insert_links([])
    await store.remember_requests([])
    await store.check_events([])
    await store.insert_events([event_row(1)], token="t")
    assert len(tables.events()) == 1


async def test_inserts_run_side_by_side(tables: Tables) -> None:
    """Calls for different partitions need not wait for one another."""
    blocks = [[event_row(at), event_row(at + 100)] for at in range(8)]
    await asyncio.gather(
        *(
            tables.store.insert_events(block, token=str(number))
            for number, block in enumerate(blocks)
        )
    )
    assert len(tables.events()) == 16


# What a block may hold


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1971, 1, 1, tzinfo=UTC),
        datetime(2038, 1, 19, 3, 14, 8, 999_999, tzinfo=UTC),
        datetime(2106, 2, 7, 6, 28, 16, 1, tzinfo=UTC),
        datetime(2199, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ],
)
async def test_times_keep_their_microseconds(tables: Tables, moment: datetime) -> None:
    """From 1971 to 2199, to the last digit."""
    await tables.store.insert_events([event_row(1, timestamp=moment)], token="t")
    assert tables.events()[0][3] == moment


@pytest.mark.parametrize(
    "properties",
    [
        b"{}",
        b' { "a" : 1.0 } ',
        b'{"a":1,"a":2}',
        b'{"a.b":1,"a":{"b":2}}',
        b'{"a":{"b":2},"a.b":{"c":1}}',
        b'{"day":"2026-01-01","time":"2026-01-01T00:00:00Z","number":"12"}',
        b'{"big":18446744073709551616,"low":-9223372036854775809}',
        b'{"":1,"a\\u0000b":"\\u0000","c\\"`\\\\":[{"":[]}]}',
        '{"grüße":"👋🏽 日本\u2028"}'.encode(),
        b'{"mixed":[1,"a",{"b":null},[2.5,[]],true]}',
        json.dumps({f"key {n}": n for n in range(5_000)}).encode(),
        b'{"' + b"k" * 10_000 + b'":1}',
        json.dumps({"text": "x" * (64 * 1024 - 12)}).encode(),
        b'{"a":' * 31 + b"1" + b"}" * 31,
        b'{"a":' + b"[" * 31 + b"]" * 31 + b"}",
    ],
    ids=lambda properties: properties[:24].decode("ascii", "replace"),
)
async def test_properties_keep_their_bytes(tables: Tables, properties: bytes) -> None:
    """Whatever JSON object the collector takes is stored, the client's bytes untouched."""
    row = event_row(1, properties_raw=properties)
    await tables.store.check_events([row])
    await tables.store.insert_events([row], token="t")
    assert tables.events()[0][2] == properties


async def test_a_block_may_span_many_months(tables: Tables) -> None:
    """Replays keep their receipt: 110 months in one block are one block."""
    rows = [
        event_row(n, received_at=datetime(2000 + n // 12, n % 12 + 1, 1, tzinfo=UTC))
        for n in range(110)
    ]
    await tables.store.insert_events(rows, token="t")
    await tables.store.insert_events(rows, token="t")
    assert len(tables.events()) == 110


# Rows the engine does not take


@pytest.mark.parametrize("neighbours", [0, 200])
async def test_a_poison_row_is_refused_alike_by_check_and_insert(
    tables: Tables, neighbours: int
) -> None:
    """1e999 is JSON and no number: the block is refused whole, and the check says so before."""
    rows = [event_row(at) for at in range(neighbours)]
    rows.insert(neighbours // 2, event_row(1_000, properties_raw=b'{"a":[{"b":1e999}]}'))
    with pytest.raises(Refused) as checked:
        await tables.store.check_events(rows)
    with pytest.raises(Refused) as inserted:
        await tables.store.insert_events(rows, token="t")
    assert checked.value.code == inserted.value.code == 117
    assert tables.events() == []


async def test_a_refused_block_leaves_its_token_free(tables: Tables) -> None:
    """Without the poison row the same token stores the rest."""
    bad = event_row(2, properties_raw=b'{"a":1e999}')
    with pytest.raises(Refused):
        await tables.store.insert_events([event_row(1), bad], token="t")
    await tables.store.insert_events([event_row(1)], token="t")
    assert [at for _, at, *_ in tables.events()] == [1]


async def test_checking_stores_nothing(tables: Tables) -> None:
    """Good rows pass the check and are not held afterwards."""
    await tables.store.check_events([event_row(1)])
    assert tables.events() == []
    assert not await tables.store.held_positions(LOG, 0, 0, 10)


# Trouble


async def test_an_insert_whose_answer_was_lost_may_be_repeated(
    faulty: tuple[Tables, Wire | None],
) -> None:
    """The rows are there though the call failed; the same token adds nothing."""
    tables, wire = faulty
    await tables.store.insert_events([event_row(1)], token="a")
    if wire is not None:
        wire.lose_answers(2)
    elif isinstance(tables, MemoryTables):
        tables.store.fail("insert_events", "after")
    with pytest.raises(Unavailable):
        await tables.store.insert_events([event_row(2)], token="b")
    assert len(tables.events()) == 2
    await tables.store.insert_events([event_row(2)], token="b")
    assert len(tables.events()) == 2


async def test_a_store_that_is_away_is_unavailable_and_comes_back(
    faulty: tuple[Tables, Wire | None],
) -> None:
    """Every method says so, and works again when the store is back."""
    tables, wire = faulty
    store = tables.store
    if wire is not None:
        wire.cut()
    elif isinstance(tables, MemoryTables):
        tables.store.is_down = True
    marked = MarkedRequest(LOG, 0, WORKSPACE, "evt_a", MORNING)
    for call in (
        lambda: store.held_positions(LOG, 0, 0, 1),
        lambda: store.highest_position(LOG, 0),
        lambda: store.find_requests([(WORKSPACE, "evt_a")]),
        lambda: store.remember_requests([marked]),
        lambda: store.remembered_requests(LOG, 0, MORNING),
        lambda: store.insert_links([link_row("a", "u")]),
        lambda: store.insert_rejected([rejected_row(1)], token="t"),
        lambda: store.insert_duplicates([duplicate_row(2)], token="t"),
        lambda: store.insert_events([event_row(3)], token="t"),
        lambda: store.check_events([event_row(3)]),
        store.refresh_identities,
    ):
        with pytest.raises(Unavailable):
            await call()
    if wire is not None:
        wire.mend()
    elif isinstance(tables, MemoryTables):
        tables.store.is_down = False
    await store.insert_events([event_row(3)], token="t")
    assert len(tables.events()) == 1
