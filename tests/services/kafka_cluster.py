"""Several real Kafka brokers as one cluster, for what only replicas can show.

Owns making them one; each broker is a `KafkaServer` that may be frozen and killed by itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from tests.services.kafka import KafkaServer, new_cluster_id
from tests.services.server import READY_SECONDS


class KafkaCluster:
    """Brokers that are controllers, too; a context manager. Topics are on all of them."""

    def __init__(self, root: Path, nodes: int = 3) -> None:
        cluster_id = new_cluster_id()
        self.brokers = [
            KafkaServer(root / str(node), cluster_id=cluster_id) for node in range(1, nodes + 1)
        ]
        voters = ",".join(f"{node}@{broker.controller}" for node, broker in self._numbered())
        for node, broker in self._numbered():
            broker.properties |= {
                "node.id": str(node),
                "controller.quorum.voters": voters,
                "offsets.topic.replication.factor": str(nodes),
            }

    def __getitem__(self, node: int) -> KafkaServer:
        """A broker by its number, from 1 on."""
        return self.brokers[node - 1]

    @property
    def bootstrap(self) -> tuple[str, ...]:
        """`host:port` of every broker."""
        return tuple(broker.bootstrap for broker in self.brokers)

    def __enter__(self) -> Self:
        for broker in self.brokers:
            broker.root.mkdir(parents=True)
            broker.launch()  # alone none is ready: they need a majority
        deadline = time.monotonic() + READY_SECONDS
        while not all(broker.is_ready() for broker in self.brokers):
            assert time.monotonic() < deadline, [broker.said()[-1000:] for broker in self.brokers]
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        for broker in self.brokers:
            broker.kill()

    def _numbered(self) -> Iterator[tuple[int, KafkaServer]]:
        return enumerate(self.brokers, start=1)
