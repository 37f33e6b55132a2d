"""Large tables that are made once by the engine and kept for the next run.

Owns the folder they lie in (`BENCH_CACHE` in the environment, else `~/.cache/headrace-bench`), how
a store there is started, and the rows: `INSERT … SELECT FROM numbers(…)` in blocks; a run that was
interrupted goes on behind the last whole block.

Rows are skewed as real ones are: of 100 workspaces the largest has 32 % of the rows, of 200 event
types the most frequent 17 %, and a few devices have thousands of events. One row in ten is a
device's first, two devices belong to a user, and two rows of three name their user.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from benchmarks.programs import HEADRACE, Place, home_in, running
from headrace.runtime.credentials import read_processor_login
from headrace.store.connection import Connection
from headrace.store.guarantees import INSERT_SETTINGS
from headrace.store.migrate import migrate

BLOCK: Final = 1_000_000
DAYS: Final = 60
"""The rows' timestamps end at the first of March 2026."""
ROWS_PER_DEVICE: Final = 10
WORKSPACE: Final = "ws_0"
"""The largest; `ws_50` is a middling one."""
LOG: Final = "generated"
_ANSWER_SECONDS: Final = 3_600
_BYTES_PER_ROW: Final = 250
"""Of disk, while parts are merged."""


def cache() -> Path:
    """Where large tables are kept; may be removed at any time between two runs."""
    given = os.environ.get("BENCH_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "headrace-bench"


@contextmanager
def kept_home(name: str, rows: int) -> Iterator[Place]:
    """A HOME of this name under the cache, made if it is not there; one run at a time."""
    folder = cache() / name
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if not (folder / "store").exists() and free < rows * _BYTES_PER_ROW:
        raise SystemExit(
            f"{rows:,} rows want {rows * _BYTES_PER_ROW >> 30} GiB in {folder}, and {free >> 30} "
            "are free: set BENCH_CACHE to a folder on a larger disk, or ask for fewer rows"
        )
    with home_in(folder) as place:
        yield place


class Engine(NamedTuple):
    """A store's process, and a connection that may do anything to it."""

    process: psutil.Process
    connection: Connection


@contextmanager
def engine(place: Place) -> Iterator[Engine]:
    """The place's store, started and migrated."""
    url = f"http://127.0.0.1:{place.store_port}/ping"
    with running([HEADRACE, "store"], place.environment, url=url) as process:
        login = read_processor_login(place.home)
        migrate(login.url, login.user, login.password, login.database)
        connection = Connection(
            login.url,
            login.user,
            login.password,
            database=login.database,
            answer_seconds=_ANSWER_SECONDS,
        )
        try:
            yield Engine(process, connection)
        finally:
            connection.close()


COLUMNS: Final = (
    "workspace_id, event_id, event, user_id, anonymous_id, user_known, anonymous_known, "
    "timestamp, received_at, timeliness, properties_raw, log_id, log_partition, log_position"
)


def rows_sql(first: int, count: int, total: int, devices: int = 0) -> str:
    """The rows numbered from `first`, of a table that shall have `total`: in order of time."""
    devices = devices or max(1, total // ROWS_PER_DEVICE)
    micros = DAYS * 86_400_000_000
    return f"""
    WITH
        toUInt64(floor(pow(cityHash64(number, 'device') / 18446744073709551616., 1.5) * {devices}))
            AS device,
        {_workspace("device")} AS workspace,
        cityHash64(number, 'user') % 3 < 2 AS named,
        toDateTime64('2026-03-01 00:00:00', 6, 'UTC')
            - toIntervalMicrosecond({micros} - intDiv(toUInt128(number) * {micros}, {total})) AS at
    SELECT
        workspace,
        concat(
            'evt_', leftPad(hex(intDiv(number, 100)), 24, '0'), leftPad(hex(number % 100), 2, '0')
        ),
        concat('type_', toString(
            toUInt32(floor(pow(cityHash64(number, 'event') / 18446744073709551616., 3) * 200)))),
        if(named, concat('usr_', toString(intDiv(device, 2))), ''),
        concat('device-', leftPad(toString(device), 12, '0')),
        named,
        true,
        at,
        at + toIntervalSecond(1),
        'on_time',
        concat(
            '{{"paywall_id":"pw_annual_v3","offer_id":"offer_intro_', toString(number % 50),
            'pct","context":"onboarding_step_', toString(number % 7),
            '","app_version":"7.7.', toString(intDiv(number, 5000000)),
            '","platform":"', if(device % 3 = 0, 'android', 'ios'),
            '","locale":"en_IN","experiment_arm":"arm_', toString(device % 4),
            '","session_id":"', hex(cityHash64(device, toDate(at))),
            '","price":', toString(number % 90 + 0.99), ',"n":', toString(number), '}}'
        ),
        '{LOG}', 0, number
    FROM numbers({first}, {count})
    """


def _workspace(device: str) -> str:
    """The workspace of a device; that of a user's two devices is the same."""
    share = f"cityHash64(intDiv({device}, 2), 'workspace') / 18446744073709551616."
    return f"concat('ws_', toString(toUInt32(floor(pow({share}, 4) * 100))))"


def links_sql(first: int, count: int) -> str:
    """The links of devices numbered from `first`: two devices to a user."""
    return f"""
    SELECT
        {_workspace("number")},
        concat('device-', leftPad(toString(number), 12, '0')),
        concat('usr_', toString(intDiv(number, 2))),
        toDateTime64('2026-01-01 00:00:00', 6, 'UTC'),
        concat('evt_', leftPad(toString(number), 26, '0'))
    FROM numbers({first}, {count})
    """


def fill_rows(connection: Connection, rows: int) -> None:
    """Add what is missing of `rows`; what is there of a block is dropped by the block's token."""
    table = "headrace.events_rows"
    sql = f"SELECT count() FROM {table} WHERE log_id = '{LOG}'"
    held, began = int(connection.rows(sql)[0][0]), time.monotonic()
    if held >= rows:
        return
    for first in range(held // BLOCK * BLOCK, rows, BLOCK):
        count = min(BLOCK, rows - first)
        insert_block(connection, table, first, count, rows)
        _say(first + count - held, rows - held, "rows", began)


def insert_block(connection: Connection, table: str, first: int, count: int, total: int) -> None:
    """Rows from `first` on, once, however often it is called."""
    connection.run(
        f"INSERT INTO {table} ({COLUMNS}) {rows_sql(first, count, total)}",
        settings={**INSERT_SETTINGS, "insert_deduplication_token": f"{LOG}:{first}"},
    )


def fill_links(connection: Connection, links: int) -> None:
    """Add what is missing of `links`, and load them into the dictionary of all links."""
    sql = "SELECT count() FROM headrace.identity_links_rows"
    held, began = int(connection.rows(sql)[0][0]), time.monotonic()
    missing = range(held // BLOCK * BLOCK, links, BLOCK) if held < links else ()
    for first in missing:
        count = min(BLOCK, links - first)
        connection.run(
            "INSERT INTO headrace.identity_links_rows "
            "(workspace_id, anonymous_id, user_id, received_at, source_event_id) "
            + links_sql(first, count),
            settings={**INSERT_SETTINGS, "insert_deduplication_token": f"{LOG}:{first}"},
        )
        _say(first + count - held, links - held, "links", began)
    connection.run("SYSTEM RELOAD DICTIONARY headrace.identity_links_all")
    connection.run("INSERT INTO headrace.identity_loads_rows SELECT hostName(), now64(6, 'UTC')")
    connection.run("SYSTEM RELOAD DICTIONARY headrace.identity_links_recent")


def merged(connection: Connection, table: str) -> None:
    """Wait until no merge runs on the table, so that reads are those of a table at rest."""
    database, _, name = table.partition(".")
    sql = f"SELECT count() FROM system.merges WHERE database = '{database}' AND table = '{name}'"
    while connection.rows(sql)[0][0]:
        time.sleep(0.5)


def _say(done: int, of: int, what: str, began: float) -> None:
    print(f"  {done:,} of {of:,} {what} made, {time.monotonic() - began:,.0f} s", flush=True)
