-- For how many days a workspace's rows are kept; 0 means for ever.
CREATE TABLE IF NOT EXISTS {database}.retention_rows{on_cluster}
(
    workspace_id LowCardinality(String),
    days UInt16,
    changed_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = {engine:ReplacingMergeTree(changed_at)}
ORDER BY workspace_id
SETTINGS {fsync};
