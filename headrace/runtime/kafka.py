"""From settings to what the Kafka adapter is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from headrace.runtime.settings import Settings
from headrace.workspaces.port import Log

if TYPE_CHECKING:
    from headrace.eventlog.kafka.options import KafkaOptions
    from headrace.eventlog.kafka.topic import TopicPlan


def kafka_options(settings: Settings, logs: Logs | None = None) -> KafkaOptions:
    """Brokers, topic, group, how to get in, and how many partitions `logs` knows a log to have."""
    from headrace.eventlog.kafka.options import KafkaOptions

    return KafkaOptions(
        brokers=tuple(map(str, settings.kafka)),
        partitions_of=lambda log_id: _partitions(logs, log_id),
        topic=settings.kafka_topic,
        group=settings.kafka_group,
        compression=settings.kafka_compression,
        max_message_bytes=settings.kafka_max_message_bytes,
        security=settings.kafka_security,
        sasl_mechanism=settings.kafka_sasl_mechanism.upper(),
        username=settings.kafka_username,
        password=settings.kafka_password,
        tls_ca=settings.kafka_tls_ca,
        tls_certificate=settings.kafka_tls_certificate,
        tls_key=settings.kafka_tls_key,
    )


class Logs(Protocol):
    """Who knows logs as they were made: control data, or a directory of it."""

    def find_log(self, log_id: str) -> Log | None: ...


def _partitions(logs: Logs | None, log_id: str) -> int | None:
    log = None if logs is None else logs.find_log(log_id)
    return None if log is None else log.partitions


def topic_plan(settings: Settings) -> TopicPlan:
    """What the topic is to be like."""
    from headrace.eventlog.kafka.topic import TopicPlan

    return TopicPlan(
        partitions=settings.kafka_partitions,
        replication=settings.kafka_replication,
        retention_hours=settings.kafka_retention_hours,
        max_message_bytes=settings.kafka_max_message_bytes,
    )
