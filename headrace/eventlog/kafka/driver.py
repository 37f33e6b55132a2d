"""Everything of aiokafka that this adapter uses, private parts included, named in one place.

A new version of aiokafka is checked against this list. What is *not* here is as telling:
`AIOKafkaProducer` and `AIOKafkaConsumer`. The producer hangs with a frozen broker and is poisoned
by one refused batch; the consumer commits under whatever generation is current. So `appender.py`
and `membership.py` speak the protocol themselves, on aiokafka's connections, record batches and
group coordinator. aiokafka ships no types.
"""

from __future__ import annotations

from aiokafka import errors  # type: ignore[import-untyped]
from aiokafka.abc import ConsumerRebalanceListener  # type: ignore[import-untyped]
from aiokafka.client import (  # type: ignore[import-untyped]
    AIOKafkaClient,
    ConnectionGroup,
    CoordinationType,
)
from aiokafka.conn import collect_hosts, create_conn  # type: ignore[import-untyped]
from aiokafka.consumer.group_coordinator import (  # type: ignore[import-untyped]
    GroupCoordinator,
)
from aiokafka.consumer.subscription_state import (  # type: ignore[import-untyped]
    SubscriptionState,
)
from aiokafka.coordinator.assignors.sticky.sticky_assignor import (  # type: ignore[import-untyped]
    StickyPartitionAssignor,
)
from aiokafka.protocol.admin import (  # type: ignore[import-untyped]
    CreateTopicsRequest,
    DescribeConfigsRequest,
)
from aiokafka.protocol.api import (  # type: ignore[import-untyped]
    Request,
    RequestStruct,
    Response,
    ResponseHeader_v0,
)
from aiokafka.protocol.commit import (  # type: ignore[import-untyped]
    OffsetCommitRequest,
    OffsetFetchRequest,
)
from aiokafka.protocol.metadata import MetadataRequest  # type: ignore[import-untyped]
from aiokafka.protocol.offset import OffsetRequest  # type: ignore[import-untyped]
from aiokafka.protocol.produce import ProduceRequest  # type: ignore[import-untyped]
from aiokafka.protocol.transaction import InitProducerIdRequest  # type: ignore[import-untyped]
from aiokafka.protocol.types import (  # type: ignore[import-untyped]
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
from aiokafka.record.default_records import (  # type: ignore[import-untyped]
    DefaultRecordBatchBuilder,
)
from aiokafka.record.memory_records import MemoryRecords  # type: ignore[import-untyped]
from aiokafka.record.util import calc_crc32c  # type: ignore[import-untyped]
from aiokafka.structs import TopicPartition  # type: ignore[import-untyped]

__all__ = [
    "AIOKafkaClient",
    "AbstractType",
    "Boolean",
    "CompactArray",
    "CompactBytes",
    "CompactString",
    "ConnectionGroup",
    "ConsumerRebalanceListener",
    "CoordinationType",
    "CreateTopicsRequest",
    "DefaultRecordBatchBuilder",
    "DescribeConfigsRequest",
    "GroupCoordinator",
    "InitProducerIdRequest",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "MemoryRecords",
    "MetadataRequest",
    "OffsetCommitRequest",
    "OffsetFetchRequest",
    "OffsetRequest",
    "ProduceRequest",
    "Request",
    "RequestStruct",
    "Response",
    "ResponseHeader_v0",
    "Schema",
    "StickyPartitionAssignor",
    "SubscriptionState",
    "TaggedFields",
    "TopicPartition",
    "calc_crc32c",
    "collect_hosts",
    "create_conn",
    "errors",
]
