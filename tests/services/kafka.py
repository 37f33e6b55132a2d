"""A real Kafka broker: one node in KRaft mode, from its jars, on ports of this machine.

Owns fetching the jars (once, into `.services/`), formatting the folder and the broker's
properties. Four listeners are always there, so that one broker serves plain, TLS and SASL tests
alike; `USERNAME`, `PASSWORD` and `CERTIFICATE` are what they take.

Tests share the broker of the fixture `kafka` and keep to topics and groups of their own; who
freezes, kills or fills a broker starts one: `with KafkaServer(folder) as broker: …`.
"""

from __future__ import annotations

import functools
import socket
import struct
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.services.jars import fetch_jars
from tests.services.ports import free_ports
from tests.services.server import Server

ROOT: Final = Path(__file__).resolve().parent.parent.parent
CERTIFICATE: Final = ROOT / "tests" / "collector" / "localhost.pem"
"""Certificate and key of the broker's TLS, signed by itself."""
USERNAME, PASSWORD = "headrace", "a-long-password-of-a-test"

_POM: Final = Path(__file__).with_name("pom.xml")
_ANSWER_SECONDS: Final = 0.5
_API_VERSIONS: Final = struct.pack(">hhih", 18, 0, 1, -1)
_LISTENERS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")


class KafkaServer(Server):
    """One broker. `properties` are added to its configuration, or replace what is there.

    With `through`, clients of `bootstrap` are told to come to that port of this machine: where a
    proxy of the test listens.
    """

    def __init__(
        self,
        root: Path,
        properties: Mapping[str, str] | None = None,
        *,
        through: int | None = None,
        cluster_id: str | None = None,
    ) -> None:
        ports = free_ports(len(_LISTENERS) + 1)
        super().__init__(root, ports[0])
        self._ports = dict(zip((*_LISTENERS, "CONTROLLER"), ports, strict=True))
        self._through = through
        self.properties = dict(properties or {})
        self._cluster_id = cluster_id or new_cluster_id()
        self._jars = fetch_jars("Kafka", _POM)
        self._file = root / "server.properties"

    @property
    def bootstrap(self) -> str:
        """`host:port` of the plain listener."""
        return self.address("PLAINTEXT")

    def address(self, security: str) -> str:
        """`host:port` of a listener: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""
        return f"127.0.0.1:{self._ports[security]}"

    @property
    def controller(self) -> str:
        """`host:port` where controllers find one another."""
        return self.address("CONTROLLER")

    def launch(self) -> None:
        if not self._file.exists():
            self.root.mkdir(parents=True, exist_ok=True)
            self._write_properties()
            self._format()
        super().launch()

    def command(self) -> Sequence[str]:
        return [*self._java(), "-Xmx512m", "-Xms128m", "kafka.Kafka", str(self._file)]

    def is_ready(self) -> bool:
        """Whether the broker answers a request."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), _ANSWER_SECONDS) as client:
                client.sendall(struct.pack(">i", len(_API_VERSIONS)) + _API_VERSIONS)
                return bool(client.recv(1))
        except OSError:
            return False

    def _java(self) -> list[str]:
        quick = ["-XX:+UseSerialGC", "-XX:-UsePerfData", "-XX:TieredStopAtLevel=1"]
        return ["java", *quick, "-cp", f"{self._jars}/*"]

    def _write_properties(self) -> None:
        certificate = self.root / "broker.pem"
        certificate.write_bytes(CERTIFICATE.read_bytes())
        lines = {**self._defaults(), **_security(certificate), **self.properties}
        self._file.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))

    def _defaults(self) -> Mapping[str, str]:
        listeners = [f"{name}://127.0.0.1:{port}" for name, port in self._ports.items()]
        advertised = [f"{name}://127.0.0.1:{self._ports[name]}" for name in _LISTENERS]
        if self._through is not None:
            advertised[0] = f"PLAINTEXT://127.0.0.1:{self._through}"
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self._ports['CONTROLLER']}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "SASL_PLAINTEXT",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "listeners": ",".join(listeners),
            "advertised.listeners": ",".join(advertised),
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,"
            + ",".join(f"{name}:{name}" for name in _LISTENERS),
            "log.dirs": str(self.root / "data"),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "auto.create.topics.enable": "false",
            "log.retention.check.interval.ms": "1000",
            # A broker that comes back after `kill -9` waits until its old session has run out.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
        }

    def _format(self) -> None:
        scram = f"SCRAM-SHA-512=[name={USERNAME},password={PASSWORD}]"
        subprocess.run(
            [
                *[*self._java(), "kafka.tools.StorageTool", "format"],
                *["-t", self._cluster_id, "-c", str(self._file), "--add-scram", scram],
            ],
            cwd=self.root,
            check=True,
            capture_output=True,
            timeout=60,
        )


def new_cluster_id() -> str:
    """A random id without a dash at its beginning: it would be taken for an option."""
    return urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).decode().rstrip("=")


@functools.cache
def _security(certificate: Path) -> Mapping[str, str]:
    login = f'username="{USERNAME}" password="{PASSWORD}"'
    modules = {
        "plain": "org.apache.kafka.common.security.plain.PlainLoginModule required "
        f'{login} user_{USERNAME}="{PASSWORD}";',
        "scram-sha-512": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
    }
    return {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(certificate),
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
    } | {
        f"listener.name.{listener}.{mechanism}.sasl.jaas.config": module
        for listener in ("sasl_plaintext", "sasl_ssl")
        for mechanism, module in modules.items()
    }


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """The broker that tests share; one for the whole run."""
    with KafkaServer(tmp_path_factory.mktemp("kafka")) as server:
        yield server
