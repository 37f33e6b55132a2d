"""What the collector accepted, found in the tables of a real node: generated and strange events.

A model of our own would repeat our own mistakes; here the account is kept by what was answered.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.scenarios.node import Node, until

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
IDENTIFIERS = st.none() | st.text(st.characters(codec="utf-8"), max_size=20) | JSON
EVENTS = st.fixed_dictionaries(
    {
        "event": st.sampled_from(["paywall_viewed", "purchase", "level_up"]) | TEXT,
        "timestamp": st.sampled_from(["2026-03-15T14:22:00Z", "1999-12-31T23:59:59.123456+01:00"])
        | TEXT,
    },
    optional={
        "user_id": st.just("usr_1") | IDENTIFIERS,
        "anonymous_id": st.just("device_1") | IDENTIFIERS,
        "properties": st.dictionaries(TEXT, JSON, max_size=6) | JSON,
        "other": JSON,
    },
)


@pytest.fixture(scope="module")
def sender(shared_node: Node) -> Iterator[httpx2.Client]:
    """A client of the collector with a key that may send as much as it likes."""
    _, key = shared_node.workspace("every-event")
    with httpx2.Client(
        base_url=shared_node.url, headers={"Authorization": f"Bearer {key}"}, timeout=30.0
    ) as client:
        yield client


def accepted_ids(answer: httpx2.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    ids: list[str] = answer.json()["event_ids"]
    return ids


def raw_by_id(node: Node, table: str, ids: list[str]) -> dict[str, str]:
    """What a table holds of these events: id → the client's bytes, each id once."""
    rows = node.rows(
        f"SELECT event_id, properties_raw FROM {table} WHERE event_id IN {{ids:Array(String)}}",
        ids=ids,
    )
    assert len(rows) == len({row[0] for row in rows}), f"an id is twice in {table}"
    return dict(rows)


def same(left: Any, right: Any) -> bool:
    """Equal in value and in JSON type: 1 is not true."""
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(events=st.lists(EVENTS | JSON, min_size=1, max_size=30))
def test_every_accepted_event_is_in_a_table_with_what_was_sent(
    shared_node: Node, sender: httpx2.Client, events: list[Any]
) -> None:
    """Accepted ids are exactly those in the tables, and `properties_raw` has the value sent."""
    body = json.dumps({"events": events}).encode()
    answer = sender.post("/v1/batch/events", content=body)
    ids = accepted_ids(answer)
    refused = {error["index"] for error in answer.json()["errors"]}
    sent = [event for index, event in enumerate(events) if index not in refused]
    assert len(ids) == len(sent)
    if not ids:
        return

    def found() -> dict[str, str] | None:
        rows = raw_by_id(shared_node, "events", ids) | raw_by_id(
            shared_node, "rejected_events", ids
        )
        return rows if len(rows) == len(ids) else None

    rows = until(found, "every accepted event is in a table")
    for event_id, event in zip(ids, sent, strict=True):
        assert same(json.loads(rows[event_id]), event.get("properties") or {})


STRANGE = {
    # properties as they are sent: whether they are stored, and what the raw bytes must be
    "a key twice": (b'{"a":1,"a":2}', True),
    "a path twice": (b'{"a.b":1,"a":{"b":2}}', True),
    "integers beyond 64 bits": (b'{"a":18446744073709551616,"b":-9223372036854775809}', True),
    "a huge integer": (b'{"a":' + b"9" * 400 + b"}", None),
    "a number beyond a double": (b'{"a":1e999}', False),
    "keys with dots, quotes and NUL": (b'{"a..b":1,".":2,"\\"":3,"`":4,"\\u0000":5,"":6}', True),
    "a key of 10,000 characters": (b'{"' + b"k" * 10_000 + b'":1}', True),
    "5,000 keys": (b"{" + b",".join(b'"k%d":%d' % (n, n) for n in range(5_000)) + b"}", True),
    "NUL in text": (b'{"a":"x\\u0000y"}', True),
    "an array of all kinds": (b'{"a":[1,2.5,"x",null,[1],{"y":2}]}', True),
    "32 levels": (b'{"a":' * 31 + b"{}" + b"}" * 31, True),
    "white space": (b'{ "a" :\n\t1 }', True),
    "emoji": ('{"😀":"👩‍👩‍👧"}'.encode(), True),
}


def event(properties: bytes, timestamp: str = "2026-03-15T14:22:00Z") -> bytes:
    return b'{"event":"strange","user_id":"usr_strange","timestamp":"%s","properties":%s}' % (
        timestamp.encode(),
        properties,
    )


def test_strange_events_end_in_a_table_and_their_neighbours_are_stored(
    shared_node: Node, sender: httpx2.Client
) -> None:
    """Each is stored or rejected with its bytes untouched; the good one beside it is stored."""
    middle = [event(properties) for properties, _ in STRANGE.values()]
    good = event(b'{"good":true}')
    body = b'{"events":[' + b",".join(each for one in middle for each in (one, good)) + b"]}"
    ids = accepted_ids(sender.post("/v1/batch/events", content=body))
    assert len(ids) == 2 * len(STRANGE)

    def found() -> list[dict[str, str]] | None:
        tables = [raw_by_id(shared_node, name, ids) for name in ("events", "rejected_events")]
        return tables if sum(map(len, tables)) >= len(ids) else None

    stored, rejected = until(found, "each is in a table")
    assert not stored.keys() & rejected.keys()
    for event_id in ids[1::2]:
        assert stored[event_id] == '{"good":true}'
    for event_id, (name, (properties, is_stored)) in zip(ids[::2], STRANGE.items(), strict=True):
        if is_stored is not None:
            assert (event_id in stored) is is_stored, name
        assert (stored | rejected)[event_id] == properties.decode(), name


def test_a_batch_over_200_months_is_stored_at_once(
    shared_node: Node, sender: httpx2.Client
) -> None:
    """Partitions follow receipt, so that no client's clock can break a block."""
    moments = [f"{1971 + n // 12}-{n % 12 + 1:02d}-15T00:00:00Z" for n in range(200)]
    body = b'{"events":[' + b",".join(event(b"{}", moment) for moment in moments) + b"]}"
    ids = accepted_ids(sender.post("/v1/batch/events", content=body))
    assert len(ids) == 200
    until(lambda: len(raw_by_id(shared_node, "events", ids)) == 200, "all are stored")


def test_late_and_future_events_are_flagged_not_altered(
    shared_node: Node, sender: httpx2.Client
) -> None:
    """A column says so; the time is the client's."""
    moments = ["1971-01-01T00:00:00Z", "2199-12-31T23:59:59.999999Z"]
    body = b'{"events":[' + b",".join(event(b"{}", moment) for moment in moments) + b"]}"
    ids = accepted_ids(sender.post("/v1/batch/events", content=body))
    until(lambda: len(raw_by_id(shared_node, "events", ids)) == 2, "both are stored")
    rows = shared_node.rows(
        "SELECT timeliness, toString(timestamp) FROM events "
        "WHERE event_id IN {ids:Array(String)} ORDER BY timestamp",
        ids=ids,
    )
    assert rows == [
        ("late", "1971-01-01 00:00:00.000000"),
        ("future", "2199-12-31 23:59:59.999999"),
    ]
