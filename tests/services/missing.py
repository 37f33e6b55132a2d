"""Services that tests need and a machine may lack: left out with a word, never in CI.

Owns what happens then. `tests/conftest.py` prints, at the end of a run, what was left out and how
to have it.
"""

from __future__ import annotations

import os
from typing import Final, NoReturn

import pytest

LEFT_OUT: Final[dict[str, str]] = {}
"""Service → how to have it, for those that a test asked for in vain."""


def is_ci() -> bool:
    """Whether a missing service is a failure."""
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def leave_out(service: str, how: str) -> NoReturn:
    """Skip what needs the service; in CI fail instead."""
    LEFT_OUT[service] = how
    if is_ci():
        pytest.fail(f"{service} is missing, and CI leaves nothing out: {how}", pytrace=False)
    pytest.skip(told(service, how))


def told(service: str, how: str) -> str:
    """Why a test was skipped."""
    return f"needs {service}: {how}"
