"""The topic from outside: made as a log needs it, looked at, and told what is wrong with it.

Owns what a topic must be like, and what `headrace migrate`, `check`, `status` and `ledger` ask.
Nothing here changes a topic that exists: whether that may be done is for a person to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from headrace.eventlog.kafka.commits import parse_committed
from headrace.eventlog.kafka.connection import Brokers, Topic
from headrace.eventlog.kafka.driver import (
    CoordinationType,
    CreateTopicsRequest,
    OffsetFetchRequest,
    errors,
)
from headrace.eventlog.kafka.errors import unanswered
from headrace.eventlog.kafka.link import describe_topic
from headrace.eventlog.kafka.offsets import read_ends
from headrace.eventlog.kafka.options import KafkaOptions
from headrace.eventlog.kafka.protocol import FeaturesRequest, level_of
from headrace.schemas.errors import Unavailable

DEFAULT_REPLICATION: Final = 3
"""Replicas of a topic where nobody says how many, if there are so many brokers."""

_CREATE_SECONDS: Final = 15.0
_VISIBLE_SECONDS: Final = 10.0
_RETRY_SECONDS: Final = 0.05
_HOUR_MS: Final = 3_600_000
# https://github.com/apache/kafka: MetadataVersion; each release's newest level.
_RELEASES: Final = {
    19: "3.7",
    20: "3.8",
    21: "3.9",
    25: "4.0",
    27: "4.1",
    29: "4.2",
    30: "4.3",
    33: "4.4",
}


class TopicPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a topic is made with. `replication` None: as many as there are brokers, at most 3."""

    partitions: int
    replication: int | None = None
    retention_hours: int = 168
    max_message_bytes: int = 16 * 1024 * 1024


class PreparedTopic(msgspec.Struct, frozen=True):
    """The topic as it is now; `what` says in words whether it was made or was there."""

    log_id: str
    partitions: int
    what: str


class TopicState(msgspec.Struct, frozen=True):
    """What was found at the brokers. `topic_id` is empty if there is no topic.

    `release` is what the cluster runs at least, as far as it tells: "4.1".
    """

    release: str
    brokers: int
    topic_id: str
    partitions: int
    replication: int
    config: Mapping[str, str]
    problems: Sequence[str]


class PartitionState(msgspec.Struct, frozen=True):
    """One partition and how far the group has settled it; None if nothing was committed."""

    partition: int
    earliest: int
    committed: int | None
    pending_to: int | None
    end: int

    @property
    def unsettled(self) -> int:
        """Records that are not settled yet."""
        return self.end - max(self.committed or 0, self.earliest)


async def prepare_topic(options: KafkaOptions, plan: TopicPlan) -> PreparedTopic:
    """Make the topic if it is not there; may be repeated, and done by several at once.

    Raises `Unavailable` if the brokers do not answer, or refuse, with their reason.
    """
    async with _brokers(options) as brokers:
        found = await brokers.topic()
        if found is not None:
            return PreparedTopic(found.log_id, len(found.leaders), "was there")
        was_made = await _create(brokers, plan)
        made = await _visible(brokers)
        what = "was made" if was_made else "was there"
        return PreparedTopic(made.log_id, len(made.leaders), what)


async def inspect_topic(options: KafkaOptions, plan: TopicPlan | None = None) -> TopicState:
    """What is found, and what is wrong with it in sentences; raises as `prepare_topic`."""
    async with _brokers(options) as brokers:
        release = await _release(brokers)
        topic = await brokers.topic()
        config = await describe_topic(brokers) if topic is not None else {}
        return TopicState(
            release=release,
            brokers=len(brokers.client.cluster.brokers()),
            topic_id="" if topic is None else topic.log_id,
            partitions=0 if topic is None else len(topic.leaders),
            replication=0 if topic is None else topic.replication,
            config=config,
            problems=_problems(options, plan, topic, config),
        )


async def inspect_group(options: KafkaOptions) -> Sequence[PartitionState]:
    """Every partition's ends and what the group committed; raises as `prepare_topic`."""
    async with _brokers(options) as brokers:
        topic = await brokers.topic()
        if topic is None:
            return []
        await brokers.follow_topic()
        committed = await _committed(brokers, topic)
        ends = await read_ends(brokers, list(topic.leaders))
        return [
            PartitionState(
                partition,
                earliest,
                None if found is None else found.position,
                None if found is None else found.pending_to,
                end,
            )
            for partition, (earliest, end) in ends.items()
            for found in [committed.get(partition)]
        ]


@asynccontextmanager
async def _brokers(options: KafkaOptions) -> AsyncIterator[Brokers]:
    brokers = await Brokers.open(options)
    try:
        yield brokers
    finally:
        brokers.abort()


async def _create(brokers: Brokers, plan: TopicPlan) -> bool:
    """Whether it was made by us; false if somebody was faster."""
    topic = brokers.options.topic
    count = len(brokers.client.cluster.brokers())
    replication = plan.replication or min(DEFAULT_REPLICATION, count)
    config = _config(plan, replication)
    answer = await brokers.ask(
        CreateTopicsRequest(
            [(topic, plan.partitions, replication, [], list(config.items()))],
            int(_CREATE_SECONDS * 1000),
            False,
        ),
        _controller(brokers),
        seconds=_CREATE_SECONDS,
        what=f"making topic {topic}",
    )
    (_, code, message) = answer.topic_errors[0]
    error = errors.for_code(code)
    if error in (errors.NoError, errors.TopicAlreadyExistsError):
        return bool(error is errors.NoError)
    raise unanswered(error(*[message] if message else []), f"making topic {topic}")


