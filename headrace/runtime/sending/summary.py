"""What became of an import: counts, and the first lines of each kind of trouble.

Bounded: reasons are kept by code. How a person sees it is `commands/send.py`'s.
"""

from __future__ import annotations

from typing import Final

import msgspec

MAX_REASONS: Final = 100
"""Distinct codes kept; a collector has a dozen, so this only stops a strange one."""
EXIT_ALL_ACCEPTED: Final = 0
EXIT_STOPPED: Final = 1
EXIT_SOME_NOT_ACCEPTED: Final = 3
EXIT_INTERRUPTED: Final = 130


class Reason(msgspec.Struct):
    """How often one thing was wrong, and where it was first."""

    count: int
    example: str
    lines: list[int]

    def where(self) -> str:
        shown = ", ".join(map(str, self.lines))
        return f"{shown}, …" if self.count > len(self.lines) else shown


class Summary(msgspec.Struct):
    """Counts of one import so far."""

    lines_read: int = 0
    accepted: int = 0
    replayed: int = 0
    """Of `accepted`: answered again by the collector, taken by an earlier try."""
    rejected: int = 0
    unreadable: int = 0
    seconds: float = 0.0
    rejected_by: dict[str, Reason] = {}
    unreadable_by: dict[str, Reason] = {}

    def note_unreadable(self, code: str, reason: str, line: int) -> None:
        """A line that is no event."""
        self.unreadable += 1
        _note(self.unreadable_by, code, reason, line)

    def note_rejected(self, code: str, reason: str, line: int) -> None:
        """An event that the collector did not take."""
        self.rejected += 1
        _note(self.rejected_by, code, reason, line)

    @property
    def exit_code(self) -> int:
        """For an import that came to its end."""
        whole = not self.rejected and not self.unreadable
        return EXIT_ALL_ACCEPTED if whole else EXIT_SOME_NOT_ACCEPTED


def _note(reasons: dict[str, Reason], code: str, example: str, line: int) -> None:
    code = code if code in reasons or len(reasons) < MAX_REASONS else "other"
    reason = reasons.setdefault(code, Reason(0, example, []))
    reason.count += 1
    if len(reason.lines) < 3:
        reason.lines.append(line)
