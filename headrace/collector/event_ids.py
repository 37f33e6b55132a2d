"""Makes event ids: monotonic ULIDs, or ids derived from an idempotent request.

Owns how the 128 bits come about; the format is `headrace.schemas.event_ids`'. Derived ids hold
no clock and no chance, so that a retry makes the same ids even when everything that was stored
about the first try is gone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from headrace.schemas.event_ids import ALPHABET, ID_PREFIX

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_PAIRS: Final = [high + low for high in ALPHABET for low in ALPHABET]
_PAIR_NUMBERS: Final = {pair: number for number, pair in enumerate(_PAIRS)}
_ANY_CHARACTER: Final = bytes(ord(ALPHABET[byte % 32]) for byte in range(256))
_SHIFTS: Final = range(110, -1, -10)
_RANDOM_CHARACTERS: Final = 16
_POOL_BYTES: Final = 256 * _RANDOM_CHARACTERS
_HASH_BITS: Final = 118
"""24 characters hold 120 bits; 26 may hold 128, so the first must stay below 8."""


class UlidMaker:
    """ULIDs that grow within a process, also when the clock stands still or goes back.

    Within a millisecond they are consecutive numbers. They are put together from text, pair by
    pair: with single events nearly every one begins a millisecond of its own.
    """

    def __init__(self, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._random_bytes = random_bytes
        self._random = ""
        self._used = 0
        self._milliseconds = 0
        self._high = -1
        self._high_text = ""
        self._head = ""
        """All but the last pair of the next id, and which pair that is."""
        self._low = 0

    def make(self, count: int, now: datetime) -> list[str]:
        """`count` new ids in growing order, 0.1 µs each."""
        milliseconds = (now - _EPOCH) // _MILLISECOND
        if milliseconds > self._milliseconds:
            self._begin(milliseconds)
        ids: list[str] = []
        while True:
            head, low = self._head, self._low
            self._low = end = low + count - len(ids)
            ids += [head + pair for pair in _PAIRS[low:end]]
            if end <= len(_PAIRS):
                return ids
            self._head, self._low = _next(head), 0

    def _begin(self, milliseconds: int) -> None:
        self._milliseconds = milliseconds
        high = milliseconds >> 10
        if high != self._high:
            pairs = [_PAIRS[high >> shift & 1023] for shift in (30, 20, 10, 0)]
            self._high, self._high_text = high, ID_PREFIX + "".join(pairs)
        at = self._used
        if at == len(self._random):
            self._random, at = _characters(self._random_bytes(_POOL_BYTES)), 0
        self._used = end = at + _RANDOM_CHARACTERS
        random = self._random
        head = self._high_text + _PAIRS[milliseconds & 1023] + random[at : end - 2]
        # Counting on may have gone beyond what this millisecond begins with.
        self._head = head if head > self._head else _next(self._head)
        self._low = _PAIR_NUMBERS[random[end - 2 : end]]


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


def _characters(random: bytes) -> str:
    """One for each byte: 256 is a multiple of 32, so all are as likely."""
    return random.translate(_ANY_CHARACTER).decode()


def _next(head: str) -> str:
    """The pairs that follow these."""
    number = 0
    for at in range(len(ID_PREFIX), len(head), 2):
        number = number << 10 | _PAIR_NUMBERS[head[at : at + 2]]
    return ID_PREFIX + _text(number + 1)
