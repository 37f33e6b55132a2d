"""Records that no collector of ours wrote, on their way into a real engine.

Each ends in `rejected_events` with its position and its bytes, or is an event after all, and
none keeps its neighbours waiting.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec
import pytest

from headrace.eventlog.memory import MemoryLog
from headrace.eventlog.port import Batch, Committed, NewRecord
from headrace.processor.processor import Processor
from headrace.processor.ranges import Flush
from headrace.runtime.clock import ManualClock
from headrace.schemas.records import EventValue
from headrace.schemas.taxonomy import load_taxonomy
from tests.store.harness import ServerTables, server_tables
from tests.store.server_fixture import StoreServer

NOON: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
MEBIBYTE: Final = 1024 * 1024
PATIENCE_SECONDS: Final = 120


def record(number: int, properties: bytes = b"{}", **fields: object) -> bytes:
    """What the collector would write, with some fields replaced."""
    value = EventValue(
        event_id=f"evt_{number:026d}",
        workspace_id="ws_one",
        event="clicked",
        timestamp=NOON,
        received_at=NOON,
        anonymous_id=f"device-{number}",
        properties=msgspec.Raw(properties),
    )
    return msgspec.json.encode({**msgspec.structs.asdict(value), **fields})


UNREADABLE: Final[Mapping[str, bytes]] = {
    "nothing": b"",
    "not JSON": b"hello",
    "not UTF-8": b"\xff\xfe\x00",
    "UTF-16": '{"event":"x"}'.encode("utf-16"),
    "null": b"null",
    "another shape": b'{"type":"track","userId":"u"}',
    "a list": b"[1,2,3]",
    "cut off": record(1)[:-20],
    "bad UTF-8 in a name": record(2).replace(b"clicked", b"cli\xffked"),
    "half a surrogate": record(3).replace(b"clicked", b"\\ud800"),
    "text where a time is due": record(4, received_at="today"),
    "a year the column has not": record(5, timestamp="2500-01-01T00:00:00Z"),
    "an id of another system": record(6, event_id="6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
    "a name without end": record(7, event="e" * 60_000),
    "no ids": record(8, anonymous_id=None),
    "properties that are none": record(9, b"[1]"),
    "nested without end": record(10, b'{"a":' * 20_000 + b"1" + b"}" * 20_000),
    "another codec": bytes(range(256)) * 4,
    "10 MB": b"\x00\xff" * (5 * MEBIBYTE),
    "10 MB of an event": record(11, b'{"a":"%s"}' % (b"x" * 10 * MEBIBYTE)),
}
REFUSED: Final[Mapping[str, bytes]] = {
    "bad UTF-8 in properties": b'{"a":"\xff"}',
    "a number beyond a double": b'{"a":1e999}',
}
"""Properties of records that are ours in every other respect."""
STRANGE: Final[Mapping[str, bytes]] = {
    "a workspace nobody knows": record(21, workspace_id="ws_unknown"),
    "fields nobody knows": record(22, schema_version=7, context={"library": "x"}),
    "zero characters": record(23, b'{"a":"\\u0000"}', event="a\x00b", anonymous_id="\x00"),
    "the same path twice": record(24, b'{"a":1,"a":2,"a.b":1}'),
    "a number beyond 64 bits": record(25, b'{"a":123456789012345678901234567890}'),
    "nested deeper than clients may": record(27, b'{"a":' * 900 + b"1" + b"}" * 900),
    "an id in any characters": record(26, event_id="evt_" + "\u00e9" * 26),
}
"""Events after all: the log is inside the trust boundary."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with StoreServer(tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture
def tables(server: StoreServer) -> Iterator[ServerTables]:
    with server_tables(server) as made:
        yield made


async def settle(
    tables: ServerTables,
    values: list[bytes],
    *,
    key: bytes = b"",
    headers: Mapping[str, bytes] = {},
) -> MemoryLog:
    """Put values into a log as a stranger would, and work until all are settled."""
    clock = ManualClock(NOON)
    log = MemoryLog(clock)
    await log.appender().append(Batch([NewRecord(key, value) for value in values], headers))
    flush = Flush(seconds=0.0, poll_seconds=0.01)
    processor = Processor(log.membership(), tables.store, load_taxonomy(), clock, flush)
    run = asyncio.create_task(processor.run())
    async with asyncio.timeout(PATIENCE_SECONDS):
        while log.partitions[0].committed != Committed(len(values) + 1) and not run.done():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        await processor.stop()
        await run
    return log


def rejected(tables: ServerTables, code: str) -> dict[int, tuple[int, str]]:
    """Position → length and digest of the raw bytes."""
    rows = tables.rows(
        "SELECT log_position, length(raw), lower(hex(SHA256(raw))) "
        f"FROM {tables.database}.rejected_events_rows WHERE code = '{code}'"
    )
    return {position: (length, digest) for position, length, digest in rows}


def fingerprints(values: Mapping[int, bytes]) -> dict[int, tuple[int, str]]:
    return {at: (len(value), hashlib.sha256(value).hexdigest()) for at, value in values.items()}


async def test_what_is_not_ours_keeps_its_bytes_and_its_place(tables: ServerTables) -> None:
    """With a good event before, after and between: all of those are stored."""
    values = [record(1_000)]
    places: dict[int, bytes] = {}
    for number, value in enumerate(UNREADABLE.values()):
        places[len(values) + 1] = value
        values += [value, record(1_001 + number)]
    await settle(tables, values)
    assert rejected(tables, "unreadable_record") == fingerprints(places)
    assert {row[1] for row in tables.events()} == set(range(1, len(values) + 1)) - places.keys()
    taken_at = f"SELECT DISTINCT received_at FROM {tables.database}.rejected_events"
    assert tables.rows(taken_at) == [(NOON,)]


@pytest.mark.parametrize("name", REFUSED)
async def test_properties_the_engine_refuses_are_found_among_many(
    tables: ServerTables, name: str
) -> None:
    """One of fifty; the others are stored."""
    values = [record(number) for number in range(50)]
    values[33] = record(33, REFUSED[name])
    await settle(tables, values)
    assert rejected(tables, "refused_by_store") == fingerprints({34: values[33]})
    assert len(tables.events()) == 49


@pytest.mark.parametrize("name", STRANGE)
async def test_what_is_strange_and_yet_an_event_is_stored(tables: ServerTables, name: str) -> None:
    """Under the workspace that it names, known or not."""
    await settle(tables, [record(1), STRANGE[name], record(2)])
    assert [row[1] for row in tables.events()] == [1, 2, 3]
    assert tables.rejected() == []


async def test_keys_and_headers_of_strangers_say_nothing(tables: ServerTables) -> None:
    """An empty key, headers of another tracer, a mark that nobody of ours makes."""
    headers = {
        "traceparent": b"\xff\x00",
        "headrace-mark": b"whatever",
        "b3": b"1",
        "": b"",
    }
    await settle(tables, [record(1), b"junk", record(2)], headers=headers)
    assert [row[1] for row in tables.events()] == [1, 3]
    assert [row[:2] for row in tables.rejected()] == [(2, "unreadable_record")]


async def test_several_records_of_ten_megabytes_fit_one_flush(tables: ServerTables) -> None:
    """They are read, written and kept like all others."""
    large = [bytes([number]) * 10 * MEBIBYTE for number in range(7)]
    await settle(tables, [record(1), *large, record(2)])
    places = {at + 2: value for at, value in enumerate(large)}
    assert rejected(tables, "unreadable_record") == fingerprints(places)
    assert [row[1] for row in tables.events()] == [1, 9]
