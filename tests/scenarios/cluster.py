"""The distributed shape on one machine: broker, Redis, store, collectors, processors.

Owns starting all of it with addresses that last, and asking what became of the events. Each
program is a process with a HOME of its own (`program.py`); the control data is a database of the
PostgreSQL that tests share. Whether every event is there once is `account.py`'s.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import OperationalError

from headrace.runtime.credentials import read_credentials, read_processor_login
from headrace.runtime.first_start import complete_home
from headrace.runtime.home import Home, open_home
from headrace.runtime.settings import read_settings
from headrace.runtime.version import headrace_version
from headrace.workspaces.database import ControlData
from headrace.workspaces.port import Workspace
from tests.scenarios.node import PATIENCE_SECONDS, server_of, until_in_force
from tests.scenarios.program import Program
from tests.scenarios.proxy import Proxy
from tests.scenarios.topic import GROUP, Topic
from tests.services.kafka import PASSWORD, USERNAME, KafkaServer
from tests.services.redis import RedisServer
from tests.services.server import Server

PARTITIONS: Final = 4
UNLIMITED: Final = 10_000_000


class Cluster:
    """Everything of one installation. `variables` are settings of all its programs.

    The first collector reaches the broker through a proxy, and the first processor the store;
    everybody else goes straight.
    """

    def __init__(
        self,
        root: Path,
        database_url: str,
        *,
        collectors: int = 2,
        processors: int = 2,
        broker_properties: Mapping[str, str] | None = None,
        **variables: str,
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.group = GROUP
        self.database_url = database_url
        self.to_broker, self.to_store = Proxy(), Proxy()
        self.broker = KafkaServer(root / "kafka", broker_properties, through=self.to_broker.port)
        self.redis = RedisServer(root / "redis", appendonly=True)
        self.redis.root.mkdir()
        self.variables: dict[str, str] = {}
        of_store = {"HEADRACE_DATABASE": database_url}
        self.store = Program(root / "store0", "store", of_store)
        self.collectors = [self._program("collector", number) for number in range(collectors)]
        self.processors = [self._program("processor", number) for number in range(processors)]
        self.topic = Topic(self.broker)
        self.variables |= self._connections() | variables
        self._go_through_proxies()

    # life

    def start(self) -> Self:
        """Start the servers, prepare them, start the programs; returns when all are ready."""
        for proxy in (self.to_broker, self.to_store):
            proxy.start()
        for server in (self.broker, self.redis):
            server.start()
        self.store.start()
        self.migrate()
        self.start_programs()
        return self

    def migrate(self) -> None:
        """`headrace migrate`, as an operator would: the topic, and the embedded store's tables."""
        embedded = {**self.variables, "HEADRACE_CLICKHOUSE": ""}
        done = self.store.run("migrate", **embedded)
        assert done.returncode == 0, done.stdout + done.stderr

    def ledger(self) -> subprocess.CompletedProcess[str]:
        """`headrace ledger` over everything."""
        return self.processors[0].run("ledger")

    def start_programs(self) -> None:
        """Whatever does not run of store, collectors and processors."""
        for program in self.programs:
            if not runs(program):
                program.start()

    def mend(self) -> None:
        """Two collectors and two processors as at first; what was dead, frozen or held goes on."""
        for proxy in (self.to_broker, self.to_store):
            proxy.pass_on()
        for server in self.servers:
            server.thaw()
        for spare in self.processors[2:]:
            spare.kill()
        del self.processors[2:]
        for program in self.programs:
            if program.temporary:
                program.temporary.clear()
                program.kill()
        for server in self.servers:
            if not runs(server):
                server.start()

    def stop(self) -> None:
        for proxy in (self.to_broker, self.to_store):
            proxy.stop()
        for server in reversed(self.servers):
            server.kill()

    @property
    def programs(self) -> list[Program]:
        return [self.store, *self.collectors, *self.processors]

    @property
    def servers(self) -> list[Server]:
        return [self.broker, self.redis, *self.programs]

    @property
    def urls(self) -> list[str]:
        """Of the collectors."""
        return [collector.url for collector in self.collectors]

    def add_processor(self) -> Program:
        """One more, not started yet."""
        self.processors.append(self._program("processor", len(self.processors)))
        return self.processors[-1]

    def forget_commits(self) -> None:
        """From their next start on the processors are a group that never committed anything."""
        self.group += "-anew"
        self.variables["HEADRACE_KAFKA_GROUP"] = self.group

    def _program(self, kind: str, number: int) -> Program:
        return Program(self.root / f"{kind}{number}", kind, self.variables)

    def _go_through_proxies(self) -> None:
        self.to_broker.target_port = self.broker.port
        self.to_store.target_port = self.store.port
        self.collectors[0].variables |= {
            "HEADRACE_KAFKA": f"127.0.0.1:{self.to_broker.port}",
            "HEADRACE_KAFKA_SECURITY": "plaintext",
            "HEADRACE_KAFKA_USERNAME": "",
            "HEADRACE_KAFKA_PASSWORD": "",
        }
        straight = self.variables["HEADRACE_CLICKHOUSE"]
        self.processors[0].variables["HEADRACE_CLICKHOUSE"] = straight.replace(
            f":{self.store.port}/", f":{self.to_store.port}/"
        )

    def _connections(self) -> dict[str, str]:
        """The settings that make it distributed; completes the store's HOME for its users."""
        home = open_home(self.store.home, version=headrace_version())
        with contextlib.closing(ControlData.open(self.database_url)) as control:
            complete_home(home, control, read_settings(self.store.environment()))
        return {
            "HEADRACE_KAFKA": self.broker.address("SASL_PLAINTEXT"),
            "HEADRACE_KAFKA_SECURITY": "sasl_plaintext",
            "HEADRACE_KAFKA_USERNAME": USERNAME,
            "HEADRACE_KAFKA_PASSWORD": PASSWORD,
            "HEADRACE_KAFKA_PARTITIONS": str(PARTITIONS),
            "HEADRACE_REDIS": self.redis.url,
            "HEADRACE_DATABASE": self.database_url,
            "HEADRACE_CLICKHOUSE": server_of(home),
        }

    # what it knows

    def workspace(self, name: str) -> tuple[Workspace, str]:
        """A new workspace that may send as much as it likes, and a key that is in force."""
        with contextlib.closing(ControlData.open(self.database_url)) as control:
            workspace = control.create_workspace(name, requests_per_minute=UNLIMITED)
            key = control.create_key(workspace)
        until_in_force(key, *self.urls)
        return workspace, key

    def rows(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of a query as the operator, for as long as the store may be down."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with contextlib.closing(self.clickhouse()) as client:
                    return [tuple(row) for row in client.query(sql, parameters).result_rows]
            except OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def clickhouse(self, *, as_processor: bool = False) -> Client:
        """A client of the store as the operator, or as who may change its tables."""
        home = Home(self.store.home)
        login = read_processor_login(home) if as_processor else read_credentials(home).clickhouse
        return clickhouse_connect.get_client(
            host="127.0.0.1",
            port=self.store.port,
            username=login.user,
            password=login.password,
            database=login.database,
            autogenerate_session_id=False,
        )

    def said(self) -> str:
        """The last words of every program, for who must find out what went wrong."""
        words = [f"\n--- {each.root.name}:\n{each.said()[-1500:]}" for each in self.programs]
        waits = [f"\n--- {each.root.name} waits:\n{each.waits()}" for each in self.processors]
        return "".join(words + waits)


def runs(server: Server) -> bool:
    """Whether its process is there, be it frozen."""
    return server.process is not None and server.process.poll() is None
