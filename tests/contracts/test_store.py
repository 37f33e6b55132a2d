"""The store's port, held against the fake and against ClickHouse over HTTP (real engine).

`server` is the same engine with the tables a ClickHouse server gets, in a database of another name.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest

from headrace.schemas.errors import Refused, Unavailable
from headrace.schemas.event_ids import request_of
from headrace.store.engines import EMBEDDED, engines_for
from headrace.store.port import MarkedRequest, Outcomes, Place, Reason, Sent
from tests.store.harness import (
    LOG,
    MORNING,
    WORKSPACE,
    MemoryTables,
    Tables,
    Wire,
    duplicate_row,
    event_row,
    link_row,
    memory_tables,
    rejected_row,
    server_tables,
)
from tests.store.server_fixture import StoreServer

SECOND = timedelta(seconds=1)


class Make(Protocol):
    """Makes a store of the adapter under test."""

    def __call__(self, *, window: int = 1_000, links_per_user: int = 500) -> Tables: ...


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with StoreServer(tmp_path_factory.mktemp("store")) as running:
        yield running


ENGINES = {"clickhouse": EMBEDDED, "server": engines_for("", "default", "")}
DATABASES = {"clickhouse": "headrace", "server": "my-events"}


@pytest.fixture(params=["memory", "clickhouse", "server"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    if request.param == "memory":
        yield memory_tables
        return
    running: StoreServer = request.getfixturevalue("server")
    with ExitStack() as stack:

        def make_on_server(*, window: int = 1_000, links_per_user: int = 500) -> Tables:
            return stack.enter_context(
                server_tables(
                    running,
                    window=window,
                    links_per_user=links_per_user,
                    engines=ENGINES[request.param],
                    database=DATABASES[request.param],
                )
            )

        yield make_on_server


@pytest.fixture
def tables(make: Make) -> Tables:
    return make()


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


async def test_a_token_that_fell_out_of_the_window_is_forgotten(make: Make) -> None:
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


# Positions


async def test_held_positions_come_from_all_three_tables(tables: Tables) -> None:
    """A position is held wherever its record ended; bounds belong to the range."""
    store = tables.store
    await store.insert_events([event_row(10), event_row(11), event_row(20)], token="t")
    await store.insert_rejected([rejected_row(12), rejected_row(21)], token="t")
    await store.insert_duplicates([duplicate_row(13), duplicate_row(9)], token="t")
    assert set(await store.held_positions(LOG, 0, 10, 20)) == {10, 11, 12, 13, 20}
    assert await store.highest_position(LOG, 0) == 21


async def test_logs_and_partitions_do_not_meet(tables: Tables) -> None:
    """Equal positions of another log or partition are other records."""
    await tables.store.insert_events([event_row(5)], token="t")
    assert not await tables.store.held_positions("ab" * 16, 0, 0, 10)
    assert not await tables.store.held_positions(LOG, 1, 0, 10)
    assert await tables.store.highest_position(LOG, 1) is None


async def test_positions_may_be_very_large(tables: Tables) -> None:
    """A log that ran for years still tells its positions apart."""
    far = 2**62
    await tables.store.insert_events([event_row(far), event_row(far + 1)], token="t")
    assert set(await tables.store.held_positions(LOG, 0, far, far)) == {far}
    assert await tables.store.highest_position(LOG, 0) == far + 1


# Requests


async def test_requests_are_found_by_the_part_their_ids_share(tables: Tables) -> None:
    """All events of the requests asked for, at every place, and of no others."""
    store = tables.store
    first, second = "evt_" + "a" * 24, "evt_" + "b" * 24
    rows = [
        event_row(1, event_id=first + "00"),
        event_row(2, event_id=first + "01"),
        event_row(3, event_id=second + "00"),
        event_row(4, event_id=first + "00"),
        event_row(5, event_id=first + "00", workspace_id="ws_two"),
    ]
    await store.insert_events(rows, token="t")
    found = await store.find_requests([(WORKSPACE, first), (WORKSPACE, "evt_" + "c" * 24)])
    assert {key: sorted(places) for key, places in found.items()} == {
        (WORKSPACE, first + "00"): [Place(LOG, 0, 1), Place(LOG, 0, 4)],
        (WORKSPACE, first + "01"): [Place(LOG, 0, 2)],
    }
    assert await store.find_requests([]) == {}


async def test_requests_are_found_among_the_rejects(tables: Tables) -> None:
    """At every place, once each however often the row was written, and no stored events."""
    store = tables.store
    request = "evt_" + "a" * 24
    rows = [rejected_row(1, event_id=request + "00"), rejected_row(2, event_id=request + "00")]
    await store.insert_rejected(rows, token="t")
    await store.insert_rejected(rows[:1], token="u")
    await store.insert_events([event_row(3, event_id=request + "00")], token="t")
    found = await store.find_rejected_requests([(WORKSPACE, request), ("ws_two", request)])
    assert {key: sorted(places) for key, places in found.items()} == {
        (WORKSPACE, request + "00"): [Place(LOG, 0, 1), Place(LOG, 0, 2)]
    }
    assert await store.find_rejected_requests([]) == {}


async def test_a_thousand_requests_are_found_exactly(tables: Tables) -> None:
    """Every second of 2,500 stored requests is asked for and found, with none besides."""
    rows = [event_row(at, event_id=f"evt_{at:024d}07") for at in range(2_500)]
    await tables.store.insert_events(rows, token="t")
    wanted = [(WORKSPACE, request_of(row.event_id)) for row in rows[::2]]
    found = await tables.store.find_requests(wanted)
    assert found == {(WORKSPACE, row.event_id): [row.place] for row in rows[::2]}


async def test_names_with_quotes_are_only_names(tables: Tables) -> None:
    """Text that means something in SQL means nothing to the store."""
    strange = "evt_'; DROP TABLE events\\' --"[:28].ljust(28, "'")
    row = event_row(1, workspace_id="ws_'\\", event_id=strange + "00")
    await tables.store.insert_events([row], token="a'\\")
    assert await tables.store.find_requests([("ws_'\\", strange)]) == {
        ("ws_'\\", strange + "00"): [row.place]
    }
    assert not await tables.store.held_positions("'\\", 0, 0, 1)


async def test_marked_requests_are_remembered_by_the_logs_time(tables: Tables) -> None:
    """Those appended since the moment asked for come back, once each, with their latest time."""
    store = tables.store
    now = datetime.now(UTC).replace(microsecond=123_456)
    old = MarkedRequest(LOG, 0, WORKSPACE, "evt_old", now - timedelta(hours=2))
    new = MarkedRequest(LOG, 0, WORKSPACE, "evt_new", now)
    again = MarkedRequest(LOG, 0, WORKSPACE, "evt_new", now + timedelta(seconds=1))
    other = MarkedRequest(LOG, 1, WORKSPACE, "evt_new", now)
    await store.remember_requests([old, new, other])
    await store.remember_requests([new])
    await store.remember_requests([again, new])
    assert list(await store.remembered_requests(LOG, 0, now)) == [again]
    since = now - timedelta(hours=3)
    assert {r.request for r in await store.remembered_requests(LOG, 0, since)} == {
        "evt_old",
        "evt_new",
    }


# Identity


async def test_a_link_counts_after_the_next_refresh(tables: Tables) -> None:
    """Events stored before and after the link resolve to its user; strangers stay themselves."""
    store = tables.store
    await store.insert_events([event_row(1), event_row(2, anonymous_id="other")], token="a")
    await store.insert_links([link_row("device", "alice")])
    await store.refresh_identities()
    await store.insert_events([event_row(3)], token="b")
    ids = [row[0] for row in tables.events()]
    assert tables.people() == {ids[0]: "alice", ids[1]: "other", ids[2]: "alice"}


async def test_an_events_own_user_wins_and_nobody_is_nobody(tables: Tables) -> None:
    """A known user is the person; ids that stand for nobody are no person at all."""
    store = tables.store
    rows = [
        event_row(1, user_id="bob", user_known=True),
        event_row(2, user_id="null", user_known=False),
        event_row(3, user_id="null", anonymous_id="undefined", anonymous_known=False),
        event_row(4, anonymous_id="", anonymous_known=False),
        event_row(5, workspace_id="ws_two"),
    ]
    await store.insert_events(rows, token="t")
    await store.insert_links([link_row("device", "alice")])
    await store.refresh_identities()
    people = tables.people()
    assert [people[row.event_id] for row in rows] == ["bob", "alice", "", "", "device"]


async def test_the_first_link_wins_in_whatever_order_links_come(tables: Tables) -> None:
    """First is the smallest (received_at, source_event_id), also when it arrives last."""
    store = tables.store
    await store.insert_events([event_row(1)], token="t")
    await store.insert_links([link_row("device", "late", 9)])
    await store.refresh_identities()
    assert set(tables.people().values()) == {"late"}
    await store.insert_links([link_row("device", "tie", 3, source_event_id="evt_b")])
    await store.insert_links([link_row("device", "first", 3, source_event_id="evt_a")])
    await store.insert_links([link_row("device", "late", 9)])
    await store.refresh_identities()
    assert set(tables.people().values()) == {"first"}


async def test_refreshing_is_safe_side_by_side(tables: Tables) -> None:
    """Many refreshes at once each keep their promise."""
    store = tables.store
    await store.insert_events([event_row(1)], token="t")

    async def link(number: int) -> None:
        await store.insert_links([link_row("device", f"u{number}", 20 - number)])
        await store.refresh_identities()

    await asyncio.gather(*(link(number) for number in range(8)))
    assert set(tables.people().values()) == {"u7"}


# Trouble


@pytest.fixture(params=["memory", "clickhouse"])
def faulty(request: pytest.FixtureRequest) -> Iterator[tuple[Tables, Wire | None]]:
    """A store and the wire to it, which the memory store does without."""
    if request.param == "memory":
        yield memory_tables(), None
        return
    running: StoreServer = request.getfixturevalue("server")
    with Wire(running.port) as wire, server_tables(running, url=wire.url) as tables:
        yield tables, wire


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


# Counting what became of records


async def test_outcomes_are_counted_by_receipt_and_reason(tables: Tables) -> None:
    """From the first moment on, up to but not with the last; indexes of arrays are one reason."""
    store, minute = tables.store, timedelta(minutes=1)
    times = [MORNING - SECOND, MORNING, MORNING + 59 * SECOND, MORNING + minute]
    events = [event_row(at, received_at=time) for at, time in enumerate(times)]
    await store.insert_events(events, token="events")
    items = {"path": "$.properties.items[3].price", "schema": "purchase@1"}
    await store.insert_rejected(
        [
            *(rejected_row(10 + at, received_at=time, **items) for at, time in enumerate(times)),
            rejected_row(20, path="$.properties.items[11].price", schema="purchase@1"),
            rejected_row(21, code="unreadable_record", path="", schema="", timestamp=None),
            rejected_row(22, received_at=None),
        ],
        token="rejected",
    )
    found = await store.count_outcomes(MORNING, MORNING + minute)
    price = Reason("schema_violation", "purchase@1", "$.properties.items[].price")
    assert found == Outcomes(6, {price: 3, Reason("unreadable_record", "", ""): 1})
    assert await store.count_outcomes(MORNING + minute * 2, MORNING + minute * 3) == Outcomes(0, {})


async def test_senders_are_counted_by_workspace(tables: Tables) -> None:
    """Of one event and one reason, or of all events."""
    store, until = tables.store, MORNING + timedelta(minutes=1)
    quoted = "it's \\ one"
    why = {"path": "$.a[0]", "schema": quoted, "event": quoted}
    await store.insert_events(
        [
            event_row(1, workspace_id="one", event=quoted),
            event_row(2, workspace_id="two", event=quoted),
            event_row(3, workspace_id="two"),
            event_row(4, workspace_id="two", event=quoted, received_at=until),
        ],
        token="events",
    )
    await store.insert_rejected(
        [
            rejected_row(5, workspace_id="one", **why),
            rejected_row(6, workspace_id="three", **why | {"path": "$.a[1]"}),
            rejected_row(7, workspace_id="three", **why | {"path": "$.b"}),
        ],
        token="rejected",
    )
    reason = Reason("schema_violation", quoted, "$.a[]")
    assert await store.count_senders(reason, quoted, MORNING, until) == {
        "one": Sent(1, 1),
        "two": Sent(1, 0),
        "three": Sent(0, 1),
    }
    everything = await store.count_senders(reason, "", MORNING, until)
    assert everything["two"] == Sent(2, 0)


async def test_nobody_is_erased_at_first(tables: Tables) -> None:
    """The list is there and empty; what puts ids on it is an erasure."""
    assert await tables.store.erased_ids() == {}
