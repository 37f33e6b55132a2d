"""`headrace export`: what is stored comes out whole, in every format, and goes back in."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import zstandard

from headrace.runtime.commands.export import run as export
from headrace.runtime.exporting import stored
from headrace.runtime.home import Home
from headrace.schemas.errors import HeadraceError
from headrace.store.migrate import migrate
from headrace.workspaces.database import ControlData
from tests.runtime.homes import make_home, point_home_at
from tests.scenarios.node import Node, until
from tests.store.server_fixture import PASSWORD, PROCESSOR, StoreServer

TIME = datetime(2026, 3, 1, 12, 0, 0, 123456, UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with StoreServer(tmp_path_factory.mktemp("store") / "data") as server:
        migrate(server.url, PROCESSOR, PASSWORD)
        yield server


class Place:
    """HOME with two workspaces of its own, over a store that other tests use too."""

    def __init__(self, home: Path, server: StoreServer) -> None:
        self.home = point_home_at(make_home(home), server)
        self._server = server
        control = ControlData.open(Home(home).control_url)
        self.ids = {
            "default": control.find_workspace("default").id,
            "acme": control.create_workspace("acme").id,
        }
        control.close()
        self._count = 0

    def store(self, *times: datetime, workspace: str = "default", **more: Any) -> None:
        """A row of events for each time."""
        rows = [self._row(workspace, at) | more for at in times]
        client = self._server.client(PROCESSOR)
        client.insert("events_rows", [list(row.values()) for row in rows], list(rows[0]))
        client.close()

    def _row(self, workspace: str, at: datetime) -> dict[str, Any]:
        self._count += 1
        return {
            "workspace_id": self.ids[workspace],
            "event_id": f"evt_{self._count:026d}",
            "event": "sale",
            "user_id": "u",
            "anonymous_id": "",
            "user_known": True,
            "timestamp": at,
            "received_at": at + HOUR,
            "properties_raw": '{"n": 1}',
            "log_id": self.ids[workspace],
            "log_partition": 0,
            "log_position": self._count,
        }

    def export(self, file: Path, **options: Any) -> bytes:
        export(file, home=self.home, **{"workspace": "default"} | options)
        return file.read_bytes()

    def lines(self, file: Path, **options: Any) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.export(file, **options).splitlines()]


@pytest.fixture
def place(tmp_path: Path, server: StoreServer) -> Place:
    return Place(tmp_path / "home", server)


def test_a_line_is_the_event_as_it_was_sent(place: Place, tmp_path: Path) -> None:
    """With its ids and times beside it; an id that is not there is left out."""
    raw = '{"price":\n 1e2, "Name":"Łódź 🎈\\u2028", "a":{"b":[1, null]}}'
    place.store(TIME, properties_raw=raw)
    place.store(TIME + HOUR, user_id="", anonymous_id="d", user_known=False, anonymous_known=True)
    [first, second] = place.lines(tmp_path / "out.ndjson")
    assert first == {
        "event_id": "evt_" + "1".zfill(26),
        "event": "sale",
        "timestamp": "2026-03-01T12:00:00.123456Z",
        "received_at": "2026-03-01T13:00:00.123456Z",
        "user_id": "u",
        "person_id": "u",
        "properties": json.loads(raw),
    }
    assert b'"price":  1e2' in (tmp_path / "out.ndjson").read_bytes(), "numbers as they came"
    assert (second.get("user_id"), second["anonymous_id"], second["person_id"]) == (None, "d", "d")


def test_a_workspace_and_a_time_are_chosen(place: Place, tmp_path: Path) -> None:
    """From a moment on, before another; nothing of others."""
    place.store(*(TIME + each * HOUR for each in range(5)))
    place.store(TIME, workspace="acme", event="theirs")
    first, end = TIME + HOUR, TIME + 3 * HOUR
    found = place.lines(tmp_path / "some.ndjson", from_=first.isoformat(), to=end.isoformat())
    assert [each["timestamp"][11:13] for each in found] == ["13", "14"]
    [theirs] = place.lines(tmp_path / "theirs.ndjson", workspace="acme")
    assert theirs["event"] == "theirs"


@pytest.mark.parametrize("spread", ["one moment", "years between", "a burst"])
def test_every_event_is_there_once_however_the_time_is_cut(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spread: str
) -> None:
    """In order of time; more than a piece takes, in one microsecond or over decades."""
    for name in ("_FIRST_ROWS", "_LEAST_ROWS", "_MOST_ROWS"):
        monkeypatch.setattr(stored, name, 10)
    times = {
        "one moment": [TIME] * 50,
        "years between": [TIME.replace(year=1971 + 4 * each) for each in range(50)],
        "a burst": [TIME - 300 * timedelta(days=1)]
        + [TIME + timedelta(microseconds=each // 3) for each in range(49)],
    }[spread]
    place.store(*times)
    found = place.lines(tmp_path / "out.ndjson")
    assert sorted(each["event_id"] for each in found) == [f"evt_{n:026d}" for n in range(1, 51)]
    assert [each["timestamp"] for each in found] == sorted(each["timestamp"] for each in found)


def test_csv_holds_the_same(place: Place, tmp_path: Path) -> None:
    """Quotes, commas and line ends in values change nothing."""
    raw = '{"text":"a \\"b\\", c",\r\n"n":1}'
    place.store(TIME, event='say "hi",\nyou', properties_raw=raw)
    [row] = csv.DictReader(io.StringIO(place.export(tmp_path / "out.csv").decode(), newline=""))
    assert row == {
        "event_id": "evt_" + "1".zfill(26),
        "event": 'say "hi",\nyou',
        "user_id": "u",
        "anonymous_id": "",
        "person_id": "u",
        "timestamp": "2026-03-01T12:00:00.123456Z",
        "received_at": "2026-03-01T13:00:00.123456Z",
        "properties": raw,
    }


def test_parquet_holds_the_same(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With times as times, an absent id as null, over several row groups."""
    monkeypatch.setattr("headrace.runtime.exporting.writers._GROUP_ROWS", 2)
    place.store(*(TIME + each * HOUR for each in range(5)))
    place.export(tmp_path / "out.parquet")
    file = pytest.importorskip("pyarrow.parquet").ParquetFile(tmp_path / "out.parquet")
    found = file.read().to_pylist()
    assert file.num_row_groups == 3
    assert [each["timestamp"] for each in found] == [TIME + each * HOUR for each in range(5)]
    assert found[0] == {
        "event_id": "evt_" + "1".zfill(26),
        "event": "sale",
        "user_id": "u",
        "anonymous_id": None,
        "person_id": "u",
        "timestamp": TIME,
        "received_at": TIME + HOUR,
        "properties": '{"n": 1}',
    }


