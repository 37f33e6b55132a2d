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
_SHIFTS: Final = range(110, -1, -10)
_RANDOM_BITS: Final = 80
_HASH_BITS: Final = 118
"""24 characters hold 120 bits; 26 may hold 128, so the first must stay below 8."""


class UlidMaker:
    """ULIDs that grow within a process, also when the clock stands still or goes back.

    Within a millisecond they are consecutive numbers, so most share all but two characters.
    """

    def __init__(self, random_bits: Callable[[int], int] = secrets.randbits) -> None:
        self._random_bits = random_bits
        self._milliseconds = 0
        self._next = 0
        self._head = -1
        self._prefix = ""

    def make(self, count: int, now: datetime) -> list[str]:
        """`count` new ids in growing order, 0.1 µs each."""
        milliseconds = (now - _EPOCH) // _MILLISECOND
        if milliseconds > self._milliseconds:
            self._milliseconds = milliseconds
            # One random bit less: room to count on for the rest of the millisecond.
            fresh = milliseconds << _RANDOM_BITS | self._random_bits(_RANDOM_BITS - 1)
            self._next = max(fresh, self._next)
        ids: list[str] = []
        while len(ids) < count:
            head, low = divmod(self._next, len(_PAIRS))
            if head != self._head:
                self._head, self._prefix = head, ID_PREFIX + _text(head)
            prefix = self._prefix
            some = [prefix + pair for pair in _PAIRS[low : low + count - len(ids)]]
            self._next += len(some)
            ids += some
        return ids


class RequestIds:
    """The ids of one idempotent request: a hash of what it is, then the event's index."""

    def __init__(self, *parts: bytes) -> None:
        digest = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts))
        number = int.from_bytes(digest.digest()) >> (256 - _HASH_BITS)
        self._prefix = ID_PREFIX + _text(number)

    def at(self, indexes: Sequence[int]) -> list[str]:
        """The ids of the elements at these indexes, below 1,024."""
        prefix = self._prefix
        return [prefix + _PAIRS[index] for index in indexes]


def _text(number: int) -> str:
    """All but the last pair of an id's characters."""
    return "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])
