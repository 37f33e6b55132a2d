"""What analysts ask of a table of the generated rows (`kept_tables.py`).

Owns the SQL: of any table of that shape (`QUESTIONS`), and of an analyst's views, with the person
resolved by the dictionaries, by a join with the links, or not at all (`views_questions`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

import msgspec
from clickhouse_connect.driver.client import Client

from benchmarks.kept_tables import WORKSPACE

DAY: Final = "timestamp >= '2026-02-10' AND timestamp < '2026-02-11'"
MONTH: Final = "timestamp >= '2026-01-15' AND timestamp < '2026-02-15'"


class Question(msgspec.Struct, frozen=True):
    """`{table}`, `{user}`, `{device}` and `{property}` stand for what it is asked with."""

    with_goals: ClassVar[frozenset[str]] = frozenset({"one type of a day", "a person's timeline"})
    name: str
    text: str

    def sql(self, table: str, user: tuple[str, str], *, as_json: bool) -> str:
        """Of one table; the property is read from the JSON column or from the client's bytes."""
        name = "properties.locale"
        said = f"toString({name})" if as_json else "JSONExtractString(properties_raw, 'locale')"
        return self.text.format(table=table, user=user[0], device=user[1], property=said)


_OF: Final = f"workspace_id = '{WORKSPACE}'"
QUESTIONS: Final = (
    Question(
        "one type of a day",
        f"SELECT count(), uniqExact(anonymous_id) FROM {{table}} "
        f"WHERE {_OF} AND event = 'type_20' AND {DAY}",
    ),
    Question(
        "a person's timeline",
        f"SELECT timestamp, event, properties_raw FROM {{table}} "
        f"WHERE {_OF} AND (user_id = '{{user}}' OR anonymous_id IN ('{{device}}')) "
        "ORDER BY timestamp",
    ),
    Question(
        "a funnel",
        "SELECT reached, count() FROM (SELECT anonymous_id, windowFunnel(604800)("
        "toDateTime(timestamp), event = 'type_3', event = 'type_10', event = 'type_20') AS reached "
        f"FROM {{table}} WHERE {_OF} AND event IN ('type_3', 'type_10', 'type_20') AND {MONTH} "
        "GROUP BY anonymous_id) GROUP BY reached",
    ),
    Question(
        "a retention table",
        "SELECT first, week - first AS later, count() FROM (SELECT anonymous_id, "
        "groupUniqArray(toRelativeWeekNum(timestamp)) AS weeks, arrayMin(weeks) AS first, "
        f"arrayJoin(weeks) AS week FROM {{table}} WHERE {_OF} AND event = 'type_1' AND {MONTH} "
        "GROUP BY anonymous_id) GROUP BY first, later ORDER BY first, later",
    ),
    Question(
        "top values of a property",
        f"SELECT {{property}} AS value, count() FROM {{table}} "
        f"WHERE {_OF} AND event = 'type_3' AND {MONTH} GROUP BY value ORDER BY 2 DESC LIMIT 10",
    ),
)


def middling_user(client: Client, table: str) -> tuple[str, str]:
    """A user and a device of theirs: in the middle by number of events, of 1,001 users."""
    rows = client.query(
        "SELECT user_id, device FROM "
        "(SELECT user_id, min(anonymous_id) AS device, count() AS events "
        f"FROM {table} WHERE {_OF} AND user_id != '' GROUP BY user_id "
        "ORDER BY cityHash64(user_id) LIMIT 1001) ORDER BY events, user_id"
    ).result_rows
    user, device = rows[len(rows) // 2]
    return str(user), str(device)


def views_questions(user: tuple[str, str]) -> Mapping[str, str]:
    """Name → SQL over the views of the workspace's analyst."""
    events, links = f"{WORKSPACE}.events", f"{WORKSPACE}.identity_links"
    people = (
        f"SELECT count(), uniqExact({{who}}) FROM {events} AS e {{join}} "
        f"WHERE event = 'type_3' AND {DAY}"
    )
    named = user[0]
    found = {each.name: each.sql(events, user, as_json=True) for each in QUESTIONS}
    found["a person's timeline"] = (
        f"SELECT timestamp, event, properties_raw FROM {events} WHERE (user_id = '{named}' "
        f"OR anonymous_id IN (SELECT anonymous_id FROM {links} WHERE user_id = '{named}')) "
        f"AND person_id = '{named}' ORDER BY timestamp"
    )
    found["people of a day, by dictionary"] = people.format(who="person_id", join="")
    found["people of a day, by join"] = people.format(
        who="if(e.user_id != '', e.user_id, if(l.user_id != '', l.user_id, e.anonymous_id))",
        join=f"LEFT JOIN (SELECT anonymous_id, user_id FROM {links}) AS l "
        "ON e.anonymous_id = l.anonymous_id",
    )
    found["people of a day, unresolved"] = people.format(
        who="if(e.user_id != '', e.user_id, e.anonymous_id)", join=""
    )
    return found
