"""Retries that add nothing: what an `Idempotency-Key` promises, and the keys of one machine.

Owns what is kept per key, what may be said about one, and the keys on the local log
(`LocalKeys`); the port is `gate.py`'s, the keys that many collectors share are in `redis/`.
Event ids of a keyed request are derived from it (`event_ids.py`), which is the guarantee; the
store only saves work, gives the first answer again, and says whether a request can be proved to
be the first of its key. If it cannot, its records are marked, and the processor looks whether
it holds them already.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec
import structlog

from headrace.collector.answers import BAD_KEY_HEADER, Refusal, Rejection
from headrace.collector.requests import Body
from headrace.eventlog.port import Appender, Batch, KeyRecord
from headrace.schemas.errors import Overloaded, Unavailable

KEPT_FOR: Final = timedelta(hours=24)
FORGOTTEN_AFTER: Final = timedelta(hours=23)
"""An event this old may have been sent under a key that is forgotten by now."""

_MAX_UNCERTAIN: Final = 100_000
_MOST_CHARACTERS: Final = 255
_BARE: Final = re.compile(rf"[\x20-\x7e]{{1,{_MOST_CHARACTERS}}}")
_QUOTED: Final = re.compile(
    rf'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\]){{1,{_MOST_CHARACTERS}}})"'
)

log = structlog.get_logger(__name__)


class Asked(msgspec.Struct, frozen=True):
    """A keyed request: the hash of workspace, endpoint and key, and the body's digest."""

    key: bytes
    digest: bytes


class Kept(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is kept of an answer: the event ids are derivable, so a clean batch takes 60 bytes."""

    digest: bytes
    accepted: int
    rejections: Sequence[Rejection] = ()
    workspace_id: str = ""
    """By which it is found when a person is erased: their values may be in what was rejected."""

    def indexes(self) -> list[int]:
        """Where the accepted events were in the request."""
        refused = {rejection.index for rejection in self.rejections}
        return [i for i in range(self.accepted + len(refused)) if i not in refused]


class First(msgspec.Struct, frozen=True):
    """The request may go on. `marked` unless it is proved that none with this key came before."""

    asked: Asked
    marked: bool


class Replay(msgspec.Struct, frozen=True):
    """The same request was answered before, so."""

    kept: Kept


class Mismatch(msgspec.Struct, frozen=True):
    """The key was used with another body."""


class Running(msgspec.Struct, frozen=True):
    """The first request with this key is not answered yet."""


Claimed = First | Replay | Mismatch | Running


class LocalKeys:
    """The adapter of one machine: claims in memory, answers in the log's own transactions.

    A claim dies with the process, and rightly: what it claimed is either committed together
    with its answer, or not at all. Whoever got `First` ends with one of `append` and `release`.
    """

    def __init__(self, appender: Appender) -> None:
        self._appender = appender
        self._claims: dict[bytes, asyncio.Event] = {}
        self._uncertain: OrderedDict[bytes, datetime] = OrderedDict()
        self._all_uncertain_until: datetime | None = None

    async def claim(self, asked: Asked, now: datetime) -> Claimed:
        while (decided := self._claims.get(asked.key)) is not None:
            if decided.is_set():
                return Running()
            await decided.wait()
        decided = self._claims[asked.key] = asyncio.Event()
        first = False
        try:
            claimed = await self._recall(asked, now)
            first = isinstance(claimed, First)
            return claimed
        finally:
            if not first:
                del self._claims[asked.key]
            decided.set()

    async def append(self, first: First, batch: Batch, kept: Kept, now: datetime) -> None:
        record = KeyRecord(first.asked.key, msgspec.msgpack.encode(kept), now + KEPT_FOR)
        certain = False
        try:
            appending = self._appender.append(batch, key_record=record)
            del batch  # the log lets go of it as soon as it is encoded, if nobody else holds it
            try:
                await appending
            finally:
                del appending  # its error's trace holds this frame
            certain = True
        except Overloaded:
            certain = True
            raise
        finally:
            # Also when this task is cancelled: the append may go on without it.
            if not certain:
                self._remember_uncertain(first.asked.key, now)
            self.release(first)

    def release(self, first: First) -> None:
        del self._claims[first.asked.key]

    async def _recall(self, asked: Asked, now: datetime) -> Claimed:
        try:
            record = await self._appender.recall(asked.key, now)
            since = await self._appender.keys_since()
        except (Unavailable, Overloaded) as error:
            log.warning(
                "the log cannot be asked for a key; the request is marked", error=str(error)
            )
            return First(asked, marked=True)
        if record is None:
            young = now - since < KEPT_FOR
            return First(asked, marked=young or self._is_uncertain(asked.key, now))
        if not record.value:  # A person was erased, and what was kept here with them.
            return First(asked, marked=True)
        kept = msgspec.msgpack.decode(record.value, type=Kept)
        return Replay(kept) if kept.digest == asked.digest else Mismatch()

    def _is_uncertain(self, key: bytes, now: datetime) -> bool:
        if self._all_uncertain_until is not None and now < self._all_uncertain_until:
            return True
        return self._uncertain.get(key, now) > now

    def _remember_uncertain(self, key: bytes, now: datetime) -> None:
        self._uncertain[key] = now + KEPT_FOR
        self._uncertain.move_to_end(key)
        while self._uncertain:
            oldest = next(iter(self._uncertain.values()))
            if oldest > now and len(self._uncertain) <= _MAX_UNCERTAIN:
                return
            self._uncertain.popitem(last=False)
            if oldest > now:
                self._all_uncertain_until = now + KEPT_FOR


def read_key(header: bytes) -> str:
    """The key in an `Idempotency-Key` header, quoted or bare; raises `Refusal`."""
    text = header.decode("latin-1").strip()
    quoted = _QUOTED.fullmatch(text)
    if quoted is not None:
        return re.sub(r'\\(["\\])', r"\1", quoted[1])
    if not text.startswith('"') and _BARE.fullmatch(text):
        return text
    raise Refusal(
        BAD_KEY_HEADER,
        "Idempotency-Key must be 1 to 255 printable ASCII characters, quoted or not; "
        f"this one {_fault_of(text)}; use, say, a UUID",
    )


def _fault_of(text: str) -> str:
    if not (text.isascii() and text.isprintable()):
        return "has others, too"
    inside = text.strip('"')
    if len(inside) > _MOST_CHARACTERS or not inside:
        return f"has {len(inside)}"
    return "has a quote that does not end, or one in it without a backslash before"


def key_hash(workspace_id: str, endpoint: str, key: str) -> bytes:
    """Under what a key is kept: it belongs to its workspace and endpoint."""
    return hashlib.sha256("\x1f".join((workspace_id, endpoint, key)).encode()).digest()


def digest_of(body: Body) -> bytes:
    """What tells two bodies apart, decompressed."""
    return hashlib.sha256(body).digest()
