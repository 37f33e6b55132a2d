"""Fixtures of the scenarios: real nodes, each with a HOME and ports of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.scenarios.node import Node, nodes


@pytest.fixture
def make_node(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Makes nodes that are not started yet; environment variables as keywords."""
    with nodes(tmp_path) as make:
        yield make


@pytest.fixture
def node(make_node: Callable[..., Node]) -> Node:
    """A node that is ready."""
    return make_node().start()


@pytest.fixture(scope="module")
def shared_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node for all tests of a module that do not mind each other (own workspaces!)."""
    with nodes(tmp_path_factory.mktemp("shared")) as make:
        yield make().start()
