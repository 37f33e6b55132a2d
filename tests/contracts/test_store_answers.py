"""The store's port, held against every adapter: what it says of what it holds."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from headrace.schemas.event_ids import request_of
from headrace.store.port import MarkedRequest, Outcomes, Place, Reason, Sent
from tests.store.harness import (
    LOG,
    MORNING,
    WORKSPACE,
    Tables,
    duplicate_row,
    event_row,
    link_row,
    rejected_row,
)

SECOND = timedelta(seconds=1)


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
