"""The topic from outside: made, looked at, found wanting; and how far the group is."""

from __future__ import annotations

import asyncio
from unittest import mock

import msgspec
import pytest

from headrace.eventlog.kafka import client
from headrace.eventlog.kafka.membership import KafkaMembership
from headrace.eventlog.kafka.topic import (
    PartitionState,
    TopicPlan,
    inspect_group,
    inspect_topic,
    prepare_topic,
)
from headrace.eventlog.port import Committed
from headrace.runtime.clock import SystemClock
from headrace.schemas.errors import Unavailable
from tests.eventlog.adapters import batch, owned
from tests.eventlog.kafka_log import Tools, appending, made, options_for
from tests.services.kafka import KafkaServer
from tests.services.ports import free_ports


async def test_a_topic_is_made_once_by_whoever_comes_first(kafka: KafkaServer) -> None:
    """Several at once make one topic, and all are told its id; later ones find it."""
    options = options_for(kafka)
    plan = TopicPlan(partitions=3)
    made_ones = await asyncio.gather(*(prepare_topic(options, plan) for _ in range(4)))
    assert sorted(one.what for one in made_ones) == ["was made", *["was there"] * 3]
    assert {one.partitions for one in made_ones} == {3}
    (log_id,) = {one.log_id for one in made_ones}
    again = await prepare_topic(options, TopicPlan(partitions=5))
    assert (again.log_id, again.partitions, again.what) == (log_id, 3, "was there")
    async with appending(options) as appender:
        assert appender.log_id == log_id


async def test_a_topic_is_made_as_planned(kafka: KafkaServer) -> None:
    """Its settings are those a log needs, and nothing is wrong with it."""
    plan = TopicPlan(partitions=2, retention_hours=5, max_message_bytes=2_000_000)
    options = options_for(kafka, partitions=2, max_message_bytes=2_000_000)
    await prepare_topic(options, plan)
    state = await inspect_topic(options, plan)
    assert state.problems == []
    assert (state.partitions, state.replication, state.brokers) == (2, 1, 1)
    assert state.release == "4.4"
    assert {name: state.config[name] for name in ("cleanup.policy", "retention.ms")} == {
        "cleanup.policy": "delete",
        "retention.ms": str(5 * 3_600_000),
    }
    assert state.config["max.message.bytes"] == "2000000"
    assert state.config["message.timestamp.type"] == "LogAppendTime"


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"cleanup_policy": "compact"}, "loses events of a key"),
        ({"message_timestamp_type": "CreateTime"}, "collectors' clocks"),
        ({"retention_ms": "1000"}, "forgets events earlier"),
        ({"max_message_bytes": "1000"}, "cut smaller"),
        ({"retention_ms": "-1"}, None),
        ({"max_message_bytes": "33554432"}, None),
    ],
)
async def test_what_is_wrong_with_a_topic_is_said(
    kafka: KafkaServer, config: dict[str, str], problem: str | None
) -> None:
    """One sentence for each setting, with what to set it to; more than was asked for is fine."""
    options = await made(options_for(kafka))
    await Tools(options).configure(**config)
    state = await inspect_topic(options, TopicPlan(partitions=1))
    if problem is None:
        assert state.problems == []
    else:
        assert [problem in sentence for sentence in state.problems] == [True]
        assert "set it to" in state.problems[0]


async def test_another_number_of_partitions_is_a_problem(kafka: KafkaServer) -> None:
    """Told by whichever number was written down."""
    options = await made(options_for(kafka), 2)
    expecting = msgspec.structs.replace(options, partitions=12)
    (problem,) = (await inspect_topic(expecting)).problems
    assert "has 2 partitions, not 12" in problem
    (problem,) = (await inspect_topic(options, TopicPlan(partitions=3))).problems
    assert "has 2 partitions, not 3" in problem


async def test_fewer_replicas_than_asked_for_is_a_problem(kafka: KafkaServer) -> None:
    """One broker that dies would take events with it."""
    options = await made(options_for(kafka))
    state = await inspect_topic(options, TopicPlan(partitions=1, replication=3))
    assert ["1 replicas, not 3" in problem for problem in state.problems] == [True]


async def test_a_topic_that_cannot_be_made_says_why(kafka: KafkaServer) -> None:
    """More replicas than brokers: the cluster's own words are passed on."""
    with pytest.raises(Unavailable, match="too few brokers"):
        await prepare_topic(options_for(kafka), TopicPlan(partitions=1, replication=3))


async def test_a_missing_topic_is_told(kafka: KafkaServer) -> None:
    """What makes it is named."""
    state = await inspect_topic(options_for(kafka))
    assert state.topic_id == ""
    assert ["headrace migrate" in problem for problem in state.problems] == [True]
    assert await inspect_group(options_for(kafka)) == []


async def test_how_far_the_group_is_can_be_asked_from_outside(kafka: KafkaServer) -> None:
    """Ends, committed position and pending range of every partition, without being a member."""
    options = await made(options_for(kafka))
    assert await inspect_group(options) == [PartitionState(0, 0, None, None, 0)]
    async with appending(options) as appender:
        await appender.append(batch(*[b"x"] * 9))
    async with owned(KafkaMembership(options, SystemClock())) as assignment:
        await assignment.commit(Committed(3, pending_to=6))
        await Tools(options).delete_records({0: 2})
        (state,) = await inspect_group(options)
    assert state == PartitionState(0, 2, 3, 6, 9)
    assert state.unsettled == 6
    assert PartitionState(0, 2, None, None, 9).unsettled == 7


async def test_brokers_that_are_not_there_are_named() -> None:
    """Where we looked is in the sentence."""
    (port,) = free_ports(1)
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port} cannot be reached"):
        await inspect_topic(options_for(f"127.0.0.1:{port}"))


async def test_brokers_that_name_none_are_waited_for() -> None:
    """A cluster that has just started may name no brokers yet: nobody to ask, and no error."""
    broker = mock.Mock(send=mock.AsyncMock(return_value=mock.Mock(brokers=[])))
    with (
        mock.patch.object(client, "create_conn", mock.AsyncMock(return_value=broker)),
        pytest.raises(Unavailable, match="names no brokers"),
    ):
        await prepare_topic(options_for("127.0.0.1:1"), TopicPlan(partitions=1))
