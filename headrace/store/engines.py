"""What differs between the embedded store, a ClickHouse server and a cluster of replicas.

Owns what the placeholders in `migrations/*.sql` stand for: engines and where their replicas meet,
`ON CLUSTER`, windows, dictionaries' logins and how often they load themselves. Why on a cluster
it is so: docs/decisions/0008-clickhouse-cluster.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from headrace.schemas.errors import HeadraceError
from headrace.store.text import quote, quote_name

LINKS_PER_USER: Final = 500
WINDOW_BLOCKS: Final = 1_000_000
WINDOW_SECONDS: Final = 7 * 24 * 3600

_FSYNC: Final = "fsync_after_insert = 1, fsync_part_directory = 1"
_NEVER: Final = "0"
_DATABASE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")
_TAKEN: Final = re.compile(r"system|information_schema|INFORMATION_SCHEMA|ws_.*")


class BadDatabase(HeadraceError):
    """The name cannot be that of the store's database."""


class Engines(msgspec.Struct, frozen=True, kw_only=True):
    """How tables, views and dictionaries are made.

    `replica` holds the first arguments of a Replicated engine (path and name), empty where tables
    have no replicas; `source` is what a dictionary needs to read its own server (`USER '…'
    PASSWORD '…'`); `loads` is the key under which this store notes when its dictionaries were
    loaded. Lifetimes are ClickHouse's: seconds between two loads, 0 for never.
    """

    replica: str = ""
    cluster: str = ""
    durable: str
    fsync: str = _FSYNC
    source: str = ""
    loads: str = "hostName()"
    all_lifetime: str = _NEVER
    recent_lifetime: str = _NEVER
    links_per_user: int = LINKS_PER_USER

    @property
    def on_cluster(self) -> str:
        """With a space before it, or nothing."""
        return f" ON CLUSTER {quote_name(self.cluster)}" if self.cluster else ""

    def engine(self, family: str, arguments: str = "") -> str:
        """An engine of a family (`MergeTree`, `ReplacingMergeTree`, …) with its own arguments."""
        if not self.replica:
            return f"{family}({arguments})"
        given = ", ".join(filter(None, (self.replica, arguments)))
        return f"Replicated{family}({given})"

    def values(self, database: str) -> Mapping[str, str]:
        """Placeholder → what it stands for in this database."""
        check_database(database)
        return {
            "database": quote_name(database),
            "database_text": database,
            "on_cluster": self.on_cluster,
            "durable": self.durable,
            "fsync": self.fsync,
            "source": self.source,
            "loads": self.loads,
            "all_lifetime": self.all_lifetime,
            "recent_lifetime": self.recent_lifetime,
            "links_per_user": str(self.links_per_user),
        }


EMBEDDED: Final = Engines(
    durable=f"non_replicated_deduplication_window = {WINDOW_BLOCKS}, {_FSYNC}"
)


def engines_for(cluster: str, user: str, password: str) -> Engines:
    """Those of a ClickHouse server, or of a cluster's replicas if `cluster` names one."""
    login = f"USER {quote(user)} PASSWORD {quote(password)}"
    if not cluster:
        return msgspec.structs.replace(EMBEDDED, source=login)
    return Engines(
        # By name, without {uuid}: a replica that is added later makes its tables under another.
        replica="'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'",
        cluster=cluster,
        durable=f"replicated_deduplication_window = {WINDOW_BLOCKS}, "
        f"replicated_deduplication_window_seconds = {WINDOW_SECONDS}, {_FSYNC}",
        source=login,
        loads=quote(cluster),
        # Each replica by itself: nobody waits for one that is away.
        all_lifetime="MIN 3000 MAX 4200",
        recent_lifetime="MIN 1 MAX 2",
    )


def check_database(name: str) -> None:
    """Raises `BadDatabase` for a name that dictionaries cannot be found by, or that is taken."""
    if not _DATABASE.fullmatch(name):
        raise BadDatabase(
            f"the store's database cannot be named {name[:80]!r}: at most 63 letters, digits, '_' "
            "and '-', beginning with a letter; change the end of HEADRACE_CLICKHOUSE"
        )
    if _TAKEN.fullmatch(name):
        raise BadDatabase(
            f"the store's database cannot be named {name!r}: ClickHouse or an analyst has such a "
            "database; change the end of HEADRACE_CLICKHOUSE"
        )
