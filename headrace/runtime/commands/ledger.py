"""`headrace ledger`: is every record that was appended stored, rejected or deduplicated, once?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from typing import Annotated, Any, Final, Literal

from cyclopts import Parameter

from headrace.runtime import reach
from headrace.runtime.clock import SystemClock
from headrace.runtime.commands.output import print_json, print_table
from headrace.runtime.ledger import Ledger, PartitionLedger, read_ledger, settled
from headrace.runtime.ledger_queries import Doubled, Hour, LedgerQueries, Range
from headrace.runtime.log_ends import read_log_ends
from headrace.runtime.logging import quiet_drivers
from headrace.runtime.moments import parse_since
from headrace.runtime.options import HomeOption
from headrace.runtime.settings import Settings
from headrace.runtime.store_reader import StoreReader

EXIT_NOT_EQUAL: Final = 1
_SHOWN: Final = timedelta(days=1)
_MOST_NAMED: Final = 20


def ledger(
    *,
    since: Annotated[
        str | None,
        Parameter(help="Count from the first row received since: 30m, 12h, 7d ago, or a time."),
    ] = None,
    format: Annotated[  # noqa: A002 - the option's name
        Literal["table", "json"], Parameter(help="A table for people, or JSON.")
    ] = "table",
    home: HomeOption = None,
) -> int:
    """Compare the positions of the log with those of the rows: every record must be there once.

    Exit code 0 if they are equal, 1 if not; then it names the positions.
    """
    quiet_drivers()
    settings = reach.settings_for(home)
    names = _names(settings)
    now = SystemClock(settings.clock_offset_seconds).now()
    moment = None if since is None else parse_since(since, now)
    with StoreReader(reach.operator_login(settings)) as store:
        found = read_ledger(
            LedgerQueries(store, replicated=bool(settings.clickhouse_cluster)),
            partial(read_log_ends, settings),
            since=moment,
            shown_since=moment or now - _SHOWN,
        )
    if format == "json":
        print_json(_as_json(found))
    else:
        _show(found, names)
    return 0 if found.is_equal else EXIT_NOT_EQUAL


def _names(settings: Settings) -> Mapping[str, str]:
    with reach.open_control(settings) as control:
        return {each.id: each.name for each in control.list_workspaces()}


def _show(found: Ledger, names: Mapping[str, str]) -> None:
    hours = [
        (
            names.get(hour.workspace_id, hour.workspace_id) or "(unreadable)",
            hour.hour or "earlier",
            settled(hour),
            hour.stored,
            hour.rejected,
            hour.replayed,
            hour.deduplicated,
            hour.expired,
        )
        for hour in found.hours
    ]
    print_table(("workspace", "hour (UTC)", "appended", *_PARTS), hours)
    print()
    print_table(
        (
            *("log", "partition", "first", "settled to", "end", "rows"),
            *("in flight", "missing", "too many"),
        ),
        [_row(each) for each in found.partitions],
    )
    print()
    print(_sum(found))
    for each in found.partitions:
        for sentence in _wrong(each):
            print(f"  {each.log_id[:8]}…, partition {each.partition}: {sentence}")


def _row(each: PartitionLedger) -> tuple[object, ...]:
    log = each.log_id[:8] + "…" + ("" if each.is_known else " (not here)")
    return (
        log,
        *(each.partition, each.first, each.settled_to, each.end, each.rows),
        *(each.in_flight, each.missing_count, each.surplus),
    )


def _sum(found: Ledger) -> str:
    parts = {name: sum(getattr(hour, name) for hour in found.hours) for name in _PARTS}
    if not parts["expired"]:
        del parts["expired"]  # where nothing ever does, it is no word to read past
    parts["in flight"] = found.in_flight
    adds_up = found.appended == sum(parts.values())
    right = " + ".join(f"{count:,} {name}" for name, count in parts.items())
    verdict = "Equal" if found.is_equal else "NOT EQUAL"
    return f"{verdict}: {found.appended:,} appended {'=' if adds_up else '≠'} {right}"


_PARTS: Final = ("stored", "rejected", "replayed", "deduplicated", "expired")


def _wrong(each: PartitionLedger) -> Iterator[str]:
    if each.missing:
        where = "they are still in the log" if each.is_known else "the log is not here"
        yield f"in no table: {_listed(map(_range, each.missing))} ({where})"
    if each.lost:
        yield f"in no table: {_listed(map(_range, each.lost))} (the log no longer has them)"
    if each.unnamed_count:
        yield f"in no table: {each.unnamed_count:,} more"
    if each.doubled:
        yield f"more than once: {_listed(map(_doubled, each.doubled))}"
    if each.beyond is not None:
        yield (
            f"held, and not in the log, whose end is {each.beyond.first}: up to "
            f"{each.beyond.last}. It was cut or made anew under the same id"
        )


def _range(each: Range | Doubled) -> str:
    return str(each.first) if each.first == each.last else f"{each.first}–{each.last}"


def _doubled(each: Doubled) -> str:
    counts = {
        "events": each.events,
        "rejected_events": each.rejected,
        "deduplicated_events": each.deduplicated,
    }
    where = [
        f"{table} {count} times" if count > 1 else table for table, count in counts.items() if count
    ]
    return f"{_range(each)} in {' and '.join(where)}"


def _listed(texts: Iterable[str]) -> str:
    texts = list(texts)
    more = len(texts) - _MOST_NAMED
    return ", ".join(texts[:_MOST_NAMED]) + (f" and {more} more ranges" if more > 0 else "")


def _as_json(found: Ledger) -> dict[str, Any]:
    return {
        "equal": found.is_equal,
        "appended": found.appended,
        **{name: sum(getattr(hour, name) for hour in found.hours) for name in _PARTS},
        "in_flight": found.in_flight,
        "partitions": [_partition_json(each) for each in found.partitions],
        "hours": [_hour_json(hour) for hour in found.hours],
    }


def _partition_json(each: PartitionLedger) -> dict[str, Any]:
    return {
        **{name: getattr(each, name) for name in each.__struct_fields__},
        "in_flight": each.in_flight,
        "missing_count": each.missing_count,
        "surplus": each.surplus,
    }


def _hour_json(hour: Hour) -> dict[str, Any]:
    return {
        **{name: getattr(hour, name) for name in hour.__struct_fields__},
        "appended": settled(hour),
    }
