"""Partitions shared by a group on a real broker: who has them, who had them, and what is read."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from headrace.eventlog.kafka.membership import KafkaAssignment, KafkaMembership
from headrace.eventlog.kafka.options import KafkaOptions
from headrace.eventlog.kafka.topic import inspect_group
from headrace.eventlog.port import Batch, Committed, NewRecord, Record
from headrace.runtime.clock import SystemClock
from headrace.schemas.errors import Fenced, Unavailable
from tests.eventlog.adapters import batch, owned, read, read_all, until
from tests.eventlog.kafka_log import Tools, appending, freeze, made, made_anew, options_for
from tests.services.kafka import ROOT, KafkaServer

MOVED_SECONDS = 30.0
"""A session of six and the rebalance, within ten on a machine that has time for it."""


class Processor:
    """A membership whose workers do nothing but hold their partitions until they are revoked."""

    def __init__(self, options: KafkaOptions) -> None:
        self.membership = KafkaMembership(options, SystemClock())
        self.held: dict[int, KafkaAssignment] = {}
        self.generations = 0
        self._workers: set[asyncio.Task[None]] = set()
        self._running = asyncio.create_task(self._run())

    async def owns(self, count: int) -> None:
        """Wait until it holds so many partitions."""

        async def holds() -> bool:
            return len(self.held) == count

        await until(holds, seconds=MOVED_SECONDS)

    async def stop(self) -> None:
        await self.membership.stop()
        await self._running

    async def _run(self) -> None:
        async for assignment in self.membership.assignments():
            self.held[assignment.partition] = assignment
            self.generations += 1
            worker = asyncio.create_task(self._hold(assignment))
            self._workers.add(worker)
        await asyncio.gather(*self._workers)

    async def _hold(self, assignment: KafkaAssignment) -> None:
        await assignment.revoked.wait()
        if self.held.get(assignment.partition) is assignment:
            del self.held[assignment.partition]
        await assignment.release()


class Member:
    """The same as a process of its own, see `kafka_member.py`."""

    def __init__(self, options: KafkaOptions, console: Path) -> None:
        self._console = console
        with console.open("wb") as out:
            self.process = subprocess.Popen(
                [
                    *[sys.executable, "-m", "tests.eventlog.kafka_member"],
                    *[*options.brokers, options.topic, options.group],
                ],
                cwd=ROOT,
                stdout=out,
                stderr=out,
            )

    def lines(self) -> list[str]:
        return self._console.read_text().splitlines()

    async def says(self, *wanted: str, after: int = 0) -> None:
        """Wait until it has said all of it."""

        async def has_said() -> bool:
            said = self.lines()[after:]
            return all(any(line.startswith(word) for line in said) for word in wanted)

        await until(has_said, seconds=MOVED_SECONDS)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        self.process.send_signal(number)


@pytest.fixture
def member_console(tmp_path: Path) -> Path:
    return tmp_path / "member.txt"


@asynccontextmanager
async def member_of(options: KafkaOptions, console: Path) -> AsyncIterator[Member]:
    member = Member(options, console)
    try:
        yield member
    finally:
        member.process.kill()
        member.process.wait()


@asynccontextmanager
async def processor_of(options: KafkaOptions) -> AsyncIterator[Processor]:
    processor = Processor(options)
    try:
        yield processor
    finally:
        await processor.stop()


async def fill(options: KafkaOptions, *values: bytes) -> None:
    async with appending(options) as appender:
        await appender.append(batch(*values))


async def moved(*owners: Awaitable[None]) -> None:
    """Wait for partitions to move."""
    async with asyncio.timeout(MOVED_SECONDS):
        await asyncio.gather(*owners)


# Sharing


async def test_two_processors_share_and_one_takes_all_when_the_other_stops(
    kafka: KafkaServer,
) -> None:
    """Every partition has one owner; those that stay with us are assigned anew, too."""
    options = await made(options_for(kafka), 4)
    async with processor_of(options) as first:
        await first.owns(4)
        before = list(first.held.values())
        second = Processor(options)
        await moved(first.owns(2), second.owns(2))
        assert sorted([*first.held, *second.held]) == [0, 1, 2, 3]
        assert all(assignment.revoked.is_set() for assignment in before)
        await second.stop()
        await moved(first.owns(4))


async def test_more_processors_than_partitions_leave_some_idle(kafka: KafkaServer) -> None:
    """A third of two partitions' owners waits, and gets one when another leaves."""
    options = await made(options_for(kafka), 2)
    processors = [Processor(options) for _ in range(3)]

    async def all_are_held() -> bool:
        return sorted(p for one in processors for p in one.held) == [0, 1]

    await until(all_are_held)
    await next(one for one in processors if one.held).stop()
    await until(all_are_held)
    for one in processors:
        await one.stop()


