# Questions that would fail, or answer differently, if they were put to a row of workspace two: its
# ids are words where workspace one has numbers. Each must be answered. One per line; add yours.
SELECT count() FROM events WHERE toInt32(user_id) >= 0
SELECT sum(toInt32(user_id)) FROM events
SELECT count() FROM events WHERE throwIf(startsWith(user_id, 'SECRET')) = 0
SELECT count() FROM events WHERE intDiv(1, user_id NOT LIKE 'SECRET%') = 1
SELECT count() FROM events WHERE user_id::Int32 IN (1, 2, 3)
SELECT count() FROM events WHERE CAST(user_id, 'Int32') > 0 AND accurateCast(length(user_id), 'UInt8') < 9
SELECT count() FROM events WHERE toInt32(user_id) IN (SELECT number FROM numbers(10))
SELECT count() FROM events WHERE has([1, 2], toInt32(user_id))
SELECT count() FROM events WHERE (toInt32(user_id), 1) IN ((2, 1))
SELECT count() FROM events WHERE tuple(toInt32(user_id)).1 > 0
SELECT count() FROM events WHERE toInt32(user_id) > 0 OR event = 'a'
SELECT count() FROM events WHERE NOT (toInt32(user_id) < 0)
SELECT count() FROM events WHERE if(toInt32(user_id) > 0, 1, 1)
SELECT count() FROM events WHERE multiIf(event = 'a', toInt32(user_id) > 0, event = 'b', throwIf(startsWith(user_id, 'SECRET')) = 0, 1)
SELECT count() FROM events WHERE and(1, toInt32(user_id) > 0)
SELECT count() FROM events WHERE event LIKE '%' AND toInt32(user_id) > 0 AND received_at > now() - 86400
SELECT count() FROM events WHERE length(properties_raw) > 0 AND throwIf(properties_raw LIKE '%SECRET%') = 0
SELECT count() FROM events WHERE hasToken(properties_raw, 'k') AND throwIf(properties_raw LIKE '%SECRET%') = 0
SELECT count() FROM events WHERE properties.n::Int32 = 1
SELECT count() FROM events WHERE toInt32(properties.n::String) = 1
SELECT count() FROM events WHERE properties.SECRET_KEY.x::Int32 IS NULL
SELECT count() FROM events WHERE throwIf(properties.SECRET_KEY.x IS NOT NULL) = 0
SELECT count() FROM events WHERE throwIf(has(JSONAllPaths(properties), 'SECRET_KEY.x')) = 0
SELECT JSONAllPaths(properties) AS p, count() FROM events GROUP BY p
SELECT distinctJSONPaths(properties), distinctJSONPathsAndTypes(properties) FROM events
SELECT count() FROM events WHERE toInt32(JSONExtractString(properties_raw, 'n')) = 1
SELECT count() FROM events AS e JOIN (SELECT 1 AS k) AS f ON toInt32(e.user_id) = f.k
SELECT count() FROM events AS e JOIN events AS f ON toInt32(e.user_id) = toInt32(f.user_id)
SELECT count() FROM events AS e LEFT JOIN events AS f ON toInt32(e.user_id) + 2 = toInt32(f.user_id)
SELECT count() FROM events AS a ASOF JOIN events AS b ON a.event = b.event AND toInt32(a.user_id) >= toInt32(b.user_id)
SELECT count() FROM events SEMI JOIN (SELECT '10' AS u) AS x ON events.user_id = x.u WHERE toInt32(user_id) > 0
SELECT count() FROM events AS e JOIN numbers(5000) AS n ON toInt32(e.user_id) = n.number WHERE toInt32(e.user_id) > 1
SELECT toInt32(user_id) % 3 AS x, count() FROM events GROUP BY x
SELECT DISTINCT toInt32(user_id) % 3 FROM events
SELECT user_id FROM events ORDER BY toInt32(user_id) LIMIT 1
SELECT user_id FROM events ORDER BY timestamp, toInt32(user_id) LIMIT 3
SELECT user_id FROM events LIMIT 1 BY toInt32(user_id) LIMIT 1
SELECT arrayJoin([toInt32(user_id)]) AS z FROM events WHERE z = 2
SELECT count() FROM events ARRAY JOIN [toInt32(user_id)] AS q WHERE q > 1
SELECT sum(toInt32(user_id)) OVER (PARTITION BY event ORDER BY timestamp) FROM events LIMIT 1
SELECT max(toInt32(user_id)) FROM events WHERE event = 'a'
SELECT count() FROM events WHERE event = 'a' AND toInt32(user_id) > 0 AND timestamp > '2026-01-01 00:10:00'
SELECT count() FROM events WHERE timestamp > '2026-01-01 00:10:00' AND toInt32(user_id) > 0 AND event_id > 'evt_1'
SELECT countIf(toInt32(user_id) > 0), topK(3)(toInt32(user_id)) FROM events
SELECT event, count() FROM events GROUP BY event HAVING throwIf(max(user_id) LIKE 'SECRET%') = 0
SELECT count() FROM (SELECT user_id FROM events LIMIT 100000) WHERE toInt32(user_id) > 0
SELECT * FROM (SELECT toInt32(user_id) AS n, event FROM events) WHERE n > 3 ORDER BY n LIMIT 1
WITH toInt32(user_id) AS z SELECT count() FROM events WHERE z > 0 AND event = 'a'
SELECT count() FROM events WHERE user_id = (SELECT max(toInt32(user_id)) FROM events)::String
SELECT count() FROM events WHERE exists(SELECT 1 FROM events AS e2 WHERE toInt32(e2.user_id) > 1)
SELECT count() FROM events WHERE toInt32(user_id) > 0 UNION ALL SELECT toInt32(user_id) FROM events ORDER BY 1 LIMIT 1
SELECT count() FROM events WHERE toInt32(user_id) BETWEEN 1 AND 5 GROUP BY toInt32(user_id) % 3 LIMIT 1
SELECT count() FROM events WHERE throwIf(person_id LIKE '%SECRET%') = 0
SELECT count() FROM events WHERE throwIf(anonymous_id = 'SECRET_ANONYMOUS') = 0 AND toInt32(person_id) >= 0
SELECT person_id FROM events WHERE toInt32(person_id) >= 0 ORDER BY person_id LIMIT 1
SELECT count() FROM events WHERE throwIf(event LIKE 'SECRET%') = 0
SELECT event, count() FROM events WHERE throwIf(event LIKE 'SECRET%') = 0 GROUP BY event
SELECT count() FROM events WHERE position(event, 'SECRET') > 0
SELECT min(user_id), max(user_id), min(event), max(event), uniq(event) FROM events
SELECT count() FROM events WHERE toDate(substring(user_id, 1, 1) || '020-01-01') > '1970-01-02'
SELECT count() FROM events WHERE toDecimal64(user_id, 2) >= 0
SELECT count() FROM events WHERE toIPv4('1.1.1.' || toString(toInt32(user_id) % 9)) != toIPv4('9.9.9.9')
SELECT count() FROM events WHERE parseDateTime('20' || leftPad(toString(toInt32(user_id) % 100), 2, '0'), '%Y') > '1970-01-02'
SELECT count() FROM events WHERE modulo(10, toInt32(user_id) + 1) >= 0
SELECT count() FROM events WHERE toInt32(user_id) > 0 LIMIT 1 SETTINGS max_threads = 1
SELECT count() FROM system.tables WHERE toInt32(length(name)) > 0 AND throwIf(name LIKE 'secret%') = 0
SELECT count() FROM system.tables WHERE throwIf(database = 'headrace') = 0
SELECT count() FROM system.columns WHERE throwIf(name LIKE 'SECRET%') = 0 AND throwIf(database LIKE '%two') = 0
SELECT count() FROM system.databases WHERE throwIf(name != 'ws_one') = 0
SELECT name FROM system.databases WHERE intDiv(1, name = 'ws_one') = 1
SELECT t.name FROM system.tables AS t JOIN system.databases AS d ON toUInt8(d.name = 'ws_one') = 1 + throwIf(d.name != 'ws_one')
SELECT count() FROM system.tables WHERE database LIKE 'ws_%' OR database = 'headrace'
SELECT database, name, create_table_query, as_select FROM system.tables
