"""What the collector's tests begin with."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.collector.trial import Trial

# Other work on the machine must not fail a test.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture
def trial() -> Trial:
    """A collector on the log in memory, at a time that stands still."""
    return Trial()
