"""Events of people who were erased: rejected, and nothing of them kept.

Owns when the list of them is read: before a partition is worked on, and then once a second beside
the work. While the store is away nothing is written either, and the erasure itself looks until
nothing more comes (`store/erasing.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from headrace.processor.ranges import Range
from headrace.schemas.erased import ErasedIds, is_erased
from headrace.schemas.errors import HeadraceError
from headrace.schemas.nobody import is_nobody
from headrace.schemas.outcomes import Code, Rejected
from headrace.store.port import Store

REFRESH_SECONDS: Final = 1.0
_ERASED: Final = Rejected(Code.ERASED, "the person was erased")


class Erased:
    """One for all workers of a process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ids: ErasedIds = {}

    async def refresh(self) -> None:
        """Read the list; raises `HeadraceError` if the store does not answer."""
        self._ids = await self._store.erased_ids()

    async def follow(self) -> None:
        """Keep it fresh, until cancelled."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            with contextlib.suppress(HeadraceError):
                await self.refresh()

    def reject(self, range_: Range) -> None:
        """The step: costs nothing where nobody was erased, and a hash an event elsewhere."""
        ids = self._ids
        if not ids:
            return
        fields = range_.fields
        assert fields is not None  # `decode` made them; a blank is nobody's
        for record, workspace_id, user_id, anonymous_id in zip(
            range_.records,
            fields.workspace_ids,
            fields.user_ids,
            fields.anonymous_ids,
            strict=True,
        ):
            digests = ids.get(workspace_id)
            if digests and is_erased(digests, workspace_id, _known(user_id), _known(anonymous_id)):
                range_.rejected[record.position] = _ERASED


def _known(identifier: str) -> str | None:
    return None if is_nobody(identifier) else identifier
