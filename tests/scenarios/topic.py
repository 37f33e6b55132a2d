"""What Kafka itself says of the log, and what may be done to it behind Headrace's back.

Owns the questions and the mischief; each call connects anew, past any proxy. Offsets of a group
may be moved only while it has no members.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from tests.services.kafka import PASSWORD, USERNAME, KafkaServer

TOPIC: Final = "headrace.events"
GROUP: Final = "headrace-processor"


class Topic:
    """The topic of a cluster on its broker."""

    def __init__(self, broker: KafkaServer) -> None:
        self._login: dict[str, Any] = {
            "bootstrap_servers": broker.address("SASL_PLAINTEXT"),
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "PLAIN",
            "sasl_plain_username": USERNAME,
            "sasl_plain_password": PASSWORD,
            "request_timeout_ms": 10_000,
        }

    async def ends(self) -> dict[int, tuple[int, int]]:
        """Partition → `(earliest, end)`."""
        async with self._consumer() as consumer:
            partitions = await _partitions(consumer)
            earliest = await consumer.beginning_offsets(partitions)
            ends = await consumer.end_offsets(partitions)
        return {each.partition: (earliest[each], ends[each]) for each in partitions}

    async def committed(self, group: str = GROUP) -> dict[int, int]:
        """Partition → the position that the group committed last; 0 if it never did."""
        async with self._admin() as admin:
            offsets = await _patiently(lambda: admin.list_consumer_group_offsets(group))
        return {each.partition: max(value.offset, 0) for each, value in offsets.items()}

    async def unsettled(self, group: str = GROUP) -> int:
        """Records that were appended and are not settled yet."""
        ends, committed = await self.ends(), await self.committed(group)
        return sum(end - committed.get(each, first) for each, (first, end) in ends.items())

    async def is_group_empty(self, group: str = GROUP) -> bool:
        """Whether the group has no members, as the broker sees it."""
        async with self._admin() as admin:
            [answer] = await _patiently(lambda: admin.describe_consumer_groups([group]))
        [(_, _, state, *_)] = answer.groups
        return bool(state in {"Empty", "Dead"})

    async def move(self, positions: Mapping[int, int], group: str = GROUP) -> None:
        """Commit these positions for the group, as nobody should."""
        async with self._consumer(group_id=group) as consumer:
            await consumer.commit(
                {
                    TopicPartition(TOPIC, partition): OffsetAndMetadata(position, "")
                    for partition, position in positions.items()
                }
            )

    async def delete(self) -> None:
        """Delete the topic; the commits of its groups go with it."""
        async with self._admin() as admin:
            await admin.delete_topics([TOPIC])

    async def alter(self, settings: Mapping[str, str]) -> None:
        """Change settings of the topic."""
        async with self._admin() as admin:
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, TOPIC, settings)])

    async def append(self, value: bytes, key: bytes = b"stranger") -> None:
        """Put any bytes into the log, as any other producer may."""
        producer = AIOKafkaProducer(**self._login, max_request_size=32 * 1024 * 1024)
        await producer.start()
        try:
            await producer.send_and_wait(TOPIC, value, key=key)
        finally:
            await producer.stop()

    @contextlib.asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(**self._login)
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()

    @contextlib.asynccontextmanager
    async def _consumer(self, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(**self._login, enable_auto_commit=False, **options)
        try:
            await consumer.start()
            consumer.assign(await _partitions(consumer))
            yield consumer
        finally:
            await consumer.stop()


async def _patiently(ask: Callable[[], Awaitable[Any]]) -> Any:
    """A broker that has just started does not know yet where its groups are."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return await ask()
        except KafkaError as error:
            if not error.retriable or time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)


async def _partitions(consumer: AIOKafkaConsumer) -> list[TopicPartition]:
    await consumer._client.force_metadata_update()
    found = consumer.partitions_for_topic(TOPIC) or set()
    return [TopicPartition(TOPIC, partition) for partition in sorted(found)]
