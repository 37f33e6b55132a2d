"""What every test of the processor runs under."""

from __future__ import annotations

from tests.processor.trial import quiet

__all__ = ["quiet"]
