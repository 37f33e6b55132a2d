"""What a group commits for a partition of ours, as Kafka keeps it: a position and a text.

The text names the log, so that positions of a topic that was deleted are never taken for those
of the one made anew under its name, and the end of the range that was begun.
"""

from __future__ import annotations

from headrace.eventlog.port import Committed


def format_metadata(committed: Committed, log_id: str) -> str:
    """`<log id>` or `<log id> <last position of the pending range>`."""
    if committed.pending_to is None:
        return log_id
    return f"{log_id} {committed.pending_to}"


def parse_committed(position: int, metadata: str | None, log_id: str) -> Committed | None:
    """What was committed for the log, if anything; a text that is not ours leaves the position.

    A person who sets the group's offsets with Kafka's own tools leaves no text, and means it.
    """
    if position < 0:
        return None
    named, _, pending_to = (metadata or "").partition(" ")
    if not _is_log_id(named):
        return Committed(position)
    if named != log_id:
        return None
    return Committed(position, int(pending_to) if pending_to.isdecimal() else None)


def _is_log_id(text: str) -> bool:
    return len(text) == 32 and all(character in "0123456789abcdef" for character in text)
