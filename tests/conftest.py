"""Which real services tests may ask for, and what every run ends with: which were missing."""

from __future__ import annotations

import signal
from collections import Counter

import pytest
from hypothesis import settings

from tests.services.missing import LEFT_OUT, told

pytest_plugins = ["tests.services.kafka", "tests.services.postgres", "tests.services.redis"]
"""Here and not imported: a fixture imported twice is a server started twice."""


# Other work on the machine must not fail a test.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

# Started in the background by a script, a suite ignores SIGINT, and so would all that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Which tests were left out, file by file, and how to have them."""
    if not LEFT_OUT:
        return
    terminalreporter.section("left out, for want of a service")
    skipped = terminalreporter.stats.get("skipped", [])
    for service, how in sorted(LEFT_OUT.items()):
        terminalreporter.line(f"{service}: {how}")
        files = Counter(
            report.nodeid.partition("::")[0]
            for report in skipped
            if report.longrepr[-1].endswith(told(service, how))
        )
        for file, count in sorted(files.items()):
            terminalreporter.line(f"  {file}: {count} {'test' if count == 1 else 'tests'}")