def _config(plan: TopicPlan, replication: int) -> Mapping[str, str]:
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(plan.retention_hours * _HOUR_MS),
        "max.message.bytes": str(plan.max_message_bytes),
        # The log's own time: a collector whose clock jumps must not make records look old.
        "message.timestamp.type": "LogAppendTime",
        "min.insync.replicas": "2" if replication >= DEFAULT_REPLICATION else "1",
    }


async def _visible(brokers: Brokers) -> Topic:
    """The topic, once every broker we may ask has heard of it and its leaders are chosen."""
    deadline = asyncio.get_running_loop().time() + _VISIBLE_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        topic = await brokers.topic()
        if topic is not None and topic.leaders and -1 not in topic.leaders.values():
            return topic
        await asyncio.sleep(_RETRY_SECONDS)
    raise Unavailable(f"topic {brokers.options.topic} was made but has no leaders yet")


async def _release(brokers: Brokers) -> str:
    answer = await brokers.ask_any(FeaturesRequest(), what="asking the cluster's version")
    level = level_of(answer, "metadata.version")
    if level is None:
        return "unknown"
    known = max((number for number in _RELEASES if number <= level), default=None)
    return "before 3.7" if known is None else _RELEASES[known]


def _controller(brokers: Brokers) -> int:
    controller = brokers.client.cluster.controller
    return int((controller or next(iter(brokers.client.cluster.brokers()))).nodeId)


async def _committed(brokers: Brokers, topic: Topic) -> Mapping[int, Any]:
    options = brokers.options
    what = f"reading what group {options.group} has committed"
    node = await _coordinator(brokers, what)
    request = OffsetFetchRequest(options.group, [(options.topic, list(topic.leaders))])
    answer = await brokers.ask(request, node, what=what)
    found = {}
    for _, partitions in answer.topics:
        for partition, position, metadata, code in partitions:
            if code:
                raise unanswered(errors.for_code(code)(), what)
            found[partition] = parse_committed(position, metadata, topic.log_id)
    return found


async def _coordinator(brokers: Brokers, what: str) -> int:
    """The broker that coordinates the group; a new cluster takes a moment to have one."""
    group = brokers.options.group
    deadline = asyncio.get_running_loop().time() + brokers.options.answer_seconds
    while True:
        try:
            return int(await brokers.client.coordinator_lookup(CoordinationType.GROUP, group))
        except errors.KafkaError as error:
            if not error.retriable or asyncio.get_running_loop().time() > deadline:
                raise unanswered(error, what) from error
        await asyncio.sleep(_RETRY_SECONDS)


def _problems(
    options: KafkaOptions, plan: TopicPlan | None, topic: Topic | None, config: Mapping[str, str]
) -> Sequence[str]:
    if topic is None:
        return [f"topic {options.topic} is not there; `headrace migrate` makes it"]
    found = []
    count = len(topic.leaders)
    known = options.partitions or options.partitions_of(topic.log_id)
    expected = known or (plan.partitions if plan else count)
    if count != expected:
        found.append(
            f"topic {options.topic} has {count} partitions, not {expected}: a topic keeps its "
            "number of partitions; make a new one and drain the old one"
        )
    without_leader = [number for number, leader in topic.leaders.items() if leader == -1]
    if without_leader:
        found.append(f"partitions {without_leader} of topic {options.topic} have no leader")
    return found + _config_problems(options, plan or TopicPlan(partitions=count), topic, config)


def _config_problems(
    options: KafkaOptions, plan: TopicPlan, topic: Topic, config: Mapping[str, str]
) -> list[str]:
    wanted = _config(plan, topic.replication)
    found = []
    for name, is_good, why in _RULES:
        value = config.get(name)
        if value is not None and not is_good(value, wanted[name]):
            found.append(
                f"topic {options.topic} has {name}={value}, {why}; set it to {wanted[name]} "
                "(kafka-configs --alter)"
            )
    if plan.replication is not None and topic.replication < plan.replication:
        found.append(
            f"topic {options.topic} has {topic.replication} replicas, not {plan.replication}: "
            "fewer brokers may die than was asked for"
        )
    return found


_RULES: Final = (
    ("cleanup.policy", lambda value, wanted: value == wanted, "which loses events of a key"),
    (
        "retention.ms",
        lambda value, wanted: int(value) < 0 or int(value) >= int(wanted),
        "which forgets events earlier than was asked for",
    ),
    (
        "max.message.bytes",
        lambda value, wanted: int(value) >= int(wanted),
        "so that large batches are cut smaller than was asked for",
    ),
    (
        "message.timestamp.type",
        lambda value, wanted: value == wanted,
        "so that collectors' clocks decide how old a record is",
    ),
    (
        "min.insync.replicas",
        lambda value, wanted: int(value) >= int(wanted),
        "so that an event may be on one broker only when it is confirmed",
    ),
)
