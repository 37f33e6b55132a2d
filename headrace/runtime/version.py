"""Which Headrace this is."""

from __future__ import annotations

import functools


@functools.cache
def headrace_version() -> str:
    """The version of the installed package."""
    from importlib.metadata import version

    return version("headrace")
