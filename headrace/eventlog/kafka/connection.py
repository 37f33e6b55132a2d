"""The cluster as both sides see it: the way in, the topic by its id, who leads what.

Owns the questions both sides ask, and the sentences about a cluster that cannot be reached. How
long a broker may take, and that none holds up the others, is in `client.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headrace.eventlog.kafka.client import Client
from headrace.eventlog.kafka.driver import (
    ConnectionGroup,
    TopicPartition,
    errors,
)
from headrace.eventlog.kafka.errors import describe, unanswered
from headrace.eventlog.kafka.options import KafkaOptions
from headrace.eventlog.kafka.protocol import TopicRequest
from headrace.schemas.errors import Unavailable

# A broker works on one request of a connection at a time, and some wait: for records, for other
# members. What must not wait with them has a connection of its own.
QUESTIONS: Final = ConnectionGroup.DEFAULT
GROUP: Final = ConnectionGroup.COORDINATION
RECORDS: Final = "records"


class Topic(msgspec.Struct, frozen=True):
    """A topic as the cluster describes it, partition by partition; a leader of -1 is none."""

    topic_id: bytes
    leaders: Mapping[int, int]
    in_sync: Mapping[int, int]
    """How many replicas of a partition are in sync."""
    replication: int

    @property
    def log_id(self) -> str:
        return self.topic_id.hex()


class Brokers:
    """The cluster, once one of its brokers has answered."""

    def __init__(self, options: KafkaOptions, client: Client) -> None:
        self.options = options
        self.client = client

    @classmethod
    async def open(cls, options: KafkaOptions) -> Brokers:
        """Connect to any broker; raises `Unavailable` with the reason of the last one tried."""
        try:
            client = Client(options)
        except (OSError, ValueError) as error:  # a certificate, or how to log in
            raise Unavailable(f"the settings for Kafka cannot be used: {error}") from error
        try:
            await client.connect()
        except (errors.KafkaError, OSError) as error:
            raise _why_not(", ".join(options.brokers), error) from error
        return cls(options, client)

    async def ask(
        self,
        request: Any,
        node: int,
        *,
        group: Any = QUESTIONS,
        seconds: float | None = None,
        what: str,
    ) -> Any:
        """The answer of one broker; raises `Unavailable`."""
        try:
            return await self.client.send(node, request, group=group, seconds=seconds)
        except (errors.KafkaError, NotImplementedError) as error:
            raise unanswered(error, what) from error

    async def ask_any(self, request: Any, *, what: str) -> Any:
        """The answer of any broker; raises `Unavailable`."""
        try:
            return await self.client.send_any(request)
        except (errors.KafkaError, NotImplementedError) as error:
            raise unanswered(error, what) from error

    async def topic(self) -> Topic | None:
        """Our topic as it is now, None if it is not there. Raises `Unavailable`."""
        name = self.options.topic
        answer = await self.ask_any(TopicRequest(name), what=f"looking up topic {name}")
        (error_code, _, topic_id, _, partitions, _, _) = answer.topics[0]
        error = errors.for_code(error_code)
        if error is errors.UnknownTopicOrPartitionError:
            return None
        if error not in (errors.NoError, errors.LeaderNotAvailableError):
            raise unanswered(error(), f"looking up topic {name}")
        partitions = sorted(partitions, key=lambda partition: partition[1])
        return Topic(
            topic_id,
            leaders={partition: leader for _, partition, leader, *_ in partitions},
            in_sync={partition: len(in_sync) for _, partition, _, _, _, in_sync, *_ in partitions},
            replication=min((len(replicas) for *_, replicas, _, _, _ in partitions), default=0),
        )

    def leader(self, partition: int) -> int | None:
        """The broker that leads a partition of our topic; None asks the cluster again."""
        place = TopicPartition(self.options.topic, partition)
        node = self.client.cluster.leader_for_partition(place)
        if node is None or node == -1:
            self.refresh()
            return None
        return int(node)

    def refresh(self) -> None:
        """Ask who leads what, in the background."""
        self.client.add_topic(self.options.topic)
        self.client.force_metadata_update()

    async def follow_topic(self) -> None:
        """Keep knowing who leads our topic's partitions; returns when it is known once."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.options.connect_seconds):
                await self.client.add_topic(self.options.topic)

    def abort(self) -> None:
        """Drop every connection at once: what was sent may have arrived."""
        self.client.abort()


def _why_not(where: str, trouble: BaseException) -> Unavailable:
    if isinstance(trouble, TimeoutError):
        return Unavailable(f"Kafka at {where} takes connections but does not answer")
    if isinstance(trouble, OSError):
        if isinstance(trouble, ssl.SSLError):
            return Unavailable(
                f"Kafka at {where} and we do not agree on TLS ({trouble}); see "
                "HEADRACE_KAFKA_SECURITY and HEADRACE_KAFKA_TLS_CA"
            )
        return Unavailable(
            f"Kafka at {where} cannot be reached ({trouble or type(trouble).__name__}); is it "
            "running, and does it listen there as HEADRACE_KAFKA_SECURITY says?"
        )
    return Unavailable(
        f"Kafka at {where} cannot be used: {describe(trouble)}; does it listen there as "
        "HEADRACE_KAFKA_SECURITY says, or ask for a client's certificate "
        "(HEADRACE_KAFKA_TLS_CERTIFICATE)?"
    )
