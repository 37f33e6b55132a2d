"""Real servers over the real engine: one per test module, and what is in them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.store.harness import ServerTables, server_tables
from tests.store.server_fixture import StoreServer, store_server
from tests.store.two_workspaces import make_two_workspaces

__all__ = ["module_server", "store_server", "tables", "two_workspaces"]


@pytest.fixture(scope="module")
def module_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    """An empty server, shared by a module's tests."""
    with StoreServer(tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture
def tables(module_server: StoreServer) -> Iterator[ServerTables]:
    """A database of its own with the store's tables."""
    with server_tables(module_server) as made:
        yield made


@pytest.fixture(scope="module")
def two_workspaces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    """A server with two workspaces' rows in one table; shared by a module's tests."""
    with StoreServer(tmp_path_factory.mktemp("two_workspaces")) as server:
        make_two_workspaces(server)
        yield server
