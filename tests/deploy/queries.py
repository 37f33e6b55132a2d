"""What a PromQL query asks for, and what there is to ask: names of series and their labels.

Owns the reading of queries, as far as finding names takes (that they are well-formed is promtool's
to say), and the list of series that Headrace's processes and their neighbours show.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from headrace.runtime import metrics

TARGET_LABELS: Final = frozenset({"job", "instance"})
"""Prometheus adds them to whatever it scrapes."""

NEIGHBOURS: Final[Mapping[str, frozenset[str]]] = {
    "up": frozenset(),
    # Set by the client library on Linux alone.
    "process_resident_memory_bytes": frozenset(),
    "process_cpu_seconds_total": frozenset(),
    "process_start_time_seconds": frozenset(),
    "process_open_fds": frozenset(),
    "process_max_fds": frozenset(),
    # ClickHouse's own, as deploy/clickhouse/prometheus.xml asks for.
    "ClickHouseAsyncMetrics_DiskAvailable_default": frozenset(),
    "ClickHouseAsyncMetrics_DiskTotal_default": frozenset(),
}

_SUFFIXES: Final = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
}
_WORDS: Final = frozenset(
    {"and", "or", "unless", "on", "ignoring", "group_left", "group_right", "by", "without"}
    | {"offset", "bool", "inf", "nan"}
)
_GROUPING: Final = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_MATCHER: Final = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_SERIES: Final = re.compile(r"(?<![\w:$.])([a-zA-Z_:][\w:]*)\b(?!\s*\()(?:\{([^}]*)\})?")
_RANGE: Final = re.compile(r"\[[^\]]*\]")


class Asked(msgspec.Struct, frozen=True):
    """One series of a query, and the labels by which it is chosen."""

    name: str
    labels: frozenset[str]


def asked(query: str) -> Iterator[Asked]:
    """The series a query names."""
    text = _GROUPING.sub(" ", _RANGE.sub(" ", query))
    for found in _SERIES.finditer(text):
        if found[1] not in _WORDS:
            yield Asked(found[1], frozenset(_MATCHER.findall(found[2] or "")))


def grouped_by(query: str) -> frozenset[str]:
    """The labels by which a query puts series together."""
    labels = ",".join(_GROUPING.findall(query)).split(",")
    return frozenset(label.strip() for label in labels if label.strip())


def existing_series() -> dict[str, frozenset[str]]:
    """Name of every series → its own labels."""
    declared = {
        value._name: frozenset(value._labelnames)
        for value in vars(metrics).values()
        if isinstance(value, MetricWrapperBase)
    }
    found = dict(NEIGHBOURS)
    for family in REGISTRY.collect():
        labels = {label for sample in family.samples for label in sample.labels}
        own = declared.get(family.name, frozenset(labels))
        for suffix in _SUFFIXES.get(family.type, ()):
            found[family.name + suffix] = own | ({"le"} if suffix == "_bucket" else set())
    return found


def faults(query: str, series: Mapping[str, frozenset[str]]) -> list[str]:
    """What a query asks for and would never get."""
    wanted = list(asked(query))
    problems = [f"there is no series {each.name}" for each in wanted if each.name not in series]
    for each in wanted:
        known = series.get(each.name, frozenset()) | TARGET_LABELS
        problems += [f"{each.name} has no label {label}" for label in sorted(each.labels - known)]
    anywhere = TARGET_LABELS.union(*(series.get(each.name, frozenset()) for each in wanted))
    problems += [
        f"nothing here has a label {label}" for label in sorted(grouped_by(query) - anywhere)
    ]
    return problems
