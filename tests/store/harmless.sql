# Questions an analyst of workspace one may ask; each is answered, and holds nothing secret. Add yours.
SELECT 1
SELECT version(), timezone()
SELECT name, value, readonly FROM system.settings LIMIT 3 FORMAT TSV
SELECT displayName(), version(), revision(), timezone()
SELECT count() FROM events
SELECT * FROM events ORDER BY timestamp LIMIT 1
SELECT * FROM ws_one.events LIMIT 1 FORMAT JSON
SELECT event, count() AS n, uniq(user_id), uniqExactIf(user_id, event='a'), quantiles(0.5,0.9)(length(properties_raw)) FROM events WHERE timestamp > '2026-01-01 00:10:00' GROUP BY event ORDER BY n DESC
WITH f AS (SELECT user_id, min(timestamp) t FROM events GROUP BY user_id) SELECT count() FROM f
SELECT properties.k, properties.k::Int64 + 1, properties.n.:String FROM events LIMIT 1
SELECT count() FROM events WHERE properties.k::Int64 = 5
SELECT arrayMap(x -> x + 1, [1,2,3]), map('a', 1), CAST('1', 'Int32'), '2020-01-01'::Date
SELECT event, row_number() OVER (PARTITION BY event ORDER BY timestamp) rn FROM events LIMIT 2
SELECT a.event FROM events a JOIN events b ON a.event_id = b.event_id LIMIT 1
SELECT windowFunnel(3600)(toDateTime(timestamp), event='a', event='b') FROM events GROUP BY user_id LIMIT 1
SELECT * FROM numbers(3)
SELECT * FROM system.numbers LIMIT 2
SELECT * FROM (SELECT 1 AS x UNION ALL SELECT 2) ORDER BY x
SELECT name FROM system.tables
SELECT database, name, engine FROM system.tables WHERE database = currentDatabase()
SELECT system.tables.name FROM system.tables
SELECT t.name, c.name FROM system.tables AS t JOIN system.columns AS c ON c.table = t.name AND c.database = t.database LIMIT 2
SELECT name FROM system.databases
SELECT tables.name FROM system.tables WHERE tables.database = 'ws_one'
SHOW DATABASES
SHOW DATABASES LIKE 'ws%'
SHOW TABLES
SHOW TABLES FROM ws_one
SHOW FULL TABLES FROM `ws_one` LIKE '%'
SHOW COLUMNS FROM events
DESCRIBE TABLE events
DESCRIBE TABLE `ws_one`.`events` FORMAT Native
DESC events
DESCRIBE (SELECT 1 AS x, event FROM events)
EXISTS TABLE events
EXISTS DATABASE ws_one
SHOW CREATE TABLE events
EXPLAIN AST SELECT 1
EXPLAIN SYNTAX SELECT * FROM events
EXPLAIN QUERY TREE SELECT count() FROM events
SET max_threads = 2
USE ws_one
SELECT throwIf(0), toTypeName(1)
SELECT 1 SETTINGS max_threads = 1, join_use_nulls = 1
SELECT event FROM events LIMIT 1 FORMAT CSVWithNames
SELECT * EXCEPT (properties) FROM events LIMIT 1
SELECT COLUMNS('event.*') APPLY toString FROM events LIMIT 1
SELECT event FROM events GROUP BY event WITH TOTALS ORDER BY event
SELECT count() FROM events WHERE event IN ('a', 'b') AND user_id NOT IN (SELECT user_id FROM events WHERE event = 'c')
SELECT 1 AS x WHERE x IN (SELECT number FROM numbers(3))
SELECT person_id, count() FROM events GROUP BY person_id ORDER BY 2 DESC LIMIT 1
SELECT formatDateTime(timestamp, '%Y-%m'), dateDiff('day', timestamp, now()) FROM events LIMIT 1
SELECT event, count() FROM events GROUP BY ALL ORDER BY ALL LIMIT 3 BY event LIMIT 10
SELECT * FROM events ORDER BY timestamp WITH FILL LIMIT 1
SELECT sum(number) FROM numbers(10) SETTINGS max_block_size=3 FORMAT JSON
(SELECT 1) INTERSECT (SELECT 1)
SELECT 1 EXCEPT SELECT 2
SELECT now() - INTERVAL 1 DAY, if(1, 2, 3), CASE WHEN 1 THEN 2 ELSE 3 END, EXTRACT(YEAR FROM now()), 'a' || 'b', 1 BETWEEN 0 AND 2
SELECT JSONExtractString(properties_raw, 'n'), JSONExtract(properties_raw, 'k', 'Int64') FROM events LIMIT 1
SELECT currentDatabase(), currentUser()
SELECT * FROM values('a Int32, b String', (1, 'x'), (2, 'y'))
SELECT * FROM system.functions LIMIT 1 FORMAT Null
SELECT GROUPING(event), count() FROM events GROUP BY GROUPING SETS ((event), ()) LIMIT 1
SELECT retention(event='a', event='b') FROM events GROUP BY user_id LIMIT 1
SELECT arrayJoin(JSONAllPaths(properties)) p, count() FROM events GROUP BY p
SELECT min(timestamp), max(timestamp), toStartOfHour(timestamp) h FROM events GROUP BY h LIMIT 1
SELECT e.* FROM events AS e ARRAY JOIN [1, 2] AS z LIMIT 1
SELECT 1;
SELECT 1 -- comment
/* c */ SELECT 1 /* d */ ;
SELECT count() FROM events WHERE (event = 'a')
SELECT (event) AS e, (count()) FROM events WHERE ((event = 'a') AND ((user_id) != '')) GROUP BY (event) HAVING (count() > 0) ORDER BY (e) LIMIT (1)
SELECT a.event FROM events AS a INNER JOIN events AS b ON ((a.event_id = b.event_id)) WHERE (a.event IN (('a'), ('b'))) LIMIT 1
SELECT (CASE WHEN (event = 'a') THEN (1) ELSE ((0)) END) + ((2)), (length(event))::Int32, arrayMap((x) -> (x + 1), [(1)]) FROM events LIMIT 1
SELECT "events"."event" AS "event", COUNT(*) AS "count" FROM "events" WHERE ("events"."event" = 'a') GROUP BY "events"."event" ORDER BY "events"."event" ASC
(SELECT (1)) UNION ALL (SELECT ((2)))
