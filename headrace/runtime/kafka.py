"""From settings to what the Kafka adapter is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.runtime.settings import Settings

if TYPE_CHECKING:
    from headrace.eventlog.kafka.options import KafkaOptions
    from headrace.eventlog.kafka.topic import TopicPlan


def kafka_options(settings: Settings) -> KafkaOptions:
    """Brokers, topic, group, and how to get in."""
    from headrace.eventlog.kafka.options import KafkaOptions

    return KafkaOptions(
        brokers=tuple(map(str, settings.kafka)),
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


def topic_plan(settings: Settings) -> TopicPlan:
    """What the topic is to be like."""
    from headrace.eventlog.kafka.topic import TopicPlan

    return TopicPlan(
        partitions=settings.kafka_partitions,
        replication=settings.kafka_replication,
        retention_hours=settings.kafka_retention_hours,
        max_message_bytes=settings.kafka_max_message_bytes,
    )
