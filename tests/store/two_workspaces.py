"""Two workspaces whose rows share one table and its granules; one of them is full of secrets.

Whatever an analyst of workspace `ws_one` gets to read, the text SECRET must not be in it. Once
with tables made to leak (an order that mixes the workspaces, a projection, an index on the raw
text), once with the tables and views that are shipped.
"""

from __future__ import annotations

from headrace.store.analysts import create_database
from headrace.store.connection import Connection
from headrace.store.migrate import migrate
from tests.store.server_fixture import (
    OTHER_DATABASE,
    OWN_DATABASE,
    PASSWORD,
    PROCESSOR,
    StoreServer,
)

SECRET = "SECRET"
OWN_ROWS = 2_500

_ROWS = """
INSERT INTO headrace.events_rows
SELECT if(number % 2 = 0, 'ws_one', 'ws_two') AS w, concat('evt_', toString(number)),
    if(w = 'ws_one', ['a', 'b', 'c'][number % 3 + 1], 'SECRET_EVENT_' || toString(number % 3)),
    if(w = 'ws_one', toString(number), concat('SECRET_USER_', toString(number))),
    if(w = 'ws_one', concat('anon', toString(number % 7)), 'SECRET_ANONYMOUS'),
    toDateTime64('2026-01-01 00:00:00', 6, 'UTC') + number, now64(6),
    if(w = 'ws_one', '{"n":"1","k":5}', '{"n":"SECRET_PROPERTY","SECRET_KEY":{"x":"SECRET_JSON"}}'),
    if(w = 'ws_one', '{"n":"1","k":5}', '{"SECRET_RAW":1}')
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
    """INSERT INTO headrace.identity_links_rows VALUES ('ws_one', 'anon1', 'linked'),
        ('ws_two', 'SECRET_ANONYMOUS', 'SECRET_LINK')""",
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


def _view(database: str) -> str:
    return f"""CREATE VIEW {database}.events AS SELECT event_id, event, user_id, anonymous_id,
        if(user_id != '', user_id, dictGetOrDefault('headrace.identity_links_all', 'user_id',
        (workspace_id, anonymous_id), anonymous_id)) AS person_id,
        timestamp, received_at, properties, properties_raw
        FROM headrace.events_rows WHERE workspace_id = '{database}'"""


def make_two_workspaces(server: StoreServer) -> None:
    """Fill a fresh server."""
    processor = server.client(PROCESSOR, database="default")
    for statement in [*_TABLES, _view(OWN_DATABASE), _view(OTHER_DATABASE)]:
        processor.command(statement)
    processor.close()


_SHIPPED_ROWS = [
    """INSERT INTO headrace.events_rows (workspace_id, event_id, event, user_id, anonymous_id,
        user_known, anonymous_known, timestamp, received_at, timeliness, properties_raw, log_id,
        log_partition, log_position)
        SELECT if(number % 2 = 0, 'ws_one', 'ws_two') AS w, concat('evt_', toString(number)),
        ['a', 'b', 'c'][number % 3 + 1],
        multiIf(number % 5 = 4, '', w = 'ws_one', toString(number),
            concat('SECRET_USER_', toString(number))) AS user_id,
        if(w = 'ws_one', toString(number % 7), 'SECRET_ANONYMOUS'), user_id != '', true,
        toDateTime64('2026-01-01 00:00:00', 6, 'UTC') + number, now64(6, 'UTC'), 'on_time',
        if(w = 'ws_one', '{"n":"1","k":5}', '{"n":"SECRET_PROPERTY","SECRET_KEY":{"x":"S"}}'),
        'aa', 0, number FROM numbers(5000)""",
    """INSERT INTO headrace.rejected_events_rows (workspace_id, event_id, event, user_id,
        anonymous_id, timestamp, received_at, properties_raw, code, reason, path, schema, raw,
        log_id, log_partition, log_position)
        SELECT workspace_id, event_id, event, user_id, anonymous_id, timestamp, received_at,
        properties_raw, if(workspace_id = 'ws_one', '7', 'SECRET_CODE'), 'r', 'p', 's',
        properties_raw, log_id, log_partition, log_position FROM headrace.events_rows""",
    """INSERT INTO headrace.deduplicated_events_rows (workspace_id, event_id, request, log_id,
        log_partition, log_position, kept_log_id, kept_log_partition, kept_log_position)
        SELECT workspace_id, event_id, if(workspace_id = 'ws_one', '7', 'SECRET_REQUEST'), log_id,
        log_partition, log_position, log_id, 0, 0 FROM headrace.events_rows""",
    """INSERT INTO headrace.identity_links_rows (workspace_id, anonymous_id, user_id, received_at,
        source_event_id) SELECT if(number % 2 = 0, 'ws_one', 'ws_two') AS w,
        if(w = 'ws_one', toString(number), concat('SECRET_DEVICE_', toString(number))),
        if(w = 'ws_one', toString(number % 9), concat('SECRET_USER_', toString(number % 9))),
        now64(6, 'UTC'), if(w = 'ws_one', '1', 'SECRET_SOURCE') FROM numbers(2000)""",
    "SYSTEM RELOAD DICTIONARY headrace.identity_links_all",
    "SYSTEM RELOAD DICTIONARY headrace.identity_links_recent",
]


def make_two_shipped_workspaces(server: StoreServer) -> None:
    """Fill a fresh server through the migrations, with analysts' databases as they are made."""
    migrate(server.url, PROCESSOR, PASSWORD)
    connection = Connection(server.url, PROCESSOR, PASSWORD, database="default")
    for statement in _SHIPPED_ROWS:
        connection.run(statement)
    for workspace in (OWN_DATABASE, OTHER_DATABASE):
        create_database(connection, workspace)
    connection.close()
