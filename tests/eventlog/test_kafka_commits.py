"""The text beside a committed position: which log it is of, and the range that was begun."""

from __future__ import annotations

import pytest

from headrace.eventlog.kafka.commits import format_metadata, parse_committed
from headrace.eventlog.port import Committed

OURS, OTHER = "0123456789abcdef" * 2, "f" * 32


@pytest.mark.parametrize("committed", [Committed(0), Committed(7), Committed(7, 12)])
def test_what_was_committed_is_read_back(committed: Committed) -> None:
    """Position and pending range survive."""
    metadata = format_metadata(committed, OURS)
    assert parse_committed(committed.position, metadata, OURS) == committed


def test_a_commit_for_another_log_is_none_for_this_one() -> None:
    """A topic deleted and made anew begins without a position, whatever the group remembers."""
    assert parse_committed(7, format_metadata(Committed(7, 12), OTHER), OURS) is None


@pytest.mark.parametrize("metadata", [None, "", "moved by hand", OURS[:-1], OURS.upper()])
def test_a_position_set_with_other_tools_counts(metadata: str | None) -> None:
    """Who resets the group's offsets by hand leaves no text of ours, and means the position."""
    assert parse_committed(7, metadata, OURS) == Committed(7)


def test_no_position_is_none() -> None:
    """Kafka says -1 where nothing was committed."""
    assert parse_committed(-1, "", OURS) is None
