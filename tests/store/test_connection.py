"""What an insert costs the process that makes it, at once and afterwards."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

from headrace.store.blocks import pack
from headrace.store.connection import Connection
from tests.store.harness import ServerTables
from tests.store.server_fixture import PASSWORD, PROCESSOR, StoreServer

FIRST_INSERT = """
import sys
from headrace.schemas.errors import Unavailable
from headrace.store.blocks import pack
from headrace.store.connection import Connection
try:
    insert = pack("t", {"a": ("String", ["x"]), "b": ("UInt64", [1])})
    Connection("http://127.0.0.1:9", "", "").insert(insert, settings={})
except Unavailable:
    print(sorted({"numpy", "pandas", "pyarrow"} & sys.modules.keys()))
"""


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
        insert = pack(
            f"`{tables.database}`.events_check",
            {"workspace_id": ("String", column), "properties_raw": ("String", ["{}"])},
        )
        connection.insert(insert, settings={})
        del column
        assert watched() is None
    finally:
        gc.enable()
        connection.close()


def test_the_first_insert_loads_no_data_frames() -> None:
    """pandas would take half a second and 80 MiB, to see that a list is no data frame."""
    done = subprocess.run(
        [sys.executable, "-c", FIRST_INSERT], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
