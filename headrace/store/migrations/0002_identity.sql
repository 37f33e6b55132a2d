-- Identity: which user an anonymous id belongs to. Facts are kept, the rule is applied when they
-- are read (docs/decisions/0004-identity-at-query-time.md).

-- One row per pair and, until parts are merged, per insert. `first` is the smallest link of the
-- pair; its last element is minus the microsecond of the insert, so that of equal links the one
-- inserted last stays and "changed since" can be asked.
CREATE TABLE IF NOT EXISTS {database}.identity_links_rows{on_cluster}
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
ENGINE = {engine:AggregatingMergeTree}
ORDER BY (workspace_id, anonymous_id, user_id)
SETTINGS {fsync}, index_granularity = 256;

-- The same by user, for the links of one person.
CREATE TABLE IF NOT EXISTS {database}.identity_links_by_user_rows{on_cluster}
(
    workspace_id LowCardinality(String),
    user_id String,
    anonymous_id String,
    first SimpleAggregateFunction(min, Tuple(DateTime64(6, 'UTC'), String, Int64))
)
ENGINE = {engine:AggregatingMergeTree}
ORDER BY (workspace_id, user_id, anonymous_id)
SETTINGS {fsync}, index_granularity = 256;

CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.identity_links_by_user{on_cluster}
TO {database}.identity_links_by_user_rows AS
SELECT workspace_id, user_id, anonymous_id, first FROM {database}.identity_links_rows;

-- Pairs a person has unlinked (or linked again): the last word counts.
CREATE TABLE IF NOT EXISTS {database}.identity_exclusions_rows{on_cluster}
(
    workspace_id LowCardinality(String),
    anonymous_id String,
    user_id String,
    excluded Bool,
    changed_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = {engine:ReplacingMergeTree(changed_at)}
ORDER BY (workspace_id, anonymous_id, user_id)
SETTINGS {fsync};

-- Up to which moment identity_links_all of a server is known to hold everything. Written by
-- whoever reloaded it, after that; without a row nothing is known.
CREATE TABLE IF NOT EXISTS {database}.identity_loads_rows{on_cluster}
(
    host LowCardinality(String),
    loaded_to DateTime64(6, 'UTC')
)
ENGINE = {engine:ReplacingMergeTree(loaded_to)}
ORDER BY host;

-- The rule, over everything: of a user's links the {links_per_user} smallest count, and of the
-- links of an anonymous id that count the first wins.
CREATE DICTIONARY IF NOT EXISTS {database}.identity_links_all{on_cluster}
(
    workspace_id String,
    anonymous_id String,
    user_id String DEFAULT ''
)
PRIMARY KEY workspace_id, anonymous_id
SOURCE(CLICKHOUSE({source} QUERY $$
    WITH
        excluded AS
        (
            SELECT workspace_id, anonymous_id, user_id
            FROM {database}.identity_exclusions_rows FINAL WHERE excluded
        ),
        past_limit AS
        (
            SELECT workspace_id, anonymous_id, user_id
            FROM {database}.identity_links_by_user_rows
            WHERE (workspace_id, user_id) IN
            (
                SELECT workspace_id, user_id
                FROM {database}.identity_links_by_user_rows
                GROUP BY workspace_id, user_id
                HAVING count() > {links_per_user}
            )
            GROUP BY workspace_id, user_id, anonymous_id
            HAVING (workspace_id, anonymous_id, user_id) NOT IN (SELECT * FROM excluded)
            QUALIFY row_number() OVER (
                PARTITION BY workspace_id, user_id
                ORDER BY min(first).1, min(first).2, anonymous_id
            ) > {links_per_user}
        )
    SELECT workspace_id, anonymous_id, argMin(user_id, (first.1, first.2, user_id))
    FROM {database}.identity_links_rows
    WHERE (workspace_id, anonymous_id, user_id) NOT IN (SELECT * FROM excluded)
        AND (workspace_id, anonymous_id, user_id) NOT IN (SELECT * FROM past_limit)
    GROUP BY workspace_id, anonymous_id
$$))
LAYOUT(COMPLEX_KEY_HASHED())
LIFETIME({all_lifetime});

-- The same rule for what may have changed since that moment: for each key the whole answer, ''
-- if no link of it counts. A quarter of a minute is added for inserts that were stamped before
-- the load and seen only after it; the adapter gives up on inserting links sooner than that.
CREATE DICTIONARY IF NOT EXISTS {database}.identity_links_recent{on_cluster}
(
    workspace_id String,
    anonymous_id String,
    user_id String DEFAULT ''
)
PRIMARY KEY workspace_id, anonymous_id
SOURCE(CLICKHOUSE({source} QUERY $$
    WITH
        (
            SELECT max(toUnixTimestamp64Micro(loaded_to)) - 15000000
            FROM {database}.identity_loads_rows WHERE host = {loads}
        ) AS since,
        decided AS
        (
            SELECT workspace_id, anonymous_id, user_id
            FROM {database}.identity_exclusions_rows
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
            is_in AND rank <= {links_per_user} AS counts
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
                    FROM {database}.identity_exclusions_rows FINAL WHERE excluded
                ) AS is_in,
                at.3 <= -since
                    OR (workspace_id, anonymous_id, user_id) IN (SELECT * FROM decided) AS changed
            FROM {database}.identity_links_by_user_rows
            WHERE (workspace_id, user_id) IN
            (
                SELECT workspace_id, user_id
                FROM {database}.identity_links_rows
                WHERE (workspace_id, anonymous_id) IN
                (
                    SELECT workspace_id, anonymous_id
                    FROM {database}.identity_links_by_user_rows
                    WHERE (workspace_id, user_id) IN
                    (
                        SELECT workspace_id, user_id
                        FROM {database}.identity_links_rows WHERE first.3 <= -since
                        UNION ALL
                        SELECT workspace_id, user_id FROM decided
                    )
                )
            )
            GROUP BY workspace_id, user_id, anonymous_id
        )
    )
    GROUP BY workspace_id, anonymous_id
    -- A pair that comes or goes moves others of its user over the limit.
    HAVING max(
        changed OR (rank + changes > {links_per_user} AND rank <= {links_per_user} + changes)
    )
$$))
LAYOUT(COMPLEX_KEY_HASHED())
LIFETIME({recent_lifetime});
