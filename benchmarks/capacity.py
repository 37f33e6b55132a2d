"""What a rate of events needs: cores, partitions, disks, network and money, as Markdown.

`python -m benchmarks.capacity [--events-per-second N …]` computes from the latest kept run of the
benchmarks `collector`, `kafka` and `pipeline` and from assumptions, each an argument with a default
(`--help` lists them). `--renew` puts the tables into `docs/capacity.md` instead of printing them.
What the figures are worth is said on that page.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import msgspec

from benchmarks.report import kept
from headrace.runtime.setting_table import SETTINGS

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "capacity.md"
BEGIN: Final = "<!-- made by benchmarks/capacity.py -->\n"
END: Final = "<!-- until here -->\n"
HOURS_A_MONTH: Final = 730
FLUSH_ROWS: Final = int(SETTINGS["flush_rows"].default)


class Assumptions(msgspec.Struct, frozen=True):
    """What no kept run says. Each is an argument of the command, with its meaning beside it."""

    events_per_second: Annotated[float, "all day and night"] = 1_000_000
    busy_share: Annotated[float, "of a core that is used; the rest is spare"] = 0.6
    body_bytes: Annotated[float, "of an event over HTTP; the benchmarks' events"] = 350
    kafka_bytes: Annotated[float, "of an event in Kafka, lz4; the benchmarks' events"] = 120
    block_bytes: Annotated[float, "of an event on its way to ClickHouse; the same"] = 340
    row_bytes: Annotated[float, "of an event on ClickHouse's disk; 100,000 of the same"] = 52
    partitions_per_processor: Annotated[float, "as docs/deploying.md advises"] = 4
    flush_seconds: Annotated[float, "the setting: longer makes fewer, larger blocks"] = 2
    kafka_copies: Annotated[float, "of each partition"] = 3
    kafka_hours: Annotated[float, "that records are kept; the setting's default"] = 168
    broker_megabytes: Annotated[float, "written a second by a broker's core; a guess"] = 30
    clickhouse_copies: Annotated[float, "replicas, each with every row; one may be lost"] = 3
    clickhouse_days: Annotated[float, "that rows are kept"] = 30
    zones: Annotated[float, "over which everything is spread evenly"] = 3
    core_hour_usd: Annotated[float, "price of a core with its memory"] = 0.05
    gb_month_usd: Annotated[float, "price of a GB of disk"] = 0.08
    zone_gb_usd: Annotated[float, "price of a GB from one zone to another"] = 0.02


class Figures(msgspec.Struct, frozen=True):
    """What the benchmarks measured: CPU in microseconds, rates in events or rows a second."""

    collector_us: float
    single_us: float
    processor_us: float
    store_us: float
    insert_rate: float
    node_rate: float
    append_rate: float


class Need(msgspec.Struct, frozen=True):
    """A row of the table. `usd` is for a month."""

    what: str
    amount: str
    because: str
    usd: float = 0.0


def measured() -> Figures:
    """The latest run of each benchmark."""
    return Figures(
        collector_us=_line("kafka", "batches of 1,000: CPU per event"),
        single_us=_line("singles", "64 connections: CPU per request"),
        processor_us=_line("pipeline", "processor CPU per event"),
        store_us=_line("pipeline", "store CPU per event"),
        insert_rate=_line("pipeline", "log to table: events", ceiling=True),
        node_rate=_line("pipeline", "log to table: events"),
        append_rate=_line("collector", "batches of 1,000, durable: events"),
    )


def _line(benchmark: str, what: str, *, ceiling: bool = False) -> float:
    for line in kept(benchmark)[-1].lines:
        if line.name == what:
            figure = line.ceiling if ceiling else line.result
            if figure is not None:
                return figure
    raise SystemExit(f"the latest run in {benchmark}.jsonl has no line {what!r}: run it again")


def needs(figures: Figures, assumed: Assumptions) -> Iterator[Need]:
    """Every row of the table: programs in the order an event meets them, disks, network."""
    yield from _collectors(figures, assumed)
    yield _brokers(assumed)
    yield from _processors(figures, assumed)
    yield from _clickhouse(figures, assumed)
    yield from _disks(assumed)
    yield from _network(assumed)


def _cores(microseconds: float, assumed: Assumptions) -> int:
    return math.ceil(assumed.events_per_second * microseconds / 1e6 / assumed.busy_share)


def _price(cores: float, assumed: Assumptions) -> float:
    return cores * HOURS_A_MONTH * assumed.core_hour_usd


def _collectors(figures: Figures, assumed: Assumptions) -> Iterator[Need]:
    cores, alone = _cores(figures.collector_us, assumed), _cores(figures.single_us, assumed)
    yield Need(
        "collectors, batches of 1,000",
        f"{cores} of a core each",
        f"{figures.collector_us:.1f} µs an event (kafka)",
        _price(cores, assumed),
    )
    yield Need(
        "in their place, if every event comes alone",
        f"{alone} of a core each",
        f"{figures.single_us:.0f} µs a request at 64 connections (singles); not in the sum",
    )


def _brokers(assumed: Assumptions) -> Need:
    rate = assumed.events_per_second * assumed.kafka_bytes * assumed.kafka_copies / 1e6
    cores = math.ceil(rate / assumed.broker_megabytes)
    said = f"{rate:,.0f} MB/s written, copies counted"
    return Need("Kafka's brokers", f"{cores} cores", said, _price(cores, assumed))


def _partitions(figures: Figures, assumed: Assumptions) -> int:
    processors = _cores(figures.processor_us, assumed)
    return math.ceil(processors * assumed.partitions_per_processor)


def _processors(figures: Figures, assumed: Assumptions) -> Iterator[Need]:
    cores = _cores(figures.processor_us, assumed)
    yield Need(
        "partitions",
        f"{_partitions(figures, assumed)}",
        f"{assumed.partitions_per_processor:g} for each processor",
    )
    yield Need(
        "processors",
        f"{cores} of a core each",
        f"{figures.processor_us:.1f} µs an event (pipeline: from the local log)",
        _price(cores, assumed),
    )


def _clickhouse(figures: Figures, assumed: Assumptions) -> Iterator[Need]:
    rate, copies = assumed.events_per_second, assumed.clickhouse_copies
    cores = _cores(figures.store_us, assumed)
    yield Need(
        "ClickHouse, without anybody's queries",
        f"{cores * copies:g} cores, {cores} for each copy",
        f"{figures.store_us:.1f} µs a row (pipeline: chDB), the same for each copy",
        _price(cores * copies, assumed),
    )
    rows = min(rate / _partitions(figures, assumed) * assumed.flush_seconds, FLUSH_ROWS)
    yield Need("inserts", f"{rate / rows:,.0f}/s", f"{rows:,.0f} rows each, over all partitions")
    if copies > 1:
        apart = math.ceil(rate / (figures.insert_rate * assumed.busy_share))
        yield Need(
            "installations side by side",
            f"{apart}",
            "replicas take one insert at a time: "
            f"{figures.insert_rate:,.0f} rows/s (pipeline: ceiling)",
        )


def _disks(assumed: Assumptions) -> Iterator[Need]:
    rate = assumed.events_per_second / 1e9
    for what, size, copies, seconds in (
        ("Kafka's", assumed.kafka_bytes, assumed.kafka_copies, assumed.kafka_hours * 3600),
        (
            "ClickHouse's",
            assumed.row_bytes,
            assumed.clickhouse_copies,
            assumed.clickhouse_days * 86400,
        ),
    ):
        total = rate * size * seconds * copies
        yield Need(
            f"{what} disks",
            f"{total / 1e3:,.0f} TB",
            f"{size:g} bytes, {seconds / 86400:g} days, {copies:g} copies",
            total * assumed.gb_month_usd,
        )


def _network(assumed: Assumptions) -> Iterator[Need]:
    rate = assumed.events_per_second
    elsewhere = 1 - 1 / assumed.zones
    crossing = (
        2 * elsewhere * assumed.kafka_bytes
        + _copies_elsewhere(assumed.kafka_copies, assumed) * assumed.kafka_bytes
        + elsewhere * assumed.block_bytes
        + _copies_elsewhere(assumed.clickhouse_copies, assumed) * assumed.row_bytes
    )
    yield Need(
        "network from outside",
        f"{rate * assumed.body_bytes * 8 / 1e9:.1f} Gbit/s",
        f"{assumed.body_bytes:g} bytes, not compressed",
    )
    yield Need(
        "network to ClickHouse",
        f"{rate * assumed.block_bytes * 8 / 1e9:.1f} Gbit/s",
        f"{assumed.block_bytes:g} bytes, not compressed",
    )
    yield Need(
        "network between zones",
        f"{rate * crossing * 8 / 1e9:.1f} Gbit/s",
        f"{crossing:.0f} bytes an event: to the broker, its copies, to the processor, to"
        " ClickHouse, its copies",
        rate * crossing / 1e9 * HOURS_A_MONTH * 3600 * assumed.zone_gb_usd,
    )


def _copies_elsewhere(copies: float, assumed: Assumptions) -> float:
    return copies - 1 if assumed.zones > 1 else 0.0


def markdown(figures: Figures, assumed: Assumptions) -> str:
    """The tables: what is needed, what was assumed, where it was measured."""
    rows = list(needs(figures, assumed))
    total = sum(row.usd for row in rows)
    rate = assumed.events_per_second
    lines = [
        f"| for {rate:,.0f} events/s | | from | USD a month |",
        "|---|---|---|---|",
        *(f"| {row.what} | {row.amount} | {row.because} | {_usd(row.usd)} |" for row in rows),
        f"| **sum** | | {total / (rate * HOURS_A_MONTH * 3600) * 1e6:.3f} USD for a million events"
        f" | {_usd(total)} |",
        "",
        "| assumed | | |",
        "|---|---|---|",
        *(
            f"| `{option}` | {getattr(assumed, name):,.10g} | {meaning} |"
            for name, option, meaning in _options()
        ),
        "",
        _where(figures),
    ]
    return "\n".join(lines) + "\n"


def _where(figures: Figures) -> str:
    names = ("collector", "kafka", "singles", "pipeline")
    machines = "; ".join(f"{kept(name)[-1].machine['cpu']} ({name})" for name in names)
    return (
        f"Measured on {machines}. One node there, with nothing but its own disk: "
        f"{figures.append_rate:,.0f} events/s taken, {figures.node_rate:,.0f} from log to table."
    )


def _usd(amount: float) -> str:
    return f"{amount:,.0f}" if amount else ""


def _options() -> Iterator[tuple[str, str, str]]:
    """Field, argument and meaning of each assumption."""
    for field in msgspec.structs.fields(Assumptions):
        (meaning,) = field.type.__metadata__
        yield field.name, "--" + field.name.replace("_", "-"), meaning


def renewed(page: str, tables: str) -> str:
    """The page with other tables between its two marks."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{PAGE.name} has no place for the tables: {BEGIN}{END}")
    return f"{head}{begin}\n{tables}\n{end}{tail}"


def main() -> None:
    """Print the tables, or put them into the page."""
    parser = argparse.ArgumentParser(prog="benchmarks.capacity", description=__doc__)
    parser.add_argument("--renew", action="store_true", help="write docs/capacity.md")
    usual = Assumptions()
    for name, option, meaning in _options():
        told = f"{meaning} (default {getattr(usual, name):,.10g})"
        parser.add_argument(option, type=float, default=getattr(usual, name), help=told)
    asked = vars(parser.parse_args())
    renew = asked.pop("renew")
    tables = markdown(measured(), Assumptions(**asked))
    if renew:
        PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8"), tables), encoding="utf-8")
    else:
        print(tables, end="")


if __name__ == "__main__":
    main()
