"""Ids that stand for nobody: what clients send when they have no id.

They count as absent for `person_id` and for a record's key, and never make a link: one
`"null"` would otherwise join thousands of strangers into one person.
"""

from __future__ import annotations

from typing import Final

NOBODY: Final = frozenset(
    {
        "",
        "-",
        "-1",
        "0",
        "00000000-0000-0000-0000-000000000000",
        "00000000000000000000000000000000",
        "[object object]",
        "anon",
        "anonymous",
        "distinct_id",
        "distinctid",
        "email",
        "empty",
        "false",
        "guest",
        "id",
        "n/a",
        "na",
        "nan",
        "nil",
        "none",
        "not_authenticated",
        "null",
        "true",
        "undefined",
        "unknown",
        "user_id",
        "userid",
        "user",
        "void",
    }
)
"""As `is_nobody` looks them up: without spaces and quotes around them, in lower case."""
_LONGEST: Final = max(map(len, NOBODY))
_QUOTES: Final = "\"'"
_SPACES: Final = frozenset(filter(str.isspace, map(chr, range(0x3001))))
LAST_CHARACTERS: Final = _SPACES.union(
    _QUOTES, *((word[-1], word[-1].upper()) for word in NOBODY if word)
)
"""What ends in none of these stands for somebody: most ids, and seen without a call."""


def is_nobody(identifier: str | None) -> bool:
    """Whether an id is absent or one of the known placeholders, in any case, spaces ignored."""
    if not identifier:
        return True
    if identifier[-1] not in LAST_CHARACTERS or len(identifier) > _LONGEST + 8:
        return False
    return identifier.strip().strip(_QUOTES).lower() in NOBODY
