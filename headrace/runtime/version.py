"""Which Headrace this is, and what it runs on."""

from __future__ import annotations

import functools
import platform
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.runtime.settings import Settings


@functools.cache
def headrace_version() -> str:
    """The version of the installed package."""
    from importlib.metadata import version

    return version("headrace")


def describe_build(settings: Settings) -> dict[str, str]:
    """The labels of `headrace_build`: versions, and which adapters the settings choose."""
    return {
        "version": headrace_version(),
        "python": platform.python_version(),
        "log": "kafka" if settings.kafka else "sqlite",
        "store": "clickhouse" if settings.clickhouse else "embedded",
        "keys": "redis" if settings.redis else "log",
        "control": "postgresql" if settings.database else "sqlite",
    }