@pytest.mark.parametrize(
    ("name", "unpacked"),
    [
        ("out.ndjson.gz", gzip.decompress),
        ("out.csv.gz", gzip.decompress),
        (
            "out.jsonl.zst",
            lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
        ),
    ],
)
def test_the_name_packs_it(
    place: Place, tmp_path: Path, name: str, unpacked: Callable[[bytes], bytes]
) -> None:
    """And the same events are the same bytes."""
    place.store(TIME)
    packed = place.export(tmp_path / name)
    plain = place.export(tmp_path / name.rpartition(".")[0])
    assert unpacked(packed) == plain
    assert place.export(tmp_path / name, force=True) == packed


def test_nothing_is_said_to_be_nothing(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is there, and empty."""
    assert place.export(tmp_path / "out.ndjson") == b""
    assert "0 events of workspace default written to" in capsys.readouterr().err


def test_standard_output_takes_events_alone(
    place: Place, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """The count goes to standard error."""
    place.store(TIME)
    export(workspace="default", home=place.home)
    printed = capfdbinary.readouterr()
    assert json.loads(printed.out)["event"] == "sale"
    assert b"1 event of workspace default written to standard output." in printed.err


def test_a_file_is_whole_or_not_there(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export that breaks off leaves nothing, and the file of before as it was."""
    place.store(TIME, TIME)
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "old.ndjson").write_text("before")

    def broken(_: object) -> Iterator[bytes]:
        yield b'["evt_1","e","u","","u","t","r","{}"]'
        yield b"Code: 241. DB::Exception: memory limit"

    monkeypatch.setattr(stored, "lines_of", broken)
    for name in ("old.ndjson", "new.ndjson", "new.parquet"):
        with pytest.raises(HeadraceError, match="broke off: Code: 241"):
            place.export(folder / name, force=True)
    assert [each.name for each in folder.iterdir()] == ["old.ndjson"]
    assert (folder / "old.ndjson").read_text() == "before"


