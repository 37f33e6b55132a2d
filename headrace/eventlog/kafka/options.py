"""How to reach the brokers, which topic and group are ours, and how long to wait for what.

Owns these values only; wiring fills them from the settings.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

LEAST_MESSAGE_BYTES: Final = 128 * 1024
"""What a topic must take at least: an event at all its limits."""

PartitionsOf = Callable[[str], int | None]
"""The number of partitions that a log, by its id, was made with."""


def _nothing_known(_log_id: str) -> None:
    return None


class KafkaOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the adapter is told. `brokers` are `host:port`, any of which must answer."""

    brokers: tuple[str, ...]
    topic: str = "headrace.events"
    group: str = "headrace-processor"
    partitions: int | None = None
    """How many the topic must have, since its keys were spread over so many; None: any."""
    partitions_of: PartitionsOf = _nothing_known
    """How many a log was made with, where `partitions` does not say; None: not known, so any."""
    compression: str = "lz4"
    """`lz4`, `zstd` or `none`."""
    max_message_bytes: int = 16 * 1024 * 1024
    """The largest batch to send; the topic's own limit counts if it is smaller."""

    security: str = "plaintext"
    """`plaintext`, `ssl`, `sasl_plaintext` or `sasl_ssl`."""
    sasl_mechanism: str = "SCRAM-SHA-512"
    username: str = ""
    password: str = ""
    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None

    append_seconds: float = 8.0
    """An append has succeeded or failed by then."""
    max_waiting_bytes: int = 64 * 1024 * 1024
    """Records handed over and not yet stored; beyond, appends are refused."""
    connect_seconds: float = 2.0
    """One step of making a connection; a question that any broker can answer has so much for
    each of them, too."""
    fetch_seconds: float = 10.0
    """An answer with records: 16 MiB at most."""
    answer_seconds: float = 5.0
    """A question about ends, commits or the topic."""
    session_seconds: float = 6.0
    """A member of the group that is silent for so long has lost its partitions. Brokers take no
    less than 6."""
    rebalance_seconds: float = 10.0
    """Members that have not ended their work by then are left out of the new assignment."""
    max_buffered_bytes: int = 8 * 1024 * 1024
    """What is fetched ahead of a partition's worker, as it comes from the broker (compressed)."""

    def connection_arguments(self) -> Mapping[str, Any]:
        """What every connection to a broker is made with, in aiokafka's words."""
        security = self.security.upper()
        return {
            "client_id": "headrace",
            "security_protocol": security,
            "ssl_context": self._tls() if "SSL" in security.split("_") else None,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.username,
            "sasl_plain_password": self.password,
        }

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.tls_ca)
        if self.tls_certificate is not None:
            context.load_cert_chain(self.tls_certificate, self.tls_key)
        return context
