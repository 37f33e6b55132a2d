"""Settings that people may set: those that shape answers, and limits below the store's own.

A setting that is not named here is refused (164), in the URL, in `SET` and in a `SETTINGS`
clause alike, until somebody has read what it does. Left out on purpose: whatever reads or writes
files (`format_schema`, `output_format_schema`), moves predicates, changes what is checked or
counted, or tells how much was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from headrace.store.server.answers import Refusal
from headrace.store.server.limits import StoreLimits

_FREE_NAMES: Final = """
    aggregate_functions_null_for_empty allow_experimental_join_right_table_sorting
    any_join_distinct_right_table_keys bool_false_representation bool_true_representation
    cast_ipv4_ipv6_default_on_conversion_error cast_keep_nullable
    cast_string_to_dynamic_use_inference count_distinct_implementation date_time_input_format
    date_time_output_format empty_result_for_aggregation_by_empty_set enable_positional_arguments
    enable_time_time64_type except_default_mode extremes group_by_use_nulls
    intersect_default_mode interval_output_format join_default_strictness join_use_nulls
    optimize_aggregation_in_order optimize_read_in_order prefer_column_name_to_alias
    result_overflow_mode session_timezone totals_mode transform_null_in union_default_mode
    use_client_time_zone format_csv_delimiter format_csv_null_representation
    format_tsv_null_representation formatdatetime_f_prints_scale_number_of_digits
    formatdatetime_f_prints_single_zero formatdatetime_format_without_leading_zeros
    formatdatetime_parsedatetime_m_is_month_name
    output_format_always_write_decimal_point_in_float_and_decimal
    output_format_arrow_compression_method output_format_arrow_date_as_uint16
    output_format_arrow_fixed_string_as_fixed_byte_array
    output_format_arrow_low_cardinality_as_dictionary output_format_arrow_string_as_string
    output_format_arrow_use_64_bit_indexes_for_dictionary
    output_format_arrow_use_signed_indexes_for_dictionary
    output_format_arrow_unsupported_types_as_binary output_format_binary_write_json_as_string
    output_format_bson_string_as_string output_format_csv_crlf_end_of_line
    output_format_csv_serialize_tuple_into_separate_columns output_format_decimal_trailing_zeros
    output_format_float_precision output_format_json_array_of_rows
    output_format_json_escape_forward_slashes output_format_json_map_as_array_of_tuples
    output_format_json_named_tuples_as_objects output_format_json_pretty_print
    output_format_json_quote_64bit_floats output_format_json_quote_64bit_integers
    output_format_json_quote_decimals output_format_json_quote_denormals
    output_format_json_skip_null_value_in_named_tuples output_format_json_validate_utf8
    output_format_markdown_escape_special_characters output_format_msgpack_uuid_representation
    output_format_native_encode_types_in_binary_format
    output_format_native_use_flattened_dynamic_and_json_serialization
    output_format_native_write_json_as_string output_format_orc_compression_method
    output_format_orc_string_as_string output_format_parquet_compression_method
    output_format_parquet_date_as_uint16 output_format_parquet_datetime_as_uint32
    output_format_parquet_fixed_string_as_fixed_byte_array output_format_parquet_string_as_string
    output_format_parquet_version output_format_pretty_color
    output_format_pretty_display_footer_column_names output_format_pretty_grid_charset
    output_format_pretty_highlight_digit_groups output_format_pretty_max_column_pad_width
    output_format_pretty_max_rows output_format_pretty_max_value_width
    output_format_pretty_multiline_fields output_format_pretty_row_numbers
    output_format_pretty_single_large_number_tip_threshold output_format_sql_insert_table_name
    output_format_sql_insert_include_column_names output_format_sql_insert_quote_names
    output_format_trim_fixed_string output_format_tsv_crlf_end_of_line
    output_format_values_escape_quote_with_quote
