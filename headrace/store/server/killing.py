"""`KILL QUERY WHERE query_id = '…'`: what drivers send when their user gives a query up.

Owns the one form that is understood. People end queries of their own name, and nobody else's. The
answer has the columns of the server's.
"""

from __future__ import annotations

import re
from typing import Final

from headrace.store.text import quote

_KILL: Final = re.compile(
    r"\s*KILL\s+QUERY\s+(?:ON\s+CLUSTER\s+\S+\s+)?WHERE\s+query_id\s*=\s*"
    r"'([\x21-\x26\x28-\x5b\x5d-\x7e]{1,128})'\s*(?:A?SYNC)?\s*;?\s*(FORMAT\s+\w+\s*)?",
    re.IGNORECASE,
)


class Kill:
    """One such statement."""

    def __init__(self, query_id: str, ending: str) -> None:
        self.query_id = query_id
        self._ending = ending

    def answer_sql(self, count: int, user: str) -> str:
        """What answers it: a row for each query that was ended."""
        names = f"{quote(self.query_id)} AS query_id, {quote(user)} AS user"
        return (
            f"SELECT 'finished' AS kill_status, {names}, '' AS query "  # noqa: S608 - quoted
            f"FROM numbers({count}) {self._ending}"
        )


def read_kill(sql: str) -> Kill | None:
    """The statement, if it is one of these."""
    found = _KILL.fullmatch(sql)
    return Kill(found[1], found[2] or "") if found else None
