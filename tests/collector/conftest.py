"""What the collector's tests begin with."""

from __future__ import annotations

import pytest

from tests.collector.trial import Trial


@pytest.fixture
def trial() -> Trial:
    """A collector on the log in memory, at a time that stands still."""
    return Trial()
