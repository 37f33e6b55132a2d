-- Places in the log of rows that were deleted as past their time, a bit for each: the ledger adds them.
-- Written before the rows are deleted; the same ones again change nothing.
CREATE TABLE IF NOT EXISTS {database}.expired_positions_rows{on_cluster}
(
    log_id LowCardinality(String),
    log_partition UInt32,
    million UInt64 COMMENT 'Positions from so many million on',
    workspace_id LowCardinality(String),
    positions AggregateFunction(groupBitmap, UInt32)
)
ENGINE = {engine:AggregatingMergeTree}
ORDER BY (log_id, log_partition, million, workspace_id)
SETTINGS {fsync};