async def test_a_killed_processor_is_replaced(kafka: KafkaServer, member_console: Path) -> None:
    """`kill -9`: its session runs out, and the others take its partitions."""
    options = await made(options_for(kafka), 4)
    async with member_of(options, member_console) as member, processor_of(options) as survivor:
        await member.says("assigned")
        await survivor.owns(2)
        member.kill()
        await moved(survivor.owns(4))


async def test_a_processor_frozen_past_its_session_is_fenced_and_begins_anew(
    kafka: KafkaServer, member_console: Path
) -> None:
    """`SIGSTOP`: another takes over; woken, its late commit is refused, and it joins again."""
    options = await made(options_for(kafka), 1)
    await fill(options, b"1", b"2")
    async with member_of(options, member_console) as member:
        await member.says("committed 0 2")
        member.kill(signal.SIGSTOP)
        async with processor_of(options) as successor:
            await successor.owns(1)
            (assignment,) = successor.held.values()
            assert await assignment.committed() == Committed(2)
            await assignment.commit(Committed(2, pending_to=5))
            said = len(member.lines())
            member.kill(signal.SIGCONT)
            await member.says("released 0", after=said)
            # At the broker: what it took before the freeze may be said only now.
            assert await assignment.committed() == Committed(2, pending_to=5)
            released = said + member.lines()[said:].index("released 0")
        await member.says("assigned 0", "committed 0 2", after=released)


async def test_a_commit_after_the_member_was_removed_is_refused_by_the_broker(
    kafka: KafkaServer,
) -> None:
    """The generation of the assignment goes with every commit, so no check of ours is needed."""
    options = await made(options_for(kafka))
    await fill(options, b"1", b"2")
    async with owned(KafkaMembership(options, SystemClock())) as frozen:
        assert isinstance(frozen, KafkaAssignment)
        await frozen.commit(Committed(1))
        membership = KafkaMembership(options, SystemClock())
        membership._held = [frozen]
        await freeze(membership, Tools(options))
        with pytest.raises(Fenced, match="removed this member"):
            await frozen.commit(Committed(2))
        assert frozen.revoked.is_set()
    (state,) = await inspect_group(options)
    assert state.committed == 1


async def test_a_worker_that_does_not_end_holds_nobody_up(kafka: KafkaServer) -> None:
    """Its store does not answer: the partition moves on without it, and it commits no more."""
    options = await made(options_for(kafka, rebalance_seconds=3.0), 1)
    first = KafkaMembership(options, SystemClock())
    stuck = await anext(aiter(first.assignments()))
    second = Processor(options)

    async def is_moved() -> bool:
        return stuck.revoked.is_set() and (bool(second.held) or bool(first._offered))

    await until(is_moved)
    with pytest.raises(Fenced):
        await stuck.commit(Committed(0))
    await stuck.release()
    await asyncio.gather(first.stop(), second.stop())


async def test_a_partition_whose_worker_gave_up_ends_the_process(kafka: KafkaServer) -> None:
    """It would stay with this process, and nobody would work on it: said loudly."""
    options = await made(options_for(kafka))
    membership = KafkaMembership(options, SystemClock())
    assignments = aiter(membership.assignments())
    await (await anext(assignments)).release()
    with pytest.raises(Fenced, match="no worker"):
        await anext(assignments)
    await membership.stop()


