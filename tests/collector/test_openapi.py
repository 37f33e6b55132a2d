"""The description holds: what a generator makes of it is answered as it says."""

from __future__ import annotations
