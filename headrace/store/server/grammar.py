"""The parts a person's statement may be made of: kinds of nodes, and the keys of each.

A closed list: a kind or a key that is not here is refused, so what a newer engine adds to its
language stays outside until somebody has read it. Keys whose value is False count as absent.
Left out on purpose: `out_file` and its like, `stream_settings`, and every statement that is not
a question.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_KEYS: Final = """
ArrayJoin: kind expression_list
Asterisk: transformers
ColumnsApplyTransformer: func_name parameters lambda lambda_arg
ColumnsExceptTransformer: children pattern
ColumnsListMatcher: column_list transformers
ColumnsRegexpMatcher: pattern transformers
ColumnsReplaceTransformer: children
ColumnsReplaceTransformerReplacement: name children
ColumnsTransformerList: children
ExplainQuery: kind query settings format_ast settings_ast
ExpressionList: children
Function: name arguments parameters alias is_operator is_lambda_function kind window_name
Function: is_window_function window_definition nulls_action no_empty_args
Identifier: name name_parts alias children
InterpolateElement: column expr
Literal: value alias
OrderByElement: direction nulls_direction expression nulls_direction_was_explicitly_specified
OrderByElement: with_fill collation fill_from fill_to fill_step fill_staleness
QualifiedAsterisk: qualifier transformers
QueryParameter: name param_type alias
SampleRatio: numerator denominator
SelectIntersectExceptQuery: final_operator children list_of_selects
SelectQuery: select tables where prewhere having qualify with recursive_with cte_aliases distinct
SelectQuery: group_by group_by_all group_by_with_rollup group_by_with_cube group_by_with_totals
SelectQuery: group_by_with_grouping_sets window order_by order_by_all interpolate
SelectQuery: limit_by limit_by_length limit_by_offset limit_length limit_offset limit_with_ties
SelectQuery: limit_by_all settings
SelectWithUnionQuery: union_mode list_of_selects list_of_modes format_ast settings_ast
SetQuery: changes is_standalone
ShowColumnsQuery: table database like not_like case_insensitive_like full extended limit_length
ShowColumnsQuery: format_ast
ShowTablesQuery: databases from like not_like case_insensitive_like limit_length full format_ast
Subquery: children alias cte_name
TableExpression: database_and_table_name table_function subquery final sample_size sample_offset
TableExpression: column_aliases
TableIdentifier: name name_parts alias children
TableJoin: strictness kind locality using_expression_list on_expression is_natural
TablesInSelectQuery: children
TablesInSelectQueryElement: table_expression array_join table_join
UseQuery: database
WindowDefinition: partition_by order_by frame_is_default frame_type frame_begin_type
WindowDefinition: frame_begin_offset frame_begin_preceding frame_end_type frame_end_offset
WindowDefinition: frame_end_preceding parent_window_name
WindowListElement: name definition
WithElement: name subquery is_materialized aliases
"""


def _read(text: str) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for line in text.strip().splitlines():
        kind, _, keys = line.partition(":")
        found[kind] = found.get(kind, frozenset({"type"})) | frozenset(keys.split())
    return found


GRAMMAR: Final[Mapping[str, frozenset[str]]] = _read(_KEYS)
STATEMENTS: Final = frozenset(
    {"ExplainQuery", "SelectWithUnionQuery", "SetQuery", "ShowColumnsQuery", "ShowTablesQuery"}
    | {"UseQuery"}
)
EXPLAINS: Final = frozenset({"EXPLAIN AST", "EXPLAIN SYNTAX", "EXPLAIN QUERY TREE"})
"""`EXPLAIN ESTIMATE` and `PLAN` tell of other workspaces' rows; all others are not needed."""
