"""Connections to the brokers that never hang: every step has a limit, and `abort` is immediate.

Owns the way in (aiokafka's own start hides why it failed, and stopping waits for a frozen broker
for ever) and the questions both sides ask: the topic by its id, who leads what.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headrace.eventlog.kafka.driver import (
    AIOKafkaClient,
    ConnectionGroup,
    MetadataRequest,
    TopicPartition,
    collect_hosts,
    create_conn,
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

    def __init__(self, options: KafkaOptions, client: AIOKafkaClient) -> None:
        self.options = options
        self.client = client
        self._is_over = False

    @classmethod
    async def open(cls, options: KafkaOptions, *, request_seconds: float) -> Brokers:
        """Connect to any broker; raises `Unavailable` with the reason of the last one tried.

        Requests that get no answer within `request_seconds` fail, and so does their connection.
        """
        try:
            arguments = options.connection_arguments()
            client = AIOKafkaClient(
                bootstrap_servers=list(options.brokers),
                request_timeout_ms=int(request_seconds * 1000),
                metadata_max_age_ms=30_000,
                **arguments,
            )
        except (OSError, ValueError) as error:  # a certificate, or how to log in
            raise Unavailable(f"the settings for Kafka cannot be used: {error}") from error
        metadata = await _first_answer(options, arguments)
        client.cluster.update_metadata(metadata)
        client._sync_task = asyncio.create_task(client._md_synchronizer())
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
        if self._is_over:
            raise Unavailable(f"{what}: the connection to Kafka was given up")
        limit = seconds or self.options.answer_seconds
        try:
            async with asyncio.timeout(limit):
                return await self.client.send(node, request, group=group)
        except TimeoutError as error:
            raise Unavailable(f"{what}: broker {node} did not answer in {limit:g} s") from error
        except (errors.KafkaError, OSError, NotImplementedError) as error:
            raise unanswered(error, what) from error

    async def ask_any(self, request: Any, *, what: str) -> Any:
        """The answer of any broker: one that is gone or frozen is not asked twice in a row."""
        nodes = [broker.nodeId for broker in self.client.cluster.brokers()]
        random.shuffle(nodes)
        seconds = self.options.answer_seconds / len(nodes)
        for node in nodes[:-1]:
            with contextlib.suppress(Unavailable):
                return await self.ask(request, node, seconds=seconds, what=what)
        return await self.ask(request, nodes[-1], seconds=seconds, what=what)

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
        self._is_over = True
        client = self.client
        if client._sync_task is not None:
            client._sync_task.cancel()
        if client._md_update_fut is not None and not client._md_update_fut.done():
            client._md_update_fut.set_result(False)  # somebody may be waiting for it
        for connection in list(client._conns.values()):
            writer = connection._writer
            connection.close()
            if writer is not None:
                writer.transport.abort()  # closing would first flush to a broker that is frozen
        client._conns.clear()


async def _first_answer(options: KafkaOptions, arguments: Mapping[str, Any]) -> Any:
    trouble: BaseException | None = None
    for host, port, _ in collect_hosts(list(options.brokers)):
        try:
            connection = await create_conn(
                host,
                port,
                request_timeout_ms=int(options.connect_seconds * 1000),
                **arguments,
            )
            try:
                metadata = await connection.send(MetadataRequest([]))
            finally:
                connection.close()
            if metadata.brokers:
                return metadata
            trouble = errors.MetadataEmptyBrokerList()  # it has just started
        except (errors.KafkaError, OSError) as error:
            trouble = error
    where = ", ".join(options.brokers)
    raise _why_not(where, trouble) from trouble


def _why_not(where: str, trouble: BaseException | None) -> Unavailable:
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
    reason = "no broker is named" if trouble is None else describe(trouble)
    return Unavailable(
        f"Kafka at {where} cannot be used: {reason}; does it listen there as "
        "HEADRACE_KAFKA_SECURITY says?"
    )
