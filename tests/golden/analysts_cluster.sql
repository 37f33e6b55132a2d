CREATE SETTINGS PROFILE IF NOT EXISTS `headrace_analyst` ON CLUSTER `events`;

ALTER SETTINGS PROFILE `headrace_analyst` ON CLUSTER `events` SETTINGS readonly = 1 CONST, optimize_move_to_prewhere = 0 CONST, query_plan_optimize_prewhere = 0 CONST, short_circuit_function_evaluation = 'force_enable' CONST, optimize_use_projections = 0 CONST, enable_join_runtime_filters = 0 CONST, output_format_write_statistics = 0 CONST, allow_ddl = 0 CONST, max_execution_time = 60 MIN 1 MAX 60 CHANGEABLE_IN_READONLY, max_memory_usage = 2147483648 MIN 1 MAX 2147483648 CHANGEABLE_IN_READONLY, max_threads = 4 MIN 1 MAX 4 CHANGEABLE_IN_READONLY, max_result_rows = 10000000 MIN 1 MAX 10000000 CHANGEABLE_IN_READONLY, max_result_bytes = 2147483648 MIN 1 MAX 2147483648 CHANGEABLE_IN_READONLY, max_concurrent_queries_for_user = 7 CONST, join_use_nulls CHANGEABLE_IN_READONLY;

CREATE ROW POLICY OR REPLACE headrace_everyone ON CLUSTER `events` ON `headrace`.events_rows FOR SELECT USING 1 AS PERMISSIVE TO ALL;

CREATE ROW POLICY OR REPLACE headrace_everyone ON CLUSTER `events` ON `headrace`.rejected_events_rows FOR SELECT USING 1 AS PERMISSIVE TO ALL;

CREATE ROW POLICY OR REPLACE headrace_everyone ON CLUSTER `events` ON `headrace`.deduplicated_events_rows FOR SELECT USING 1 AS PERMISSIVE TO ALL;

CREATE ROW POLICY OR REPLACE headrace_everyone ON CLUSTER `events` ON `headrace`.identity_links_rows FOR SELECT USING 1 AS PERMISSIVE TO ALL;

CREATE USER IF NOT EXISTS `headrace_ws_one_views` ON CLUSTER `events` IDENTIFIED WITH sha256_hash BY '0000000000000000000000000000000000000000000000000000000000000000' HOST NONE;

CREATE ROW POLICY OR REPLACE `ws_one` ON CLUSTER `events` ON `headrace`.events_rows FOR SELECT USING workspace_id = 'ws_one' AS RESTRICTIVE TO `headrace_ws_one_views`;

CREATE ROW POLICY OR REPLACE `ws_one` ON CLUSTER `events` ON `headrace`.rejected_events_rows FOR SELECT USING workspace_id = 'ws_one' AS RESTRICTIVE TO `headrace_ws_one_views`;

CREATE ROW POLICY OR REPLACE `ws_one` ON CLUSTER `events` ON `headrace`.deduplicated_events_rows FOR SELECT USING workspace_id = 'ws_one' AS RESTRICTIVE TO `headrace_ws_one_views`;

CREATE ROW POLICY OR REPLACE `ws_one` ON CLUSTER `events` ON `headrace`.identity_links_rows FOR SELECT USING workspace_id = 'ws_one' AS RESTRICTIVE TO `headrace_ws_one_views`;

GRANT ON CLUSTER `events` SELECT ON `headrace`.events TO `headrace_ws_one_views`;

GRANT ON CLUSTER `events` SELECT ON `headrace`.rejected_events TO `headrace_ws_one_views`;

GRANT ON CLUSTER `events` SELECT ON `headrace`.deduplicated_events TO `headrace_ws_one_views`;

GRANT ON CLUSTER `events` SELECT ON `headrace`.identity_links TO `headrace_ws_one_views`;

GRANT ON CLUSTER `events` SELECT ON `headrace`.events_rows TO `headrace_ws_one_views`;

GRANT ON CLUSTER `events` SELECT ON `headrace`.rejected_events_rows TO `headrace_ws_one_views`;

GRANT ON CLUSTER `events` SELECT ON `headrace`.deduplicated_events_rows TO `headrace_ws_one_views`;

GRANT ON CLUSTER `events` SELECT ON `headrace`.identity_links_rows TO `headrace_ws_one_views`;

GRANT ON CLUSTER `events` dictGet ON `headrace`.identity_links_recent TO `headrace_ws_one_views`;

GRANT ON CLUSTER `events` dictGet ON `headrace`.identity_links_all TO `headrace_ws_one_views`;

