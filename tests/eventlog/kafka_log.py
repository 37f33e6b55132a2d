"""A log on the real broker for tests, each with a topic and a group of its own.

Owns what may be done to it from outside: by Kafka's own tools, or by fate.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import msgspec
from aiokafka.admin import (
    AIOKafkaAdminClient,
    RecordsToDelete,
)
from aiokafka.admin.config_resource import (
    ConfigResource,
    ConfigResourceType,
)
from aiokafka.errors import for_code
from aiokafka.protocol.admin import DeleteGroupsRequest
from aiokafka.protocol.group import LeaveGroupRequest
from aiokafka.structs import TopicPartition

from headrace.eventlog.kafka.appender import KafkaAppender
from headrace.eventlog.kafka.membership import KafkaMembership
from headrace.eventlog.kafka.options import KafkaOptions
from headrace.eventlog.kafka.topic import TopicPlan, prepare_topic
from headrace.eventlog.port import Appender, Assignment, Membership
from headrace.runtime.clock import ManualClock, SystemClock
from headrace.schemas.errors import Overloaded, Unavailable
from tests.eventlog.adapters import until
from tests.services.kafka import KafkaServer

AS_MADE = {
    "cleanup.policy": "delete",
    "max.message.bytes": "16777216",
    "message.timestamp.type": "LogAppendTime",
    "min.insync.replicas": "1",
    "retention.ms": "604800000",
}


def options_for(broker: KafkaServer | str, **changes: Any) -> KafkaOptions:
    """Options with a topic and a group that nobody else has."""
    address = broker if isinstance(broker, str) else broker.bootstrap
    name = uuid4().hex[:12]
    options = KafkaOptions(brokers=(address,), topic=f"events.{name}", group=f"group.{name}")
    return msgspec.structs.replace(options, **changes)


async def made(options: KafkaOptions, partitions: int = 1, **plan: Any) -> KafkaOptions:
    """The same options, their topic made."""
    await prepare_topic(options, TopicPlan(partitions=partitions, **plan))
    return options


@asynccontextmanager
async def appending(options: KafkaOptions, **changes: Any) -> AsyncIterator[KafkaAppender]:
    """An appender that is connected; stopped in the end."""
    appender = KafkaAppender.open(msgspec.structs.replace(options, **changes), SystemClock())
    try:
        await writable(appender)
        yield appender
    finally:
        await appender.stop()


async def writable(appender: Appender) -> None:
    """Wait until the appender says that it is."""

    async def is_writable() -> bool:
        return appender.is_writable()

    await until(is_writable)


class Tools:
    """What a person can do to the topic and the group with Kafka's own tools."""

    def __init__(self, options: KafkaOptions) -> None:
        self._options = options

    async def configure(self, **config: str) -> None:
        """Set the topic's configuration; `_` stands for `.` in the names.

        What is not named is as `headrace migrate` made it: the request replaces everything.
        """
        named = {**AS_MADE, **{name.replace("_", "."): value for name, value in config.items()}}
        resource = ConfigResource(ConfigResourceType.TOPIC, self._options.topic, named)
        async with self._admin() as admin:
            await admin.alter_configs([resource])

    async def delete_topic(self) -> None:
        async with self._admin() as admin:
            await admin.delete_topics([self._options.topic])

    async def delete_records(self, before: Mapping[int, int]) -> None:
        """Retention: `before` is the earliest position left, by partition."""
        wanted = {
            TopicPartition(self._options.topic, partition): RecordsToDelete(position)
            for partition, position in before.items()
        }
        async with self._admin() as admin:
            await admin.delete_records(wanted)

    async def delete_group(self) -> None:
        """Lose what was committed; nobody may be a member."""
        await self._ask_coordinator(DeleteGroupsRequest([self._options.group]))

    async def remove_member(self, name: str) -> None:
        """What the broker does to a member that is silent for too long."""
        await self._ask_coordinator(LeaveGroupRequest(self._options.group, name))

    async def _ask_coordinator(self, request: Any) -> None:
        async with self._admin() as admin:
            node = await admin.find_coordinator(self._options.group)
            answer = await admin._client.send(node, request)
            results = getattr(answer, "results", [("", getattr(answer, "error_code", 0))])
            for _, code in results:
                if code:
                    raise for_code(code)

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=list(self._options.brokers))
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()


class KafkaLogUnderTest:
    """The contract suite's log, of one partition."""

    has_own_time = True

    def __init__(self, options: KafkaOptions) -> None:
        self.clock = ManualClock()
        self.options = options
        self.tools = Tools(options)
        self.appender: Appender = KafkaAppender.open(options, self.clock)
        self._memberships: list[KafkaMembership] = []

    @classmethod
    async def open(cls, broker: KafkaServer) -> KafkaLogUnderTest:
        log = cls(await made(options_for(broker)))
        await writable(log.appender)
        return log

    def membership(self) -> Membership:
        membership = KafkaMembership(self.options, self.clock)
        self._memberships.append(membership)
        return membership

    async def restart_appender(self) -> None:
        await self.appender.stop()
        self.appender = KafkaAppender.open(self.options, self.clock)
        await writable(self.appender)

    async def freeze_owner(self) -> None:
        """The newest member says nothing any more, until the broker removes it."""
        await freeze(self._memberships[-1], self.tools)

    async def forget_commits(self) -> None:
        await self.tools.delete_group()

    async def drop_settled(self, assignment: Assignment, earliest: int) -> None:
        await self.tools.delete_records({assignment.partition: earliest})

    async def break_appends(self) -> None:
        await self.tools.configure(max_message_bytes="50")

    async def mend_appends(self) -> None:
        await self.tools.configure()

    async def replace(self) -> None:
        await self.tools.delete_topic()
        await made_anew(self.options)
        await self.restart_appender()

    async def stop(self) -> None:
        await self.appender.stop()


async def freeze(membership: KafkaMembership, tools: Tools) -> None:
    """Stop the member's heartbeats, and have the broker remove it for that."""
    held = membership._held[0]
    coordinator = held._group._coordinator
    assert coordinator is not None
    for task in (coordinator._coordination_task, coordinator._heartbeat_task):
        task.cancel()
        await asyncio.wait([task])
    await tools.remove_member(coordinator.member_id)


async def made_anew(options: KafkaOptions, partitions: int = 1) -> None:
    """Make the topic again, as soon as the old one is gone."""

    async def is_made() -> bool:
        try:
            made = await prepare_topic(options, TopicPlan(partitions=partitions))
        except (Overloaded, Unavailable):
            return False
        return made.what == "was made"

    await until(is_made)