"""
FREE: Final = frozenset(_FREE_NAMES.split())

_DROPPED_NAMES: Final = """
    readonly log_comment log_queries priority max_insert_block_size max_insert_threads
    async_insert wait_for_async_insert insert_quorum insert_deduplicate connect_timeout
    connect_timeout_with_failover_ms receive_timeout send_timeout max_query_size
    load_balancing distributed_product_mode prefer_localhost_replica mutations_sync alter_sync
    replication_alter_partitions_sync final apply_mutations_on_fly use_uncompressed_cache
    allow_experimental_analyzer enable_analyzer allow_experimental_json_type enable_json_type
    allow_experimental_variant_type allow_experimental_dynamic_type
    allow_suspicious_low_cardinality_types network_zstd_compression_level
    max_network_bandwidth max_network_bytes output_format_parallel_formatting
    input_format_parallel_parsing input_format_skip_unknown_fields
    input_format_import_nested_json input_format_null_as_default
    input_format_defaults_for_omitted_fields
"""
_DROPPED: Final = frozenset(_DROPPED_NAMES.split())
"""Clients send these with every query; they change nothing here, so they are let pass unread."""

_EXPLAIN_NAMES: Final = """
    graph optimize oneline run_passes dump_passes passes dump_ast dump_tree query_tree_passes
    run_query_tree_passes
"""
_EXPLAIN: Final = frozenset(_EXPLAIN_NAMES.split())


class PermittedSettings(msgspec.Struct, frozen=True):
    """What people may set on this server. `known` are the names the engine knows."""

    known: frozenset[str]
    bounds: Mapping[str, float]

    @classmethod
    def within(cls, limits: StoreLimits, known: frozenset[str]) -> PermittedSettings:
        return cls(known, _bounds(limits))

    def of_request(self, asked: Mapping[str, str]) -> dict[str, str]:
        """Of the URL: pointless ones dropped, limits cut to ours; raises `Refusal`."""
        kept: dict[str, str] = {}
        for name, value in asked.items():
            if name in self.bounds:
                kept[name] = self._cut(name, value)
            elif name in FREE:
                kept[name] = value
            elif name not in _DROPPED:
                raise self._refusal(name)
        return kept

    def check_clause(self, name: str, value: object) -> None:
        """Of a `SETTINGS` clause or `SET`, where nothing can be dropped or cut."""
        if name in self.bounds:
            if not 0 < _number(name, value) <= self.bounds[name]:
                raise Refusal(
                    452,
                    "SETTING_CONSTRAINT_VIOLATION",
                    f"Setting {name} shouldn't be greater than {self.bounds[name]:.0f},"
                    " and not unlimited",
                )
        elif name not in FREE:
            raise self._refusal(name)

    def _cut(self, name: str, value: str) -> str:
        number, bound = _number(name, value), self.bounds[name]
        return value if 0 < number <= bound else str(bound)

    def _refusal(self, name: str) -> Refusal:
        if name not in self.known:
            return Refusal(115, "UNKNOWN_SETTING", f"Unknown setting '{name[:128]}'")
        return Refusal(164, "READONLY", f"Cannot modify '{name}' setting: it is not for people")


def check_explain_setting(name: str) -> None:
    """The options of `EXPLAIN` itself."""
    if name not in _EXPLAIN:
        raise Refusal(115, "UNKNOWN_SETTING", f"Unknown setting '{name[:128]}' for EXPLAIN")


def _bounds(limits: StoreLimits) -> dict[str, float]:
    return {
        "max_execution_time": limits.query_seconds,
        "max_memory_usage": limits.query_bytes,
        "max_threads": limits.query_threads,
        "max_result_rows": limits.result_rows,
        "max_result_bytes": limits.streamed_result_bytes,
        "max_block_size": 65_536,
        "limit": limits.result_rows,
        "offset": 1e15,
        "max_rows_to_group_by": 1e9,
        "max_rows_in_set": 1e9,
        "max_rows_in_join": 1e9,
    }


def _number(name: str, value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        raise Refusal(
            36, "BAD_ARGUMENTS", f"Setting {name} must be a number, not {str(value)[:64]!r}"
        ) from None
