"""`headrace ledger`: positions of a log against doctored rows of a real store."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import msgspec
import pytest

from headrace.eventlog.port import Batch, Committed, NewRecord
from headrace.runtime.commands.ledger import ledger
from headrace.runtime.ledger import Ledger, LogEnds, joined, read_ledger
from headrace.runtime.ledger_queries import Doubled, Hour, LedgerQueries, Range
from headrace.runtime.reach import operator_login, settings_for
from headrace.runtime.store_reader import StoreReader
from headrace.store import connection as store
from headrace.store.migrate import migrate
from headrace.store.retention import Retention, keep_for
from tests.eventlog.adapters import owned
from tests.eventlog.sqlite_files import appending, membership
from tests.runtime.homes import make_home, point_home_at
from tests.store.server_fixture import PASSWORD, PROCESSOR, StoreServer

NOW = datetime.now(UTC).replace(minute=30, second=0, microsecond=0)
HOUR = f"{NOW:%Y-%m-%d %H}:00"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with StoreServer(tmp_path_factory.mktemp("store") / "data") as server:
        migrate(server.url, PROCESSOR, PASSWORD)
        yield server


_TABLES: Final = (
    "events_rows",
    "rejected_events_rows",
    "deduplicated_events_rows",
    "expired_positions_rows",
    "retention_rows",
)
OLD = NOW - timedelta(days=40)


class Rows:
    """Rows of one log, put into the tables by hand."""

    def __init__(self, server: StoreServer) -> None:
        self.server = server
        self.log_id = uuid4().hex

    def store(self, *positions: int, **changes: Any) -> None:
        self._insert("events_rows", positions, changes)

    def reject(self, *positions: int, **changes: Any) -> None:
        self._insert("rejected_events_rows", positions, changes)

    def deduplicate(self, *positions: int) -> None:
        rows = [self._place(at) | {"deduplicated_at": NOW} for at in positions]
        self._write("deduplicated_events_rows", rows)

    def ends(self, **changes: Any) -> LogEnds:
        """Of ten settled records, positions 1 to 10, all of them still in the log."""
        whole = LogEnds(
            log_id=self.log_id, partition=0, first=1, earliest=1, committed=11, end=11
        )  # fmt: skip
        return msgspec.structs.replace(whole, **changes)

    def clear(self) -> None:
        client = self.server.client(PROCESSOR)
        for table in _TABLES:
            client.command(f"TRUNCATE TABLE {table}")
        client.close()

    def expire(self, *, broken_off: bool = False, meanwhile: Sequence[int] = ()) -> None:
        """Delete what was received over 30 days ago, or all but delete it. `meanwhile` are old
        rows that come between the two steps."""
        insert = self.store

        class Connection(store.Connection):
            def run(self, sql: str, *, settings: store.Settings | None = None) -> None:
                if meanwhile and sql.startswith("DELETE"):
                    insert(*meanwhile, received_at=OLD)
                if not (broken_off and sql.startswith("DELETE")):
                    super().run(sql, settings=settings)

        connection = Connection(self.server.url, PROCESSOR, PASSWORD)
        for workspace_id in ("ws_one", "ws_two"):
            keep_for(connection, "headrace", workspace_id, 30)
        Retention(connection, "headrace").delete_old(NOW)
        connection.close()

    def _insert(self, table: str, positions: Sequence[int], changes: dict[str, Any]) -> None:
        row = {"event": "sale", "timestamp": NOW, "received_at": NOW, "properties_raw": "{}"}
        self._write(table, [self._place(at) | row | changes for at in positions])

    def _place(self, position: int) -> dict[str, Any]:
        return {
            "workspace_id": "ws_one",
            "event_id": f"evt_{position:026d}",
            "log_id": self.log_id,
            "log_partition": 0,
            "log_position": position,
        }

    def _write(self, table: str, rows: list[dict[str, Any]]) -> None:
        client = self.server.client(PROCESSOR)
        client.insert(table, [list(row.values()) for row in rows], list(rows[0]))
        client.close()


@pytest.fixture
def rows(server: StoreServer) -> Iterator[Rows]:
    made = Rows(server)
    yield made
    made.clear()


@pytest.fixture
def home(tmp_path: Path, server: StoreServer) -> Path:
    return point_home_at(make_home(tmp_path / "home"), server)


def read(home: Path, *ends: LogEnds, since: datetime | None = None) -> Ledger:
    with StoreReader(operator_login(settings_for(home))) as store:
        shown = since or NOW - timedelta(days=1)
        return read_ledger(LedgerQueries(store), lambda: ends, shown_since=shown, since=since)


def test_every_record_once_is_equal(home: Path, rows: Rows) -> None:
    """Stored, rejected, deduplicated and in flight add up to what was appended."""
    rows.store(1, 2, 3, 4, 5, 6, 7)
    rows.reject(8, 9)
    rows.deduplicate(10)
    found = read(home, rows.ends(end=14))
    assert found.is_equal
    assert (found.appended, found.in_flight) == (13, 3)
    assert found.hours == [Hour("ws_one", HOUR, 7, 2, 0, 1)]


def test_records_being_written_are_in_flight_on_both_sides(home: Path, rows: Rows) -> None:
    """Held, and not yet committed: they count once they are."""
    rows.store(*range(1, 14))
    found = read(home, rows.ends(end=14))
    assert found.is_equal
    assert (found.appended, found.settled, found.in_flight) == (13, 10, 3)


def test_what_is_in_no_table_is_named(home: Path, rows: Rows) -> None:
    """At the beginning, in the middle, at the end; neighbours as one range."""
    rows.store(2, 3, 7, 9)
    found = read(home, rows.ends())
    [partition] = found.partitions
    assert not found.is_equal
    assert partition.missing == [Range(1, 1), Range(4, 6), Range(8, 8), Range(10, 10)]
    assert (partition.missing_count, partition.surplus, partition.unnamed_count) == (6, 0, 0)


def test_what_retention_removed_before_it_was_settled_is_lost(home: Path, rows: Rows) -> None:
    """Named apart: the log cannot give it again. It is not in flight either."""
    rows.store(1, 2, 3)
    found = read(home, rows.ends(committed=4, earliest=7))
    [partition] = found.partitions
    assert not found.is_equal
    assert (partition.missing, partition.lost) == ([], [Range(4, 6)])
    assert partition.in_flight == 4


def test_what_is_there_twice_is_named_with_its_tables(home: Path, rows: Rows) -> None:
    """In one table, or in two; a reject that was written twice is one row to its readers."""
    rows.store(*range(1, 11))
    rows.store(3)
    rows.reject(5, 6)
    rows.reject(6)
    rows.deduplicate(9)
    found = read(home, rows.ends())
    [partition] = found.partitions
    assert not found.is_equal
    assert partition.doubled == [
        Doubled(3, 3, 2, 0, 0),
        Doubled(5, 6, 1, 1, 0),
        Doubled(9, 9, 1, 0, 1),
    ]
    assert (partition.missing_count, partition.surplus) == (0, 4)


def test_a_miss_does_not_make_up_for_a_double(home: Path, rows: Rows) -> None:
    """As many rows as positions is not yet equal."""
    rows.store(1, 2, 3, 4, 5, 6, 7, 8, 9, 9)
    found = read(home, rows.ends())
    assert found.appended == found.settled + found.in_flight
    assert not found.is_equal
    assert found.partitions[0].missing == [Range(10, 10)]


def test_a_replayed_reject_counts_where_it_is_stored(home: Path, rows: Rows) -> None:
    """Its first record is there all the same, as what it was."""
    rows.store(*range(1, 9))
    rows.reject(9, event_id="evt_again")
    rows.store(10, event_id="evt_again")
    found = read(home, rows.ends())
    assert found.is_equal
    assert found.hours == [Hour("ws_one", HOUR, 9, 0, 1, 0)]


def test_rows_the_log_never_gave_out_are_named(home: Path, rows: Rows) -> None:
    """A log that was cut gives positions out again, and their records would be skipped."""
    rows.store(*range(1, 16))
    found = read(home, rows.ends())
    assert not found.is_equal
    assert found.partitions[0].beyond == Range(11, 15)


def test_a_lost_commit_is_made_up_for_by_the_rows(home: Path, rows: Rows) -> None:
    """Settled is what is held, as the next processor will find."""
    rows.store(*range(1, 8))
    found = read(home, rows.ends(committed=None))
    assert found.is_equal
    assert found.in_flight == 3


def test_an_empty_log_is_equal(home: Path, rows: Rows) -> None:
    """Nothing was appended and nothing is there."""
    found = read(home, rows.ends(committed=None, end=1))
    assert found.is_equal
    assert found.appended == 0


def test_logs_that_are_not_here_are_known_by_their_rows(home: Path, rows: Rows) -> None:
    """Between the first and the last row each position must be there once."""
    rows.store(5, 6, 7)
    old = Rows(rows.server)
    old.store(20, 22)
    found = read(home, rows.ends(first=5, committed=8, end=8))
    by_log = {each.log_id: each for each in found.partitions}
    assert by_log[rows.log_id].is_whole
    assert not by_log[old.log_id].is_known
    assert by_log[old.log_id].missing == [Range(21, 21)]


def test_partitions_and_windows_are_each_their_own(home: Path, rows: Rows) -> None:
    """Positions far apart: what lies between is one range, and nothing is asked for it."""
    rows.store(0, 999_999, 1_000_000, 5_000_000)
    rows.store(3, log_partition=1)
    ends = rows.ends(first=0, earliest=0, committed=5_000_001, end=5_000_001)
    found = read(home, ends, rows.ends(partition=1, first=3, committed=4, end=4))
    first, second = found.partitions
    assert first.missing == [Range(1, 999_998), Range(1_000_001, 4_999_999)]
    assert first.missing_count == 5_000_001 - 4
    assert second.is_whole


def test_since_counts_from_the_first_row_received_since(home: Path, rows: Rows) -> None:
    """What was before, and what was removed with its month, is not asked for."""
    rows.store(4, 6, received_at=NOW - timedelta(days=3))
    rows.store(7, 8, 10)
    rows.store(9, received_at=NOW - timedelta(days=3))
    found = read(home, rows.ends(), since=NOW - timedelta(days=1))
    assert found.is_equal
    assert found.appended == 4
    assert found.hours == [Hour("ws_one", None, 1, 0, 0, 0), Hour("ws_one", HOUR, 3, 0, 0, 0)]


def test_what_is_past_its_time_is_not_missing(home: Path, rows: Rows) -> None:
    """Its place is kept when it is deleted; what else is missing or doubled is named as ever."""
    rows.store(1, 2, 5, received_at=OLD)
    rows.store(3, received_at=OLD, workspace_id="ws_two")
    rows.reject(4, received_at=OLD)
    rows.store(6, 7, 9, 10)
    rows.expire()
    [partition] = (found := read(home, rows.ends())).partitions
    assert partition.missing == [Range(8, 8)]
    assert found.hours == [
        Hour("ws_one", None, 0, 0, 0, 0, 4),
        Hour("ws_two", None, 0, 0, 0, 0, 1),
        Hour("ws_one", HOUR, 4, 0, 0, 0),
    ]
    rows.store(8, received_at=OLD)
    rows.expire()
    found = read(home, rows.ends())
    assert (found.is_equal, found.settled, found.hours[0].expired) == (True, 10, 5)
    rows.store(9)
    assert read(home, rows.ends()).partitions[0].doubled == [Doubled(9, 9, 2, 0, 0)]


def test_an_expiry_that_was_broken_off_counts_once(home: Path, rows: Rows) -> None:
    """Rows whose places are kept already, and which are still there; and then are not."""
    rows.store(1, 2, 3, 4, received_at=OLD)
    rows.store(5, 6, 7, 8, 9, 10)
    rows.expire(broken_off=True)
    found = read(home, rows.ends())
    assert (found.is_equal, found.settled) == (True, 10)
    assert [hour.expired for hour in found.hours] == [0, 0]
    rows.expire()
    found = read(home, rows.ends())
    assert (found.is_equal, found.settled) == (True, 10)
    assert [hour.expired for hour in found.hours] == [4, 0]


def test_rows_that_come_while_others_expire_wait_for_the_next_time(home: Path, rows: Rows) -> None:
    """Received as long ago, by a processor that catches up: none goes without its place."""
    rows.store(1, 2, 3, received_at=OLD)
    rows.store(4, 5, 6, 7, 8)
    rows.expire(meanwhile=[9, 10])
    found = read(home, rows.ends())
    assert (found.is_equal, found.settled) == (True, 10)
    assert [(hour.stored, hour.expired) for hour in found.hours] == [(2, 3), (5, 0)]
    rows.expire()
    found = read(home, rows.ends())
    assert (found.is_equal, [hour.expired for hour in found.hours]) == (True, [5, 0])


def test_many_partitions_fit_into_one_question(home: Path, rows: Rows) -> None:
    """64 of them; and nothing of one is counted for another."""
    rows.store(1, 2, received_at=OLD)
    rows.store(3, 4)
    rows.expire()
    ends = [rows.ends(partition=partition, committed=5, end=5) for partition in range(64)]
    first, *others = read(home, *ends).partitions
    assert first.is_whole
    assert [each.missing for each in others] == [[Range(1, 4)]] * 63


def test_expired_places_over_several_windows(home: Path, rows: Rows) -> None:
    """A million positions are one window; only those that are asked for count."""
    rows.store(1, 999_999, 1_000_000, 2_000_001, received_at=OLD)
    rows.store(2, 1_999_999)
    rows.expire()
    ends = rows.ends(first=1, committed=2_000_002, end=2_000_002)
    [partition] = (found := read(home, ends)).partitions
    assert partition.missing == [
        Range(3, 999_998),
        Range(1_000_001, 1_999_998),
        Range(2_000_000, 2_000_000),
    ]
    assert (partition.rows, partition.positions) == (6, 6)
    assert sum(hour.expired for hour in found.hours) == 4
    found = read(home, ends, since=NOW - timedelta(days=1))
    assert sum(hour.expired for hour in found.hours) == 3
    found = read(home)
    assert [(each.first, each.end) for each in found.partitions] == [(1, 2_000_002)]
    assert sum(hour.expired for hour in found.hours) == 4


def asked_as_operator(home: Path, query: str) -> list[dict[str, Any]]:
    with StoreReader(operator_login(settings_for(home))) as store:
        return store.rows(query, dict[str, Any])


def test_the_queries_of_the_documents_say_the_same(home: Path, rows: Rows) -> None:
    """What `docs/tables.md` shows runs as it stands there, as the operator."""
    rows.store(1, 2, 3, 7, 7)
    rows.reject(4)
    rows.deduplicate(9)
    text = (Path(__file__).parents[2] / "docs" / "tables.md").read_text()
    _, _, section = text.partition("## The ledger")
    by_hour, by_window, missing = re.findall(r"```sql\n(.*?)```", section, re.DOTALL)
    [hour], [window] = asked_as_operator(home, by_hour), asked_as_operator(home, by_window)
    gaps = [Range(**gap) for gap in asked_as_operator(home, missing)]
    assert [hour[name] for name in ("stored", "rejected", "deduplicated", "appended")] == [
        *(5, 1, 1, 7)
    ]
    assert [window[name] for name in ("rows", "positions", "first", "last")] == [7, 6, 1, 9]
    assert gaps == [Range(5, 6), Range(8, 8)]


def queries_of_the_readme() -> list[str]:
    """By workspace and hour; by partition."""
    text = (Path(__file__).parents[2] / "README.md").read_text()
    return re.findall(r"```sql\n(.*?)```", text, re.DOTALL)


def test_the_query_of_the_readme_counts_by_workspace_and_hour(home: Path, rows: Rows) -> None:
    """What is in two tables, or twice in one, is appended once and counted twice."""
    by_hour, _ = queries_of_the_readme()
    rows.store(1, 2, 3)
    rows.store(4, workspace_id="ws_two", received_at=NOW - timedelta(hours=1))
    rows.reject(5)
    rows.deduplicate(6, 7)

    def numbers() -> list[tuple[Any, ...]]:
        return [
            (line["workspace_id"], line["hour"][:13], *list(line.values())[2:])
            for line in asked_as_operator(home, by_hour)
        ]

    earlier = ("ws_two", f"{NOW - timedelta(hours=1):%Y-%m-%d %H}", 1, 1, 0, 0)
    assert numbers() == [earlier, ("ws_one", HOUR[:13], 6, 3, 1, 2)]
    rows.reject(3)
    assert numbers() == [earlier, ("ws_one", HOUR[:13], 6, 3, 2, 2)]


def test_the_query_of_the_readme_finds_what_is_not_there_once(home: Path, rows: Rows) -> None:
    """Three numbers that are equal if and only if every position is held once."""
    _, query = queries_of_the_readme()

    def numbers() -> list[int]:
        [line] = asked_as_operator(home, query)
        return [line[name] for name in ("rows", "positions", "expected")]

    rows.store(1, 2, 4)
    rows.reject(3)
    assert numbers() == [4, 4, 4]
    rows.store(6)
    assert numbers() == [5, 5, 6]
    rows.deduplicate(5)
    rows.store(4)
    assert numbers() == [7, 6, 6]


def test_ranges_that_touch_are_one() -> None:
    """However the windows lie."""
    ranges = [Range(1, 2), Range(3, 3), Range(5, 9), Range(10, 10)]
    assert joined(ranges) == [Range(1, 3), Range(5, 10)]


# The command, over the local log


async def append_and_settle(home: Path, count: int, *, settled: int) -> str:
    """A local log of so many records; its id."""
    async with appending(home) as log:
        await log.append(Batch([NewRecord(b"key", b"{}")] * count))
        log_id = log.log_id
    async with owned(membership(home)) as assignment:
        await assignment.commit(Committed(settled + 1))
    return log_id


async def test_the_command_ends_with_0_if_it_is_equal(
    home: Path, rows: Rows, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sum stands below, in words."""
    rows.log_id = await append_and_settle(home, 10, settled=8)
    rows.store(*range(1, 8))
    rows.reject(8, workspace_id="", received_at=None, timestamp=None)
    assert await in_thread(home) == 0
    printed = capsys.readouterr().out
    assert (
        "Equal: 10 appended = 7 stored + 1 rejected + 0 replayed + 0 deduplicated + 2 in flight"
    ) in printed
    assert HOUR in printed
    assert "(unreadable)" in printed


