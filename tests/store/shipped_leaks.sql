# As leaks.sql, of the views that only the shipped tables have. Each must be answered. Add yours.
SELECT count() FROM rejected_events WHERE toInt32OrZero(user_id) >= 0 AND toInt32(code) = 7
SELECT count() FROM rejected_events WHERE throwIf(user_id LIKE 'SECRET%') = 0
SELECT count() FROM rejected_events WHERE throwIf(raw LIKE '%SECRET%') = 0
SELECT count() FROM rejected_events WHERE intDiv(1, code = '7') = 1
SELECT count() FROM rejected_events AS r JOIN (SELECT 7 AS k) AS s ON toInt32(r.code) = s.k
SELECT toInt32(code) AS c, count() FROM rejected_events GROUP BY c
SELECT count() FROM rejected_events WHERE toInt32(code) BETWEEN 1 AND 9 GROUP BY toInt32(code) % 3
SELECT * FROM (SELECT toInt32(code) AS n, event FROM rejected_events) WHERE n > 3 ORDER BY n LIMIT 1
SELECT count() FROM rejected_events WHERE replayed AND throwIf(code != '7') = 0
SELECT count() FROM deduplicated_events WHERE toInt32(request) = 7
SELECT count() FROM deduplicated_events WHERE throwIf(request LIKE 'SECRET%') = 0
SELECT count() FROM deduplicated_events AS d JOIN events AS e ON d.event_id = e.event_id WHERE toInt32(d.request) = 7
SELECT toInt32(request) % 2 AS r, count() FROM deduplicated_events GROUP BY r
SELECT count() FROM identity_links WHERE toInt32(user_id) >= 0
SELECT count() FROM identity_links WHERE toInt32(anonymous_id) >= 0 AND toInt32(source_event_id) = 1
SELECT count() FROM identity_links WHERE throwIf(user_id LIKE 'SECRET%') = 0 AND throwIf(anonymous_id LIKE 'SECRET%') = 0
SELECT count() FROM identity_links WHERE throwIf(source_event_id LIKE 'SECRET%') = 0
SELECT count() FROM identity_links AS l JOIN (SELECT 1 AS k) AS s ON toInt32(l.user_id) = s.k
SELECT toInt32(user_id) AS u, count() FROM identity_links GROUP BY u ORDER BY u LIMIT 1
SELECT * FROM (SELECT toInt32(user_id) AS n, anonymous_id FROM identity_links) WHERE n > 3 ORDER BY n LIMIT 1
SELECT count() FROM events WHERE person_id != '' AND toInt32(person_id) >= 0
SELECT toInt32(person_id) % 5 AS p, count() FROM events GROUP BY p
SELECT count() FROM events AS e JOIN (SELECT 1 AS k) AS f ON toInt32(e.person_id) = f.k
SELECT count() FROM events AS e JOIN identity_links AS l ON toInt32(e.anonymous_id) = toInt32(l.anonymous_id)
SELECT count() FROM events WHERE toInt32(anonymous_id) BETWEEN 1 AND 5 GROUP BY toInt32(anonymous_id) % 3 LIMIT 1
SELECT * FROM (SELECT toInt32(anonymous_id) AS n, event FROM events) WHERE n > 3 ORDER BY n LIMIT 1
SELECT count() FROM events WHERE user_id != '' AND toInt32(user_id) >= 0
SELECT count() FROM events WHERE event = 'a' AND timestamp > '2026-01-01 00:10:00' AND toInt32(anonymous_id) >= 0
SELECT count() FROM events WHERE properties.n::Int32 = 1
SELECT count() FROM events WHERE throwIf(properties.SECRET_KEY.x IS NOT NULL) = 0
SELECT count() FROM events WHERE throwIf(properties_raw LIKE '%SECRET%') = 0
SELECT event, countIf(toInt32(anonymous_id) > 1) FROM events GROUP BY event ORDER BY event
SELECT anonymous_id FROM events ORDER BY toInt32(anonymous_id) LIMIT 1
SELECT min(event_id), max(person_id), uniq(anonymous_id) FROM events
SELECT count() FROM events SEMI JOIN identity_links USING anonymous_id WHERE toInt32(user_id || '0') >= 0
SELECT timeliness, count() FROM events WHERE has([1, 2], toInt32(anonymous_id)) GROUP BY timeliness
