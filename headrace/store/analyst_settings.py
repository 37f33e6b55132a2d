"""Settings of analysts' queries that keep them to rows of their own workspace.

Owns the list, for the embedded server (`server/people.py`) and for users of a real one
(`analyst_users.py`) alike. docs/decisions/0005-the-wall.md has the reasons.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

FORCED_ON_ANALYSTS: Final[Mapping[str, str]] = {
    # With these an analyst's predicate is evaluated on no row that the view's filter drops:
    # otherwise `toInt32(user_id) >= 0` answers "Cannot parse string '…'" with another
    # workspace's value. Tried in `tests/store/leaks.sql`.
    "optimize_move_to_prewhere": "0",
    "query_plan_optimize_prewhere": "0",
    "short_circuit_function_evaluation": "force_enable",
    # A projection is read with a PREWHERE of its own, and a join's runtime filter is put beside
    # the view's: both evaluate what the settings above hold back.
    "optimize_use_projections": "0",
    "enable_join_runtime_filters": "0",
    # How many rows were read tells how many other workspaces have.
    "output_format_write_statistics": "0",
}
