# Statements that an analyst of workspace one (database ws_one) may not run; the operator may run
# some of them. One per line; \n is a line break. Add yours.
SELECT * FROM headrace.events_rows
SELECT * FROM headrace.events
SELECT * FROM `headrace`.`events_rows`
SELECT * FROM "headrace"."events_rows"
SELECT * FROM headrace . events_rows
SELECT * FROM headrace/**/./**/events_rows
SELECT * FROM ws_two.events
SELECT * FROM ws_two.secret_table
SELECT count() FROM ws_two.secret_table
SELECT * FROM WS_TWO.events
SELECT * FROM events AS e, ws_two.events AS f
SELECT * FROM events UNION ALL SELECT * FROM ws_two.events
SELECT * FROM events INTERSECT SELECT * FROM ws_two.events
SELECT * FROM (SELECT * FROM (SELECT * FROM ws_two.secret_table))
SELECT (SELECT any(SECRET_COLUMN) FROM ws_two.secret_table)
WITH (SELECT any(SECRET_COLUMN) FROM ws_two.secret_table) AS x SELECT x
WITH x AS (SELECT * FROM ws_two.secret_table) SELECT * FROM x
WITH RECURSIVE x AS (SELECT SECRET_COLUMN AS c FROM ws_two.secret_table UNION ALL SELECT c FROM x WHERE 0) SELECT * FROM x
WITH ws_two.secret_table AS x SELECT 'a' IN x
SELECT 'SECRET_ROW' IN ws_two.secret_table
SELECT in('SECRET_ROW', ws_two.secret_table)
SELECT 'SECRET_ROW' GLOBAL IN ws_two.secret_table
SELECT notIn('SECRET_ROW', ws_two.secret_table)
SELECT inIgnoreSet('SECRET_ROW', ws_two.secret_table)
SELECT 1 WHERE 'SECRET_ROW' IN (SELECT SECRET_COLUMN FROM ws_two.secret_table)
SELECT EXISTS (SELECT 1 FROM ws_two.secret_table)
SELECT * FROM events WHERE user_id IN (SELECT user_id FROM headrace.events_rows)
SELECT * FROM events JOIN ws_two.secret_table ON 1 = 1
SELECT * FROM events PASTE JOIN ws_two.secret_table
SELECT ws_two.events.user_id FROM events
SELECT ws_two.events.* FROM events
SELECT headrace.events_rows.user_id
SELECT * FROM ws_two.secret_table AS events
SELECT * FROM events FINAL, headrace.migrations
SELECT * FROM headrace.migrations
SELECT * FROM headrace.identity_links_all
SELECT * FROM headrace.joined
SELECT * FROM default.x
SELECT * FROM a.b.c
SELECT * FROM ws_one.events.x
FROM ws_two.secret_table SELECT *
SELECT * FROM {t:Identifier}.secret_table
DESCRIBE ws_two.secret_table
DESC TABLE ws_two.secret_table
DESCRIBE TABLE `ws_two`.`secret_table` FORMAT JSON
DESCRIBE headrace.events_rows
DESCRIBE (SELECT * FROM ws_two.secret_table)
EXISTS TABLE ws_two.secret_table
EXISTS ws_two.secret_table
EXISTS DATABASE ws_two
EXISTS DATABASE headrace
EXISTS DICTIONARY headrace.identity_links_all
SHOW CREATE TABLE ws_two.events
SHOW CREATE TABLE headrace.events_rows
SHOW CREATE DATABASE ws_two
SHOW CREATE TABLE system.tables
SHOW TABLES FROM ws_two
SHOW TABLES FROM headrace
SHOW TABLES FROM `ws_two`
SHOW FULL TABLES FROM ws_two LIKE '%'
SHOW DICTIONARIES FROM headrace
SHOW COLUMNS FROM secret_table FROM ws_two
SHOW COLUMNS FROM ws_two.secret_table
USE ws_two
USE headrace
USE system
USE default
EXPLAIN QUERY TREE SELECT * FROM ws_two.secret_table
EXPLAIN AST SELECT * FROM ws_two.secret_table
EXPLAIN SYNTAX SELECT * FROM ws_two.secret_table
SELECT * FROM system.parts
SELECT * FROM system.parts_columns
SELECT * FROM system.processes
SELECT * FROM system.dictionaries
SELECT * FROM system.mutations
SELECT * FROM system.merges
SELECT * FROM system.metrics
SELECT * FROM system.events
SELECT * FROM system.errors
SELECT * FROM system.disks
SELECT * FROM system.server_settings
SELECT * FROM system.query_condition_cache
SELECT * FROM system.query_cache
SELECT * FROM system.dropped_tables
SELECT * FROM system.detached_tables
SELECT * FROM system.projections
SELECT * FROM system.data_skipping_indices
SELECT * FROM system.completions
SELECT * FROM system.background_schedule_pool
SELECT * FROM system.asynchronous_metrics
SELECT * FROM `system`.`parts`
SELECT 1 IN system.parts
SELECT * FROM SYSTEM.parts
SELECT 1 SETTINGS optimize_move_to_prewhere = 1
SELECT 1 SETTINGS query_plan_optimize_prewhere = 1
SELECT 1 SETTINGS short_circuit_function_evaluation = 'disable'
SELECT 1 SETTINGS output_format_write_statistics = 1
SELECT 1 SETTINGS additional_table_filters = {'system.tables': '1'}
SELECT 1 SETTINGS query_plan_filter_push_down = 1
SELECT 1 SETTINGS max_rows_to_read = 10
SELECT count() FROM events SETTINGS force_primary_key = 1
SELECT * FROM (SELECT * FROM events SETTINGS optimize_move_to_prewhere = 1)
SET optimize_move_to_prewhere = 1
SET short_circuit_function_evaluation = 'disable'
SELECT 1 FORMAT JSONEachRowWithProgress
SELECT count() FROM events WHERE indexHint(user_id = 'SECRET_USER_1')
SELECT count() FROM events PREWHERE toInt32(user_id) >= 0
SELECT _part FROM events
SELECT _part_offset FROM events
SELECT workspace_id FROM events
SELECT 'SECRET_ROW' IN `ws_two.secret_table`
SELECT * FROM `ws_two.secret_table`
SELECT * FROM `ws_one`.`../ws_two/secret_table`
SELECT 1 AS {d:Identifier}
SELECT * FROM ws_one.{t:Identifier}
WITH events AS ws_two SELECT ws_two.secret_table
SELECT * FROM events AS ws_two WHERE 'x' IN ws_two.secret_table
SELECT * FROM "ws_two"."secret_table" AS "events"
SELECT * FROM events WHERE user_id = (SELECT any(user_id) FROM (SELECT * FROM headrace.events_rows))
SELECT arrayMap(x -> (x IN ws_two.secret_table), ['a'])
SELECT count() FROM events GROUP BY user_id HAVING any(user_id) IN ws_two.secret_table
SELECT sumIf(1, user_id IN headrace.joined) FROM events
SELECT * FROM events ORDER BY user_id IN ws_two.secret_table LIMIT 1
SELECT * FROM events LIMIT (SELECT count() FROM ws_two.secret_table)
SELECT * FROM numbers((SELECT count() FROM ws_two.secret_table))
SELECT * FROM values('a String', (SELECT any(SECRET_COLUMN) FROM ws_two.secret_table))
SELECT row_number() OVER (PARTITION BY (SELECT any(SECRET_COLUMN) FROM ws_two.secret_table))
SELECT 1 ORDER BY 1 WITH FILL TO (SELECT count() FROM ws_two.secret_table)
SELECT * REPLACE ((SELECT any(SECRET_COLUMN) FROM ws_two.secret_table) AS event) FROM events
SELECT COLUMNS('event') APPLY (x -> x IN ws_two.secret_table) FROM events
SELECT * FROM events ARRAY JOIN (SELECT groupArray(SECRET_COLUMN) FROM ws_two.secret_table) AS z
SELECT * FROM events JOIN events AS e ON events.user_id IN ws_two.secret_table
