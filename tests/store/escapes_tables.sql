# Ways to others' rows that are tried on every table, view and dictionary of the shipped store, with
# `{database}` and `{name}`, or `{table}` for both, by an analyst by POST and by another by GET. One
# per line. Add yours.
SELECT * FROM {table}
SELECT count() FROM {table}
SELECT count() FROM {table} FINAL
SELECT 1 FROM {table} LIMIT 1
SELECT * FROM `{database}`.`{name}`
SELECT * FROM "{database}"/**/."{name}"
SELECT any(tuple(*)) FROM {table}
SELECT COLUMNS('.*') FROM {table} AS t
SELECT * FROM events UNION ALL SELECT * FROM {table}
SELECT event_id FROM events EXCEPT SELECT workspace_id FROM {table}
SELECT count() FROM events AS e LEFT JOIN {table} AS t ON 1 = 1
SELECT count() FROM {table} AS t ASOF JOIN events AS e ON t.workspace_id = e.event_id AND t.timestamp > e.timestamp
SELECT count() FROM events WHERE event_id IN (SELECT workspace_id FROM {table})
SELECT 'x' IN {table}
SELECT count() FROM events WHERE event_id GLOBAL IN {table}
SELECT (SELECT count() FROM {table})
SELECT EXISTS (SELECT 1 FROM {table})
WITH t AS (SELECT * FROM {table}) SELECT count() FROM t
WITH (SELECT count() FROM {table}) AS n SELECT n
WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t, {table} WHERE n < 3) SELECT * FROM t
SELECT * FROM view(SELECT * FROM {table})
SELECT * FROM merge('{database}', '^{name}$')
SELECT * FROM cluster('default', {table})
SELECT * FROM clusterAllReplicas('default', '{database}', '{name}')
SELECT * FROM remote('127.0.0.1', {table})
SELECT * FROM dictionary('{table}')
SELECT * FROM mergeTreeIndex('{database}', '{name}')
SELECT * FROM mergeTreeProjection('{database}', '{name}', 'by_user')
SELECT * FROM loop('{database}', '{name}')
SELECT * FROM viewIfPermitted(SELECT * FROM {table} ELSE null('x String'))
SELECT throwIf(count() > 0) FROM {table}
SELECT intDiv(1, count() - count()) FROM {table}
SELECT 1 LIMIT (SELECT count() FROM {table})
SELECT number FROM numbers((SELECT count() FROM {table}))
SELECT 1 ORDER BY 1 WITH FILL TO (SELECT count() FROM {table})
SELECT dictGet('{table}', 'user_id', ('ws_two', 'x'))
SELECT dictGetOrNull('{table}', 'user_id', ('ws_two', 'x'))
SELECT dictHas('{table}', tuple('ws_two', 'x'))
SELECT dictGetAll('{table}', 'user_id', tuple('ws_two', 'x'))
SELECT joinGet('{table}', 'user_id', 'x')
SELECT hasColumnInTable('{database}', '{name}', 'workspace_id')
SELECT getSetting('additional_table_filters') FROM {table}
EXPLAIN SELECT * FROM {table}
EXPLAIN ESTIMATE SELECT * FROM {table}
EXPLAIN indexes = 1 SELECT * FROM {table}
EXPLAIN QUERY TREE SELECT * FROM {table}
EXPLAIN PIPELINE SELECT * FROM {table}
EXPLAIN SYNTAX SELECT * FROM {table}
SELECT * FROM (EXPLAIN ESTIMATE SELECT * FROM {table})
DESCRIBE (SELECT * FROM {table})
DESCRIBE TABLE view(SELECT * FROM {table})
CHECK TABLE {table}
OPTIMIZE TABLE {table} FINAL
SELECT * FROM {table} SETTINGS additional_table_filters = map()
SELECT * FROM {table} SETTINGS readonly = 0
SELECT 1; SELECT * FROM {table}
SELECT * FROM {table} INTO OUTFILE 'x'
INSERT INTO {table} SELECT * FROM {table}
INSERT INTO FUNCTION null('x String') SELECT workspace_id FROM {table}
TRUNCATE TABLE {table}
DROP TABLE {table}
DETACH TABLE {table}
RENAME TABLE {table} TO ws_one.mine
ALTER TABLE {table} DELETE WHERE 1
ALTER TABLE {table} FREEZE
DELETE FROM {table} WHERE 1
UPDATE {table} SET event = 'x' WHERE 1
CREATE VIEW ws_one.mine AS SELECT * FROM {table}
CREATE TEMPORARY TABLE mine AS SELECT * FROM {table}
CREATE MATERIALIZED VIEW ws_one.mine ENGINE = Memory AS SELECT * FROM {table}
CREATE TABLE ws_one.mine AS {table}
BACKUP TABLE {table} TO File('x')
SYSTEM RELOAD DICTIONARY {table}
SYSTEM STOP MERGES {table}
WATCH {table}
GRANT SELECT ON {table} TO analyst
