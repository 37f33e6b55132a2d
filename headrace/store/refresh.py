"""When the two identity dictionaries are loaded.

Owns the promise of `refresh_identities`: links inserted before the call count when it returns.
`identity_links_recent` holds what changed since `identity_links_all` was loaded and is loaded at
every call (calls that wait for one another, or for the rest between two loads, share one). When it
has grown too large, `all` is loaded beside the work, and the moment is written down only after
that: whoever dies in between leaves a `recent` that reaches back too far, never too short.
docs/decisions has the figures.

On a cluster the call loads the replica it reaches; the others load `recent` by themselves every
second or two (its lifetime), and `all` by a statement for the whole cluster.
"""
# ruff: noqa: S608 - the database's name is ours

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from headrace.schemas.errors import HeadraceError
from headrace.store.connection import Connection, Settings
from headrace.store.text import quote, quote_name

MOST_RECENT: Final = 5_000
"""Keys in `recent` from which on `all` is loaded anew (for many links: 2 % of them)."""
REST: Final = 20.0
"""Between two loads of `all` pass this many times its duration, so that it takes 5 % at most."""
LEAST_REST_SECONDS: Final = 15.0
REST_OF_RECENT: Final = 4.0
"""Between two loads of `recent` pass this many times its duration: with a dozen partitions that
write five ranges a second each, it took most of a core; those who come meanwhile share one."""
LONGEST_REST_SECONDS: Final = 0.5

_NOT_WAITING: Final[Settings] = {
    # A replica that is away does it when it is back: the statement waits for it in the queue.
    "distributed_ddl_task_timeout": 30,
    "distributed_ddl_output_mode": "null_status_on_timeout",
}

InThread = Callable[..., Awaitable[Any]]


class Identities:
    """The loads of one process. Several processes may do the same to one store."""

    def __init__(
        self,
        connection: Connection,
        database: str,
        in_thread: InThread,
        *,
        cluster: str = "",
        most_recent: int = MOST_RECENT,
    ) -> None:
        self._connection = connection
        self._cluster = cluster
        self._database = database
        self._in_thread = in_thread
        self._most_recent = most_recent
        self._lock = asyncio.Lock()
        self._asked = 0
        self._served = 0
        self._not_before = 0.0
        self._recent_not_before = 0.0
        self._loading: asyncio.Task[None] | None = None

    async def refresh(self) -> None:
        self._asked += 1
        mine = self._asked
        async with self._lock:
            if self._served >= mine:
                return
            await asyncio.sleep(self._recent_not_before - time.monotonic())
            serving, begun = self._asked, time.monotonic()
            await self._in_thread(self._load, "recent")
            self._served, ended = serving, time.monotonic()
            rest = min(REST_OF_RECENT * (ended - begun), LONGEST_REST_SECONDS)
            self._recent_not_before = ended + rest
        if self._may_load_all() and await self._in_thread(self._is_recent_large):
            self._loading = asyncio.create_task(self._load_all_beside())

    async def load_all(self) -> None:
        """Load everything, then forget what that made superfluous in `recent`."""
        await self._in_thread(self._load_all)
        async with self._lock:
            await self._in_thread(self._load, "recent")

    async def stop(self) -> None:
        """Wait for a load that was begun."""
        if self._loading is not None and not self._loading.done():
            await asyncio.wait({self._loading})

    def _may_load_all(self) -> bool:
        idle = self._loading is None or self._loading.done()
        return idle and time.monotonic() >= self._not_before

    async def _load_all_beside(self) -> None:
        begun = time.monotonic()
        # If it fails, `recent` still reaches back to the last load; a later refresh tries again.
        with contextlib.suppress(HeadraceError):
            await self.load_all()
        ended = time.monotonic()
        self._not_before = ended + max(LEAST_REST_SECONDS, REST * (ended - begun))

    def _load(self, which: str, where: str = "", settings: Settings | None = None) -> None:
        dictionary = f"`{self._database}`.identity_links_{which}"
        self._connection.run(f"SYSTEM RELOAD DICTIONARY{where} {dictionary}", settings=settings)

    def _load_all(self) -> None:
        moment = self._connection.rows("SELECT toString(now64(6, 'UTC'))")[0][0]
        if self._cluster:
            self._load("all", f" ON CLUSTER {quote_name(self._cluster)}", _NOT_WAITING)
        else:
            self._load("all")
        loads = quote(self._cluster) if self._cluster else "hostName()"
        self._connection.run(
            f"INSERT INTO `{self._database}`.identity_loads_rows (host, loaded_to) "
            f"SELECT {loads}, toDateTime64('{moment}', 6, 'UTC')"
        )

    def _is_recent_large(self) -> bool:
        rows = self._connection.rows(
            "SELECT name, element_count FROM system.dictionaries "
            f"WHERE database = '{self._database}' AND name LIKE 'identity_links_%'"
        )
        sizes = {str(name): int(count) for name, count in rows}
        large = self._most_recent + sizes.get("identity_links_all", 0) // 50
        return sizes.get("identity_links_recent", 0) > large