async def test_the_command_ends_with_1_and_names_positions(
    home: Path, rows: Rows, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that a person finds the records, and a script the trouble."""
    rows.log_id = await append_and_settle(home, 10, settled=10)
    rows.store(1, 2, 6, 7, 8, 9, 9, 10)
    rows.reject(1)
    assert await in_thread(home) == 1
    printed = capsys.readouterr().out
    assert "NOT EQUAL: 10 appended ≠ 8 stored + 0 rejected + 1 replayed" in printed
    assert "in no table: 3–5 (they are still in the log)" in printed
    assert "more than once: 1 in events and rejected_events, 9 in events 2 times" in printed


async def test_json_holds_the_same(
    home: Path, rows: Rows, capsys: pytest.CaptureFixture[str]
) -> None:
    """For programs: sums, partitions with their ranges, hours."""
    rows.log_id = await append_and_settle(home, 3, settled=3)
    rows.store(1, 3)
    assert await in_thread(home, format="json") == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["equal"], found["appended"], found["stored"]) == (False, 3, 2)
    [partition] = found["partitions"]
    assert partition["missing"] == [{"first": 2, "last": 2}]
    assert (partition["missing_count"], partition["in_flight"]) == (1, 0)
    assert [(hour["hour"], hour["appended"]) for hour in found["hours"]] == [(HOUR, 2)]


async def in_thread(home: Path, **options: Any) -> int:
    return await asyncio.to_thread(ledger, home=home, **options)
