"""The shape of the events table beside others: what is read, how long it takes, what it costs.

`python -m benchmarks.shapes [rows of each shape] [rows of the kept table]` (2,000,000 and
100,000,000; 0 leaves one of the two out). The same generated rows (`kept_tables.py`) go into the
shipped table and into tables that differ from it in one thing; then an analyst's questions are
asked of each. Rows read are the engine's own count, answers the middle of five; the ceiling of a
shape is what the shipped table needs. The kept table has the shipped shape and a link for every
tenth row, and is asked through an analyst's views, under the settings of every analyst's query.
"""

from __future__ import annotations

import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import clickhouse_connect
import msgspec
from clickhouse_connect.driver.client import Client

from benchmarks.kept_tables import (
    BLOCK,
    COLUMNS,
    WORKSPACE,
    Engine,
    engine,
    fill_links,
    fill_rows,
    insert_block,
    kept_home,
    merged,
)
from benchmarks.programs import Place, cpu_seconds, prepared_home
from benchmarks.report import Line, report
from benchmarks.shape_questions import QUESTIONS, Question, middling_user, views_questions
from headrace.runtime.credentials import read_processor_login
from headrace.store.analyst_settings import FORCED_ON_ANALYSTS
from headrace.store.analysts import create_database
from headrace.store.connection import Connection

SHIPPED: Final = "as shipped"
ASKED: Final = 5
LEAST_READ_GOAL: Final = "< 1"
ANSWER_GOAL: Final = "< 200"
_STRING_ONLY: Final = "properties as String only"


class Shape(msgspec.Struct, frozen=True):
    """How a table differs: its definition changed, statements after it, settings of queries."""

    change: Callable[[str], str] = str
    after: tuple[str, ...] = ()
    settings: Mapping[str, str] = {}


def _sort_by(key: str) -> Callable[[str], str]:
    return lambda sql: _replaced(r"ORDER BY \([^)]*\)", f"ORDER BY ({key})", sql)


def _paths(count: int) -> Callable[[str], str]:
    return lambda sql: _replaced(r"max_dynamic_paths ?= ?64", f"max_dynamic_paths={count}", sql)


def _without_indexes(sql: str) -> str:
    return _replaced(r"INDEX by_\w+ .*? GRANULARITY 1,? ?", "", sql).replace(", )", ")")


def _without_codecs(sql: str) -> str:
    return _replaced(r" CODEC\((?:[^()]|\([^()]*\))*\)", "", sql)


def _without_json(sql: str) -> str:
    return _replaced(r"`properties` JSON.*?'\)(?:'\))?,", "", sql)


def _replaced(pattern: str, by: str, sql: str) -> str:
    """Raises if there is nothing to replace: the shipped definition is another than thought."""
    changed, count = re.subn(pattern, by, sql)
    if not count:
        raise SystemExit(f"{pattern!r} is not in the shipped table: {sql}")
    return changed


SHAPES: Final[Mapping[str, Shape]] = {
    SHIPPED: Shape(),
    "sorted by workspace, time": Shape(_sort_by("workspace_id, timestamp")),
    "sorted by workspace, type, day, user": Shape(
        _sort_by("workspace_id, event, toDate(timestamp), user_id, anonymous_id, timestamp")
    ),
    "sorted by workspace, user, device": Shape(
        _sort_by("workspace_id, user_id, anonymous_id, timestamp")
    ),
    "no skip indexes": Shape(_without_indexes),
    "projections by user and device": Shape(
        after=(
            "ALTER TABLE {table} ADD PROJECTION by_user "
            "(SELECT _part_offset ORDER BY workspace_id, user_id)",
            "ALTER TABLE {table} ADD PROJECTION by_device "
            "(SELECT _part_offset ORDER BY workspace_id, anonymous_id)",
        ),
        # What analysts may not have: a projection is read with a PREWHERE of its own.
        settings={
            "optimize_use_projections": "1",
            "optimize_move_to_prewhere": "1",
            "query_plan_optimize_prewhere": "1",
        },
    ),
    "no codecs": Shape(_without_codecs),
    _STRING_ONLY: Shape(_without_json),
    "16 dynamic paths": Shape(_paths(16)),
    "256 dynamic paths": Shape(_paths(256)),
    "1,024 dynamic paths": Shape(_paths(1024)),
}


class Read(msgspec.Struct, frozen=True):
    """What a question needed: rows read by the engine, and milliseconds to the answer."""

    rows: int
    milliseconds: float


class Kept(msgspec.Struct, frozen=True):
    """What a shape costs: CPU of a row's insert and merges in µs, bytes on disk, each question."""

    insert_us: float
    bytes_per_row: float
    reads: dict[str, Read]


def make_table(connection: Connection, shape: Shape, table: str) -> None:
    """The shipped events table, changed; nothing else has to know of it."""
    (row,) = connection.rows(
        "SELECT create_table_query FROM system.tables "
        "WHERE database = 'headrace' AND name = 'events_rows'"
    )
    sql = shape.change(str(row[0]))
    connection.run(f"DROP TABLE IF EXISTS {table} SYNC")
    connection.run(_replaced(r"^CREATE TABLE headrace\.events_rows", f"CREATE TABLE {table}", sql))
    for statement in shape.after:
        connection.run(statement.format(table=table))


