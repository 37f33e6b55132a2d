"""What is fixed for a log's life: checked whenever somebody says what a log is like now.

Pure. Shared by what keeps logs (`database.py`, `memory.py`).
"""

from __future__ import annotations

from headrace.workspaces.errors import OtherPartitions
from headrace.workspaces.port import Log


def same_partitions(known: Log, partitions: int) -> Log:
    """`known` if it has that many partitions; raises `OtherPartitions` if not."""
    if known.partitions == partitions:
        return known
    raise OtherPartitions(
        f"the log {known.name} ({known.id}) was made with {known.partitions} partitions and has "
        f"{partitions} now. The number is fixed for a log's life, for a person's events follow one "
        "another in one of them: make a topic of another name with as many as you want "
        "(HEADRACE_KAFKA_TOPIC), and let the processors drain the old one."
    )
