"""Everything of aiokafka that this adapter uses, private parts included, named in one place.

A new version of aiokafka is checked against this list. What is *not* here is as telling:
`AIOKafkaProducer` and `AIOKafkaConsumer`. The producer hangs with a frozen broker and is poisoned
by one refused batch; the consumer commits under whatever generation is current. So `appender.py`
and `membership.py` speak the protocol themselves, on aiokafka's connections, group coordinator and
reader of record batches.
"""

from __future__ import annotations

from aiokafka import errors
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.client import (
    AIOKafkaClient,
    ConnectionGroup,
    CoordinationType,
)
from aiokafka.cluster import ClusterMetadata
from aiokafka.conn import AIOKafkaConnection, CloseReason, collect_hosts, create_conn
from aiokafka.consumer.group_coordinator import (
    GroupCoordinator,
)
from aiokafka.consumer.subscription_state import (
    SubscriptionState,
)
from aiokafka.coordinator.assignors.sticky.sticky_assignor import (
    StickyPartitionAssignor,
)
from aiokafka.protocol.admin import (
    CreateTopicsRequest,
    DescribeConfigsRequest,
)
from aiokafka.protocol.api import (
    Request,
    RequestStruct,
    Response,
    ResponseHeader_v0,
)
from aiokafka.protocol.commit import (
    OffsetCommitRequest,
    OffsetFetchRequest,
)
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.group import (
    HeartbeatRequest,
    JoinGroupRequest,
    SyncGroupRequest,
)
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.protocol.transaction import InitProducerIdRequest
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactBytes,
    CompactString,
    Int8,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)
from aiokafka.record.default_records import (
    _DefaultRecordBatchPy as PythonRecordBatch,
)
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition

__all__ = [
    "AIOKafkaClient",
    "AIOKafkaConnection",
    "AbstractType",
    "Boolean",
    "CloseReason",
    "ClusterMetadata",
    "CompactArray",
    "CompactBytes",
    "CompactString",
    "ConnectionGroup",
    "ConsumerRebalanceListener",
    "CoordinationType",
    "CreateTopicsRequest",
    "DescribeConfigsRequest",
    "FindCoordinatorRequest",
    "GroupCoordinator",
    "HeartbeatRequest",
    "InitProducerIdRequest",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "JoinGroupRequest",
    "MemoryRecords",
    "MetadataRequest",
    "OffsetCommitRequest",
    "OffsetFetchRequest",
    "OffsetRequest",
    "PythonRecordBatch",
    "Request",
    "RequestStruct",
    "Response",
    "ResponseHeader_v0",
    "Schema",
    "StickyPartitionAssignor",
    "SubscriptionState",
    "SyncGroupRequest",
    "TaggedFields",
    "TopicPartition",
    "calc_crc32c",
    "collect_hosts",
    "create_conn",
    "errors",
]
