"""Appending to a real broker: what is stored where, and what stands in the way."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from zlib import crc32

import msgspec
import pytest

from headrace.eventlog.kafka.appender import KafkaAppender
from headrace.eventlog.kafka.membership import KafkaMembership
from headrace.eventlog.kafka.options import KafkaOptions
from headrace.eventlog.kafka.topic import TopicPlan, prepare_topic
from headrace.eventlog.port import Batch, NewRecord, Record
from headrace.runtime.clock import ManualClock, SystemClock
from headrace.schemas.errors import Overloaded
from tests.eventlog.adapters import append_when_possible, batch, owned, read_all, until
from tests.eventlog.kafka_log import (
    Tools,
    appending,
    made,
    made_anew,
    options_for,
)
from tests.services.kafka import CERTIFICATE, PASSWORD, USERNAME, KafkaServer
from tests.services.ports import free_ports


async def stored(options: KafkaOptions) -> dict[int, list[Record]]:
    """Everything in the log, by partition."""
    membership = KafkaMembership(options, SystemClock())
    assignments = aiter(membership.assignments())
    held = [await anext(assignments) for _ in range(options.partitions or 1)]
    found = {assignment.partition: await read_all(assignment) for assignment in held}
    stopping = asyncio.create_task(membership.stop())
    for assignment in held:
        await assignment.revoked.wait()
        await assignment.release()
    await stopping
    return found


async def refusal(appender: KafkaAppender) -> Overloaded:
    """Why appends are refused, once they are."""
    refusals: list[Overloaded] = []

    async def is_refused() -> bool:
        try:
            await appender.append(batch(b"in vain"))
        except Overloaded as error:
            refusals.append(error)
        return bool(refusals)

    await until(is_refused)
    return refusals[0]


@pytest.mark.parametrize("compression", ["none", "lz4", "zstd"])
async def test_records_lie_in_the_partition_of_their_key(
    kafka: KafkaServer, compression: str
) -> None:
    """Every key has one partition, and keeps its order there, whoever sends at the same time."""
    options = await made(options_for(kafka, partitions=5, compression=compression), 5)
    sent: dict[tuple[bytes, bytes], list[bytes]] = defaultdict(list)
    batches = []
    for number in range(20):
        records = [NewRecord(b"key %d" % (n % 13), b"%d %d" % (number, n)) for n in range(100)]
        batches.append(Batch(records, {"traceparent": b"00-%d" % number}))
    async with appending(options) as appender:
        await asyncio.gather(*map(appender.append, batches))
    for number, one in enumerate(batches):
        for new in one.records:
            sent[b"%d" % number, new.key].append(new.value)
    found = await stored(options)
    assert sum(map(len, found.values())) == 2_000
    for partition, its in found.items():
        received: dict[tuple[bytes, bytes], list[bytes]] = defaultdict(list)
        for record in its:
            of = record.value.split()[0]
            assert crc32(record.key) % 5 == partition
            assert record.headers == {"traceparent": b"00-" + of}
            received[of, record.key].append(record.value)
        assert all(values == sent[place] for place, values in received.items())


async def test_a_batch_larger_than_the_topic_takes_is_cut(kafka: KafkaServer) -> None:
    """Nothing too large is ever sent; the pieces lie in order, and the log goes on."""
    options = await made(options_for(kafka), max_message_bytes=200_000)
    values = [b"%05d" % n * 400 for n in range(1_000)]
    async with appending(options) as appender:
        await appender.append(batch(*values))
        await appender.append(batch(b"after"))
    (found,) = (await stored(options)).values()
    assert [record.value for record in found] == [*values, b"after"]


async def test_a_record_larger_than_the_topic_takes_is_refused(kafka: KafkaServer) -> None:
    """Nothing of its batch is sent, and the log is not disturbed."""
    options = await made(options_for(kafka), max_message_bytes=200_000)
    async with appending(options) as appender:
        with pytest.raises(Overloaded, match=r"max\.message\.bytes"):
            await appender.append(batch(b"small", b"x" * 300_000))
        assert appender.is_writable()
        await appender.append(batch(b"after"))
    (found,) = (await stored(options)).values()
    assert [record.value for record in found] == [b"after"]


async def test_a_batch_that_the_broker_refuses_poisons_nothing(kafka: KafkaServer) -> None:
    """The topic's limit shrinks under a running collector: one refusal, then smaller batches."""
    options = await made(options_for(kafka), max_message_bytes=1_000_000)
    values = [b"%05d" % n * 400 for n in range(200)]
    async with appending(options, compression="none") as appender:
        await appender.append(batch(*values))
        await Tools(options).configure(max_message_bytes="150000")
        with pytest.raises(Overloaded, match=r"max\.message\.bytes"):
            await appender.append(batch(*values))
        await append_when_possible(appender, batch(*values))
    (found,) = (await stored(options)).values()
    assert [record.value for record in found] == values * 2


async def test_a_broker_may_start_after_the_collector(tmp_path: Path) -> None:
    """Appends are refused with a sentence until it is there, then pass without a restart."""
    (port,) = free_ports(1)
    appender = KafkaAppender.open(options_for(f"127.0.0.1:{port}"), SystemClock())
    try:
        assert "is it running" in str(await refusal(appender))
        assert appender.log_id == ""
        assert not appender.is_writable()
    finally:
        await appender.stop()
    broker = KafkaServer(tmp_path)
    options = options_for(broker)
    appender = KafkaAppender.open(options, SystemClock())
    try:
        await refusal(appender)
        with broker:
            await made(options)
            await append_when_possible(appender, batch(b"at last"))
            assert appender.is_writable()
    finally:
        await appender.stop()


