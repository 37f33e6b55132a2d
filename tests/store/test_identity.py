"""Who an anonymous id is: the SQL rule against the plain one, unlinking, limits, missed loads."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from datetime import timedelta

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.store.clickhouse import ClickHouseStore
from headrace.store.memory import Pair, count_links
from headrace.store.port import LinkRow
from headrace.store.refresh import Identities
from tests.store.harness import (
    MORNING,
    WORKSPACE,
    ServerTables,
    event_row,
    link_row,
    server_tables,
)
from tests.store.server_fixture import PASSWORD, PROCESSOR, StoreServer

LIMIT = 3
_examples = itertools.count()


@pytest.fixture(scope="module")
def limited(module_server: StoreServer) -> Iterator[ServerTables]:
    """A store in which three links of a user count."""
    with server_tables(module_server, links_per_user=LIMIT) as tables:
        yield tables


def load_all(tables: ServerTables) -> None:
    """As a refresh does it beside the work when `recent` has grown."""

    async def directly(call, *args):  # type: ignore[no-untyped-def]  # a stand-in for threads
        return call(*args)

    asyncio.run(Identities(tables.connection, tables.database, directly).load_all())


def forget_margin(tables: ServerTables) -> None:
    """As if the last load of everything lay a quarter of a minute back."""
    tables.connection.run(
        f"INSERT INTO {tables.database}.identity_loads_rows "
        "SELECT hostName(), now64(6) + INTERVAL 15 SECOND"
    )


def refresh(tables: ServerTables) -> None:
    tables.connection.run(f"SYSTEM RELOAD DICTIONARY {tables.database}.identity_links_recent")


def recent_keys(tables: ServerTables) -> set[str]:
    rows = tables.rows(f"SELECT anonymous_id FROM {tables.database}.identity_links_recent")
    return {row[0] for row in rows}


# The rule


class Insert(msgspec.Struct, frozen=True):
    links: list[tuple[str, str, int]]


class Decide(msgspec.Struct, frozen=True):
    anonymous_id: str
    user_id: str
    excluded: bool


class LoadAll(msgspec.Struct, frozen=True):
    pass


_devices = st.sampled_from([f"d{n}" for n in range(7)])
_users = st.sampled_from(["u0", "u1", "u2"])
_steps = st.one_of(
    st.builds(
        Insert,
        st.lists(st.tuples(_devices, _users, st.integers(0, 9)), min_size=1, max_size=6),
    ),
    st.builds(Decide, _devices, _users, st.booleans()),
    st.builds(LoadAll),
)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(_steps, min_size=1, max_size=8))
def test_links_count_as_the_plain_rule_says(
    limited: ServerTables, steps: list[Insert | Decide | LoadAll]
) -> None:
    """After any links in any order, replays, unlinks and loads, at every step."""
    workspace = f"ws_{next(_examples)}"
    links: list[LinkRow] = []
    excluded: set[Pair] = set()
    for step in steps:
        match step:
            case Insert(found):
                rows = [link_row(*link, workspace_id=workspace) for link in found]
                links += rows
                asyncio.run(limited.store.insert_links(rows))
                refresh(limited)
            case Decide(device, user, is_excluded):
                pair = (workspace, device, user)
                (excluded.add if is_excluded else excluded.discard)(pair)
                limited.decide(pair, excluded=is_excluded)
            case LoadAll():
                load_all(limited)
                forget_margin(limited)
                refresh(limited)
        counting = count_links(links, excluded, links_per_user=LIMIT)
        expected = {key: link.user_id for key, link in counting.items()}
        found_links = {key: user for key, user in limited.links().items() if key[0] == workspace}
        assert found_links == expected


def test_a_links_time_and_source_are_those_of_the_first_event(tables: ServerTables) -> None:
    """`identity_links` tells when a pair was linked first, and by which event."""
    rows = [link_row("d", "u", 5), link_row("d", "u", 2), link_row("d", "u", 9)]
    asyncio.run(tables.store.insert_links(rows))
    refresh(tables)
    assert tables.rows(
        f"SELECT linked_at, source_event_id FROM {tables.database}.identity_links"
    ) == [(MORNING + timedelta(seconds=2), rows[1].source_event_id)]


def test_of_one_user_five_hundred_links_count(tables: ServerTables) -> None:
    """The smallest ones; unlinking one of them lets the next count, an earlier one moves it out."""
    links = [link_row(f"d{n:04d}", "u", n) for n in range(10, 520)]
    asyncio.run(tables.store.insert_links(links))
    refresh(tables)
    assert {key[1] for key in tables.links()} == {f"d{n:04d}" for n in range(10, 510)}
    load_all(tables)
    forget_margin(tables)
    tables.decide((WORKSPACE, "d0100", "u"), excluded=True)
    assert {"d0100", "d0510"} <= recent_keys(tables)
    assert len(recent_keys(tables)) < 10
    assert {key[1] for key in tables.links()} == ({f"d{n:04d}" for n in range(10, 511)} - {"d0100"})
    asyncio.run(tables.store.insert_links([link_row("d0000", "u", 0)]))
    refresh(tables)
    assert {key[1] for key in tables.links()} == (
        {f"d{n:04d}" for n in (0, *range(10, 510))} - {"d0100"}
    )
    load_all(tables)
    assert len(tables.links()) == 500


# Unlinking


def test_unlinking_and_linking_again_are_in_force_at_once(tables: ServerTables) -> None:
    """People change with the command, without a refresh, and for events stored long ago."""
    asyncio.run(tables.store.insert_events([event_row(1)], token="t"))
    asyncio.run(tables.store.insert_links([link_row("device", "a", 1), link_row("device", "b", 2)]))
    load_all(tables)
    pair = (WORKSPACE, "device", "a")
    seen: list[str] = []
    for excluded in (False, True, False):
        tables.decide(pair, excluded=excluded)
        seen += tables.people().values()
    assert seen == ["a", "b", "a"]


def test_unlinking_needs_no_link(tables: ServerTables) -> None:
    """A pair may be excluded before any event links it."""
    tables.decide((WORKSPACE, "device", "a"), excluded=True)
    asyncio.run(tables.store.insert_links([link_row("device", "a")]))
    refresh(tables)
    assert tables.links() == {}


# Which load covers what


def test_recent_holds_what_everything_does_not(tables: ServerTables) -> None:
    """After a load of everything, only what came since is loaded at a refresh."""
    asyncio.run(tables.store.insert_links([link_row("old", "u")]))
    load_all(tables)
    forget_margin(tables)
    asyncio.run(tables.store.insert_links([link_row("new", "u", 1)]))
    asyncio.run(tables.store.insert_links([link_row("old", "u", 9)]))
    refresh(tables)
    assert recent_keys(tables) == {"new"}
    assert set(tables.links()) == {(WORKSPACE, "old"), (WORKSPACE, "new")}


def test_a_refresh_covers_links_whose_own_refresh_was_missed(
    module_server: StoreServer, tables: ServerTables
) -> None:
    """A processor that died between link and refresh leaves nothing for the next to know."""
    asyncio.run(tables.store.insert_events([event_row(1)], token="t"))
    load_all(tables)
    asyncio.run(tables.store.insert_links([link_row("device", "u")]))
    assert set(tables.people().values()) == {"device"}

    async def next_processor() -> None:
        store = ClickHouseStore.connect(module_server.url, PROCESSOR, PASSWORD, tables.database)
        await store.refresh_identities()
        await store.stop()

    asyncio.run(next_processor())
    assert set(tables.people().values()) == {"u"}


def test_links_inserted_while_everything_is_loaded_are_not_lost(tables: ServerTables) -> None:
    """The moment written down is the one before the load."""
    asyncio.run(tables.store.insert_events([event_row(1)], token="t"))

    async def race() -> None:
        links = [link_row(f"d{n}", "u", n, workspace_id="ws_two") for n in range(20_000)]
        await tables.store.insert_links(links)
        loading = asyncio.create_task(
            Identities(tables.connection, tables.database, asyncio.to_thread).load_all()
        )
        await asyncio.sleep(0.02)
        await tables.store.insert_links([link_row("device", "u")])
        await tables.store.refresh_identities()
        assert set(tables.people().values()) == {"u"}
        await loading
        await tables.store.stop()

    asyncio.run(race())
    assert set(tables.people().values()) == {"u"}


def test_everything_is_loaded_beside_the_work_when_recent_is_large(tables: ServerTables) -> None:
    """A refresh starts the load; afterwards `recent` need not reach back further."""

    async def work() -> None:
        identities = Identities(
            tables.connection, tables.database, asyncio.to_thread, most_recent=10
        )
        await tables.store.insert_links([link_row(f"d{n}", f"u{n}") for n in range(11)])
        await identities.refresh()
        await identities.stop()
        await identities.refresh()
        await identities.stop()

    asyncio.run(work())
    assert tables.rows(f"SELECT count() FROM {tables.database}.identity_loads_rows") == [(1,)]
    assert tables.rows(f"SELECT count() FROM {tables.database}.identity_links_all") == [(11,)]
    assert len(tables.links()) == 11
