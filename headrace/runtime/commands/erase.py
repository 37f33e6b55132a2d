"""`headrace erase`: a person out of the tables, and kept out of them."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from headrace.eventlog.sqlite.forgetting import Request
from headrace.runtime import reach
from headrace.runtime.clock import SystemClock
from headrace.runtime.commands.output import JsonOption, print_json, printable, say
from headrace.runtime.home import Home
from headrace.runtime.options import HomeOption
from headrace.runtime.settings import Settings
from headrace.schemas.errors import HeadraceError, Unavailable

_MORE = """
A person is a user id with the devices (anonymous ids) that count as theirs. Erased are their
events, rejected events, links and unlinks, and what is kept under the idempotency keys of the
workspace (a retry is then taken again, and adds nothing). What another user did on one of these
devices stays: it is that user's. In the place of each event a rejected one stays behind, with the
code `erased`, its id and its place in the log, so that `headrace ledger` still adds up, and nothing
else.

The ids are kept, hashed: whoever sends or imports events of them again has them rejected as
`erased`. There is no way back. Run it again if it was interrupted.
"""

_FORGET_SECONDS = 30
_DELETE_SECONDS = 3_600
"""Deleting rewrites what the rows lay in: of a large table, for a while."""

erase = App(name="erase", help_epilogue=_MORE)


@erase.default
def run(
    *,
    workspace: Annotated[str, Parameter(help="The workspace's name or id.")],
    user: Annotated[str, Parameter(help="The user id.")],
    yes: Annotated[bool, Parameter(negative="", help="Do not ask whether to.")] = False,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Erase a person, print what was erased, and until when the log still holds them."""
    from headrace.store.erasing import Erasure  # it brings clickhouse-connect along

    settings = reach.settings_for(home)
    with reach.open_control(settings) as control:
        workspace_id = control.find_workspace(workspace).id
    _confirm(user, workspace, is_sure=yes)
    cluster = settings.clickhouse_cluster
    with reach.writing_to_store(settings, answer_seconds=_DELETE_SECONDS) as (connection, database):
        receipt = Erasure(connection, database, workspace_id, user, cluster=cluster).run()
    answers, pending = _forget_answers(settings, workspace_id.encode())
    counts = {**msgspec.structs.asdict(receipt), "idempotency_records": answers}
    held = _held_until(settings)
    if json:
        print_json({"workspace_id": workspace_id, **counts, "pending": pending, "log": held})
        return
    say(f"Erased {printable(user)!r} of workspace {workspace}:")
    for name, count in counts.items():
        say(f"  {count:>10,} {name}")
    if not any(msgspec.structs.astuple(receipt)):
        say("Nobody of that id was found in the tables; events that name it are kept out from now.")
    for sentence in pending:
        say(sentence)
    say(f"The log: {held}. Backups and exports that were made before hold what they held.")


def _forget_answers(settings: Settings, workspace_id: bytes) -> tuple[int, Sequence[str]]:
    """Answers kept for retries hold values of what they refused. How many, and what is pending:
    the tables are erased by now, and a receipt that is lost helps nobody."""
    try:
        if settings.redis:
            from headrace.collector.redis.forgetting import forget_answers  # it brings the driver

            return asyncio.run(forget_answers(settings.redis, workspace_id)), ()
        log = Home(settings.home).log
        if not (settings.has_local_log and log.exists()):
            return 0, ()
        request = Request(log, workspace_id)
    except Unavailable as error:
        return 0, (f"{error}. The idempotency records there are not emptied: run it again.",)
    deadline = time.monotonic() + _FORGET_SECONDS
    while not request.is_done():
        if time.monotonic() >= deadline:
            return request.count, (
                "The idempotency records are not emptied yet: the collector does it as soon as it "
                "runs and can write its log.",
            )
        time.sleep(0.05)
    return request.count, ()


def _confirm(user: str, workspace: str, *, is_sure: bool) -> None:
    if is_sure:
        return
    if not sys.stdin.isatty():
        raise HeadraceError("there is no way back from this: say --yes to erase without a question")
    answer = input(f"Erase {printable(user)!r} of workspace {workspace} for good? [y/N] ")
    if answer.strip().lower() not in {"y", "yes"}:
        raise HeadraceError("nothing was erased")


def _held_until(settings: Settings) -> str:
    if settings.has_local_log:
        return "forgets a record within seconds after it was settled"
    until = SystemClock(settings.clock_offset_seconds).now() + timedelta(
        hours=settings.kafka_retention_hours
    )
    return f"the topic may hold records of the person until {until:%Y-%m-%d %H:%M} UTC"
