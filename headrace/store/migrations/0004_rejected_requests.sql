-- A retry adds no row, so its ids are looked for among the rejects, too.
ALTER TABLE {database}.rejected_events_rows{on_cluster}
    ADD INDEX IF NOT EXISTS by_request substring(event_id, 1, 28) TYPE bloom_filter(0.001) GRANULARITY 1;

ALTER TABLE {database}.rejected_events_rows{on_cluster} MATERIALIZE INDEX by_request;
