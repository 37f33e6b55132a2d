"""Links that come at the same time share an insert; what goes wrong is told to whom it concerns."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from headrace.schemas.errors import Refused, Unavailable
from headrace.store import links
from headrace.store.links import MOST_ROWS, LinkInserts
from headrace.store.port import LinkRow
from tests.store.harness import link_row


class Table:
    """Takes rows when it is told to, and refuses those of one user."""

    def __init__(self) -> None:
        self.inserts: list[list[str]] = []
        self.open = asyncio.Event()
        self.error: Exception | None = None

    async def insert(self, rows: Sequence[LinkRow]) -> None:
        self.inserts.append([row.anonymous_id for row in rows])
        await self.open.wait()
        if self.error is not None:
            raise self.error
        if any(row.user_id == "poison" for row in rows):
            raise Refused("not that one")


async def _begun(inserts: LinkInserts, *devices: str, user: str = "u") -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(inserts.insert([link_row(each, user)])) for each in devices]
    await asyncio.sleep(0)
    return tasks


async def test_what_comes_during_an_insert_goes_with_the_next() -> None:
    """In the order in which it came; nobody waits for more than two inserts."""
    table = Table()
    inserts = LinkInserts(table.insert)
    first = await _begun(inserts, "a")
    await asyncio.sleep(0)
    others = await _begun(inserts, "b", "c", "d")
    assert table.inserts == [["a"]]
    table.open.set()
    await asyncio.gather(*first, *others)
    assert table.inserts == [["a"], ["b", "c", "d"]]
    await inserts.insert([link_row("e", "u")])
    assert table.inserts[2:] == [["e"]]


async def test_nobody_waits_for_an_insert_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its caller hears how it ended; the others are stored meanwhile."""
    monkeypatch.setattr(links, "SLOW_SECONDS", 0.01)
    table = Table()
    inserts = LinkInserts(table.insert)
    hanging = await _begun(inserts, "a")
    await asyncio.sleep(0)
    table.open, hung = asyncio.Event(), table.open
    table.open.set()
    await asyncio.wait_for(inserts.insert([link_row("b", "u")]), 60)
    assert table.inserts == [["a"], ["b"]]
    assert not hanging[0].done()
    hung.set()
    await hanging[0]


async def test_an_insert_has_a_bound() -> None:
    """Of rows; those of one call stay together."""
    table = Table()
    inserts = LinkInserts(table.insert)
    table.open.set()
    most = [link_row("a", "u")] * (MOST_ROWS - 1)
    calls = [most, [link_row("b", "u")], [link_row("c", "u")], [link_row("d", "u")] * MOST_ROWS]
    await asyncio.gather(*map(inserts.insert, calls))
    assert [len(each) for each in table.inserts] == [MOST_ROWS, 1, MOST_ROWS]


async def test_trouble_is_everybodys() -> None:
    """Each hears of it and tries again when it likes; the next insert is not held up."""
    table = Table()
    inserts = LinkInserts(table.insert)
    table.error = Unavailable("away")
    tasks = await _begun(inserts, "a", "b", "c")
    table.open.set()
    heard = await asyncio.gather(*tasks, return_exceptions=True)
    assert heard == [table.error] * 3
    table.error = None
    await inserts.insert([link_row("a", "u")])
    assert table.inserts[-1] == ["a"]


async def test_a_refusal_is_that_of_one() -> None:
    """Its neighbours' links are stored."""
    table = Table()
    inserts = LinkInserts(table.insert)
    table.open.set()
    tasks = [*await _begun(inserts, "a"), *await _begun(inserts, "b", user="poison")]
    tasks += await _begun(inserts, "c")
    heard = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in heard] == [type(None), Refused, type(None)]
    assert table.inserts[-1] == ["c"]


@pytest.mark.parametrize("at", ["waiting", "under way"])
async def test_who_is_cancelled_holds_up_nobody(at: str) -> None:
    """Its links are stored all the same."""
    table = Table()
    inserts = LinkInserts(table.insert)
    first = await _begun(inserts, "a")
    await asyncio.sleep(0)
    second = await _begun(inserts, "b", "c")
    (first if at == "under way" else second)[0].cancel()
    table.open.set()
    await asyncio.gather(*first, *second, return_exceptions=True)
    assert not second[1].cancelled()
    assert table.inserts == [["a"], ["b", "c"]]
