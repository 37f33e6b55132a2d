-- A person's timeline asks which devices belong to a user; by the sort key alone that reads every
-- link of the workspace.
ALTER TABLE {database}.identity_links_rows{on_cluster}
    ADD INDEX IF NOT EXISTS by_user_id user_id TYPE bloom_filter(0.001) GRANULARITY 16;

ALTER TABLE {database}.identity_links_rows{on_cluster} MATERIALIZE INDEX by_user_id;
