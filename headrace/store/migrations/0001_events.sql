-- What people read are views with plain names (0003); what is written are tables ending in _rows.
-- Why this shape: docs/decisions/0003-table-shape.md.

CREATE TABLE IF NOT EXISTS {database}.events_rows{on_cluster}
(
    workspace_id LowCardinality(String),
    event_id String,
    event LowCardinality(String),
    user_id String,
    anonymous_id String,
    user_known Bool,
    anonymous_known Bool,
    timestamp DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    received_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    timeliness LowCardinality(String),
    -- The client's bytes, the truth. The engine makes the JSON of them, under the settings of
    -- the insert, so that they travel once.
    properties_raw String CODEC(ZSTD(1)),
    properties JSON(max_dynamic_paths = 64)
        MATERIALIZED CAST(properties_raw, 'JSON(max_dynamic_paths = 64)'),
    log_id LowCardinality(String),
    log_partition UInt32,
    log_position UInt64 CODEC(Delta, ZSTD(1)),
    INDEX by_user_id user_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_anonymous_id anonymous_id TYPE bloom_filter(0.01) GRANULARITY 1,
    -- The part of an id that all events of one request share (schemas/event_ids.py).
    INDEX by_request substring(event_id, 1, 28) TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX by_log_position log_position TYPE minmax GRANULARITY 1
)
ENGINE = {engine:MergeTree}
PARTITION BY toYYYYMM(received_at)
ORDER BY (workspace_id, event, timestamp)
SETTINGS {durable}, min_bytes_for_wide_part = 134217728;

-- Refuses what events_rows refuses, and keeps nothing.
CREATE TABLE IF NOT EXISTS {database}.events_check{on_cluster}
(
    workspace_id LowCardinality(String),
    event_id String,
    event LowCardinality(String),
    user_id String,
    anonymous_id String,
    user_known Bool,
    anonymous_known Bool,
    timestamp DateTime64(6, 'UTC'),
    received_at DateTime64(6, 'UTC'),
    timeliness LowCardinality(String),
    properties_raw String,
    properties JSON(max_dynamic_paths = 64)
        MATERIALIZED CAST(properties_raw, 'JSON(max_dynamic_paths = 64)'),
    log_id LowCardinality(String),
    log_partition UInt32,
    log_position UInt64
)
ENGINE = Null;

-- One row per position in the end: a reject may be written twice, with other neighbours.
CREATE TABLE IF NOT EXISTS {database}.rejected_events_rows{on_cluster}
(
    workspace_id LowCardinality(String),
    event_id String,
    event String,
    user_id String,
    anonymous_id String,
    timestamp Nullable(DateTime64(6, 'UTC')),
    received_at Nullable(DateTime64(6, 'UTC')),
    properties_raw String CODEC(ZSTD(1)),
    code LowCardinality(String),
    reason String,
    path String,
    schema LowCardinality(String),
    raw String CODEC(ZSTD(1)),
    log_id LowCardinality(String),
    log_partition UInt32,
    log_position UInt64
)
ENGINE = {engine:ReplacingMergeTree}
PARTITION BY toYYYYMM(ifNull(received_at, toDateTime64(0, 6, 'UTC')))
ORDER BY (workspace_id, log_id, log_partition, log_position)
SETTINGS {durable};

CREATE TABLE IF NOT EXISTS {database}.deduplicated_events_rows{on_cluster}
(
    workspace_id LowCardinality(String),
    event_id String,
    request String,
    log_id LowCardinality(String),
    log_partition UInt32,
    log_position UInt64,
    kept_log_id LowCardinality(String),
    kept_log_partition UInt32,
    kept_log_position UInt64,
    deduplicated_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = {engine:ReplacingMergeTree}
ORDER BY (workspace_id, log_id, log_partition, log_position)
SETTINGS {durable};

-- Requests whose events may come once more. The reader decides by the log's time how far back
-- it looks (an hour); this only keeps the table from growing for ever.
CREATE TABLE IF NOT EXISTS {database}.marked_requests_rows{on_cluster}
(
    log_id LowCardinality(String),
    log_partition UInt32,
    workspace_id LowCardinality(String),
    request String,
    appended_at DateTime64(6, 'UTC')
)
ENGINE = {engine:ReplacingMergeTree(appended_at)}
ORDER BY (log_id, log_partition, workspace_id, request)
TTL toDateTime(appended_at) + INTERVAL 30 DAY
SETTINGS {durable};
