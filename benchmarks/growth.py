"""Whether an event costs more when there is more of everything: CPU of collector and processor.

`python -m benchmarks.growth DIMENSION [size …]`: `workspaces`, `keys`, `types`, `links` or `rows`.
At each size a whole node takes the same number of events for the same time in the same batches, all
are drained and counted, and the CPU of each process is divided by the events. The ceiling is what
the smallest size costs right before and right after: machines drift, on shared ones by a third
within minutes. `BENCH_SECONDS` in the environment is the length of a load (10). Links and rows are
made once under the folder that `kept_tables.py` names, and stay for the next run.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from random import Random
from typing import Final

import msgspec
import sqlalchemy as sa
from clickhouse_connect.driver.client import Client

from benchmarks.kept_tables import engine, fill_links, fill_rows, kept_home, merged
from benchmarks.programs import (
    HEADRACE,
    UNLIMITED,
    Place,
    cpu_seconds,
    operator,
    parts_of,
    prepared_home,
    running,
    send,
)
from benchmarks.report import Line, report
from benchmarks.requests import batches, http, make_event
from headrace.runtime.clock import SystemClock
from headrace.workspaces import keys
from headrace.workspaces.database import ControlData
from headrace.workspaces.engine import make_engine
from headrace.workspaces.port import Scope
from headrace.workspaces.tables import api_keys, workspaces

CONNECTIONS: Final = 8
SMALL_BATCH: Final = 20
"""Events of a request where each of 10,000 keys has a request of its own."""
BATCH: Final = 1_000
GOAL: Final = "<= 115 %"
_WARM_SECONDS: Final = 2.0
_DRAIN_SECONDS: Final = 600
_INSERTED_AT_ONCE: Final = 10_000


class Trial(msgspec.Struct):
    """A place that has a size, and the requests that are sent there, of `batch` events each."""

    place: Place
    requests: list[bytes]
    batch: int = BATCH


class Spent(msgspec.Struct, frozen=True):
    """CPU for each event, in microseconds."""

    collector: float
    processor: float
    store: float


def spend(trial: Trial, seconds: float) -> Spent:
    """Send for so long, wait until every event is a row, and count the CPU until then."""
    url = f"http://127.0.0.1:{trial.place.port}/readyz"
    with running([HEADRACE, "up"], trial.place.environment, url=url) as node:
        parts, client = parts_of(node), operator(trial.place)
        _send(trial, client, _WARM_SECONDS)
        before = {name: cpu_seconds(process) for name, process in parts.items()}
        events = _send(trial, client, seconds)
        cpu = {
            name: (cpu_seconds(process) - before[name]) / events * 1e6
            for name, process in parts.items()
        }
        client.close()
    return Spent(cpu["collector"], cpu["processor"], cpu["store"])


def _send(trial: Trial, client: Client, seconds: float) -> int:
    """How many events were accepted; all are in the table, and no more."""
    held = _count(client)
    sent = send(trial.place.port, trial.requests, connections=CONNECTIONS, seconds=seconds)
    assert set(sent.answers) == {"200"}, sent.answers
    events = sent.requests * trial.batch
    deadline = time.monotonic() + _DRAIN_SECONDS
    while (found := _count(client) - held) < events and time.monotonic() < deadline:
        time.sleep(0.1)
    assert found == events, (found, events)
    return events


def _count(client: Client) -> int:
    return int(client.query("SELECT count() FROM events_rows").result_rows[0][0])


# what there is more of


@contextmanager
def many_workspaces(size: int) -> Iterator[Trial]:
    """Each workspace has one key, and all of them send in turn."""
    with prepared_home() as place:
        yield Trial(place, _in_turn(add_keys(place, size, workspaces_too=True)), SMALL_BATCH)


@contextmanager
def many_keys(size: int) -> Iterator[Trial]:
    """All of one workspace; 10,000 of them send in turn."""
    with prepared_home() as place:
        yield Trial(place, _in_turn(add_keys(place, size, workspaces_too=False)), SMALL_BATCH)


@contextmanager
def many_types(size: int) -> Iterator[Trial]:
    """20,000 different events over so many types; none has a schema."""
    with prepared_home() as place:
        chance, path = Random(5), "/v1/batch/events"
        events = [make_event(n, chance) | {"event": f"type_{n % size}"} for n in range(20 * BATCH)]
        bodies = [
            msgspec.json.encode({"events": events[first : first + BATCH]})
            for first in range(0, len(events), BATCH)
        ]
        yield Trial(place, [http(path, place.key, body) for body in bodies])


@contextmanager
def many_links(size: int) -> Iterator[Trial]:
    """Links that are there already, of other devices than those that send."""
    with kept_home(f"links-{size}", size) as place:
        with engine(place) as store:
            fill_links(store.connection, size)
            merged(store.connection, "headrace.identity_links_rows")
        yield Trial(place, batches(place.key))


@contextmanager
def many_rows(size: int) -> Iterator[Trial]:
    """Rows that are there already, with their links."""
    with kept_home(f"rows-{size}", size) as place:
        with engine(place) as store:
            fill_rows(store.connection, size)
            fill_links(store.connection, size // 10)
            merged(store.connection, "headrace.events_rows")
        yield Trial(place, batches(place.key))


def _in_turn(keys_: Sequence[str]) -> list[bytes]:
    """A request for each key, 10,000 at most and at least: the load is the same at every size.

    Each has devices of its own, or many workspaces would have many times the links of one.
    """
    chance, path, count = Random(5), "/v1/batch/events", 10_000
    requests = []
    for number in range(count):
        first = number * SMALL_BATCH
        events = [
            make_event(n, chance) | {"anonymous_id": f"device-{n:012d}"}
            for n in range(first, first + SMALL_BATCH)
        ]
        body = msgspec.json.encode({"events": events})
        requests.append(http(path, keys_[number * len(keys_) // count], body))
    return requests


def add_keys(place: Place, count: int, *, workspaces_too: bool) -> list[str]:
    """Keys in clear, made by a few statements instead of a transaction for each.

    The first is the place's own. With `workspaces_too` each further one belongs to a workspace of
    its own, without a limit.
    """
    control = ControlData.open(place.home.control_url, SystemClock())
    bench, now = control.find_workspace("bench"), datetime.now(UTC)
    made = [keys.make_key() for _ in range(count - 1)]
    owners = [keys.make_id("ws") if workspaces_too else bench.id for _ in made]
    at = make_engine(place.home.control_url)
    if workspaces_too:
        _insert(
            at,
            workspaces,
            [
                {
                    "id": owner,
                    "name": f"bench {number}",
                    "requests_per_minute": UNLIMITED,
                    "rate_limit_dry_run": False,
                    "created_at": now,
                }
                for number, owner in enumerate(owners)
            ],
        )
    _insert(
        at,
        api_keys,
        [
            {
                "id": keys.make_id("key"),
                "workspace_id": owner,
                "name": "",
                "hint": keys.hint(key),
                "sha256": keys.fingerprint(key),
                "scopes": Scope.INGEST.value,
                "created_at": now,
            }
            for key, owner in zip(made, owners, strict=True)
        ],
    )
    at.dispose()
    # By the usual way, so that processes which read control data see that it has changed.
    control.create_key(bench, scopes=(Scope.INGEST,), name="last")
    control.close()
    return [place.key, *made]


def _insert(at: sa.Engine, table: sa.Table, rows: list[dict[str, object]]) -> None:
    with at.begin() as connection:
        for first in range(0, len(rows), _INSERTED_AT_ONCE):
            connection.execute(table.insert(), rows[first : first + _INSERTED_AT_ONCE])


DIMENSIONS: Final[dict[str, tuple[Callable[[int], AbstractContextManager[Trial]], list[int]]]] = {
    "workspaces": (many_workspaces, [1, 100, 1_000, 10_000]),
    "keys": (many_keys, [1, 1_000, 10_000, 100_000]),
    "types": (many_types, [1, 100, 1_000, 10_000]),
    "links": (many_links, [100_000, 1_000_000, 10_000_000]),
    "rows": (many_rows, [100_000, 1_000_000, 10_000_000, 100_000_000]),
}
"""What grows → how it is made, and at which sizes it is measured."""


def lines_of(
    dimension: str, smallest: int, between: Sequence[Spent], found: dict[int, Spent]
) -> list[Line]:
    """For each size and process the CPU of an event, beside what the smallest size cost right
    before and right after; `between` are those, one more than there are sizes in `found`."""
    lines = []
    for part, goal in (("collector", GOAL), ("processor", GOAL), ("store", "")):
        least = [getattr(each, part) for each in between]
        what = f"{part}, {smallest:,} {dimension}"
        lines.append(Line(f"{what}: CPU per event", statistics.mean(least), "us"))
        for number, (size, spent) in enumerate(found.items()):
            around = statistics.mean(least[number : number + 2])
            what_more = f"{part}, {size:,} {dimension}: CPU per event"
            lines.append(Line(what_more, getattr(spent, part), "us", around, goal))
        lines.append(Line(f"{what}: most of {len(least)}, and least", max(least), "us", min(least)))
    return lines


def main() -> None:
    """Measure and report."""
    dimension = sys.argv[1] if len(sys.argv) > 1 else ""
    if dimension not in DIMENSIONS:
        raise SystemExit(
            f"{dimension!r} does not grow here; say one of {', '.join(DIMENSIONS)}, and sizes if "
            "they shall be others: python -m benchmarks.growth links 1000 1000000"
        )
    making, sizes = DIMENSIONS[dimension]
    sizes = sorted({int(each) for each in sys.argv[2:]}) or sizes
    seconds = float(os.environ.get("BENCH_SECONDS", "10"))
    smallest, *larger = sizes

    def measure(size: int) -> Spent:
        print(f"{size:,} {dimension}", flush=True)
        with making(size) as trial:
            return spend(trial, seconds)

    between, found = [measure(smallest)], {}
    for size in larger:
        found[size] = measure(size)
        between.append(measure(smallest))
    report(f"growth-{dimension}", lines_of(dimension, smallest, between, found))


if __name__ == "__main__":
    main()
