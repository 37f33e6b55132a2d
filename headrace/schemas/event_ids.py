"""Event ids: `evt_` and 26 lower-case Crockford base-32 characters, 128 bits.

Owns the format and the meaning of its parts, shared by the collector (which makes ids) and
the processor (which finds the records of one request by the part they share).
"""

from __future__ import annotations

from typing import Final

ID_PREFIX: Final = "evt_"
ID_CHARACTERS: Final = len(ID_PREFIX) + 26
ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
REQUEST_CHARACTERS: Final = len(ID_PREFIX) + 24
"""Ids of one keyed request share this many leading characters; the last two are the index."""


def request_of(event_id: str) -> str:
    """The leading part that all events of one keyed request share."""
    return event_id[:REQUEST_CHARACTERS]
