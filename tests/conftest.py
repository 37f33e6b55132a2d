"""What every test run ends with: which services were missing, and how to have them."""

from __future__ import annotations

import pytest

from tests.services.missing import LEFT_OUT


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not LEFT_OUT:
        return
    terminalreporter.section("left out, for want of a service")
    for service, how in sorted(LEFT_OUT.items()):
        terminalreporter.line(f"{service}: {how}")
