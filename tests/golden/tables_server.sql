CREATE DATABASE IF NOT EXISTS `headrace`;

CREATE TABLE IF NOT EXISTS `headrace`.migrations (number UInt32, name String, applied_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')) ENGINE = ReplacingMergeTree(applied_at) ORDER BY number SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS `headrace`.events_rows
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


    properties_raw String CODEC(ZSTD(1)),
    properties JSON(max_dynamic_paths = 64)
        MATERIALIZED CAST(properties_raw, 'JSON(max_dynamic_paths = 64)'),
    log_id LowCardinality(String),
    log_partition UInt32,
    log_position UInt64 CODEC(Delta, ZSTD(1)),
    INDEX by_user_id user_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_anonymous_id anonymous_id TYPE bloom_filter(0.01) GRANULARITY 1,

    INDEX by_request substring(event_id, 1, 28) TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX by_log_position log_position TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree()
PARTITION BY toYYYYMM(received_at)
ORDER BY (workspace_id, event, timestamp)
SETTINGS non_replicated_deduplication_window = 1000000, fsync_after_insert = 1, fsync_part_directory = 1, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS `headrace`.events_check
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

CREATE TABLE IF NOT EXISTS `headrace`.rejected_events_rows
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
ENGINE = ReplacingMergeTree()
PARTITION BY toYYYYMM(ifNull(received_at, toDateTime64(0, 6, 'UTC')))
ORDER BY (workspace_id, log_id, log_partition, log_position)
SETTINGS non_replicated_deduplication_window = 1000000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS `headrace`.deduplicated_events_rows
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
ENGINE = ReplacingMergeTree()
ORDER BY (workspace_id, log_id, log_partition, log_position)
SETTINGS non_replicated_deduplication_window = 1000000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS `headrace`.marked_requests_rows
(
    log_id LowCardinality(String),
    log_partition UInt32,
    workspace_id LowCardinality(String),
    request String,
    appended_at DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(appended_at)
ORDER BY (log_id, log_partition, workspace_id, request)
TTL toDateTime(appended_at) + INTERVAL 30 DAY
SETTINGS non_replicated_deduplication_window = 1000000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS `headrace`.identity_links_rows
(
    workspace_id LowCardinality(String),
    anonymous_id String,
    user_id String,
    received_at DateTime64(6, 'UTC') EPHEMERAL,
    source_event_id String EPHEMERAL,
    first SimpleAggregateFunction(min, Tuple(DateTime64(6, 'UTC'), String, Int64))
        DEFAULT (received_at, source_event_id, -toUnixTimestamp64Micro(now64(6, 'UTC'))),
    INDEX by_insert first.3 TYPE minmax GRANULARITY 1
)
ENGINE = AggregatingMergeTree()
ORDER BY (workspace_id, anonymous_id, user_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, index_granularity = 256;

CREATE TABLE IF NOT EXISTS `headrace`.identity_links_by_user_rows
(
    workspace_id LowCardinality(String),
    user_id String,
    anonymous_id String,
    first SimpleAggregateFunction(min, Tuple(DateTime64(6, 'UTC'), String, Int64))
)
ENGINE = AggregatingMergeTree()
ORDER BY (workspace_id, user_id, anonymous_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, index_granularity = 256;

CREATE MATERIALIZED VIEW IF NOT EXISTS `headrace`.identity_links_by_user
TO `headrace`.identity_links_by_user_rows AS
SELECT workspace_id, user_id, anonymous_id, first FROM `headrace`.identity_links_rows;

CREATE TABLE IF NOT EXISTS `headrace`.identity_exclusions_rows
(
    workspace_id LowCardinality(String),
    anonymous_id String,
    user_id String,
    excluded Bool,
    changed_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(changed_at)
ORDER BY (workspace_id, anonymous_id, user_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS `headrace`.identity_loads_rows
(
    host LowCardinality(String),
    loaded_to DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(loaded_to)
ORDER BY host;

CREATE DICTIONARY IF NOT EXISTS `headrace`.identity_links_all
(
    workspace_id String,
    anonymous_id String,
    user_id String DEFAULT ''
)
PRIMARY KEY workspace_id, anonymous_id
SOURCE(CLICKHOUSE(USER 'headrace' PASSWORD 'it\'s a secret' QUERY $$
    WITH
        excluded AS
        (
            SELECT workspace_id, anonymous_id, user_id
            FROM `headrace`.identity_exclusions_rows FINAL WHERE excluded
        ),
        past_limit AS
        (
            SELECT workspace_id, anonymous_id, user_id
            FROM `headrace`.identity_links_by_user_rows
            WHERE (workspace_id, user_id) IN
            (
                SELECT workspace_id, user_id
                FROM `headrace`.identity_links_by_user_rows
                GROUP BY workspace_id, user_id
                HAVING count() > 500
            )
            GROUP BY workspace_id, user_id, anonymous_id
            HAVING (workspace_id, anonymous_id, user_id) NOT IN (SELECT * FROM excluded)
            QUALIFY row_number() OVER (
                PARTITION BY workspace_id, user_id
                ORDER BY min(first).1, min(first).2, anonymous_id
            ) > 500
        )
    SELECT workspace_id, anonymous_id, argMin(user_id, (first.1, first.2, user_id))
    FROM `headrace`.identity_links_rows
    WHERE (workspace_id, anonymous_id, user_id) NOT IN (SELECT * FROM excluded)
        AND (workspace_id, anonymous_id, user_id) NOT IN (SELECT * FROM past_limit)
    GROUP BY workspace_id, anonymous_id
$$))
LAYOUT(COMPLEX_KEY_HASHED())
LIFETIME(0);

CREATE DICTIONARY IF NOT EXISTS `headrace`.identity_links_recent
(
    workspace_id String,
    anonymous_id String,
    user_id String DEFAULT ''
)
PRIMARY KEY workspace_id, anonymous_id
SOURCE(CLICKHOUSE(USER 'headrace' PASSWORD 'it\'s a secret' QUERY $$
    WITH
        (
            SELECT max(toUnixTimestamp64Micro(loaded_to)) - 15000000
            FROM `headrace`.identity_loads_rows WHERE host = hostName()
        ) AS since,
        decided AS
        (
            SELECT workspace_id, anonymous_id, user_id
            FROM `headrace`.identity_exclusions_rows
            WHERE toUnixTimestamp64Micro(changed_at) >= since
        )
    SELECT workspace_id, anonymous_id, argMinIf(user_id, (at.1, at.2, user_id), counts)
    FROM
    (
        SELECT
            workspace_id,
            anonymous_id,
            user_id,
            at,
            changed,
            is_in,
            countIf(is_in) OVER (
                PARTITION BY workspace_id, user_id ORDER BY at.1, at.2, anonymous_id
            ) AS rank,
            countIf(changed) OVER (PARTITION BY workspace_id, user_id) AS changes,
            is_in AND rank <= 500 AS counts
        FROM
        (
            SELECT
                workspace_id,
                user_id,
                anonymous_id,
                min(first) AS at,
                (workspace_id, anonymous_id, user_id) NOT IN
                (
                    SELECT workspace_id, anonymous_id, user_id
                    FROM `headrace`.identity_exclusions_rows FINAL WHERE excluded
                ) AS is_in,
                at.3 <= -since
                    OR (workspace_id, anonymous_id, user_id) IN (SELECT * FROM decided) AS changed
            FROM `headrace`.identity_links_by_user_rows
            WHERE (workspace_id, user_id) IN
            (
                SELECT workspace_id, user_id
                FROM `headrace`.identity_links_rows
                WHERE (workspace_id, anonymous_id) IN
                (
                    SELECT workspace_id, anonymous_id
                    FROM `headrace`.identity_links_by_user_rows
                    WHERE (workspace_id, user_id) IN
                    (
                        SELECT workspace_id, user_id
                        FROM `headrace`.identity_links_rows WHERE first.3 <= -since
                        UNION ALL
                        SELECT workspace_id, user_id FROM decided
                    )
                )
            )
            GROUP BY workspace_id, user_id, anonymous_id
        )
    )
    GROUP BY workspace_id, anonymous_id

    HAVING max(
        changed OR (rank + changes > 500 AND rank <= 500 + changes)
    )
$$))
LAYOUT(COMPLEX_KEY_HASHED())
LIFETIME(0);

CREATE OR REPLACE VIEW `headrace`.events AS
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
                    dictGetOrNull('headrace.identity_links_recent', 'user_id', (workspace_id, anonymous_id)),
                    dictGet('headrace.identity_links_all', 'user_id', (workspace_id, anonymous_id))
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
FROM `headrace`.events_rows;

CREATE DICTIONARY IF NOT EXISTS `headrace`.stored_events
(
    workspace_id String,
    event String,
    timestamp DateTime64(6, 'UTC'),
    event_id String,
    log_position UInt64 DEFAULT 0
)
PRIMARY KEY workspace_id, event, timestamp, event_id
SOURCE(CLICKHOUSE(USER 'headrace' PASSWORD 'it\'s a secret' DB 'headrace' TABLE 'events_rows'))
LAYOUT(COMPLEX_KEY_DIRECT());

CREATE OR REPLACE VIEW `headrace`.rejected_events AS
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
        'headrace.stored_events',
        (workspace_id, event, ifNull(timestamp, toDateTime64(0, 6, 'UTC')), event_id)
    ) AS replayed,
    log_id,
    log_partition,
    log_position
FROM `headrace`.rejected_events_rows FINAL;

CREATE OR REPLACE VIEW `headrace`.deduplicated_events AS
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
FROM `headrace`.deduplicated_events_rows FINAL;

CREATE OR REPLACE VIEW `headrace`.identity_links AS
SELECT
    workspace_id,
    anonymous_id,
    user_id,
    min(first).1 AS linked_at,
    min(first).2 AS source_event_id
FROM `headrace`.identity_links_rows
GROUP BY workspace_id, anonymous_id, user_id
HAVING user_id = ifNull(
    dictGetOrNull('headrace.identity_links_recent', 'user_id', (workspace_id, anonymous_id)),
    dictGet('headrace.identity_links_all', 'user_id', (workspace_id, anonymous_id))
);

ALTER TABLE `headrace`.rejected_events_rows
    ADD INDEX IF NOT EXISTS by_request substring(event_id, 1, 28) TYPE bloom_filter(0.001) GRANULARITY 1;

ALTER TABLE `headrace`.rejected_events_rows MATERIALIZE INDEX by_request;

ALTER TABLE `headrace`.identity_links_rows
    ADD INDEX IF NOT EXISTS by_user_id user_id TYPE bloom_filter(0.001) GRANULARITY 16;

ALTER TABLE `headrace`.identity_links_rows MATERIALIZE INDEX by_user_id;

ALTER TABLE `headrace`.events_rows
    ADD INDEX IF NOT EXISTS by_user user_id TYPE bloom_filter(0.001) GRANULARITY 1;

ALTER TABLE `headrace`.events_rows
    ADD INDEX IF NOT EXISTS by_device anonymous_id TYPE bloom_filter(0.001) GRANULARITY 1;

ALTER TABLE `headrace`.events_rows MATERIALIZE INDEX by_user;

ALTER TABLE `headrace`.events_rows MATERIALIZE INDEX by_device;

ALTER TABLE `headrace`.events_rows DROP INDEX IF EXISTS by_user_id;

ALTER TABLE `headrace`.events_rows DROP INDEX IF EXISTS by_anonymous_id;

CREATE TABLE IF NOT EXISTS `headrace`.erased_ids_rows
(
    workspace_id LowCardinality(String),
    digest String,
    erased_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ReplacingMergeTree()
ORDER BY (workspace_id, digest)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS `headrace`.retention_rows
(
    workspace_id LowCardinality(String),
    days UInt16,
    changed_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(changed_at)
ORDER BY workspace_id
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS `headrace`.expired_positions_rows
(
    log_id LowCardinality(String),
    log_partition UInt32,
    million UInt64 COMMENT 'Positions from so many million on',
    workspace_id LowCardinality(String),
    positions AggregateFunction(groupBitmap, UInt32)
)
ENGINE = AggregatingMergeTree()
ORDER BY (log_id, log_partition, million, workspace_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