def test_what_a_link_leads_to_is_replaced_and_nothing_but_files(
    place: Place, tmp_path: Path
) -> None:
    """The link stays; a pipe or a device is no file that could be replaced."""
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "there.ndjson").write_text("before")
    link, pipe = tmp_path / "link.ndjson", tmp_path / "pipe.ndjson"
    link.symlink_to(tmp_path / "far" / "there.ndjson")
    place.export(link, force=True)
    assert link.is_symlink()
    assert (tmp_path / "far" / "there.ndjson").read_text() != "before"
    os.mkfifo(pipe)
    with pytest.raises(HeadraceError, match="is no file"):
        place.export(pipe, force=True)
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    ("file", "options", "why"),
    [
        ("out.txt", {}, "say --format"),
        ("out", {}, "say --format"),
        ("out.parquet.gz", {}, "leave out .gz"),
        ("there.csv", {}, "--force to replace it"),
        ("missing/out.csv", {}, "No such file"),
        ("out.csv", {"workspace": "nobody"}, "nobody"),
        ("out.csv", {"workspace": None}, "there are 2 workspaces; say --workspace"),
        ("out.csv", {"from_": "yesterday"}, "'yesterday' is no time"),
        ("out.csv", {"from_": "2026-03-02", "to": "2026-03-02"}, "is not before"),
    ],
)
def test_what_cannot_be_is_said(
    place: Place, tmp_path: Path, file: str, options: dict[str, Any], why: str
) -> None:
    """Before anything is written."""
    (tmp_path / "there.csv").touch()
    with pytest.raises(HeadraceError, match=why):
        place.export(tmp_path / file, **options)


def test_without_pyarrow_parquet_says_what_to_do(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Headrace without the embedded store does not bring it."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(HeadraceError, match="pip install pyarrow"):
        place.export(tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.node
def test_what_comes_out_goes_back_in(shared_node: Node, tmp_path: Path) -> None:
    """Into another workspace: the same names, ids, times and properties."""

    def ok(*arguments: str) -> str:
        done = shared_node.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def sent(workspace: str, file: Path) -> None:
        ok("workspaces", "create", workspace)
        listed = json.loads(ok("workspaces", "list", "--json"))
        (found,) = (each["id"] for each in listed if each["name"] == workspace)
        key = ok("keys", "create", "--workspace", workspace, "--scope", "ingest")
        ok("send", str(file), "--key", key)
        count = f"SELECT count() FROM events WHERE workspace_id = '{found}'"
        until(lambda: ok("query", count, "--format", "TSV") == "500", "all are stored")

    made = tmp_path / "made.ndjson"
    made.write_text(ok("sample", "500", "--seed", "3"))
    sent("from", made)
    ok("export", str(tmp_path / "one.ndjson.gz"), "--workspace", "from")
    sent("into", tmp_path / "one.ndjson.gz")
    ok("export", str(tmp_path / "two.ndjson.gz"), "--workspace", "into")

    def events(name: str) -> list[str]:
        lines = gzip.decompress((tmp_path / name).read_bytes()).splitlines()
        kept = [
            {key: value for key, value in json.loads(line).items() if key not in _OWN}
            for line in lines
        ]
        return sorted(json.dumps(each, sort_keys=True) for each in kept)

    assert len(events("one.ndjson.gz")) == 500
    assert events("one.ndjson.gz") == events("two.ndjson.gz")


_OWN = ("event_id", "received_at", "person_id")
