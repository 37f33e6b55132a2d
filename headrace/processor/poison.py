"""Rows that the store will never take: found without touching the table of events.

Owns the search. `check_events` refuses what `insert_events` refuses and stores nothing, so the
search splits there; only the block that is left over when all were found touches `events`.

Usual poison is found by one cheap pass first: what orjson cannot parse (a number beyond a
double, invalid UTF-8) ClickHouse's JSON type refuses too.
One row of each kind is shown to the store to be sure; were every row of a block like that,
splitting alone would take two checks a row. A reason never quotes another row: the store's
words about one row may hold that workspace's values.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from typing import Final

import orjson

from headrace.schemas.errors import Refused
from headrace.schemas.outcomes import Code, Rejected
from headrace.store.port import EventRow, Store

_PATH: Final = "$.properties"

Found = MutableMapping[int, Rejected]
"""Position → why; kept by the caller, so that a search that broke off goes on where it was."""


async def find_poison(
    store: Store, rows: Sequence[EventRow], found: Found, *, proceed: Callable[[], None]
) -> int:
    """Put the rows that the store refuses into `found`; returns how many there were.

    `proceed` is called before every question to the store and may raise to break off.
    """
    before = len(found)
    rest = await _find_unparsable(store, rows, found, proceed)
    await _split(store, rest, found, proceed)
    return len(found) - before


async def _find_unparsable(
    store: Store, rows: Sequence[EventRow], found: Found, proceed: Callable[[], None]
) -> list[EventRow]:
    rest: list[EventRow] = []
    breaks_block: dict[str, bool] = {}
    for row in rows:
        kind = _unparsable(row.properties_raw)
        if kind is None:
            rest.append(row)
            continue
        if kind not in breaks_block:
            breaks_block[kind] = await _refusal(store, [row], proceed) is not None
        if breaks_block[kind]:
            found[row.place.position] = _refused_by_store(kind)
        else:
            rest.append(row)
    return rest


def _unparsable(properties: bytes) -> str | None:
    try:
        orjson.loads(properties)
    except orjson.JSONDecodeError as error:
        return error.msg
    return None


async def _split(
    store: Store, rows: Sequence[EventRow], found: Found, proceed: Callable[[], None]
) -> None:
    waiting = [rows]
    while waiting:
        block = waiting.pop()
        refusal = await _refusal(store, block, proceed)
        if refusal is None:
            continue
        if len(block) == 1:
            found[block[0].place.position] = _refused_by_store(str(refusal))
        else:
            middle = len(block) // 2
            waiting += [block[middle:], block[:middle]]


async def _refusal(
    store: Store, rows: Sequence[EventRow], proceed: Callable[[], None]
) -> Refused | None:
    if not rows:
        return None
    proceed()
    try:
        await store.check_events(rows)
    except Refused as refusal:
        return refusal
    return None


def _refused_by_store(reason: str) -> Rejected:
    return Rejected(
        Code.REFUSED_BY_STORE, f"the store cannot hold these properties: {reason}", _PATH
    )
