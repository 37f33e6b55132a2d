"""`headrace status`: what runs, since when, how far behind, how much disk."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from rich.markup import escape
from rich.table import Table

from headrace.runtime.clock import Clock, SystemClock
from headrace.runtime.commands.output import (
    JsonOption,
    console,
    mebibytes,
    print_json,
    print_table,
)
from headrace.runtime.logging import quiet_drivers
from headrace.runtime.node_report import LogReport, NodeReport, report_on
from headrace.runtime.node_state import ProcessState
from headrace.runtime.options import HomeOption
from headrace.runtime.settings import read_settings

EXIT_NOT_RUNNING: Final = 3


def status(
    *,
    home: HomeOption = None,
    json: JsonOption = False,
) -> int:
    """Show what runs, since when, how far the processor is behind, and how much disk is used.

    Exit code 0 if the node runs, 3 if it does not. Where log and tables are on servers, nothing
    need run here: then 0 if both answer.
    """
    quiet_drivers()
    settings = read_settings(home=home)
    clock = SystemClock()
    report = report_on(settings, clock)
    if json:
        print_json(report)
    else:
        _show(report, clock)
    is_elsewhere = bool(settings.kafka and settings.clickhouse)
    answers = report.log is not None and report.rows is not None
    return 0 if report.running or (is_elsewhere and answers) else EXIT_NOT_RUNNING


def _show(report: NodeReport, clock: Clock) -> None:
    shown = console()
    if report.running and report.started_at is not None:
        since = _since(report.started_at, clock)
        shown.print(
            f"[bold green]running[/] in {escape(report.home)} for {since} "
            f"(headrace {report.version}, pid {report.pid})\n"
        )
        print_table(("process", "pid", "up for", "restarts", ""), _processes(report, clock))
        print()
    else:
        shown.print(
            f"[bold yellow]not running[/] in {escape(report.home)}: no `headrace up` is at work "
            "here\n"
        )
    shown.print(_numbers(report))


def _processes(report: NodeReport, clock: Clock) -> list[tuple[str, ...]]:
    return [
        (
            process.name,
            str(process.pid or "-"),
            _since(process.started_at, clock) if process.pid else "-",
            str(process.restarts),
            _readiness(process, report),
        )
        for process in report.processes
    ]


def _readiness(process: ProcessState, report: NodeReport) -> str:
    if not process.ready:
        last = f" (the last one: {process.died})" if process.died else ""
        return ("starting" if process.pid else "down") + last
    trouble = report.collector_trouble if process.name == "collector" else None
    return "ready" if trouble is None else f"not ready ({trouble})"


def _numbers(report: NodeReport) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column()
    if report.log is not None:
        _add_log(table, report.log)
    if report.log_trouble is not None:
        table.add_row("log", escape(report.log_trouble))
    for name, rows in (report.rows or {}).items():
        table.add_row(name, f"{rows:,} rows")
    if report.running and report.rows is None:
        table.add_row("tables", "the store does not answer")
    if report.disk is not None:
        most = report.disk.store_max_bytes
        bound = f" of {mebibytes(most)}" if most is not None else ""
        table.add_row("store on disk", mebibytes(report.disk.store_bytes) + bound)
        table.add_row("disk free", mebibytes(report.disk.free_bytes))
    return table


def _add_log(table: Table, log: LogReport) -> None:
    lag = f"{log.lag_records:,} records"
    table.add_row("lag", lag if log.lag_seconds is None else f"{lag}, {log.lag_seconds:.1f} s")
    if log.size_bytes is None:
        table.add_row("log", f"{log.partitions} partitions of Kafka, id {log.log_id}")
        return
    table.add_row("log on disk", mebibytes(log.size_bytes))
    table.add_row("settled", f"up to position {log.settled_position:,}")


def _since(moment: datetime, clock: Clock) -> str:
    seconds = max(0, int((clock.now() - moment).total_seconds()))
    days, rest = divmod(seconds, 86_400)
    text = f"{rest // 3600}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days} d {text}" if days else text
