"""A store whose disk fills up: it refuses in time, and an emptied part costs nothing at a start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headrace.store.server.engine import KEEP_FREE_BYTES
from tests.scenarios.disks import SmallDisk
from tests.store.asking import ask
from tests.store.server_fixture import PROCESSOR
from tests.store.server_process import StoreProcess

pytestmark = pytest.mark.node
TABLE = "CREATE TABLE headrace.t (a UInt64) ENGINE = MergeTree ORDER BY a"


def test_inserts_are_refused_while_there_is_still_some_room(tmp_path: Path) -> None:
    """What is kept free is for merges in progress; when others made room, inserts go on."""
    with SmallDisk(tmp_path / "store", 256) as disk, StoreProcess(disk.folder) as server:
        ask(server, PROCESSOR, "CREATE DATABASE headrace")
        ask(server, PROCESSOR, TABLE)
        filler = disk.folder / "others"
        filler.write_bytes(bytes(256 * 1024 * 1024 - KEEP_FREE_BYTES))
        refused = ask(server, PROCESSOR, "INSERT INTO headrace.t VALUES (1)")
        assert "NOT_ENOUGH_SPACE" in refused.text
        filler.unlink()
        assert ask(server, PROCESSOR, "INSERT INTO headrace.t VALUES (2)").status == 200
        assert ask(server, PROCESSOR, "SELECT a FROM headrace.t").text == "2\n"


def test_a_merged_part_that_is_empty_gives_way_to_what_was_merged(tmp_path: Path) -> None:
    """As a merge on a full disk leaves it: at the next start every row is there."""
    with StoreProcess(tmp_path / "store") as server:
        ask(server, PROCESSOR, "CREATE DATABASE headrace")
        ask(server, PROCESSOR, TABLE)
        for number in range(5):
            ask(server, PROCESSOR, f"INSERT INTO headrace.t VALUES ({number})")
        ask(server, PROCESSOR, "OPTIMIZE TABLE headrace.t FINAL")
        [part] = (tmp_path / "store").glob("store/*/*/all_1_5_1")
        server.kill()
    for file in part.iterdir():
        os.truncate(file, 0)
    with StoreProcess(tmp_path / "store") as server:
        counted = ask(server, PROCESSOR, "SELECT count(), sum(a) FROM headrace.t FORMAT CSV")
        assert counted.text == "5,10\n"
