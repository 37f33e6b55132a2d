"""What a user of the store may read: databases, and which tables of `system`.

An analyst gets three tables of `system` as views that hold only what is theirs (`catalog.py`);
the names here are those that clients ask for, or that list what the engine can do.
"""

from __future__ import annotations

from typing import Final

import msgspec

from headrace.workspaces.port import Role, StoreUser

COMMON: Final = "headrace"
CATALOG: Final = "headrace_catalog"
FILTERED: Final = {"tables": "database", "columns": "database", "databases": "name"}
"""Tables of `system` that analysts get through a view, and the column that says whose a row is."""

_HARMLESS_NAMES: Final = """
    one numbers numbers_mt zeros zeros_mt primes settings functions formats data_type_families
    table_engines table_functions aggregate_function_combinators time_zones collations keywords
    codecs tokenizers
"""
_OPERATOR_NAMES: Final = """
    databases tables columns parts parts_columns projections projection_parts dictionaries
    data_skipping_indices detached_parts dropped_tables merges mutations processes metrics events
    asynchronous_metrics errors disks storage_policies merge_tree_settings server_settings
    build_options warnings
"""
HARMLESS: Final = frozenset(_HARMLESS_NAMES.split())
_OPERATOR: Final = HARMLESS | frozenset(_OPERATOR_NAMES.split())


class Rights(msgspec.Struct, frozen=True):
    """What one user may read."""

    role: Role
    database: str
    workspace_id: str | None

    @classmethod
    def of(cls, user: StoreUser) -> Rights:
        return cls(user.role, user.database, user.workspace_id)

    @property
    def is_analyst(self) -> bool:
        return self.role is not Role.OPERATOR

    def may_use(self, database: str) -> bool:
        """Whether tables of this database may be read and it may be the current one."""
        if self.is_analyst:
            return database == self.database
        return database in {COMMON, self.database} or database.startswith("ws_")

    @property
    def views(self) -> frozenset[str]:
        """The names of the views that stand for tables of `system`."""
        return frozenset(self.view_of(table) for table in FILTERED)

    def view_of(self, table: str) -> str:
        return f"{self.database}:{table}"

    def may_read_system(self, table: str) -> bool:
        return table in (HARMLESS if self.is_analyst else _OPERATOR)
