"""Requests in versions that aiokafka does not speak: those that know topics by their id.

A topic that was deleted and made anew under its name is another log, and only its id (KIP-516)
tells. So the topic is looked up with Metadata v12, and records are fetched with Fetch v13, which
names the topic by its id: records of another log can never be taken for ours. ApiVersions v3
tells what release the cluster runs. Brokers since 3.1 know all three.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any, Final

from headrace.eventlog.kafka.driver import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactBytes,
    CompactString,
    Int8,
    Int16,
    Int32,
    Int64,
    Request,
    RequestStruct,
    Response,
    ResponseHeader_v0,
    Schema,
    TaggedFields,
)

NO_TOPIC_ID: Final = bytes(16)

# Error codes newer than aiokafka's list.
FENCED_LEADER_EPOCH: Final = 74
UNKNOWN_LEADER_EPOCH: Final = 75
OFFSET_NOT_AVAILABLE: Final = 78
FENCED_INSTANCE_ID: Final = 82
INVALID_RECORD: Final = 87
UNKNOWN_TOPIC_ID: Final = 100
INCONSISTENT_TOPIC_ID: Final = 103

_TEXT: Final = CompactString("utf-8")
_TAGS: Final = ("tags", TaggedFields)


class Uuid(AbstractType):  # type: ignore[misc]  # aiokafka ships no types
    """Sixteen bytes, as they are."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(16)


class MetadataResponse_v12(Response):  # type: ignore[misc]  # noqa: N801 - as aiokafka's names
    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT), _TAGS
            ),
        ),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", _TEXT),
                ("topic_id", Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("in_sync", CompactArray(Int32)),
                        ("offline", CompactArray(Int32)),
                        _TAGS,
                    ),
                ),
                ("operations", Int32),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class MetadataRequest_v12(RequestStruct):  # type: ignore[misc]  # noqa: N801 - as aiokafka's names
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 12
    RESPONSE_TYPE = MetadataResponse_v12
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", Uuid), ("name", _TEXT), _TAGS)),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        _TAGS,
    )


class TopicRequest(Request[MetadataRequest_v12]):  # type: ignore[misc]  # aiokafka ships no types
    """One topic by its name, its id included; never makes it."""

    API_KEY = 3

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: type[Any]) -> Any:
        return request_struct_class([(NO_TOPIC_ID, self._topic, {})], False, False, {})


class FetchResponse_v13(Response):  # type: ignore[misc]  # noqa: N801 - as aiokafka's names
    API_KEY = 1
    API_VERSION = 13
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("session_id", Int32),
        (
            "topics",
            CompactArray(
                ("topic_id", Uuid),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("high_watermark", Int64),
                        ("last_stable_offset", Int64),
                        ("log_start_offset", Int64),
                        (
                            "aborted",
                            CompactArray(("producer_id", Int64), ("first_offset", Int64), _TAGS),
                        ),
                        ("preferred_read_replica", Int32),
                        ("records", CompactBytes),
                        _TAGS,
                    ),
                ),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class FetchRequest_v13(RequestStruct):  # type: ignore[misc]  # noqa: N801 - as aiokafka's names
    FLEXIBLE_VERSION = True
    API_KEY = 1
    API_VERSION = 13
    RESPONSE_TYPE = FetchResponse_v13
    SCHEMA = Schema(
        ("replica_id", Int32),
        ("max_wait_ms", Int32),
        ("min_bytes", Int32),
        ("max_bytes", Int32),
        ("isolation_level", Int8),
        ("session_id", Int32),
        ("session_epoch", Int32),
        (
            "topics",
            CompactArray(
                ("topic_id", Uuid),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("current_leader_epoch", Int32),
                        ("fetch_offset", Int64),
                        ("last_fetched_epoch", Int32),
                        ("log_start_offset", Int64),
                        ("max_bytes", Int32),
                        _TAGS,
                    ),
                ),
                _TAGS,
            ),
        ),
        (
            "forgotten",
            CompactArray(("topic_id", Uuid), ("partitions", CompactArray(Int32)), _TAGS),
        ),
        ("rack_id", _TEXT),
        _TAGS,
    )


class FetchRequest(Request[FetchRequest_v13]):  # type: ignore[misc]  # aiokafka ships no types
    """Records of one topic from `(partition, position)` on, whatever their isolation."""

    API_KEY = 1

    def __init__(
        self,
        topic_id: bytes,
        starts: Sequence[tuple[int, int]],
        *,
        max_wait_seconds: float,
        max_bytes: int,
        max_partition_bytes: int,
    ) -> None:
        self._topic_id = topic_id
        self._starts = starts
        self._max_wait_ms = int(max_wait_seconds * 1000)
        self._max_bytes = max_bytes
        self._max_partition_bytes = max_partition_bytes

    def build(self, request_struct_class: type[Any]) -> Any:
        limit = self._max_partition_bytes
        partitions: list[Any] = [
            (partition, -1, position, -1, -1, limit, {}) for partition, position in self._starts
        ]
        topics: list[Any] = [(self._topic_id, partitions, {})]
        return request_struct_class(
            -1, self._max_wait_ms, 1, self._max_bytes, 0, 0, -1, topics, [], "", {}
        )


class FeaturesResponse_v3(Response):  # type: ignore[misc]  # noqa: N801 - as aiokafka's names
    API_KEY = 18
    API_VERSION = 3
    SCHEMA = Schema(
        ("error_code", Int16),
        (
            "api_versions",
            CompactArray(("api_key", Int16), ("lowest", Int16), ("highest", Int16), _TAGS),
        ),
        ("throttle_time_ms", Int32),
        _TAGS,
    )


class FeaturesRequest_v3(RequestStruct):  # type: ignore[misc]  # noqa: N801 - as aiokafka's names
    FLEXIBLE_VERSION = True
    API_KEY = 18
    API_VERSION = 3
    RESPONSE_TYPE = FeaturesResponse_v3
    SCHEMA = Schema(("name", _TEXT), ("version", _TEXT), _TAGS)

    def parse_response_header(self, read_buffer: BytesIO) -> Any:
        return ResponseHeader_v0.decode(read_buffer)  # this one answer keeps the old header


class FeaturesRequest(Request[FeaturesRequest_v3]):  # type: ignore[misc]  # aiokafka has no types
    """What the cluster has agreed on; `level_of` reads it."""

    API_KEY = 18

    def build(self, request_struct_class: type[Any]) -> Any:
        return request_struct_class("headrace", "1", {})


_FINALIZED_TAG: Final = 2
_FINALIZED: Final = CompactArray(("name", _TEXT), ("highest", Int16), ("lowest", Int16), _TAGS)


def level_of(response: Any, feature: str) -> int | None:
    """The level of a feature in the answer to a `FeaturesRequest`."""
    tagged = response.tags.get(_FINALIZED_TAG)
    levels = _FINALIZED.decode(BytesIO(tagged)) if tagged else []
    return next((highest for name, highest, _, _ in levels if name == feature), None)
