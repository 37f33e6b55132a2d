"""Connections to brokers that are gone, moved or given up: nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest import mock

import msgspec
import pytest
from aiokafka.structs import BrokerMetadata

from headrace.eventlog.kafka import client as client_module
from headrace.eventlog.kafka.client import Client
from headrace.eventlog.kafka.driver import MetadataRequest, errors
from headrace.eventlog.kafka.options import KafkaOptions
from tests.eventlog.kafka_log import options_for
from tests.services.kafka import KafkaServer
from tests.services.ports import free_ports


@asynccontextmanager
async def connected(options: KafkaOptions) -> AsyncIterator[Client]:
    """A client that has reached a broker; given up in the end."""
    client = Client(options)
    await client.connect()
    try:
        yield client
    finally:
        client.abort()


async def test_brokers_that_are_all_elsewhere_now_are_found_by_their_addresses(
    kafka: KafkaServer,
) -> None:
    """Where they once were nobody answers; the addresses we were given still count."""
    async with connected(options_for(kafka)) as client:
        (gone,) = free_ports(1)
        client.cluster._brokers = {7: BrokerMetadata(7, "127.0.0.1", gone, None)}
        assert await client.force_metadata_update()
        assert client.nodes() == [1]


async def test_news_come_after_an_error_nobody_thought_of(kafka: KafkaServer) -> None:
    """Whoever waits for news is told that there are none, and the next one gets them."""
    async with connected(options_for(kafka)) as client:
        with mock.patch.object(client, "send_any", side_effect=RuntimeError("a surprise")):
            assert not await client.force_metadata_update()
        assert await client.force_metadata_update()


async def test_brokers_that_are_gone_are_not_asked_without_a_pause(kafka: KafkaServer) -> None:
    """What fails while the cluster is asked must not make it be asked again at once."""
    (gone,) = free_ports(1)
    options = options_for(kafka)
    async with connected(options) as client:
        client.cluster._brokers = {7: BrokerMetadata(7, "127.0.0.1", gone, None)}
        client._options = msgspec.structs.replace(options, brokers=(f"127.0.0.1:{gone}",))
        asked = mock.AsyncMock(wraps=client._metadata_update)
        with (
            mock.patch.object(client_module, "_NEWS_SECONDS", 0.1),
            mock.patch.object(client, "_metadata_update", asked),
        ):
            await client.force_metadata_update()
            await asyncio.sleep(1)
        assert 2 <= asked.await_count <= 15


async def test_a_coordinator_nobody_names_is_asked_for_again(kafka: KafkaServer) -> None:
    """aiokafka tries again after this error, and ends after any other."""
    async with connected(options_for(kafka)) as client:
        (gone,) = free_ports(1)
        client.cluster._brokers = {7: BrokerMetadata(7, "127.0.0.1", gone, None)}
        with pytest.raises(errors.GroupCoordinatorNotAvailableError) as caught:
            await client.coordinator_lookup(0, "a group")
        assert caught.value.retriable


async def test_who_was_given_up_connects_no_more(kafka: KafkaServer) -> None:
    """Whatever is asked late, by whomever."""
    async with connected(options_for(kafka)) as client:
        await client.send(1, MetadataRequest([]))
        client.abort()
        with pytest.raises(errors.NodeNotReadyError, match="given up"):
            await client.send(1, MetadataRequest([]))
        assert not client._conns


async def test_a_closed_port_is_told(kafka: KafkaServer) -> None:
    """Nothing was sent, and why."""
    async with connected(options_for(kafka)) as client:
        (gone,) = free_ports(1)
        client.cluster._brokers = {7: BrokerMetadata(7, "127.0.0.1", gone, None)}
        with pytest.raises(errors.NodeNotReadyError, match=rf"broker 7: .*{gone}"):
            await client.send(7, MetadataRequest([]))
