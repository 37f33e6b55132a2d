"""Two workspaces whose rows share one table and its granules; one of them is full of secrets.

Whatever an analyst of workspace `one` gets to read, the text SECRET must not be in it.
"""

from __future__ import annotations

from tests.store.server_fixture import OTHER_DATABASE, OWN_DATABASE, PROCESSOR, StoreServer

SECRET = "SECRET"
OWN_ROWS = 2_500

_ROWS = """
INSERT INTO headrace.events_rows
SELECT if(number % 2 = 0, 'one', 'two') AS w, concat('evt_', toString(number)),
    if(w = 'one', ['a', 'b', 'c'][number % 3 + 1], concat('SECRET_EVENT_', toString(number % 3))),
    if(w = 'one', toString(number), concat('SECRET_USER_', toString(number))),
    if(w = 'one', concat('anon', toString(number % 7)), 'SECRET_ANONYMOUS'),
    toDateTime64('2026-01-01 00:00:00', 6, 'UTC') + number, now64(6),
    if(w = 'one', '{"n":"1","k":5}', '{"n":"SECRET_PROPERTY","SECRET_KEY":{"x":"SECRET_JSON"}}'),
    if(w = 'one', '{"n":"1","k":5}', '{"SECRET_RAW":1}')
FROM numbers(5000)
"""

_TABLES = [
    "CREATE DATABASE headrace",
    f"CREATE DATABASE {OWN_DATABASE}",
    f"CREATE DATABASE {OTHER_DATABASE}",
    """CREATE TABLE headrace.events_rows (workspace_id LowCardinality(String), event_id String,
        event LowCardinality(String), user_id String, anonymous_id String,
        timestamp DateTime64(6, 'UTC'), received_at DateTime64(6, 'UTC'), properties JSON,
        properties_raw String,
        PROJECTION by_user (SELECT * ORDER BY workspace_id, user_id, timestamp),
        INDEX raw properties_raw TYPE tokenbf_v1(8192, 3, 0) GRANULARITY 1)
        ENGINE = MergeTree ORDER BY (timestamp, event_id) SETTINGS index_granularity = 1024""",
    _ROWS,
    """CREATE TABLE headrace.identity_links_rows (workspace_id String, anonymous_id String,
        user_id String) ENGINE = MergeTree ORDER BY workspace_id""",
    """INSERT INTO headrace.identity_links_rows VALUES ('one', 'anon1', 'linked'),
        ('two', 'SECRET_ANONYMOUS', 'SECRET_LINK')""",
    """CREATE DICTIONARY headrace.identity_links_all (workspace_id String, anonymous_id String,
        user_id String) PRIMARY KEY workspace_id, anonymous_id
        SOURCE(CLICKHOUSE(TABLE 'identity_links_rows' DB 'headrace'))
        LAYOUT(COMPLEX_KEY_HASHED()) LIFETIME(0)""",
    "CREATE TABLE headrace.joined (k String, v String) ENGINE = Join(ANY, LEFT, k)",
    "INSERT INTO headrace.joined VALUES ('k', 'SECRET_JOINED')",
    "CREATE TABLE headrace.migrations (name String) ENGINE = MergeTree ORDER BY name",
    "INSERT INTO headrace.migrations VALUES ('SECRET_MIGRATION')",
    "CREATE TABLE ws_two.secret_table (SECRET_COLUMN String) ENGINE = MergeTree ORDER BY ()",
    "INSERT INTO ws_two.secret_table VALUES ('SECRET_ROW')",
]


def _view(database: str, workspace: str) -> str:
    return f"""CREATE VIEW {database}.events AS SELECT event_id, event, user_id, anonymous_id,
        if(user_id != '', user_id, dictGetOrDefault('headrace.identity_links_all', 'user_id',
        (workspace_id, anonymous_id), anonymous_id)) AS person_id,
        timestamp, received_at, properties, properties_raw
        FROM headrace.events_rows WHERE workspace_id = '{workspace}'"""


def make_two_workspaces(server: StoreServer) -> None:
    """Fill a fresh server."""
    processor = server.client(PROCESSOR, database="default")
    for statement in [*_TABLES, _view(OWN_DATABASE, "one"), _view(OTHER_DATABASE, "two")]:
        processor.command(statement)
    processor.close()
