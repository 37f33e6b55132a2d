"""The list of settings: names, defaults, what they mean.

The README's table is made from `SETTINGS` (`headrace settings --markdown`). How their text is read
is `setting_text.py`'s, what a running process has is `settings.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from headrace.eventlog.kafka.options import LEAST_MESSAGE_BYTES
from headrace.processor.failpoints import read_fail_point
from headrace.runtime.setting_text import (
    addresses,
    at_least,
    choice,
    name,
    networks,
    offset,
    optional_at_least,
    optional_path,
    optional_seconds,
    optional_whole_number,
    parse_address,
    parse_clickhouse,
    path,
    seconds,
    share,
    url_of,
    whole_number,
    words,
)

MEBIBYTE: Final = 1024 * 1024


def _fail_point(text: str) -> str:
    read_fail_point(text)
    return text


class Setting(msgspec.Struct, frozen=True):
    """One row of the table: the environment's name, the default as text, the meaning."""

    variable: str
    default: str
    meaning: str
    parse: Callable[[str], Any]
    is_secret: bool = False
    """Never shown: the whole value, or the password in a URL."""


SETTINGS: Final[Mapping[str, Setting]] = {
    "home": Setting("HEADRACE_HOME", "./.headrace", "Folder of everything the node keeps.", path),
    "listen": Setting(
        "HEADRACE_LISTEN", "127.0.0.1:8080", "Where the collector listens.", parse_address
    ),
    "store_listen": Setting(
        "HEADRACE_STORE_LISTEN",
        "127.0.0.1:8123",
        "Where the embedded ClickHouse server listens.",
        parse_address,
    ),
    "processor_listen": Setting(
        "HEADRACE_PROCESSOR_LISTEN",
        "",
        "Where the processor serves `/livez`, `/readyz`, `/metrics`; empty: nowhere.",
        lambda text: parse_address(text) if text else None,
    ),
    "tls_certificate": Setting(
        "HEADRACE_TLS_CERTIFICATE", "", "PEM file; the collector then speaks TLS.", optional_path
    ),
    "tls_key": Setting("HEADRACE_TLS_KEY", "", "PEM file of the certificate's key.", optional_path),
    "trusted_proxies": Setting(
        "HEADRACE_TRUSTED_PROXIES",
        "",
        "Peers whose `X-Forwarded-For` is believed, separated by commas.",
        networks,
    ),
    "cors_origins": Setting(
        "HEADRACE_CORS_ORIGINS",
        "*",
        "Origins whose pages may send events, separated by commas.",
        words,
    ),
    "requests_per_minute": Setting(
        "HEADRACE_REQUESTS_PER_MINUTE",
        "100",
        "Requests a workspace may send in any 60 s, unless it has a limit of its own.",
        whole_number,
    ),
    "max_bytes_in_flight": Setting(
        "HEADRACE_MAX_BYTES_IN_FLIGHT",
        str(64 * MEBIBYTE),
        "Bodies the collector holds at once; past it requests wait, then get 503.",
        whole_number,
    ),
    "header_timeout_seconds": Setting(
        "HEADRACE_HEADER_TIMEOUT_SECONDS",
        "10",
        "A request's headers must be there by then.",
        seconds,
    ),
    "body_timeout_seconds": Setting(
        "HEADRACE_BODY_TIMEOUT_SECONDS", "30", "A request's body must be there by then.", seconds
    ),
    "kafka": Setting(
        "HEADRACE_KAFKA",
        "",
        "Kafka's brokers, `host:port` separated by commas; empty: the log is a file in HOME.",
        addresses,
    ),
    "kafka_topic": Setting(
        "HEADRACE_KAFKA_TOPIC", "headrace.events", "The topic that is the log.", name
    ),
    "kafka_group": Setting(
        "HEADRACE_KAFKA_GROUP",
        "headrace-processor",
        "The consumer group in which processors share the partitions.",
        name,
    ),
    "kafka_partitions": Setting(
        "HEADRACE_KAFKA_PARTITIONS",
        "12",
        "Partitions of a topic that `headrace migrate` makes; fixed for the topic's life.",
        whole_number,
    ),
    "kafka_replication": Setting(
        "HEADRACE_KAFKA_REPLICATION",
        "",
        "Copies of each partition; empty: as many as there are brokers, at most 3.",
        optional_whole_number,
    ),
    "kafka_retention_hours": Setting(
        "HEADRACE_KAFKA_RETENTION_HOURS", "168", "How long the topic keeps records.", whole_number
    ),
    "kafka_max_message_bytes": Setting(
        "HEADRACE_KAFKA_MAX_MESSAGE_BYTES",
        str(16 * MEBIBYTE),
        "The topic's `max.message.bytes`: the largest batch it takes; 131072 at least.",
        at_least(LEAST_MESSAGE_BYTES),
    ),
    "kafka_compression": Setting(
        "HEADRACE_KAFKA_COMPRESSION", "lz4", "`lz4` or `zstd`.", choice("lz4", "zstd")
    ),
    "kafka_security": Setting(
        "HEADRACE_KAFKA_SECURITY",
        "plaintext",
        "`plaintext`, `ssl`, `sasl_plaintext` or `sasl_ssl`.",
        choice("plaintext", "ssl", "sasl_plaintext", "sasl_ssl"),
    ),
    "kafka_sasl_mechanism": Setting(
        "HEADRACE_KAFKA_SASL_MECHANISM",
        "scram-sha-512",
        "`plain`, `scram-sha-256` or `scram-sha-512`.",
        choice("plain", "scram-sha-256", "scram-sha-512"),
    ),
    "kafka_username": Setting("HEADRACE_KAFKA_USERNAME", "", "Who logs in to Kafka.", str),
    "kafka_password": Setting(
        "HEADRACE_KAFKA_PASSWORD", "", "The password for it.", str, is_secret=True
    ),
    "kafka_tls_ca": Setting(
        "HEADRACE_KAFKA_TLS_CA",
        "",
        "PEM file of the authority that signed the brokers' certificates; empty: the system's.",
        optional_path,
    ),
    "kafka_tls_certificate": Setting(
        "HEADRACE_KAFKA_TLS_CERTIFICATE",
        "",
        "PEM file of a certificate that we show the brokers.",
        optional_path,
    ),
    "kafka_tls_key": Setting(
        "HEADRACE_KAFKA_TLS_KEY", "", "PEM file of that certificate's key.", optional_path
    ),
    "clickhouse": Setting(
        "HEADRACE_CLICKHOUSE",
        "",
        "`http(s)://user:password@host:port/database`; empty: the embedded store.",
        parse_clickhouse,
        is_secret=True,
    ),
    "clickhouse_cluster": Setting(
        "HEADRACE_CLICKHOUSE_CLUSTER",
        "",
        "The cluster whose replicas hold the tables (one shard); empty: one server.",
        str,
    ),
    "redis": Setting(
        "HEADRACE_REDIS",
        "",
        "`redis://…`; rate limits and idempotency keys shared by all collectors; empty: each "
        "collector has its own.",
        url_of("redis", "rediss"),
        is_secret=True,
    ),
    "database": Setting(
        "HEADRACE_DATABASE",
        "",
        "`postgresql://…` of the control data; empty: a file in HOME.",
        url_of("postgresql", "postgres"),
        is_secret=True,
    ),
    "log_max_bytes": Setting(
        "HEADRACE_LOG_MAX_BYTES",
        str(8 * 1024 * MEBIBYTE),
        "Bound of the local log; when it is full the collector answers 503 until there is room.",
        whole_number,
    ),
    "flush_rows": Setting(
        "HEADRACE_FLUSH_ROWS",
        "50000",
        "The processor writes a block at this many events.",
        whole_number,
    ),
    "flush_bytes": Setting(
        "HEADRACE_FLUSH_BYTES",
        str(32 * MEBIBYTE),
        "The processor writes a block at this many bytes.",
        whole_number,
    ),
    "flush_seconds": Setting(
        "HEADRACE_FLUSH_SECONDS",
        "",
        "The least seconds between two blocks of a partition that are not full; an event waits no "
        "longer for others. By default 0.05 with the local log, 0.2 with Kafka, where each "
        "partition makes blocks of its own.",
        optional_seconds,
    ),
    "breaker_share": Setting(
        "HEADRACE_BREAKER_SHARE",
        "0.5",
        "The processor stops when more than this share of a minute's records is rejected for one "
        "new reason; 1: never.",
        share,
    ),
    "breaker_records": Setting(
        "HEADRACE_BREAKER_RECORDS",
        "1000",
        "Fewer records in a minute do not stop it.",
        whole_number,
    ),
    "schemas": Setting(
        "HEADRACE_SCHEMAS",
        "",
        "Folder of event schemas (`<event>.json`) used instead of the shipped taxonomy.",
        optional_path,
    ),
    "store_max_bytes": Setting(
        "HEADRACE_STORE_MAX_BYTES",
        "",
        "Bound of the embedded store, in bytes, at least 1 GiB: beyond it, what was received first "
        "is deleted; empty: none.",
        optional_at_least(1024 * MEBIBYTE),
    ),
    "store_max_queries": Setting(
        "HEADRACE_STORE_MAX_QUERIES",
        "8",
        "Queries of people the embedded store runs at once.",
        whole_number,
    ),
    "store_query_seconds": Setting(
        "HEADRACE_STORE_QUERY_SECONDS", "60", "The longest a person's query may run.", seconds
    ),
    "store_query_bytes": Setting(
        "HEADRACE_STORE_QUERY_BYTES",
        str(2 * 1024 * MEBIBYTE),
        "Memory a person's query may take.",
        whole_number,
    ),
    "log_format": Setting(
        "HEADRACE_LOG_FORMAT", "console", "`console` or `json`.", choice("console", "json")
    ),
    "log_level": Setting(
        "HEADRACE_LOG_LEVEL",
        "info",
        "`debug`, `info`, `warning` or `error`.",
        choice("debug", "info", "warning", "error"),
    ),
    "clock_offset_seconds": Setting(
        "HEADRACE_CLOCK_OFFSET_SECONDS", "0", "Moves the process's clock; for fault tests.", offset
    ),
    "traces": Setting(
        "HEADRACE_TRACES",
        "",
        "OTLP over HTTP, such as `http://127.0.0.1:4318`; needs `pip install headrace[traces]`; "
        "empty: no traces.",
        url_of("http", "https"),
    ),
    "fail_point": Setting(
        "HEADRACE_FAIL_POINT",
        "",
        "`<point>[:n]`: the processor kills itself when it passes there; for fault tests.",
        _fail_point,
    ),
}
