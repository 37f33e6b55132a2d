"""Makes event ids: monotonic ULIDs, or ids derived from an idempotent request.

Owns how the 128 bits come about; the format is `headrace.schemas.event_ids`'. Derived ids hold
no clock and no chance, so that a retry makes the same ids even when everything that was stored
about the first try is gone.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from headrace.schemas.event_ids import ALPHABET, ID_PREFIX

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_PAIRS: Final = [high + low for high in ALPHABET for low in ALPHABET]
_PAIR_BITS: Final = 10
_ID_PAIRS: Final = 13
_RANDOM_BITS: Final = 80
_HASH_BITS: Final = 118
"""24 characters hold 120 bits; 26 may hold 128, so the first must stay below 8."""


class UlidMaker:
    """ULIDs that grow within a process, also when the clock stands still or goes back."""

    def __init__(self, random_bits: Callable[[int], int] = secrets.randbits) -> None:
        self._random_bits = random_bits
        self._next = 0

    def make(self, count: int, now: datetime) -> list[str]:
        """`count` new ids in growing order, 0.1 µs each."""
        milliseconds = (now - _EPOCH) // _MILLISECOND
        # One random bit less: room to count on for the rest of the millisecond.
        fresh = milliseconds << _RANDOM_BITS | self._random_bits(_RANDOM_BITS - 1)
        first = max(fresh, self._next)
        self._next = first + count
        return _numbered(first, count)


class RequestIds:
    """The ids of one idempotent request: a hash of what it is, then the event's index."""

    def __init__(self, *parts: bytes) -> None:
        digest = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts))
        number = int.from_bytes(digest.digest()) >> (256 - _HASH_BITS)
        self._prefix = ID_PREFIX + _text(number, _ID_PAIRS - 1)

    def at(self, indexes: Sequence[int]) -> list[str]:
        """The ids of the elements at these indexes, below 1,024."""
        prefix = self._prefix
        return [prefix + _PAIRS[index] for index in indexes]


def _numbered(first: int, count: int) -> list[str]:
    ids: list[str] = []
    while count:
        prefix = ID_PREFIX + _text(first >> _PAIR_BITS, _ID_PAIRS - 1)
        low = first & (len(_PAIRS) - 1)
        some = _PAIRS[low : low + count]
        ids += [prefix + pair for pair in some]
        first += len(some)
        count -= len(some)
    return ids


def _text(number: int, pairs: int) -> str:
    return "".join(
        _PAIRS[number >> _PAIR_BITS * place & (len(_PAIRS) - 1)]
        for place in range(pairs - 1, -1, -1)
    )
