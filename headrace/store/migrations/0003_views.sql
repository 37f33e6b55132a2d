-- What people read. Analysts have views of their own over these (store/analysts.py).

CREATE OR REPLACE VIEW {database}.events{on_cluster} AS
SELECT
    workspace_id,
    event_id,
    event,
    user_id,
    anonymous_id,
    multiIf(
        user_known, user_id,
        NOT anonymous_known, '',
        ifNull(
            nullIf(
                ifNull(
                    dictGetOrNull('{database_text}.identity_links_recent', 'user_id', (workspace_id, anonymous_id)),
                    dictGet('{database_text}.identity_links_all', 'user_id', (workspace_id, anonymous_id))
                ),
                ''
            ),
            anonymous_id
        )
    ) AS person_id,
    timestamp,
    received_at,
    timeliness,
    properties,
    properties_raw,
    log_id,
    log_partition,
    log_position
FROM {database}.events_rows;

-- Asked with the keys of the rejects that a query shows, and only if it shows `replayed`.
CREATE DICTIONARY IF NOT EXISTS {database}.stored_events{on_cluster}
(
    workspace_id String,
    event String,
    timestamp DateTime64(6, 'UTC'),
    event_id String,
    log_position UInt64 DEFAULT 0
)
PRIMARY KEY workspace_id, event, timestamp, event_id
SOURCE(CLICKHOUSE({source} DB '{database_text}' TABLE 'events_rows'))
LAYOUT(COMPLEX_KEY_DIRECT());

CREATE OR REPLACE VIEW {database}.rejected_events{on_cluster} AS
SELECT
    workspace_id,
    event_id,
    event,
    user_id,
    anonymous_id,
    timestamp,
    received_at,
    properties_raw,
    code,
    reason,
    path,
    schema,
    raw,
    isNotNull(timestamp) AND dictHas(
        '{database_text}.stored_events',
        (workspace_id, event, ifNull(timestamp, toDateTime64(0, 6, 'UTC')), event_id)
    ) AS replayed,
    log_id,
    log_partition,
    log_position
FROM {database}.rejected_events_rows FINAL;

CREATE OR REPLACE VIEW {database}.deduplicated_events{on_cluster} AS
SELECT
    workspace_id,
    event_id,
    request,
    deduplicated_at,
    log_id,
    log_partition,
    log_position,
    kept_log_id,
    kept_log_partition,
    kept_log_position
FROM {database}.deduplicated_events_rows FINAL;

-- The links that count, exactly as person_id takes them.
CREATE OR REPLACE VIEW {database}.identity_links{on_cluster} AS
SELECT
    workspace_id,
    anonymous_id,
    user_id,
    min(first).1 AS linked_at,
    min(first).2 AS source_event_id
FROM {database}.identity_links_rows
GROUP BY workspace_id, anonymous_id, user_id
HAVING user_id = ifNull(
    dictGetOrNull('{database_text}.identity_links_recent', 'user_id', (workspace_id, anonymous_id)),
    dictGet('{database_text}.identity_links_all', 'user_id', (workspace_id, anonymous_id))
);
