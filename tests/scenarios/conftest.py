"""Fixtures of the scenarios: real nodes and clusters, each with folders and ports of its own.

`SCENARIO_SEED` repeats the random choices of a run, `SCENARIO_LONG=1` lets faults last as long as
they are described instead of as long as CI has time for.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.scenarios.account import find_gaps, until_settled
from tests.scenarios.cluster import Cluster
from tests.scenarios.node import Node, nodes
from tests.services.postgres import PostgresServer

IS_LONG = os.environ.get("SCENARIO_LONG", "") not in {"", "0"}


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


@pytest.fixture
def chosen() -> random.Random:
    """Random choices that can be repeated: the seed is printed where a test fails."""
    seed = int(os.environ.get("SCENARIO_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"SCENARIO_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def long_or() -> Callable[[float, float], float]:
    """How long a fault lasts: as described if there is time, else as given second."""
    return lambda described, shorter: described if IS_LONG else shorter


class _Shared:
    """The cluster that tests share, made anew after a test that left it broken."""

    def __init__(self, root: Path, postgres: PostgresServer) -> None:
        self._root = root
        self._postgres = postgres
        self._made: Cluster | None = None
        self._count = 0

    def whole(self) -> Cluster:
        if self._made is None:
            folder = self._root / f"cluster{self._count}"
            self._count += 1
            made = Cluster(folder, self._postgres.make_database())
            try:
                self._made = made.start()
            except BaseException:
                made.stop()
                raise
        return self._made

    def drop(self) -> None:
        if self._made is not None:
            self._made.stop()
            self._made = None


@pytest.fixture(scope="session")
def _shared(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer
) -> Iterator[_Shared]:
    shared = _Shared(tmp_path_factory.mktemp("clusters"), postgres)
    try:
        yield shared
    finally:
        shared.drop()


@pytest.fixture
async def shared_cluster(_shared: _Shared) -> AsyncIterator[Cluster]:
    """A cluster that is whole: two collectors, two processors. Tests use workspaces of their own.

    Whatever a test broke is mended before the next one; what cannot be is thrown away.
    """
    cluster = await asyncio.to_thread(_shared.whole)
    yield cluster
    try:
        await asyncio.to_thread(cluster.mend)
        await until_settled(cluster, 30.0)
        assert await find_gaps(cluster) == []
    except Exception as error:  # noqa: BLE001 - whatever it is, the next test gets another cluster
        print(f"the cluster is left broken: {error}")
        await asyncio.to_thread(_shared.drop)


@pytest.fixture
def make_cluster(tmp_path: Path, postgres: PostgresServer) -> Iterator[Callable[..., Cluster]]:
    """Makes clusters of a test's own, not started yet; options as keywords."""
    made: list[Cluster] = []

    def make(**options: object) -> Cluster:
        folder = tmp_path / f"cluster{len(made)}"
        made.append(Cluster(folder, postgres.make_database(), **options))  # type: ignore[arg-type] # as the caller gave them
        return made[-1]

    try:
        yield make
    finally:
        for each in made:
            each.stop()
