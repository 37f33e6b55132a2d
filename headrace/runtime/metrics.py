"""Every metric, declared once, with bounded labels: never an event name, a user or a workspace.

Stages import what they count from here; `GET /metrics` of each process shows its own.
`tests/test_docs.py` holds `docs/metrics.md` against this file.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Counted
from collections.abc import Sequence
from functools import partial
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_LATENCY: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS: Final = (1, 10, 100, 1_000, 5_000, 10_000, 25_000, 50_000, 100_000)


class WeightedHistogram(Histogram):
    """A histogram that takes many observations at once: one by one they cost 2 µs each."""

    def observe_many(self, amount: float, count: float) -> None:
        """As `observe(amount)`, so many times."""
        self._sum.inc(amount * count)
        for bound, bucket in zip(self._upper_bounds, self._buckets, strict=True):
            if amount <= bound:
                bucket.inc(count)
                return

    def observe_all(self, amounts: Sequence[float]) -> None:
        """As `observe` of each."""
        self._sum.inc(sum(amounts))
        found = Counted(map(partial(bisect_left, self._upper_bounds), amounts))
        for index, count in found.items():
            self._buckets[index].inc(count)


# collector
REQUESTS: Final = Counter(
    "headrace_requests", "Requests answered, by endpoint and status.", ["endpoint", "status"]
)
REQUEST_SECONDS: Final = WeightedHistogram(
    "headrace_request_seconds", "From headers to answer.", ["endpoint"], buckets=_LATENCY
)
EVENTS_ACCEPTED: Final = Counter("headrace_events_accepted", "Events appended to the log.")
EVENTS_REFUSED: Final = Counter(
    "headrace_events_refused", "Events refused in the answer, by code.", ["code"]
)
BYTES_IN_FLIGHT: Final = Gauge("headrace_bytes_in_flight", "Request bodies held right now.")
AUTH_FAILURES: Final = Counter(
    "headrace_auth_failures", "Requests without a usable key, by reason.", ["reason"]
)
LIMITER_DECISIONS: Final = Counter(
    "headrace_limiter_decisions", "Rate limit: allowed, refused, would_refuse.", ["decision"]
)
IDEMPOTENCY_DECISIONS: Final = Counter(
    "headrace_idempotency_decisions",
    "Idempotency-Key: first, marked, replayed, mismatch, running.",
    ["decision"],
)
GATE_DECISIONS: Final = Counter(
    "headrace_gate_decisions",
    "With HEADRACE_REDIS: who decided on limit and key: redis, or the collector alone (local).",
    ["store"],
)
REDIS_UP: Final = Gauge("headrace_redis_up", "1 while the collector uses Redis, else 0.")
REDIS_SECONDS: Final = Histogram(
    "headrace_redis_seconds",
    "Round trips to Redis; calls of the same moment share one.",
    buckets=_LATENCY,
)
REDIS_FALLBACKS: Final = Counter(
    "headrace_redis_fallbacks",
    "Calls without an answer of Redis: down, broken (50 ms, or the connection), refused, late.",
    ["reason"],
)

# eventlog
APPEND_SECONDS: Final = Histogram(
    "headrace_append_seconds", "Hand-over to durable, per commit.", buckets=_LATENCY
)
APPEND_RECORDS: Final = Histogram(
    "headrace_append_records", "Records per commit of the log.", buckets=_ROWS
)
APPEND_FAILURES: Final = Counter(
    "headrace_append_failures", "Commits of the log that failed, by kind.", ["kind"]
)
LOG_BYTES: Final = Gauge("headrace_log_bytes", "Bytes of records the local log holds.")

# processor
RECORDS_SETTLED: Final = Counter(
    "headrace_records_settled", "Records by outcome: stored, rejected, duplicate.", ["outcome"]
)
RECORDS_REJECTED: Final = Counter(
    "headrace_records_rejected", "Records rejected by the processor, by code.", ["code"]
)
INSERT_SECONDS: Final = Histogram(
    "headrace_insert_seconds", "One range: announced to links, waits included.", buckets=_LATENCY
)
INSERT_ROWS: Final = Histogram("headrace_insert_rows", "Records per range.", buckets=_ROWS)
BLOCK_SECONDS: Final = Histogram(
    "headrace_block_seconds",
    "One block on its way into the store, by table: events, rejected, duplicates, links (those of "
    "several partitions share an insert, and each counts, its wait for the one before included).",
    ["table"],
    buckets=_LATENCY,
)
IDENTITIES_SECONDS: Final = Histogram(
    "headrace_identities_seconds",
    "Making links count that were inserted, all that wait for it at once.",
    buckets=_LATENCY,
)
RETRIES: Final = Counter(
    "headrace_retries",
    "Waits for log or store, by step (take over, read, write, commit) and kind of trouble.",
    ["step", "kind"],
)
COMMITS: Final = Counter(
    "headrace_commits", "Positions committed: announced (a range is begun), settled.", ["kind"]
)
LAG_RECORDS: Final = Gauge("headrace_lag_records", "Records not settled yet.", ["partition"])
LAG_SECONDS: Final = Gauge(
    "headrace_lag_seconds", "Age of the oldest record not settled yet.", ["partition"]
)
EVENT_TO_TABLE_SECONDS: Final = WeightedHistogram(
    "headrace_event_to_table_seconds", "Receipt to row, of every event stored.", buckets=_LATENCY
)
SETTLED_AT: Final = Gauge(
    "headrace_settled_timestamp_seconds", "When a range was settled last, in Unix time."
)
ASSIGNMENTS: Final = Gauge("headrace_assignments", "Partitions this process works on now.")
ASSIGNMENTS_BEGUN: Final = Counter(
    "headrace_assignments_begun", "Partitions given to this process: moves with every rebalance."
)
ASSIGNMENTS_ENDED: Final = Counter(
    "headrace_assignments_ended", "Partitions given up: revoked, fenced, failed.", ["how"]
)
BREAKER_TRIPPED: Final = Gauge(
    "headrace_breaker_tripped", "1 from when the breaker stopped this process to its end."
)
BREAKER_SHARE: Final = Gauge(
    "headrace_breaker_share", "Share of a minute's records with one reason, when looked at last."
)

# store
STORE_QUERIES: Final = Counter(
    "headrace_store_queries",
    "Queries the embedded store ran, by role and result.",
    ["role", "result"],
)
STORE_RUNNING: Final = Gauge("headrace_store_running", "Queries running right now.", ["role"])

# every process
READY: Final = Gauge(
    "headrace_ready", "What `/readyz` says: 1 or 0, by check and for `all` together.", ["check"]
)
SPANS: Final = Counter(
    "headrace_spans", "With HEADRACE_TRACES: spans on their way out, sent or lost.", ["result"]
)
BUILD: Final = Gauge(
    "headrace_build",
    "Always 1; what runs on what is in the labels.",
    ["version", "python", "log", "store", "keys", "control"],
)
