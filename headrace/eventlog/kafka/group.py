"""This process as a member of the group, from joining to leaving, for one log.

Owns joining (aiokafka's coordinator: heartbeats, eager rebalances, the sticky assignor) and the
commits. A commit is sent under the generation in which its partition was assigned, not under
whatever is current: so the broker itself refuses the late commit of a member that was frozen,
replaced and woken.

A topic made anew under its name is another log, so a group is of one log and ends with it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from headrace.eventlog.kafka.commits import format_metadata, parse_committed
from headrace.eventlog.kafka.connection import GROUP, Brokers, Topic
from headrace.eventlog.kafka.driver import (
    ConsumerRebalanceListener,
    GroupCoordinator,
    OffsetCommitRequest,
    OffsetFetchRequest,
    StickyPartitionAssignor,
    SubscriptionState,
    TopicPartition,
    errors,
)
from headrace.eventlog.kafka.errors import REPLACED, describe, unanswered
from headrace.eventlog.kafka.fetching import Fetcher
from headrace.eventlog.kafka.offsets import read_ends
from headrace.eventlog.kafka.options import KafkaOptions
from headrace.eventlog.kafka.protocol import FENCED_INSTANCE_ID
from headrace.eventlog.port import Committed
from headrace.schemas.errors import Fenced, Unavailable

_HEARTBEATS: Final = 6
"""In a session: several may be lost, and a rebalance is heard of within a second."""
_LOOK_SECONDS: Final = 1.0
_LEAVE_SECONDS: Final = 2.0
_FOREVER_MS: Final = 2**31 - 1

OnAssigned = Callable[[Sequence[int], "Member"], None]
OnRevoked = Callable[[], Awaitable[None]]


class Member(msgspec.Struct, frozen=True):
    """Who we are in one generation of the group."""

    generation: int
    name: str


class Group:
    """A membership in the group, while it lasts."""

    def __init__(self, brokers: Brokers, topic: Topic) -> None:
        self.log_id = topic.log_id
        self._options = brokers.options
        self._brokers = brokers
        self._topic = topic
        self._looks = asyncio.Event()
        self.fetcher = Fetcher(brokers, topic.topic_id, self._looks.set)
        self._subscription = SubscriptionState()
        self._subscription.register_fetch_waiters(set())
        self._coordinator: GroupCoordinator | None = None
        self._fetching: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, options: KafkaOptions) -> Group:
        """Find the log; raises `Unavailable` if it is not there or nobody answers."""
        brokers = await Brokers.open(options)
        try:
            topic = await brokers.topic()
            if topic is None:
                raise Unavailable(
                    f"topic {options.topic} is not there; `headrace migrate` makes it"
                )
            await brokers.follow_topic()
        except BaseException:
            brokers.abort()
            raise
        return cls(brokers, topic)

    def join(self, on_assigned: OnAssigned, on_revoked: OnRevoked) -> None:
        """Become a member in the background; partitions come and go by the two calls."""
        options = self._options
        self._coordinator = GroupCoordinator(
            self._brokers.client,
            self._subscription,
            group_id=options.group,
            session_timeout_ms=int(options.session_seconds * 1000),
            heartbeat_interval_ms=int(options.session_seconds * 1000 / _HEARTBEATS),
            rebalance_timeout_ms=int(options.rebalance_seconds * 1000),
            max_poll_interval_ms=_FOREVER_MS,  # a worker waits for its store as long as it takes
            enable_auto_commit=False,
            # The assignor keeps what it was given in its class: one class for each member.
            assignors=[type("StickyAssignor", (StickyPartitionAssignor,), {})],
        )
        self._subscription.subscribe({options.topic}, _Listener(self, on_assigned, on_revoked))
        self._fetching = asyncio.create_task(self.fetcher.run())

    @property
    def member(self) -> Member:
        coordinator = self._coordinator
        assert coordinator is not None
        return Member(coordinator.generation, coordinator.member_id)

    async def watch(self) -> str:
        """Returns why the group must end: another log, or trouble that does not mend itself."""
        loop = asyncio.get_running_loop()
        well_at = loop.time()
        while True:
            self._looks.clear()
            try:
                topic = await self._brokers.topic()
            except Unavailable:
                topic = self._topic
            if self._is_member:
                well_at = loop.time()
            if loop.time() - well_at > self._joining_seconds:
                # Whatever it is that keeps us out: a new member with new connections may pass.
                return (
                    f"group {self._options.group} could not be joined for "
                    f"{self._joining_seconds:.0f} s; beginning anew"
                )
            if topic is None or topic.topic_id != self._topic.topic_id:
                return f"topic {self._options.topic} was deleted or made anew"
            if trouble := self._trouble():
                return trouble
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._looks.wait()

    @property
    def _is_member(self) -> bool:
        """Whether heartbeats are sent: the coordinator is known and we are in its group."""
        coordinator = self._coordinator
        if coordinator is None or coordinator.coordinator_id is None:
            return False
        heartbeats = coordinator._heartbeat_task
        return heartbeats is not None and not heartbeats.done()

    @property
    def _joining_seconds(self) -> float:
        """The longest that joining may take: a dead member's session, then a whole rebalance."""
        return self._options.session_seconds + 2 * self._options.rebalance_seconds

    async def leave(self) -> None:
        """Leave the group and drop every connection; waits for nobody long."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])
        if self._coordinator is not None:
            closing = asyncio.create_task(self._coordinator.close())
            await asyncio.wait([closing], timeout=_LEAVE_SECONDS)
            closing.cancel()
            self._brokers.abort()
            await asyncio.wait([closing], timeout=_LEAVE_SECONDS)
            if closing.done() and not closing.cancelled():
                closing.exception()
        self._brokers.abort()

    # What assignments ask

    async def commit(self, partition: int, committed: Committed, member: Member) -> None:
        """Commit under the generation of an assignment; raises `Fenced` and `Unavailable`."""
        what = f"committing position {committed.position} of partition {partition}"
        coordinator = self._coordinator
        assert coordinator is not None
        if coordinator.generation != member.generation:
            raise Fenced(
                f"{what}: it was assigned in generation {member.generation} of the group, and "
                f"now is {coordinator.generation}"
            )
        request = OffsetCommitRequest(
            self._options.group,
            member.generation,
            member.name,
            OffsetCommitRequest.DEFAULT_RETENTION_TIME,
            [self._about(partition, committed)],
        )
        answer = await self._brokers.ask(
            request, self._coordinator_id(what), group=GROUP, what=what
        )
        ((_, ((_, code),)),) = answer.topics
        if code:
            self._refused(code, member, what)

    async def committed(self, partition: int) -> Committed | None:
        """What was committed last for the partition of this log, by whomever."""
        what = f"reading what was committed for partition {partition}"
        request = OffsetFetchRequest(self._options.group, [(self._options.topic, [partition])])
        answer = await self._brokers.ask(
            request, self._coordinator_id(what), group=GROUP, what=what
        )
        ((_, ((_, position, metadata, code),)),) = answer.topics
        if code:
            self._note_coordinator(code)
            raise unanswered(errors.for_code(code)(), what)
        return parse_committed(position, metadata, self.log_id)

    async def ends(self, partition: int) -> tuple[int, int]:
        """The partition's ends now; raises `Unavailable`."""
        return (await read_ends(self._brokers, [partition]))[partition]

    def _about(
        self, partition: int, committed: Committed
    ) -> tuple[str, list[tuple[int, int, str]]]:
        metadata = format_metadata(committed, self.log_id)
        return self._options.topic, [(partition, committed.position, metadata)]

    def _coordinator_id(self, what: str) -> int:
        assert self._coordinator is not None
        node = self._coordinator.coordinator_id
        if node is None:
            raise Unavailable(f"{what}: the group has no coordinator at the moment")
        return int(node)

    def _refused(self, code: int, member: Member, what: str) -> None:
        """Raise what a refused commit means."""
        assert self._coordinator is not None
        error = errors.for_code(code)
        if error in REPLACED or code == FENCED_INSTANCE_ID:
            if self._coordinator.generation == member.generation:
                self._coordinator.reset_generation()  # join anew; heartbeats would tell later
            raise Fenced(f"{what}: {describe(error())}")
        if error is errors.RebalanceInProgressError:
            # Ours still, and nothing was recorded: the worker is about to be revoked.
            self._coordinator.request_rejoin()
        self._note_coordinator(code)
        raise unanswered(error(), what)

    def _note_coordinator(self, code: int) -> None:
        assert self._coordinator is not None
        if errors.for_code(code) in _COORDINATOR_GONE:
            self._coordinator.coordinator_dead()

    def _trouble(self) -> str:
        assert self._coordinator is not None
        assert self._fetching is not None
        if self._fetching.done():
            return f"fetching failed: {self._fetching.exception()!r}"
        try:
            self._coordinator.check_errors()
        except errors.KafkaError as error:
            return f"group {self._options.group}: {describe(error)}"
        return ""


_COORDINATOR_GONE: Final = (
    errors.GroupCoordinatorNotAvailableError,
    errors.NotCoordinatorForGroupError,
)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    def __init__(self, group: Group, on_assigned: OnAssigned, on_revoked: OnRevoked) -> None:
        self._group = group
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:  # noqa: ARG002 - it is always all
        await self._on_revoked()

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._on_assigned(sorted(place.partition for place in assigned), self._group.member)