async def test_a_commit_that_goes_back_is_refused_also_after_a_takeover(
    kafka: KafkaServer,
) -> None:
    """What `committed` told counts, too."""
    options = await made(options_for(kafka))
    await fill(options, b"1", b"2")
    async with owned(KafkaMembership(options, SystemClock())) as first:
        await first.commit(Committed(2))
    async with owned(KafkaMembership(options, SystemClock())) as second:
        assert await second.committed() == Committed(2)
        with pytest.raises(Fenced, match="would go back"):
            await second.commit(Committed(1))


async def test_cancelling_the_caller_does_not_undo_a_commit(kafka: KafkaServer) -> None:
    """A worker that is cancelled while it commits has committed."""
    options = await made(options_for(kafka))
    await fill(options, b"1", b"2")
    async with owned(KafkaMembership(options, SystemClock())) as assignment:
        committing = asyncio.create_task(assignment.commit(Committed(2)))
        await asyncio.sleep(0)
        committing.cancel()

        async def is_committed() -> bool:
            return await assignment.committed() == Committed(2)

        await until(is_committed)


# Reading


async def test_records_of_strangers_are_read_as_they_are(kafka: KafkaServer) -> None:
    """No key, no value, repeated and empty headers: bytes, and nobody stumbles."""
    options = await made(options_for(kafka))
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await producer.start()
    await producer.send_and_wait(options.topic, b"no key")
    await producer.send_and_wait(options.topic, key=b"tombstone")
    await producer.send_and_wait(
        options.topic, b"", key=b"", headers=[("a", b"1"), ("a", b"2"), ("b", None)]
    )
    await producer.stop()
    async with owned(KafkaMembership(options, SystemClock())) as assignment:
        found = await read_all(assignment)
    assert [(r.key, r.value, r.headers) for r in found] == [
        (b"", b"no key", {}),
        (b"tombstone", b"", {}),
        (b"", b"", {"a": b"2", "b": b""}),
    ]


async def test_gaps_between_positions_are_no_end(kafka: KafkaServer) -> None:
    """Kafka's own markers take positions; reading goes on behind them, and never hides records."""
    options = await made(options_for(kafka))
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=options.group)
    await producer.start()
    for value in (b"1", b"2"):
        async with producer.transaction():
            await producer.send_and_wait(options.topic, value)
    await producer.stop()
    await fill(options, b"3")
    async with owned(KafkaMembership(options, SystemClock())) as assignment:
        found: list[Record] = []
        position, _ = await assignment.ends()
        while len(found) < 3:
            found += await read(assignment, position, max_records=1)
            position = found[-1].position + 1
        assert [(r.position, r.value) for r in found] == [(0, b"1"), (2, b"2"), (4, b"3")]


async def test_large_records_in_every_partition_are_all_read(kafka: KafkaServer) -> None:
    """Records far above what a fetch asks for pass, in each of several partitions."""
    options = await made(options_for(kafka, compression="none"), 3)
    noise = bytes(range(256)) * 4096 * 6  # 6 MiB, more than one fetch takes of a partition
    async with appending(options) as appender:
        for number in range(9):
            await appender.append(Batch([NewRecord(b"%d" % number, noise + b"%d" % number)]))
    async with processor_of(options) as processor:
        await processor.owns(3)
        found = await asyncio.gather(*map(read_all, processor.held.values()))
    assert sorted(r.value[-1:] for records in found for r in records) == [
        b"%d" % number for number in range(9)
    ]
    assert all(len(records) > 0 for records in found)


async def test_what_is_fetched_ahead_is_bounded(kafka: KafkaServer) -> None:
    """A worker that does not read costs the bound and one fetch more, not the topic."""
    options = await made(options_for(kafka, compression="none", max_buffered_bytes=1_000_000))
    async with appending(options) as appender:
        for _ in range(40):
            await appender.append(batch(bytes(1_000_000)))
    async with owned(KafkaMembership(options, SystemClock())) as assignment:
        assert isinstance(assignment, KafkaAssignment)
        first = await read(assignment, 0, max_records=1)
        await asyncio.sleep(1.0)
        assert assignment._buffer._batches_bytes < 6_000_000
        rest = await read_all(assignment, first[0].position + 1)
        assert len(first) + len(rest) == 40


