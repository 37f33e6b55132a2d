"""aiokafka's client with a limit to every wait, so that no broker holds up the others.

Owns connections, what is known of the cluster, and how long which request may take. The group
coordinator works on it as on aiokafka's own, which waits without need where a broker is frozen
(the kernel takes its connections, nobody answers) or restarts:

- It makes one connection at a time, for as long as a request may take: a frozen broker keeps
  everybody from the one that took over. Here each attempt is by itself, and short.
- It asks a broker again that has just not answered, and brokers it once knew when all of them are
  elsewhere now. Here the silent are asked last, and then the addresses we were given.
- Its task that follows the cluster ends with the first error nobody thought of, and whoever waits
  for news from then on waits for ever.
- Every request may take as long as the longest one, which is joining a group.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import structlog

from headrace.eventlog.kafka.driver import (
    AIOKafkaClient,
    AIOKafkaConnection,
    CloseReason,
    ClusterMetadata,
    ConnectionGroup,
    FindCoordinatorRequest,
    HeartbeatRequest,
    JoinGroupRequest,
    MetadataRequest,
    SyncGroupRequest,
    collect_hosts,
    create_conn,
    errors,
)
from headrace.eventlog.kafka.errors import describe
from headrace.eventlog.kafka.options import KafkaOptions
from headrace.eventlog.kafka.producing import ProduceRequest
from headrace.eventlog.kafka.protocol import FetchRequest

_NEWS_SECONDS: Final = 30.0
"""The cluster is asked so often when nothing has happened."""
_OVER: Final = "the connection to Kafka was given up"
_Key = tuple[int, Any]
_log = structlog.get_logger(__name__)


class Client(AIOKafkaClient):  # type: ignore[misc]  # aiokafka ships no types
    """Connections to the brokers of one cluster, for one appender or one member of the group."""

    _md_update_fut: asyncio.Future[bool] | None

    def __init__(self, options: KafkaOptions) -> None:
        """Raises `ValueError` or `OSError` if the settings cannot be used."""
        arguments = options.connection_arguments()
        super().__init__(bootstrap_servers=list(options.brokers), **arguments)
        self._options = options
        self._arguments = arguments
        self._silent: set[int] = set()
        self._attempts: dict[_Key, asyncio.Task[AIOKafkaConnection]] = {}
        self._news_wanted = asyncio.Event()
        self._is_over = False
        # A member that joins is answered when the others have joined, too.
        joining_seconds = options.rebalance_seconds + options.answer_seconds
        self._limits = {
            JoinGroupRequest: joining_seconds,
            SyncGroupRequest: joining_seconds,
            HeartbeatRequest: options.session_seconds / 2,
            ProduceRequest: options.append_seconds,
            FetchRequest: options.fetch_seconds,
        }

    async def connect(self) -> None:
        """Reach any broker, once.

        Raises what the last one tried said: a `KafkaError` or an `OSError` (`TimeoutError` is one).
        """
        metadata = await _ask_addresses(self._options, self._arguments, MetadataRequest([]))
        self.cluster.update_metadata(metadata)
        self._sync_task = asyncio.create_task(self._md_synchronizer())

    def nodes(self) -> Sequence[int]:
        """The brokers, each as likely the first, those that did not answer lately last."""
        nodes = [int(broker.nodeId) for broker in self.cluster.brokers()]
        random.shuffle(nodes)
        return sorted(nodes, key=self._silent.__contains__)

    async def send(
        self,
        node_id: int,
        request: Any,
        *,
        group: Any = ConnectionGroup.DEFAULT,
        seconds: float | None = None,
    ) -> Any:
        """The answer; raises a `KafkaError`.

        A broker that does not answer in `seconds` (by default what this kind of request may take)
        loses the connection, and with it whatever else waits on it; but where it has not come to
        this request yet, because it still works on another one that may take longer, only the
        waiting ends.
        """
        limit = seconds or self._limits.get(type(request), self._options.answer_seconds)
        connection = None
        try:
            async with asyncio.timeout(limit):
                connection = await self._connection(node_id, group)
                answer = await connection.send(request)
        except TimeoutError as error:
            self._silent.add(node_id)
            if connection is None:
                raise errors.NodeNotReadyError(f"broker {node_id} takes no connection") from error
            if _is_late(connection):
                _abort(connection, CloseReason.CONNECTION_TIMEOUT)
            raise errors.RequestTimedOutError(
                f"broker {node_id} did not answer in {limit:g} s"
            ) from error
        except OSError as error:
            raise errors.NodeNotReadyError(f"broker {node_id}: {error}") from error
        self._silent.discard(node_id)
        return answer

    async def send_any(self, request: Any) -> Any:
        """The answer of any broker; raises the `KafkaError` of the last one tried."""
        nodes = self.nodes()
        seconds = max(
            self._options.connect_seconds, self._options.answer_seconds / max(1, len(nodes))
        )
        trouble: errors.KafkaError = errors.NoBrokersAvailable()
        for node in nodes:
            try:
                return await self.send(node, request, seconds=seconds)
            except errors.KafkaError as error:
                trouble = error
        raise trouble

    def abort(self) -> None:
        """Drop every connection at once: what was sent may have arrived."""
        self._is_over = True
        if self._sync_task is not None:
            self._sync_task.cancel()
        if self._md_update_fut is not None and not self._md_update_fut.done():
            self._md_update_fut.set_result(False)  # somebody may be waiting for it
        for connection in list(self._conns.values()):
            _abort(connection)
        self._conns.clear()

    # What aiokafka does otherwise

    async def _get_conn(
        self,
        node_id: int,
        *,
        group: Any = ConnectionGroup.DEFAULT,
        no_hint: bool = False,  # noqa: ARG002 - aiokafka's
    ) -> AIOKafkaConnection | None:
        """A connection, or None if there is none to be had."""
        try:
            return await self._connection(node_id, group)
        except (errors.KafkaError, OSError):
            return None

    async def _connection(self, node: int, group: Any) -> AIOKafkaConnection:
        """Raises a `KafkaError` or an `OSError` (of which `TimeoutError` is one)."""
        if self._is_over:
            raise errors.NodeNotReadyError(_OVER)
        key = (node, group)
        connection = self._conns.get(key)
        if connection is not None and connection.connected():
            return connection
        attempt = self._attempts.get(key)
        if attempt is None:
            attempt = self._attempts[key] = asyncio.create_task(self._connect(key))
            attempt.add_done_callback(partial(self._attempted, key))
        # Whoever waits may be cancelled; the attempt is everybody's.
        return await asyncio.shield(attempt)

    def _attempted(self, key: _Key, attempt: asyncio.Task[AIOKafkaConnection]) -> None:
        del self._attempts[key]
        if not attempt.cancelled():
            attempt.exception()  # perhaps nobody waits for it any more

    async def _connect(self, key: _Key) -> AIOKafkaConnection:
        node, _ = key
        broker = self.cluster.broker_metadata(node)
        try:
            if broker is None:
                raise errors.StaleMetadata
            connection = await create_conn(
                broker.host,
                broker.port,
                request_timeout_ms=int(self._options.connect_seconds * 1000),
                on_close=self._on_connection_closed,
                **self._arguments,
            )
        except (errors.KafkaError, OSError):
            self._silent.add(node)
            self.force_metadata_update()
            raise
        if self._is_over:
            _abort(connection)
            raise errors.NodeNotReadyError(_OVER)
        connection._request_timeout = None  # `send` has a limit for each
        self._conns[key] = connection
        return connection

    def force_metadata_update(self) -> asyncio.Future[bool]:
        """Ask about the cluster now; whether anybody answered."""
        if self._md_update_fut is None:
            self._md_update_fut = asyncio.get_running_loop().create_future()
            self._news_wanted.set()
        return asyncio.shield(self._md_update_fut)

    async def _md_synchronizer(self) -> None:
        """Follow the cluster for ever."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_NEWS_SECONDS):
                    await self._news_wanted.wait()
            self._news_wanted.clear()
            if self._md_update_fut is None:  # else whatever fails meanwhile would ask once more
                self._md_update_fut = asyncio.get_running_loop().create_future()
            topics = set(self._topics)
            try:
                was_answered = await self._metadata_update(self.cluster, topics)
            except Exception:  # noqa: BLE001 - whoever waits for news must not wait for ever
                _log.exception("asking about the cluster failed")
                was_answered = False
            if not topics.issuperset(self._topics):
                self._news_wanted.set()  # of a topic that was not asked about
            else:
                self._md_update_fut.set_result(was_answered)
                self._md_update_fut = None

    async def _metadata_update(
        self, cluster_metadata: ClusterMetadata, topics: set[str] | None
    ) -> bool:
        request = MetadataRequest(list(topics) if topics else None)
        answer = None
        with contextlib.suppress(errors.KafkaError):
            answer = await self.send_any(request)
        if answer is None or not answer.brokers:  # one that has just started names none
            try:
                answer = await _ask_addresses(self._options, self._arguments, request)
            except (errors.KafkaError, OSError):
                return False
        cluster_metadata.update_metadata(answer)
        return True

    async def coordinator_lookup(self, coordinator_type: int, coordinator_key: str) -> int:
        """The group's coordinator; raises a `KafkaError`."""
        request = FindCoordinatorRequest(coordinator_key, coordinator_type)
        try:
            answer = await self.send_any(request)
        except errors.KafkaError as error:
            # One that aiokafka tries again after asking about the cluster.
            raise errors.GroupCoordinatorNotAvailableError(describe(error)) from error
        error_type = errors.for_code(answer.error_code)
        if error_type is not errors.NoError:
            raise error_type()
        return int(answer.coordinator_id)


async def _ask_addresses(options: KafkaOptions, arguments: Mapping[str, Any], request: Any) -> Any:
    """Metadata from the first of the addresses we were given that has any."""
    trouble: BaseException = errors.NoBrokersAvailable()
    for host, port, _ in collect_hosts(list(options.brokers)):
        try:
            connection = await create_conn(
                host,
                port,
                request_timeout_ms=int(options.connect_seconds * 1000),
                **arguments,
            )
            try:
                metadata = await connection.send(request)
            finally:
                connection.close()
            if metadata.brokers:
                return metadata
            trouble = errors.MetadataEmptyBrokerList()  # it has just started
        except (errors.KafkaError, OSError) as error:
            trouble = error
    raise trouble


def _is_late(connection: AIOKafkaConnection) -> bool:
    """Whether the answer that comes next is to a request nobody waits for any more."""
    waiting = connection._requests
    return not waiting or waiting[0][2].done()


def _abort(connection: AIOKafkaConnection, reason: CloseReason | None = None) -> None:
    writer = connection._writer
    connection.close(reason=reason)
    if writer is not None:
        writer.transport.abort()  # closing would first flush to a broker that is frozen
