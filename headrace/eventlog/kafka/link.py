"""A producer id and the batches sent under it, from opening to the first trouble.

Idempotence in few words: the broker stores a batch of `(producer id, partition)` only if its
first number follows the last one stored, and answers a batch it has already as stored. So a try
may be repeated as long as nobody knows what became of it, and once a batch is given up its
numbers are missing: then this link is over, and the next one has another producer id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from headrace.eventlog.kafka.connection import RECORDS, Brokers, Topic
from headrace.eventlog.kafka.driver import (
    DescribeConfigsRequest,
    InitProducerIdRequest,
    errors,
)
from headrace.eventlog.kafka.encoding import NOTHING, encode
from headrace.eventlog.kafka.errors import is_refusal, unanswered
from headrace.eventlog.kafka.options import LEAST_MESSAGE_BYTES, KafkaOptions
from headrace.eventlog.kafka.producing import ProduceRequest
from headrace.eventlog.kafka.waiting import Lane, Outgoing, Part
from headrace.schemas.errors import Unavailable

_TOPIC_RESOURCE: Final = 2
_STEPS: Final = 5  # of opening; each may meet a broker that is frozen, and ask the next
_RETRY_SECONDS: Final = 0.05
_NO_TIMEOUT: Final = 2**31 - 1  # of transactions, which are not used
# Another try may find another leader, or enough replicas.
_RETRIED: Final = (
    errors.KafkaConnectionError,
    errors.KafkaStorageError,
    errors.LeaderNotAvailableError,
    errors.NodeNotReadyError,
    errors.NotEnoughReplicasAfterAppendError,
    errors.NotEnoughReplicasError,
    errors.NotLeaderForPartitionError,
    errors.RequestTimedOutError,
    errors.UnknownTopicOrPartitionError,
)
# The broker has it: answered so when the answer to an earlier try was lost.
_STORED: Final = (errors.NoError, errors.DuplicateSequenceNumber)


class Link:
    """A way to the topic that works, as far as is known."""

    def __init__(
        self,
        brokers: Brokers,
        topic: Topic,
        producer: tuple[int, int],
        max_batch_bytes: int,
    ) -> None:
        self.topic = topic
        self.max_batch_bytes = max_batch_bytes
        self._options = brokers.options
        self._brokers = brokers
        self._producer = producer
        self._next_numbers = dict.fromkeys(topic.leaders, 0)

    @classmethod
    async def open(cls, options: KafkaOptions) -> Link:
        """Connect, check the topic and get a producer id.

        Raises `Unavailable` with the sentence that collectors answer with.
        """
        brokers = await Brokers.open(options)
        try:
            async with asyncio.timeout(_STEPS * options.connect_seconds):
                return await cls._open(brokers)
        except TimeoutError as error:
            brokers.abort()
            raise Unavailable("Kafka took a connection but does not answer") from error
        except BaseException:
            brokers.abort()
            raise

    @classmethod
    async def _open(cls, brokers: Brokers) -> Link:
        options = brokers.options
        topic = await brokers.topic()
        config = await _topic_config(brokers) if topic is not None else {}
        topic = demand_topic(topic, options, config)
        await brokers.follow_topic()
        most = int(config.get("max.message.bytes", options.max_message_bytes))
        most = min(most, options.max_message_bytes)
        return cls(brokers, topic, await _producer_id(brokers), most)

    def leader(self, partition: int) -> int | None:
        """The broker to send a partition's batch to, if one leads it."""
        return self._brokers.leader(partition)

    def refresh(self) -> None:
        """Some leader may have changed."""
        self._brokers.refresh()

    def pack(self, lane: Lane, parts: Sequence[Part], timestamp_ms: int, now: float) -> None:
        """Make the lane's next batch of these parts."""
        number = self._next_numbers[lane.partition]
        self._next_numbers[lane.partition] += sum(part.packed.count for part in parts)
        # First: whatever happens now, the parts are found there and their callers are told.
        lane.outgoing = outgoing = Outgoing(parts, now)
        outgoing.payload = encode(
            [part.packed for part in parts],
            (*self._producer, number % 2**31),
            timestamp_ms,
            self._options.compression,
        )
        for part in parts:
            part.packed = NOTHING  # its records are in the payload now

    async def send(self, node: int, lanes: Sequence[Lane]) -> Mapping[int, BaseException | None]:
        """Send the lanes' batches to their leader once: partition → an error, or None if stored.

        Notes in each batch whether it may be stored all the same.
        """
        batches = {lane.partition: lane.outgoing for lane in lanes if lane.outgoing}
        doubts = {partition: batch.is_in_doubt for partition, batch in batches.items()}
        for batch in batches.values():
            batch.is_in_doubt = True
        found = await self._produce(node, batches)
        for partition, error in found.items():
            if error is not None and is_refusal(error):
                batches[partition].is_in_doubt = doubts[partition]
        return found

    async def _produce(
        self, node: int, batches: Mapping[int, Outgoing]
    ) -> Mapping[int, BaseException | None]:
        payloads = [(partition, batch.payload) for partition, batch in batches.items()]
        seconds = self._options.append_seconds
        request = ProduceRequest(self._options.topic, payloads, timeout_seconds=seconds)
        try:
            answer = await self._brokers.client.send(node, request, group=RECORDS)
        except (errors.KafkaError, OSError) as error:
            return dict.fromkeys(batches, error)
        return {
            partition: None if (kind := errors.for_code(code)) in _STORED else kind()
            for partition, code in answer.outcomes
        }

    async def look(self) -> str:
        """Why the topic is not what it was, if so; raises `Unavailable` if nobody answers."""
        topic = await self._brokers.topic()
        if topic is None or topic.topic_id != self.topic.topic_id:
            return f"topic {self._options.topic} was deleted or made anew"
        if len(topic.leaders) != len(self.topic.leaders):
            return f"topic {self._options.topic} has another number of partitions now"
        return ""

    def abort(self) -> None:
        """Drop every connection; what was sent may still be stored."""
        self._brokers.abort()


