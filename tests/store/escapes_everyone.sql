# Statements that neither an analyst nor the operator may run. One per line; \n is a line break.
# Add yours: `test_server_wall.py` runs each line by POST and by GET.
SELECT * FROM file('/etc/passwd', 'LineAsString')
SELECT file('/etc/passwd')
SELECT FILE('/etc/passwd')
SELECT `file`('/etc/passwd')
SELECT arrayMap(x -> file(x), ['/etc/passwd'])
SELECT * APPLY file FROM (SELECT '/etc/passwd')
SELECT * APPLY (x -> file(x)) FROM (SELECT '/etc/passwd')
SELECT COLUMNS('.*') APPLY(file) FROM (SELECT '/etc/passwd' AS a)
SELECT * REPLACE (file('/etc/passwd') AS a) FROM (SELECT 1 AS a)
SELECT 1 ORDER BY 1 WITH FILL FROM length(file('/etc/passwd')) TO 3
SELECT 1 AS a, 2 AS b ORDER BY a WITH FILL TO 5 INTERPOLATE (b AS length(file('/etc/passwd')))
SELECT 1 LIMIT length(file('/etc/passwd'))
SELECT number FROM numbers(length(file('/etc/passwd')))
SELECT * FROM values('a String', file('/etc/passwd'))
SELECT sum(1) OVER (ORDER BY file('/etc/passwd'))
SELECT 1 WINDOW w AS (PARTITION BY file('/etc/passwd'))
SELECT 1 QUALIFY file('/etc/passwd') != ''
WITH file('/etc/passwd') AS x SELECT x
WITH (SELECT file('/etc/passwd')) AS x SELECT x
SELECT 1 /* ' */, file('/etc/passwd') -- '
SELECT 1 -- \n, file('/etc/passwd')
SELECT 'it''s', file('/etc/passwd')
SELECT $x$ ' $x$, file('/etc/passwd')
SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')
SELECT * FROM url('file:///etc/passwd', 'LineAsString')
SELECT * FROM URL('http://127.0.0.1:1/')
SELECT * FROM urlCluster('default', 'http://127.0.0.1:1/')
SELECT * FROM s3('http://127.0.0.1:1/b/k', 'CSV')
SELECT * FROM s3Cluster('default', 'http://127.0.0.1:1/b/k', 'CSV')
SELECT * FROM gcs('http://127.0.0.1:1/b/k', 'CSV')
SELECT * FROM hdfs('hdfs://127.0.0.1:1/x', 'CSV', 'a Int32')
SELECT * FROM azureBlobStorage('x', 'y', 'z')
SELECT * FROM remote('127.0.0.1:1', system.one)
SELECT * FROM remoteSecure('127.0.0.1:1', 'system', 'one')
SELECT * FROM cluster('default', system, one)
SELECT * FROM clusterAllReplicas('default', system.one)
SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')
SELECT * FROM postgresql('127.0.0.1:1', 'a', 'b', 'c', 'd')
SELECT * FROM mongodb('127.0.0.1:1', 'a', 'b', 'c', 'd', 'x Int32')
SELECT * FROM redis('127.0.0.1:1', 'k', 'k String, v String')
SELECT * FROM sqlite('/etc/passwd', 'x')
SELECT * FROM odbc('DSN=x', 'a', 'b')
SELECT * FROM jdbc('jdbc:x', 'a', 'b')
SELECT * FROM deltaLakeLocal('/etc')
SELECT * FROM icebergLocal('/etc')
SELECT * FROM executable('id', 'TSV', 'a String')
SELECT * FROM Python(self)
SELECT * FROM python(engine)
SELECT * FROM eval('SELECT 1')
SELECT * FROM input('a Int32')
SELECT * FROM filesystem('/etc')
SELECT * FROM fuzzQuery('SELECT 1')
SELECT * FROM format(JSONEachRow, '{"a":1}')
SELECT * FROM loop(system.one)
SELECT * FROM mergeTreeIndex('headrace', 'events_rows')
SELECT * FROM mergeTreeProjection('headrace', 'events_rows', 'by_user')
SELECT * FROM merge('headrace', '.*')
SELECT * FROM merge('.*', 'events.*')
SELECT * FROM merge(REGEXP('ws_.*'), 'events')
SELECT * FROM dictionary('headrace.identity_links_all')
SELECT * FROM view(SELECT * FROM headrace.events_rows)
SELECT * FROM viewIfPermitted(SELECT 1 ELSE null('x Int32'))
SELECT * FROM viewExplain('EXPLAIN', '', (SELECT 1))
SELECT * FROM (EXPLAIN SELECT 1)
SELECT * FROM prometheusQuery('a', 'b', 1)
SELECT * FROM timeSeriesData('headrace.x')
SELECT * FROM url('http://127.0.0.1:1/', CSV, 'a Int32', headers('a' = 'b'))
DESCRIBE TABLE file('/etc/passwd')
DESCRIBE TABLE url('http://127.0.0.1:1/')
DESCRIBE (SELECT file('/etc/passwd'))
DESCRIBE (SELECT * FROM file('/etc/passwd', 'LineAsString'))
DESCRIBE (SELECT 1) UNION ALL (SELECT file('/etc/passwd'))
SELECT dictGet('headrace.identity_links_all', 'user_id', ('two', 'SECRET_ANONYMOUS'))
SELECT DICTGET('headrace.identity_links_all', 'user_id', ('two', 'SECRET_ANONYMOUS'))
SELECT dictGetOrDefault('headrace.identity_links_all', 'user_id', ('two', 'x'), '')
SELECT dictGetKeys('headrace.identity_links_all', 'user_id', 'x')
SELECT dictHas('headrace.identity_links_all', ('two', 'SECRET_ANONYMOUS'))
SELECT joinGet('headrace.joined', 'v', 'k')
SELECT joinGetOrNull(headrace.joined, 'v', 'k')
SELECT hasColumnInTable('ws_two', 'secret_table', 'SECRET_COLUMN')
SELECT hostName()
SELECT FQDN()
SELECT serverUUID()
SELECT tcpPort()
SELECT getMacro('x')
SELECT getSetting('max_threads')
SELECT getServerSetting('path')
SELECT getClientHTTPHeader('Authorization')
SELECT showCertificate()
SELECT buildId()
SELECT filesystemAvailable()
SELECT addressToLine(1)
SELECT sleep(1)
SELECT sleepEachRow(1) FROM numbers(3)
SELECT aiGenerate('x')
SELECT evalMLMethod(1, 2)
SELECT structureToProtobufSchema('a Int32', 'x')
SELECT 1 INTO OUTFILE '/tmp/headrace_escape'
SELECT 1 INTO OUTFILE '/tmp/headrace_escape' TRUNCATE FORMAT CSV
SELECT 1 INTO/**/OUTFILE '/tmp/headrace_escape' AND STDOUT
SHOW TABLES INTO OUTFILE '/tmp/headrace_escape'
DESCRIBE TABLE events INTO OUTFILE '/tmp/headrace_escape'
EXPLAIN AST SELECT 1 INTO OUTFILE '/tmp/headrace_escape'
SELECT 1 FORMAT Template
SELECT 1 FORMAT Protobuf SETTINGS format_schema = '/etc/passwd:x'
SELECT 1 SETTINGS format_schema = '/etc/passwd:x'
SELECT 1 SETTINGS output_format_schema = '/tmp/headrace_escape'
SELECT 1 SETTINGS format_template_resultset = '/etc/passwd'
SELECT 1 FORMAT MySQLWire
SELECT 1 FORMAT AvroConfluent
INSERT INTO headrace.events_rows (event_id) VALUES ('x')
INSERT INTO FUNCTION file('/tmp/headrace_escape') SELECT 1
INSERT INTO events SELECT * FROM events
INSERT INTO events FROM INFILE '/etc/passwd' FORMAT CSV
CREATE TABLE t (a Int32) ENGINE = Memory
CREATE TEMPORARY TABLE t (a Int32)
CREATE OR REPLACE VIEW events AS SELECT * FROM headrace.events_rows
CREATE VIEW v AS SELECT 1
CREATE FUNCTION f AS x -> x + 1
CREATE DATABASE d
CREATE DICTIONARY d (a Int32) PRIMARY KEY a SOURCE(FILE(PATH '/etc/passwd' FORMAT 'CSV')) LAYOUT(FLAT()) LIFETIME(0)
CREATE NAMED COLLECTION c AS a = 'b'
CREATE USER u IDENTIFIED BY 'x'
DROP TABLE events
DROP DATABASE headrace
TRUNCATE TABLE headrace.events_rows
ALTER TABLE headrace.events_rows DELETE WHERE 1
ALTER TABLE headrace.events_rows FREEZE
DELETE FROM headrace.events_rows WHERE 1
UPDATE headrace.events_rows SET user_id = 'x' WHERE 1
RENAME TABLE headrace.events_rows TO headrace.x
EXCHANGE TABLES headrace.events_rows AND headrace.migrations
OPTIMIZE TABLE headrace.events_rows FINAL
CHECK TABLE headrace.events_rows
ATTACH TABLE t FROM '/etc' (a Int32) ENGINE = MergeTree ORDER BY a
DETACH TABLE headrace.events_rows
UNDROP TABLE headrace.events_rows
BACKUP DATABASE headrace TO File('/tmp/headrace_escape')
BACKUP TABLE headrace.events_rows TO Disk('default', 'x')
RESTORE DATABASE headrace FROM File('/tmp/headrace_escape')
SYSTEM SHUTDOWN
SYSTEM FLUSH LOGS
SYSTEM RELOAD DICTIONARIES
SYSTEM DROP MARK CACHE
KILL QUERY WHERE 1
KILL QUERY WHERE query_id = 'x' OR 1
KILL QUERY WHERE query_id = 'x' OR query_id = 'y' SYNC
KILL QUERY WHERE query_id IN (SELECT query_id FROM system.processes) ASYNC
KILL QUERY WHERE user = 'other_analyst'
KILL QUERY WHERE query_id = 'x' TEST
KILL QUERY WHERE query_id = 'x' FORMAT Null; KILL QUERY WHERE 1
KILL MUTATION WHERE 1
ALTER TABLE headrace.events_rows FREEZE
ALTER TABLE headrace.events_rows FREEZE WITH NAME 'x'
SYSTEM UNFREEZE WITH NAME 'x'
GRANT ALL ON *.* TO default
SET ROLE ALL
EXECUTE AS default SELECT 1
MOVE USER a TO b
BEGIN TRANSACTION
SELECT 1; SELECT 2
SELECT 1;; SELECT 2
SELECT 1; DROP TABLE events
SELECT 1 FORMAT TSV; DROP TABLE headrace.events_rows
SET max_threads = 1; SELECT file('/etc/passwd')
EXPLAIN AST SELECT 1; DROP TABLE headrace.events_rows
DESCRIBE TABLE events; DROP TABLE headrace.events_rows
SELECT 1 PARALLEL WITH SELECT 2
SELECT 1 PARALLEL WITH DROP TABLE headrace.events_rows
EXPLAIN SELECT file('/etc/passwd')
EXPLAIN AST SELECT file('/etc/passwd')
EXPLAIN SYNTAX SELECT * FROM file('/etc/passwd', 'LineAsString')
EXPLAIN QUERY TREE SELECT (SELECT file('/etc/passwd'))
EXPLAIN PLAN SELECT 1
EXPLAIN PIPELINE SELECT 1
EXPLAIN ESTIMATE SELECT count() FROM headrace.events_rows
EXPLAIN indexes = 1 SELECT count() FROM events
EXPLAIN TABLE OVERRIDE mysql('a', 'b', 'c', 'd', 'e') PARTITION BY a
EXPLAIN CURRENT TRANSACTION
SELECT 1 SETTINGS readonly = 0
SELECT 1 SETTINGS max_execution_time = 0
SELECT 1 SETTINGS max_execution_time = 100000
SELECT 1 SETTINGS max_memory_usage = 0
SELECT 1 SETTINGS max_result_rows = 0
SELECT 1 SETTINGS allow_introspection_functions = 1
SELECT 1 SETTINGS allow_ddl = 1
SELECT 1 SETTINGS additional_table_filters = {}
SELECT 1 SETTINGS additional_result_filter = '1'
SELECT 1 SETTINGS dialect = 'prql'
SELECT 1 SETTINGS log_comment = 'x'
SELECT * FROM (SELECT 1 SETTINGS readonly = 0)
SELECT 1 SETTINGS param_x = 1
SET readonly = 0
SET allow_ddl = 1
SET additional_table_filters = {}
SET max_threads = DEFAULT
SET param_x = 1
SET profile = 'default'
SHOW TABLES FROM headrace WHERE file('/etc/passwd') != ''
SHOW TABLES LIKE 'x\' OR 1 --'
SHOW COLUMNS FROM events WHERE file('/etc/passwd') != ''
SHOW COLUMNS FROM `events' UNION ALL SELECT 1 --`
SHOW PROCESSLIST
SHOW GRANTS
SHOW ACCESS
SHOW USERS
SHOW CLUSTERS
SHOW CREATE USER default
SHOW FUNCTIONS
SHOW MERGES
SHOW INDEX FROM events
COPY events TO '/tmp/headrace_escape'
SELECT * FROM system.stack_trace
SELECT * FROM system.symbols LIMIT 1
SELECT * FROM system.certificates
SELECT * FROM system.users
SELECT * FROM system.named_collections
SELECT * FROM system.remote_data_paths
SELECT * FROM system.zookeeper WHERE path = '/'
SELECT * FROM system.query_log
SELECT * FROM INFORMATION_SCHEMA.TABLES
SELECT * FROM information_schema.columns
SELECT 1 IN system.users
SELECT * FROM headrace_catalog.`ws_one:tables`
SELECT * FROM `headrace_catalog`.`ws_two:tables`
SELECT e.columns('x') FROM events AS e
SELECT __getScalar('x')
SELECT __actionName(1, 'x')
SELECT fileIf('/etc/passwd', 1)
SELECT fileArray(['/etc/passwd'])
1 + 1
file('/etc/passwd')
FROM file('/etc/passwd', 'LineAsString') SELECT *
SELECT * FROM events STREAM
SELECT [file('/etc/passwd')
SELECT (((file('/etc/passwd'))))
SELECT * FROM (SELECT * FROM (SELECT * FROM (SELECT * FROM file('/etc/passwd', 'LineAsString'))))
SELECT * FROM numbers(1) PASTE JOIN file('/etc/passwd', 'LineAsString')
SELECT * FROM numbers(1) ARRAY JOIN [file('/etc/passwd')] AS x
SELECT {x:Identifier}('/etc/passwd')
SELECT 1 WHERE 1 IN (SELECT file('/etc/passwd'))
SELECT 1 GROUP BY file('/etc/passwd')
SELECT 1 LIMIT 1 BY file('/etc/passwd')
SELECT CASE WHEN 1 THEN file('/etc/passwd') END
SELECT sumIf(1, file('/etc/passwd') = '')
SELECT quantile(length(file('/etc/passwd')))(1)
SELECT ((file('/etc/passwd')))
SELECT 1 WHERE ((SELECT (count()) FROM file('/etc/passwd', 'LineAsString')) > (0))
SELECT (x) FROM (url('http://127.0.0.1:1/', 'CSV', 'x String'))
SELECT * FROM ѕystem.users
SELECT ｆｉｌｅ('/etc/passwd')
ＳＥＬＥＣＴ * FROM system.processes
SELECT fıle('/etc/passwd')
SELECT fi​le('/etc/passwd')
SELECT filé('/etc/passwd')
SELECT `fіle`('/etc/passwd')
SELECT * FROM ‮uresr.metsys‬
SELECT file ('/etc/passwd')
SELECT file('/etc/passwd')
SELECT file/* */('/etc/passwd')
SELECT ‘a’ FROM system.query_log
SELECT * FROM “system”.“users”
SELECT dictＧet('a', 'b', 1)