async def test_a_reader_that_goes_back_gets_the_same_again(kafka: KafkaServer) -> None:
    """Positions name records, also after others were read and fetched ahead."""
    options = await made(options_for(kafka))
    await fill(options, *(b"%d" % n for n in range(500)))
    async with owned(KafkaMembership(options, SystemClock())) as assignment:
        everything = await read_all(assignment)
        for position in (400, 10, 11, 499, 0):
            assert list(await read(assignment, position)) == everything[position:]


# Other logs, lost positions


async def test_lost_commits_are_none(kafka: KafkaServer) -> None:
    """Offsets that expired or were deleted: no position, which is not the end of the log."""
    options = await made(options_for(kafka))
    await fill(options, b"1", b"2")
    async with owned(KafkaMembership(options, SystemClock())) as assignment:
        await assignment.commit(Committed(2))
    await Tools(options).delete_group()
    async with owned(KafkaMembership(options, SystemClock())) as assignment:
        assert await assignment.committed() is None
        assert await assignment.ends() == (0, 2)


async def test_a_position_that_was_deleted_is_told_with_the_ends(kafka: KafkaServer) -> None:
    """Retention took what was not settled: a person reads which positions there are."""
    options = await made(options_for(kafka))
    await fill(options, b"1", b"2", b"3")
    async with owned(KafkaMembership(options, SystemClock())) as assignment:
        await Tools(options).delete_records({0: 2})
        with pytest.raises(LookupError, match=r"position 1 .* is not in \[2, 3\]"):
            await read(assignment, 1)
        assert [r.value for r in await read(assignment, 2)] == [b"3"]


async def test_a_topic_that_is_deleted_is_waited_for(kafka: KafkaServer) -> None:
    """Its worker is revoked, and what is made under its name is another log with other records."""
    options = await made(options_for(kafka))
    await fill(options, b"old 1", b"old 2", b"old 3")
    async with processor_of(options) as processor:
        await processor.owns(1)
        (old,) = processor.held.values()
        await old.commit(Committed(3, pending_to=4))
        await Tools(options).delete_topic()
        await old.revoked.wait()
        await made_anew(options)
        await fill(options, *(b"new %d" % n for n in range(9)))
        await processor.owns(1)
        (new,) = processor.held.values()
        assert new.log_id != old.log_id
        assert await new.committed() is None
        assert [r.value for r in await read_all(new)] == [b"new %d" % n for n in range(9)]


async def test_a_reader_of_the_old_log_never_sees_the_new_one(kafka: KafkaServer) -> None:
    """Made anew between two reads, and grown past our position: nothing of it is taken for ours."""
    options = await made(options_for(kafka))
    await fill(options, b"old 1", b"old 2")
    async with processor_of(options) as processor:
        await processor.owns(1)
        (old,) = processor.held.values()
        assert len(await read(old, 0)) == 2
        await Tools(options).delete_topic()
        await made_anew(options)
        await fill(options, *(b"new %d" % n for n in range(9)))
        seen: list[Record] = []
        while not old.revoked.is_set():
            with contextlib.suppress(Unavailable):
                seen += await read(old, 2, wait_seconds=0.05)
        assert seen == []


async def test_a_topic_that_is_missing_is_waited_for(kafka: KafkaServer) -> None:
    """A processor may start before `headrace migrate`."""
    options = options_for(kafka)
    async with processor_of(options) as processor:
        await asyncio.sleep(0.7)
        await made(options)
        await processor.owns(1)


async def test_stopping_while_nothing_is_assigned_ends_at_once(kafka: KafkaServer) -> None:
    """Also when there is nothing to wait for."""
    processor = Processor(options_for(kafka))
    await asyncio.sleep(0.2)
    async with asyncio.timeout(5):
        await processor.stop()
