"""docs/analysts.md: every query on the page, asked by an analyst, answers what it says."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from clickhouse_connect.driver.client import Client

from headrace.processor.identify import judge_time
from headrace.store.analysts import create_database, drop_database
from headrace.store.port import EventRow, LinkRow
from tests.store.guide_answers import ANSWERS
from tests.store.guide_events import MARCH, NOBODY, RECORDED, Told, links_of, made, recorded
from tests.store.harness import (
    WORKSPACE,
    ServerTables,
    event_row,
    rejected_row,
    server_tables,
)
from tests.store.server_fixture import ANALYST, OWN_DATABASE, StoreServer

pytestmark = pytest.mark.node

PAGE: Final = (Path(__file__).resolve().parents[2] / "docs" / "analysts.md").read_text()
OTHER_WORKSPACE: Final = "ws_two"


class Question(NamedTuple):
    """One section of the page."""

    number: int
    sql: str
    columns: list[str]


def read_page() -> list[Question]:
    found = []
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        if number := re.match(r"(\d+)\. .*\?\n", section):
            [sql] = re.findall(r"```sql\n(.*?)```", section, flags=re.DOTALL)
            [answer] = re.findall(r"^Answer: (.*?);", section, flags=re.MULTILINE)
            found.append(Question(int(number[1]), sql, re.findall(r"`(\w+)`", answer)))
    return found


QUESTIONS: Final = read_page()


class Filled(NamedTuple):
    """A store with an analyst's database, and what was put into it."""

    client: Client
    events: list[Told]


def rows_of(events: Sequence[Told], workspace: str) -> list[EventRow]:
    return [
        event_row(
            number,
            workspace_id=workspace,
            event_id=event.event_id,
            event=event.event,
            user_id=event.user_id,
            anonymous_id=event.anonymous_id,
            user_known=event.user_id not in NOBODY,
            anonymous_known=event.anonymous_id not in NOBODY,
            timestamp=event.timestamp,
            received_at=event.received_at,
            timeliness=judge_time(event.timestamp, event.received_at),
            properties_raw=json.dumps(event.properties).encode(),
        )
        for number, event in enumerate(events)
    ]


REJECTED: Final = [
    # event, path, hours after the first of March, workspace
    ("purchase", "$.properties.price", 30, WORKSPACE),
    ("purchase", "$.properties.price", 10, WORKSPACE),
    ("purchase", "$.properties.price", 20, WORKSPACE),
    ("signup", "$.properties.method", 5, WORKSPACE),
    ("login", "$.properties.method", 7, WORKSPACE),
    ("refund", "$.properties.amount", 7, OTHER_WORKSPACE),
]


async def fill(tables: ServerTables, events: Sequence[Told]) -> None:
    """The events, their links, some rejects; and a neighbour's, who must not be seen."""
    store = tables.store
    await store.insert_events(rows_of(events, WORKSPACE), token="own")
    await store.insert_events(rows_of(events[:100], OTHER_WORKSPACE), token="other")
    links = [
        LinkRow(WORKSPACE, device, event.user_id, event.received_at, event.event_id)
        for device, event in links_of(events).items()
    ]
    await store.insert_links(links)
    rejected = [
        rejected_row(
            1_000_000 + number,
            event=event,
            path=path,
            received_at=MARCH + timedelta(hours=hours),
            reason=f"reason of hour {hours}",
            workspace_id=workspace,
        )
        for number, (event, path, hours, workspace) in enumerate(REJECTED)
    ]
    await store.insert_rejected(rejected, token="rejected")
    await store.refresh_identities()


@contextmanager
def filled(server: StoreServer, events: list[Told]) -> Iterator[Filled]:
    with server_tables(server, database="headrace") as tables:
        asyncio.run(fill(tables, events))
        create_database(tables.connection, WORKSPACE, tables.database)
        client = server.client(ANALYST, database=OWN_DATABASE)
        try:
            yield Filled(client, events)
        finally:
            client.close()
            drop_database(tables.connection, WORKSPACE)


@pytest.fixture(scope="module")
def month(module_server: StoreServer) -> Iterator[Filled]:
    """The month the project makes."""
    with filled(module_server, made()) as store:
        yield store


def check(question: Question, store: Filled) -> None:
    """The answer is that of Python, and not nothing."""
    if question.number == 18:
        return check_rejected(question, store)
    answer = store.client.query(question.sql, tz_mode="aware")
    assert list(answer.column_names) == question.columns
    found = [tuple(row) for row in answer.result_rows]
    assert found == ANSWERS[question.number](store.events)
    assert found
    return None


def test_the_page_has_twenty_questions() -> None:
    """Numbered; each but one is computed a second time in Python."""
    assert [question.number for question in QUESTIONS] == list(range(1, 21))
    assert set(ANSWERS) == set(range(1, 21)) - {18}


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: str(question.number))
def test_the_answer_is_that_of_a_plain_computation(month: Filled, question: Question) -> None:
    """To the last digit, through the wall, with the columns that the page names."""
    check(question, month)


def check_rejected(question: Question, store: Filled) -> None:
    answer = store.client.query(question.sql, tz_mode="aware")
    assert list(answer.column_names) == question.columns
    code = "schema_violation"
    hour = timedelta(hours=1)
    assert [tuple(row) for row in answer.result_rows] == [
        (code, "purchase", "$.properties.price", 3, MARCH + 10 * hour, MARCH + 30 * hour,
         "reason of hour 30"),
        (code, "login", "$.properties.method", 1, *[MARCH + 7 * hour] * 2, "reason of hour 7"),
        (code, "signup", "$.properties.method", 1, *[MARCH + 5 * hour] * 2, "reason of hour 5"),
    ]  # fmt: skip


@pytest.mark.skipif(not RECORDED.exists(), reason="the recorded clickstream is not at hand")
def test_the_answers_hold_for_what_real_apps_sent(module_server: StoreServer) -> None:
    """14,376 events, out of order and with equal times; the same queries, the same computation."""
    with filled(module_server, recorded()) as store:
        assert len(store.events) == 14_376
        for question in QUESTIONS:
            check(question, store)
