"""Where an INSERT's statement ends and its data begins."""

from __future__ import annotations

import pytest

from headrace.store.server.insert_text import find_insert, is_insert


@pytest.mark.parametrize(
    ("text", "statement", "data_format", "data"),
    [
        (b"INSERT INTO t FORMAT CSV\n1\n", "INSERT INTO t ", "CSV", b"1\n"),
        (b"insert into `t` (`a`, `b`) format Native\n\x01\x02", "insert into `t` (`a`, `b`) ",
         "Native", b"\x01\x02"),
        (b"INSERT INTO t FORMAT Native \n\n\x01", "INSERT INTO t ", "Native", b"\n\x01"),
        (b"INSERT INTO t FORMAT CSV", "INSERT INTO t ", "CSV", b""),
        (b"INSERT INTO t (`format`, values) FORMAT TSV\nx", "INSERT INTO t (`format`, values) ",
         "TSV", b"x"),
        (b"INSERT INTO t VALUES (1), (2)", "INSERT INTO t ", "Values", b" (1), (2)"),
        (b"INSERT INTO t (a) VALUES('FORMAT x')", "INSERT INTO t (a) ", "Values", b"('FORMAT x')"),
        (b"-- c\n/* FORMAT y */ INSERT INTO t SETTINGS a = 'VALUES' FORMAT TSV\nz",
         "-- c\n/* FORMAT y */ INSERT INTO t SETTINGS a = 'VALUES' ", "TSV", b"z"),
        (b'INSERT INTO "d"."FORMAT" FORMAT TSV\nz', 'INSERT INTO "d"."FORMAT" ', "TSV", b"z"),
        (b"INSERT INTO t FORMAT JSONEachRow {}", "INSERT INTO t ", "JSONEachRow", b"{}"),
    ],
)  # fmt: skip
def test_statement_and_data(text: bytes, statement: str, data_format: str, data: bytes) -> None:
    """The format's name and one line break belong to the statement."""
    found = find_insert(text)

    assert is_insert(text)
    assert found is not None
    assert (found.statement, found.data_format) == (statement, data_format)
    assert text[found.data_start :] == data


@pytest.mark.parametrize(
    "text",
    [
        b"INSERT INTO t SELECT 1",
        b"INSERT INTO t (a) WITH 1 AS x SELECT x FORMAT CSV",
        b"INSERT INTO t",
        b"INSERT INTO t (a",
        b"INSERT INTO t FORM",
    ],
)
def test_an_insert_without_data(text: bytes) -> None:
    """It is a statement like others, or not whole yet."""
    assert is_insert(text)
    assert find_insert(text) is None


@pytest.mark.parametrize("text", [b"SELECT 1", b"", b"  ", b"-- INSERT", b"INSERTED", b"WITH x"])
def test_what_is_no_insert(text: bytes) -> None:
    """Told by its first word."""
    assert not is_insert(text)
