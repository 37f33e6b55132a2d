"""Whether processor and store together keep up, beside clickhouse-connect alone.

`python -m benchmarks.pipeline [events]`: a collector fills the local log with a million events of
about 360 bytes; then the node is started and drains it. Result: events per second from log to
table, and the CPU of processor and store for each. Ceiling: the same rows, ready as columns,
inserted by clickhouse-connect alone in blocks of the same size into the same table; of the
processor's CPU, the same events decoded by orjson and judged by fastjsonschema, and nothing else.
At the end every accepted id must be in the table once.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from random import Random
from typing import Final

import msgspec
import orjson
import psutil
from clickhouse_connect.driver.client import Client

from benchmarks.programs import (
    HEADRACE,
    Place,
    cpu_seconds,
    operator,
    parts_of,
    prepared_home,
    running,
)
from benchmarks.report import Line, report
from benchmarks.requests import EVENTS, batches, make_event
from headrace.runtime.credentials import read_processor_login
from headrace.runtime.setting_table import SETTINGS
from headrace.schemas.taxonomy import load_taxonomy
from headrace.store.blocks import pack
from headrace.store.columns import columns_of, event_columns
from headrace.store.connection import Connection
from headrace.store.guarantees import INSERT_SETTINGS
from headrace.store.port import EventRow
from headrace.store.port import Place as LogPlace

BLOCK: Final = int(SETTINGS["flush_rows"].default)
BATCH: Final = 1_000


def fill(place: Place, events: int, path: str = "livez") -> None:
    """Append events to the log with nobody to read it, once the collector answers at `path`."""
    import socket

    url = f"http://127.0.0.1:{place.port}/{path}"
    with (
        running([HEADRACE, "collector"], place.environment, url=url),
        socket.create_connection(("127.0.0.1", place.port)) as connection,
    ):
        requests = batches(place.key, 50)
        for number in range(events // BATCH):
            connection.sendall(requests[number % len(requests)])
            _expect_ok(connection.recv(1 << 20), connection)


def _expect_ok(answer: bytes, connection: object) -> None:
    import socket

    assert isinstance(connection, socket.socket)
    assert answer.startswith(b"HTTP/1.1 200"), answer[:200]
    head, _, body = answer.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(1 << 20)


class Drained(msgspec.Struct, frozen=True):
    """How the log was emptied."""

    seconds: float
    cpu: dict[str, float]
    memory_mebibytes: dict[str, float]


def drain(node: psutil.Process, client: Client, events: int) -> Drained:
    """Wait until every event is a row. The clock starts at the first row."""
    names = parts_of(node)
    first = 0
    while not (first := _count(client)):
        time.sleep(0.02)
    began = time.monotonic()
    before = {name: cpu_seconds(child) for name, child in names.items()}
    while _count(client) < events:
        time.sleep(0.1)
    seconds = time.monotonic() - began
    cpu = {
        name: (cpu_seconds(child) - before[name]) / (events - first) * 1e6
        for name, child in names.items()
    }
    memory = {name: child.memory_info().rss / 1024**2 for name, child in names.items()}
    return Drained(seconds * events / (events - first), cpu, memory)


def _count(client: Client) -> int:
    return int(client.query("SELECT count() FROM events_rows").result_rows[0][0])


def ceiling(place: Place, node: psutil.Process) -> tuple[float, float]:
    """Rows a second by clickhouse-connect alone, and the store's CPU for each, in µs."""
    login = read_processor_login(place.home)
    connection = Connection(login.url, login.user, login.password, database=login.database)
    store = parts_of(node)["store"]
    columns = event_columns(columns_of([_row(number) for number in range(BLOCK)]))
    before, began, blocks = cpu_seconds(store), time.monotonic(), 10
    for number in range(blocks):
        settings = {**INSERT_SETTINGS, "insert_deduplication_token": f"bench:{number}"}
        connection.insert(pack("headrace.events_rows", columns), settings=settings)
    seconds = time.monotonic() - began
    connection.close()
    rows = blocks * BLOCK
    return rows / seconds, (cpu_seconds(store) - before) / rows * 1e6


def decoding() -> float:
    """µs of CPU for an event's record through orjson, and its properties through fastjsonschema;
    least of some rounds."""
    taxonomy = load_taxonomy()
    values = [_value(number) for number in range(BLOCK)]
    rounds = []
    for _ in range(5):
        began = time.process_time()
        for value in values:
            event = orjson.loads(value)
            taxonomy.check(event["event"], event["properties"])
        rounds.append(time.process_time() - began)
    return min(rounds) / BLOCK * 1e6


def _value(number: int) -> bytes:
    """A record as the collector writes it."""
    event = make_event(number, Random(number))
    about = {"event_id": f"evt_{number:026d}", "workspace_id": "ws_bench"}
    return msgspec.json.encode(about | {"received_at": event["timestamp"]} | event)


def _row(number: int) -> EventRow:
    event = make_event(number, Random(number))
    now = datetime.now(UTC)
    return EventRow(
        place=LogPlace("bench", 0, number),
        workspace_id="ws_bench",
        event_id=f"evt_{number:026d}",
        event=EVENTS[number % len(EVENTS)],
        user_id=str(event["user_id"] or ""),
        anonymous_id=str(event["anonymous_id"]),
        user_known=bool(event["user_id"]),
        anonymous_known=True,
        timestamp=now,
        received_at=now,
        timeliness="on_time",
        properties_raw=msgspec.json.encode(event["properties"]),
    )


def main() -> None:
    """Measure and report."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with prepared_home() as place:
        fill(place, events)
        url = f"http://127.0.0.1:{place.store_port}/ping"
        with running([HEADRACE, "up"], place.environment, url=url) as node:
            client = operator(place)
            found = drain(node, client, events)
            counted = client.query(
                "SELECT count(), uniqExact(event_id) FROM events WHERE log_id != 'bench'"
            ).result_rows[0]
            assert tuple(counted) == (events, events), counted
            rows_per_second, store_cpu = ceiling(place, node)
    decode_cpu = decoding()
    report(
        "pipeline",
        [
            Line(
                "log to table: events",
                events / found.seconds,
                "events/s",
                rows_per_second,
                ">= 50,000",
            ),
            Line("processor CPU per event", found.cpu["processor"], "us", decode_cpu, "<= 6"),
            Line("store CPU per event", found.cpu["store"], "us", store_cpu),
            Line("processor memory", found.memory_mebibytes["processor"], "MiB"),
            Line("store memory", found.memory_mebibytes["store"], "MiB"),
        ],
    )


if __name__ == "__main__":
    main()