GRANT ON CLUSTER `events` dictGet ON `headrace`.stored_events TO `headrace_ws_one_views`;

CREATE DATABASE IF NOT EXISTS `ws_one` ON CLUSTER `events`;

CREATE OR REPLACE VIEW `ws_one`.events ON CLUSTER `events` DEFINER = `headrace_ws_one_views` SQL SECURITY DEFINER AS SELECT workspace_id, event_id, event, user_id, anonymous_id, person_id, timestamp, received_at, timeliness, properties, properties_raw FROM `headrace`.events WHERE workspace_id = 'ws_one';

CREATE OR REPLACE VIEW `ws_one`.rejected_events ON CLUSTER `events` DEFINER = `headrace_ws_one_views` SQL SECURITY DEFINER AS SELECT workspace_id, event_id, event, user_id, anonymous_id, timestamp, received_at, properties_raw, code, reason, path, schema, raw, replayed FROM `headrace`.rejected_events WHERE workspace_id = 'ws_one';

CREATE OR REPLACE VIEW `ws_one`.deduplicated_events ON CLUSTER `events` DEFINER = `headrace_ws_one_views` SQL SECURITY DEFINER AS SELECT workspace_id, event_id, request, deduplicated_at FROM `headrace`.deduplicated_events WHERE workspace_id = 'ws_one';

CREATE OR REPLACE VIEW `ws_one`.identity_links ON CLUSTER `events` DEFINER = `headrace_ws_one_views` SQL SECURITY DEFINER AS SELECT workspace_id, anonymous_id, user_id, linked_at, source_event_id FROM `headrace`.identity_links WHERE workspace_id = 'ws_one';

CREATE ROLE IF NOT EXISTS `headrace_ws_one_analyst` ON CLUSTER `events`;

GRANT ON CLUSTER `events` SELECT ON `ws_one`.* TO `headrace_ws_one_analyst`;

GRANT ON CLUSTER `events` SELECT ON system.aggregate_function_combinators, SELECT ON system.codecs, SELECT ON system.collations, SELECT ON system.data_type_families, SELECT ON system.formats, SELECT ON system.functions, SELECT ON system.keywords, SELECT ON system.numbers, SELECT ON system.numbers_mt, SELECT ON system.one, SELECT ON system.primes, SELECT ON system.settings, SELECT ON system.table_engines, SELECT ON system.table_functions, SELECT ON system.time_zones, SELECT ON system.tokenizers, SELECT ON system.zeros, SELECT ON system.zeros_mt TO `headrace_ws_one_analyst`;

CREATE QUOTA IF NOT EXISTS `headrace_ws_one_analyst` ON CLUSTER `events`;

ALTER QUOTA `headrace_ws_one_analyst` ON CLUSTER `events` KEYED BY user_name FOR INTERVAL 1 minute MAX queries = 600, execution_time = 240 TO `headrace_ws_one_analyst`;

CREATE USER IF NOT EXISTS `ann` ON CLUSTER `events` IDENTIFIED WITH sha256_hash BY '984ca5162200734c592148f1820b71057f098573d138666b48663e4e30cd8d3a' DEFAULT DATABASE `ws_one` SETTINGS PROFILE 'headrace_analyst';

ALTER USER `ann` ON CLUSTER `events` IDENTIFIED WITH sha256_hash BY '984ca5162200734c592148f1820b71057f098573d138666b48663e4e30cd8d3a' DEFAULT DATABASE `ws_one` SETTINGS PROFILE 'headrace_analyst';

GRANT ON CLUSTER `events` `headrace_ws_one_analyst` TO `ann`;

DROP USER IF EXISTS `ann` ON CLUSTER `events`;

DROP DATABASE IF EXISTS `ws_one` ON CLUSTER `events` SYNC;

DROP QUOTA IF EXISTS `headrace_ws_one_analyst` ON CLUSTER `events`;

DROP ROLE IF EXISTS `headrace_ws_one_analyst` ON CLUSTER `events`;

DROP USER IF EXISTS `headrace_ws_one_views` ON CLUSTER `events`;

DROP ROW POLICY IF EXISTS `ws_one` ON CLUSTER `events` ON `headrace`.events_rows;

DROP ROW POLICY IF EXISTS `ws_one` ON CLUSTER `events` ON `headrace`.rejected_events_rows;

DROP ROW POLICY IF EXISTS `ws_one` ON CLUSTER `events` ON `headrace`.deduplicated_events_rows;

DROP ROW POLICY IF EXISTS `ws_one` ON CLUSTER `events` ON `headrace`.identity_links_rows;
