"""One server per test module, a database per test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.store.harness import ServerTables, server_tables
from tests.store.server_fixture import StoreServer


@pytest.fixture(scope="module")
def module_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with StoreServer(tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture
def tables(module_server: StoreServer) -> Iterator[ServerTables]:
    with server_tables(module_server) as made:
        yield made