async def test_a_topic_that_is_missing_is_told_and_waited_for(kafka: KafkaServer) -> None:
    """The sentence names the command that makes it."""
    options = options_for(kafka)
    appender = KafkaAppender.open(options, SystemClock())
    try:
        assert "headrace migrate" in str(await refusal(appender))
        await made(options)
        await append_when_possible(appender, batch(b"now"))
    finally:
        await appender.stop()


async def test_a_topic_with_another_number_of_partitions_is_refused(kafka: KafkaServer) -> None:
    """Its keys were spread over so many; what came now would lie elsewhere."""
    options = msgspec.structs.replace(await made(options_for(kafka), 3), partitions=12)
    appender = KafkaAppender.open(options, SystemClock())
    try:
        assert "has 3 partitions, not 12" in str(await refusal(appender))
    finally:
        await appender.stop()


async def test_a_topic_that_was_given_more_partitions_is_refused(kafka: KafkaServer) -> None:
    """What is known of the log by its id counts, whoever changed the topic since."""
    options = await made(options_for(kafka), 3)
    known = {(await prepare_topic(options, TopicPlan(partitions=3))).log_id: 2}
    options = msgspec.structs.replace(options, partitions_of=known.get)
    appender = KafkaAppender.open(options, SystemClock())
    try:
        assert "has 3 partitions, not 2" in str(await refusal(appender))
    finally:
        await appender.stop()


async def test_a_topic_made_anew_under_the_collector_is_another_log(kafka: KafkaServer) -> None:
    """The id changes, and appends go on without a restart."""
    options = await made(options_for(kafka))
    async with appending(options) as appender:
        await appender.append(batch(b"old"))
        old = appender.log_id
        await Tools(options).delete_topic()
        await made_anew(options)

        async def is_noticed() -> bool:
            return appender.log_id != old and appender.is_writable()

        await until(is_noticed)
        await appender.append(batch(b"new"))
    (found,) = (await stored(options)).values()
    assert [record.value for record in found] == [b"new"]


async def test_waiting_bytes_are_bounded(kafka: KafkaServer) -> None:
    """Beyond the bound an append is refused at once, whatever becomes of the others."""
    options = await made(options_for(kafka, max_waiting_bytes=100_000))
    async with appending(options) as appender:
        first, second = await asyncio.gather(
            appender.append(batch(b"x" * 90_000)),
            appender.append(batch(b"y" * 90_000)),
            return_exceptions=True,
        )
        assert (first, type(second)) == (None, Overloaded)
        await append_when_possible(appender, batch(b"y" * 90_000))


async def test_a_log_on_kafka_keeps_no_keys(kafka: KafkaServer) -> None:
    """It proves nothing about any key, so whoever asks marks every keyed request."""
    clock = ManualClock()
    appender = KafkaAppender.open(options_for(kafka), clock)
    try:
        assert await appender.recall(b"a key", clock.now()) is None
        clock.advance(3600)
        assert await appender.keys_since() == clock.now()
    finally:
        await appender.stop()


@pytest.mark.parametrize(
    ("security", "mechanism"),
    [
        ("ssl", "PLAIN"),
        ("sasl_plaintext", "PLAIN"),
        ("sasl_plaintext", "SCRAM-SHA-512"),
        ("sasl_ssl", "SCRAM-SHA-512"),
    ],
)
async def test_records_go_through_every_kind_of_listener(
    kafka: KafkaServer, security: str, mechanism: str
) -> None:
    """Both sides of the log speak TLS and SASL."""
    address = kafka.address(security.upper()).replace("127.0.0.1", "localhost")
    options = await made(
        options_for(
            address,
            security=security,
            sasl_mechanism=mechanism,
            username=USERNAME,
            password=PASSWORD,
            tls_ca=CERTIFICATE,
        )
    )
    async with appending(options) as appender:
        await appender.append(batch(b"secret"))
    async with owned(KafkaMembership(options, SystemClock())) as assignment:
        (found,) = await read_all(assignment)
        assert found.value == b"secret"
        assert abs((datetime.now(UTC) - found.appended_at).total_seconds()) < 3600


@pytest.mark.parametrize(
    ("security", "changes", "expected"),
    [
        ("sasl_plaintext", {"password": "wrong"}, "login was refused"),
        ("sasl_plaintext", {"sasl_mechanism": "SCRAM-SHA-256"}, "SASL mechanism"),
        ("sasl_plaintext", {"sasl_mechanism": "NONSENSE"}, "settings for Kafka cannot be used"),
        ("ssl", {"tls_ca": None}, "certificate verify failed"),
        ("ssl", {"tls_ca": Path("/nowhere")}, "settings for Kafka cannot be used"),
    ],
)
async def test_a_refused_login_is_told(
    kafka: KafkaServer, security: str, changes: dict[str, str | Path | None], expected: str
) -> None:
    """What is wrong with the login is in the answer, and no password is."""
    address = kafka.address(security.upper()).replace("127.0.0.1", "localhost")
    options = options_for(
        address, security=security, username=USERNAME, password=PASSWORD, tls_ca=CERTIFICATE
    )
    appender = KafkaAppender.open(msgspec.structs.replace(options, **changes), SystemClock())
    try:
        told = str(await refusal(appender))
        assert expected in told
        assert "wrong" not in told
        assert PASSWORD not in told
    finally:
        await appender.stop()


async def test_stopping_does_not_wait_for_a_broker_that_is_not_there(kafka: KafkaServer) -> None:
    """An appender that never connected ends at once."""
    (port,) = free_ports(1)
    appender = KafkaAppender.open(options_for(f"127.0.0.1:{port}"), SystemClock())
    async with asyncio.timeout(5):
        await appender.stop()
    with pytest.raises(Overloaded, match="closed"):
        await appender.append(batch(b"late"))
