"""What an insert leaves behind in the process that made it."""

from __future__ import annotations

import gc
import weakref

from headrace.store.connection import Connection
from tests.store.harness import ServerTables
from tests.store.server_fixture import PASSWORD, PROCESSOR, StoreServer


class Column(list[str]):
    """A list that can be watched."""


def test_an_inserted_block_is_gone_at_once(
    module_server: StoreServer, tables: ServerTables
) -> None:
    """Nothing of a block waits for the garbage collector, which seldom runs over rows."""
    connection = Connection(module_server.url, PROCESSOR, PASSWORD)
    column = Column(["ws_one"])
    watched = weakref.ref(column)
    gc.disable()
    try:
        connection.insert(
            f"`{tables.database}`.events_check",
            {"workspace_id": ("String", column), "properties_raw": ("String", ["{}"])},
            settings={},
        )
        del column
        assert watched() is None
    finally:
        gc.enable()
        connection.close()
