"""What the embedded server allows itself and the people who ask it.

Owns the numbers only; `slots.py` counts queries, `engine.py` hands the rest to the engine.
"""

from __future__ import annotations

from typing import Final

import msgspec

MEBIBYTE: Final = 1024 * 1024


class StoreLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one store process. Sizes are bytes, times are seconds.

    People are operators and analysts. Three of these are settings of the node
    (`max_queries`, `query_seconds`, `query_bytes`); nobody has had a reason to change the others.
    """

    max_queries: int = 8
    """Queries of people that run at once; the more a user has, the more of them stay free."""
    query_seconds: float = 60.0
    overrun_seconds: float = 30.0
    """A query that works on one row for so long beyond its time cannot be ended but with the
    process; then an analyst whose it was may not ask for `overrun_wait_seconds`."""
    overrun_wait_seconds: float = 600.0
    query_bytes: int = 2048 * MEBIBYTE
    query_threads: int = 4
    read_rows: int = 10_000_000_000
    """By one query, as the engine counts them."""
    result_rows: int = 10_000_000
    streamed_result_bytes: int = 2048 * MEBIBYTE
    """Of a result in a format whose blocks can be sent one by one (in the engine's columns)."""
    whole_result_bytes: int = 64 * MEBIBYTE
    """Of a result in a format that has to be made whole before it is sent."""
    query_wait_seconds: float = 3.0
    """How long a query waits for a slot before it is told to come back."""
    waiting_queries: int = 64
    sql_bytes: int = 256 * 1024
    insert_bytes: int = 256 * MEBIBYTE
    """Of one insert's data after decompression, which is held whole (`engine.Insert`)."""
    processor_connections: int = 8
    server_bytes: int = 6144 * MEBIBYTE
    """What the engine may take in all; past it queries fail before the machine does."""
    session_seconds: float = 60.0
    max_sessions: int = 1024
    stop_seconds: float = 20.0
    """How long running inserts may take to finish when the server is told to stop."""
