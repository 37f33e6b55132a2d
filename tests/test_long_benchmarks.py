"""What the long benchmarks are made of, at the smallest size: nothing here is timed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from clickhouse_connect.driver.client import Client

from benchmarks import appending, freshness, growth, kept_tables, saturation, shapes, steady
from benchmarks.kept_tables import Engine, fill_links, fill_rows
from benchmarks.programs import HEADRACE, UNLIMITED, home_in, operator, parts_of, running
from benchmarks.shape_questions import QUESTIONS, middling_user, views_questions
from headrace.runtime.clock import SystemClock
from headrace.store.analyst_settings import FORCED_ON_ANALYSTS
from headrace.store.analysts import create_database
from headrace.store.connection import Connection
from headrace.store.migrate import migrate
from headrace.workspaces.database import ControlData
from tests.store.server_fixture import PASSWORD, PROCESSOR, StoreServer

ROWS = 4_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with StoreServer(tmp_path_factory.mktemp("store")) as running:
        migrate(running.url, PROCESSOR, PASSWORD)
        yield running


@pytest.fixture(scope="module")
def store(server: StoreServer) -> Iterator[Engine]:
    connection = Connection(server.url, PROCESSOR, PASSWORD)
    yield Engine(psutil.Process(), connection)
    connection.close()


@pytest.fixture(scope="module")
def client(server: StoreServer) -> Client:
    return server.client(PROCESSOR)


@pytest.mark.parametrize("name", shapes.SHAPES)
def test_a_shape_is_made_and_asked(
    store: Engine, client: Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It differs from the shipped table where it says so, and takes every question."""
    monkeypatch.setattr(shapes, "ASKED", 1)
    kept = shapes.measure(store, client, name, ROWS, 0.0)
    assert kept.bytes_per_row > 0
    assert kept.reads.keys() == {each.name for each in QUESTIONS}
    assert 0 < kept.reads["a person's timeline"].rows <= ROWS


def test_large_tables_are_filled_to_the_end(
    store: Engine, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was interrupted goes on, one that has ended adds nothing; people are resolved
    alike by dictionaries and by a join."""
    monkeypatch.setattr(kept_tables, "BLOCK", 1_500)
    connection = store.connection
    kept_tables.insert_block(connection, "headrace.events_rows", 0, 1_500, ROWS)
    for _ in range(2):
        fill_rows(connection, ROWS)
        fill_links(connection, ROWS // 10)
    sql = "SELECT count(), uniqExact(log_position) FROM headrace.events_rows"
    assert connection.rows(sql) == [(ROWS, ROWS)]
    sql = "SELECT count() FROM headrace.identity_links"
    assert connection.rows(sql) == [(ROWS // 10,)]
    create_database(connection, kept_tables.WORKSPACE)
    questions = views_questions(middling_user(client, "headrace.events_rows"))
    answers = {
        name: client.query(sql, settings=dict(FORCED_ON_ANALYSTS)).result_rows
        for name, sql in questions.items()
    }
    assert answers["a person's timeline"]
    assert answers["people of a day, by dictionary"] == answers["people of a day, by join"]


@pytest.mark.parametrize("workspaces_too", [True, False])
def test_keys_that_are_made_at_once_are_keys(tmp_path: Path, *, workspaces_too: bool) -> None:
    """Each may send, for a workspace without a limit."""
    with home_in(tmp_path) as place:
        made = growth.add_keys(place, 30, workspaces_too=workspaces_too)
        control = ControlData.open(place.home.control_url, SystemClock())
        snapshot = control.snapshot()
        control.close()
    found = [snapshot.find_key(key) for key in made]
    assert len({key.workspace.id for key in found if key}) == (30 if workspaces_too else 1)
    assert all(key and key.workspace.requests_per_minute == UNLIMITED for key in found)


def test_growth_is_told_beside_the_smallest_size() -> None:
    """The smallest has no ceiling; the others have what it cost around them."""
    between = [growth.Spent(4.0, 8.0, 16.0), growth.Spent(4.0, 8.0, 16.0)]
    between.append(growth.Spent(8.0, 8.0, 16.0))
    found = {1_000: growth.Spent(5.0, 8.0, 16.0), 2_000: growth.Spent(5.0, 8.0, 16.0)}
    lines = {line.what: line for line in growth.lines_of("links", 10, between, found)}
    assert lines["collector, 10 links: CPU per event"].ceiling is None
    assert lines["collector, 1,000 links: CPU per event"].is_missed
    assert not lines["collector, 2,000 links: CPU per event"].is_missed
    assert lines["collector, 2,000 links: CPU per event"].ceiling == 6.0
    assert not lines["processor, 1,000 links: CPU per event"].is_missed


@pytest.mark.parametrize("dimension", ["", "planets"])
def test_what_does_not_grow_is_named(dimension: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["growth", dimension])
    with pytest.raises(SystemExit, match="workspaces, keys, types, links, rows"):
        growth.main()


def test_a_slope_is_that_of_the_line_through_the_samples() -> None:
    assert steady.slope([(0.0, 10.0), (1.0, 12.0), (2.0, 14.0)]) == pytest.approx(2.0)
    assert steady.slope([(0.0, 5.0), (1.0, 7.0), (2.0, 5.0)]) == pytest.approx(0.0)
    assert steady.slope([(3.0, 10.0)]) == 0.0


def test_without_wrk_it_is_said_how_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match="apt-get install wrk"):
        saturation.find_wrk()


def test_bodies_for_wrk_are_those_of_the_other_benchmarks(tmp_path: Path) -> None:
    files = saturation.write_bodies("key", tmp_path)
    assert {len(each) for each in files.values()} == {20, 200}
    assert Path(files["/v1/batch/events"][0]).read_bytes().startswith(b'{"events":[{')
    assert Path(files["/v1/events"][0]).read_bytes().startswith(b'{"event":"')


@pytest.mark.node
def test_what_a_load_has_accepted_is_counted_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """With keys of several workspaces; each process of the node has used CPU for it."""
    monkeypatch.setattr(growth, "_WARM_SECONDS", 0.1)
    with growth.many_workspaces(3) as trial:
        spent = growth.spend(trial, 0.2)
        assert min(spent.collector, spent.processor, spent.store) > 0
        url = f"http://127.0.0.1:{trial.place.port}/readyz"
        with running([HEADRACE, "up"], trial.place.environment, url=url) as node:
            client = operator(trial.place)
            held = steady.count(client)
            sizes = steady.Sizes(parts_of(node), every_seconds=0.05)
            accepted = steady.load(trial.place, client, 1, 0.2)
            assert all(sizes.stop().values())
            assert accepted
            steady.check(client, held + accepted)
            with pytest.raises(AssertionError):
                steady.check(client, held + accepted - 1)
            client.close()


def test_appends_and_plain_writes_take_turns(tmp_path: Path) -> None:
    """As many of the one as of the other, shortest first."""
    logged, written = asyncio.run(appending.take_turns(tmp_path, 10_000, 1))
    assert (len(logged), len(written)) == (10, 10)
    assert logged == sorted(logged)
    assert (tmp_path / "plain").stat().st_size > 0


@pytest.mark.node
def test_every_link_is_waited_for_while_events_come() -> None:
    """At the smallest rate; all events are there once."""
    with freshness.node() as place:
        linked = asyncio.run(freshness.under_load(place, 100, 1))
    assert len(linked) >= 2