def insert(store: Engine, table: str, rows: int) -> float:
    """CPU seconds that the store spends on it, merges included."""
    before = cpu_seconds(store.process)
    for first in range(0, rows, BLOCK):
        insert_block(store.connection, table, first, min(BLOCK, rows - first), rows)
    merged(store.connection, table)
    return cpu_seconds(store.process) - before


def making_alone(store: Engine, rows: int) -> float:
    """CPU seconds of making the rows and putting them nowhere."""
    store.connection.run("DROP TABLE IF EXISTS headrace.shape_nowhere")
    store.connection.run(
        f"CREATE TABLE headrace.shape_nowhere ENGINE = Null AS SELECT {COLUMNS} "
        "FROM headrace.events_rows"
    )
    return insert(store, "headrace.shape_nowhere", rows)


def measure(store: Engine, client: Client, name: str, rows: int, making: float) -> Kept:
    """Make a table of the shape, fill it, ask it, and drop it."""
    table, shape = "headrace.shape_rows", SHAPES[name]
    make_table(store.connection, shape, table)
    cpu = insert(store, table, rows) - making
    (size,) = store.connection.rows(
        "SELECT sum(bytes_on_disk) FROM system.parts "
        "WHERE active AND database = 'headrace' AND table = 'shape_rows'"
    )
    settings = {**FORCED_ON_ANALYSTS, **shape.settings}
    user = middling_user(client, table)
    reads = {
        each.name: ask(client, each.sql(table, user, as_json=name != _STRING_ONLY), settings)
        for each in QUESTIONS
    }
    store.connection.run(f"DROP TABLE {table} SYNC")
    return Kept(cpu / rows * 1e6, int(size[0]) / rows, reads)


def ask(client: Client, sql: str, settings: Mapping[str, str]) -> Read:
    """The middle of several answers; the first one, which warms what is cached, not among them."""
    took, rows = [], 0
    for _ in range(ASKED + 1):
        began = time.monotonic()
        answer = client.query(sql, settings=dict(settings))
        took.append((time.monotonic() - began) * 1e3)
        rows = int(answer.summary["read_rows"])
    return Read(rows, statistics.median(took[1:]))


def asking(place: Place) -> Client:
    """A client whose answers tell what was read."""
    login = read_processor_login(place.home)
    return clickhouse_connect.get_client(
        host="127.0.0.1",
        port=place.store_port,
        username=login.user,
        password=login.password,
        database=login.database,
        autogenerate_session_id=False,
        send_receive_timeout=600,
    )


def shape_lines(rows: int) -> list[Line]:
    """Every shape at a size that is made anew."""
    with prepared_home() as place, engine(place) as store:
        client = asking(place)
        making, found = making_alone(store, rows), {}
        for name in SHAPES:
            print(f"{name}: {rows:,} rows", flush=True)
            found[name] = measure(store, client, name, rows, making)
        client.close()
    return [line for name in SHAPES for line in _lines(name, found, rows)]


def _lines(name: str, found: Mapping[str, Kept], rows: int) -> Iterator[Line]:
    """Beside what the shipped shape needs; of the shipped shape without a ceiling."""
    kept, shipped = found[name], found[SHIPPED]
    figures = [
        ("insert", "us/row", kept.insert_us, shipped.insert_us),
        ("disk", "bytes/row", kept.bytes_per_row, shipped.bytes_per_row),
    ]
    for question, read in kept.reads.items():
        of = shipped.reads[question]
        figures += [
            (f"{question}: read", "% of rows", read.rows / rows * 100, of.rows / rows * 100),
            (f"{question}: p50", "ms", read.milliseconds, of.milliseconds),
        ]
    for what, unit, figure, least in figures:
        yield Line(f"{name}: {what}", figure, unit, None if kept is shipped else least)


def kept_lines(rows: int) -> list[Line]:
    """The shipped shape at full size, asked as an analyst asks."""
    with kept_home(f"rows-{rows}", rows) as place, engine(place) as store:
        fill_rows(store.connection, rows)
        fill_links(store.connection, rows // 10)
        merged(store.connection, "headrace.events_rows")
        create_database(store.connection, WORKSPACE)
        client = asking(place)
        questions = views_questions(middling_user(client, "headrace.events_rows"))
        found = {name: ask(client, sql, FORCED_ON_ANALYSTS) for name, sql in questions.items()}
        client.close()
        memory = store.process.memory_info().rss / 1024**2
    lines = []
    for name, read in found.items():
        has_goal = name in Question.with_goals
        what = f"{rows:,} rows, analyst's views: {name}"
        lines += [
            Line(
                f"{what}: read",
                read.rows / rows * 100,
                "% of rows",
                goal=LEAST_READ_GOAL if has_goal else "",
            ),
            Line(f"{what}: p50", read.milliseconds, "ms", goal=ANSWER_GOAL if has_goal else ""),
        ]
    return [*lines, Line(f"{rows:,} rows: store memory", memory, "MiB")]


def main() -> None:
    """Measure and report."""
    small = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000
    large = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000_000
    lines = shape_lines(small) if small else []
    report("shapes", lines + (kept_lines(large) if large else []))


if __name__ == "__main__":
    main()
