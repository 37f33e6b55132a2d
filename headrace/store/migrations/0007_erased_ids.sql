-- Whom nobody may bring back: hashes of the ids of people that were erased (schemas/erased.py).
CREATE TABLE IF NOT EXISTS {database}.erased_ids_rows{on_cluster}
(
    workspace_id LowCardinality(String),
    digest String,
    erased_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = {engine:ReplacingMergeTree}
ORDER BY (workspace_id, digest)
SETTINGS {fsync};
