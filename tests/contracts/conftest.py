"""Stores under test: the fake, and ClickHouse over HTTP (real engine).

`server` is the same engine with the tables a ClickHouse server gets, in a database of another name.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from headrace.store.engines import EMBEDDED, engines_for
from tests.store.harness import MakeTables, Tables, Wire, memory_tables, server_tables
from tests.store.server_fixture import StoreServer


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with StoreServer(tmp_path_factory.mktemp("store")) as running:
        yield running


ENGINES = {"clickhouse": EMBEDDED, "server": engines_for("", "default", "")}
DATABASES = {"clickhouse": "headrace", "server": "my-events"}


@pytest.fixture(params=["memory", "clickhouse", "server"])
def make(request: pytest.FixtureRequest) -> Iterator[MakeTables]:
    if request.param == "memory":
        yield memory_tables
        return
    running: StoreServer = request.getfixturevalue("server")
    with ExitStack() as stack:

        def make_on_server(*, window: int = 1_000, links_per_user: int = 500) -> Tables:
            return stack.enter_context(
                server_tables(
                    running,
                    window=window,
                    links_per_user=links_per_user,
                    engines=ENGINES[request.param],
                    database=DATABASES[request.param],
                )
            )

        yield make_on_server


@pytest.fixture
def tables(make: MakeTables) -> Tables:
    return make()


@pytest.fixture(params=["memory", "clickhouse"])
def faulty(request: pytest.FixtureRequest) -> Iterator[tuple[Tables, Wire | None]]:
    """A store and the wire to it, which the memory store does without."""
    if request.param == "memory":
        yield memory_tables(), None
        return
    running: StoreServer = request.getfixturevalue("server")
    with Wire(running.port) as wire, server_tables(running, url=wire.url) as tables:
        yield tables, wire