def is_retried(error: BaseException) -> bool:
    """Whether the same batch may pass when it is sent again."""
    return isinstance(error, _RETRIED)


def demand_topic(topic: Topic | None, options: KafkaOptions, config: Mapping[str, str]) -> Topic:
    """The topic, if records can be appended to it; raises `Unavailable` with what to do."""
    if topic is None:
        raise Unavailable(f"topic {options.topic} is not there; `headrace migrate` makes it")
    demand_count(topic, options)
    takes_bytes = int(config.get("max.message.bytes", LEAST_MESSAGE_BYTES))
    if takes_bytes < LEAST_MESSAGE_BYTES:
        raise Unavailable(
            f"topic {options.topic} has max.message.bytes={takes_bytes}, so that some events would "
            f"never be taken; set it to {options.max_message_bytes} (kafka-configs --alter)"
        )
    # Brokers do not demand more replicas than there are.
    least = min(int(config.get("min.insync.replicas", 1)), topic.replication)
    if not any(
        leader != -1 and topic.in_sync[partition] >= least
        for partition, leader in topic.leaders.items()
    ):
        raise Unavailable(
            f"no partition of topic {options.topic} can be written: each lacks a leader, or fewer "
            f"of its replicas are in sync than min.insync.replicas demands ({least})"
        )
    return topic


def demand_count(topic: Topic, options: KafkaOptions) -> None:
    """Keys were spread over so many partitions; over another number their order is lost."""
    expected = options.partitions or options.partitions_of(topic.log_id)
    if expected is not None and len(topic.leaders) != expected:
        raise Unavailable(
            f"topic {options.topic} has {len(topic.leaders)} partitions, not {expected} "
            "as when it was made; a topic keeps its number of partitions: make a new one and "
            "drain the old one"
        )


async def _producer_id(brokers: Brokers) -> tuple[int, int]:
    """A producer id that nobody had, and its epoch."""
    what = "asking for a producer id"
    while True:
        answer = await brokers.ask_any(InitProducerIdRequest(None, _NO_TIMEOUT), what=what)
        error = errors.for_code(answer.error_code)
        if error is errors.NoError:
            return answer.producer_id, answer.producer_epoch
        if not error.retriable:
            raise unanswered(error(), what)
        await asyncio.sleep(_RETRY_SECONDS)  # a broker that has just started is not quite there


async def _topic_config(brokers: Brokers) -> Mapping[str, str]:
    try:
        return await describe_topic(brokers)
    except Unavailable:
        return {}  # a login that may write need not be one that may read settings


async def describe_topic(brokers: Brokers) -> Mapping[str, str]:
    """The topic's configuration, the cluster's defaults included."""
    what = f"reading the configuration of topic {brokers.options.topic}"
    resources = [(_TOPIC_RESOURCE, brokers.options.topic, None)]
    answer = await brokers.ask_any(DescribeConfigsRequest(resources, False), what=what)
    (code, _, _, _, entries) = answer.resources[0]
    error = errors.for_code(code)
    if error is not errors.NoError:
        raise unanswered(error(), what)
    return {name: value for name, value, *_ in entries}
