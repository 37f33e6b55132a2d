"""What is counted at every request, handed to Prometheus only when somebody looks.

A counter of its own takes 1 µs and a histogram 2, which for single events made up a tenth of
the collector's work. Rare things are counted directly.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from prometheus_client import Counter

from headrace.runtime.metrics import WeightedHistogram

_KEPT_TIMES: Final = 10_000


class Tallies:
    """Counts and times since the last look. Used from the event loop alone."""

    def __init__(self) -> None:
        self._counts: defaultdict[Counter, int] = defaultdict(int)
        self._times: defaultdict[WeightedHistogram, list[float]] = defaultdict(list)

    def count(self, counter: Counter, many: int = 1) -> None:
        """Add to a counter."""
        self._counts[counter] += many

    def time(self, histogram: WeightedHistogram, seconds: float) -> None:
        """Observe a duration."""
        times = self._times[histogram]
        times.append(seconds)
        if len(times) >= _KEPT_TIMES:
            self.hand_over()

    def hand_over(self) -> None:
        """Give Prometheus what came together."""
        for counter, many in self._counts.items():
            counter.inc(many)
        for histogram, times in self._times.items():
            histogram.observe_all(times)
        self._counts.clear()
        self._times.clear()
