"""What the collector's tests begin with."""

from __future__ import annotations

import pytest

from tests.collector.trial import Trial


@pytest.fixture(params=["the long way", "express"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test runs twice: clients' requests go the one way, or the other where they may."""
    monkeypatch.setattr(Trial, "goes_express", request.param == "express")


@pytest.fixture
def trial() -> Trial:
    """A collector on the log in memory, at a time that stands still."""
    return Trial()
