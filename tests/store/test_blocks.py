"""Blocks as they are sent: the driver's bytes, whole or in parts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver.insert import InsertContext
from clickhouse_connect.driver.transform import NativeTransform
from hypothesis import given
from hypothesis import strategies as st

from headrace.schemas.errors import HeadraceError
from headrace.schemas.outcomes import Code
from headrace.store.blocks import Columns, join, pack, write
from headrace.store.columns import columns_of, event_columns, rejected_columns
from headrace.store.port import EventRow, Place, RejectedRow

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def as_the_driver_does(table: str, columns: Columns) -> bytes:
    context = InsertContext(
        table,
        list(columns),
        [get_from_name(type_name) for type_name, _ in columns.values()],
        [values for _, values in columns.values()],
        column_oriented=True,
    )
    return b"".join(NativeTransform.build_insert(context))


def event(number: int, text: str = "é") -> EventRow:
    at = NOON + timedelta(microseconds=number)
    return EventRow(
        Place("log", 3, number),
        "ws",
        f"evt_{number}",
        "click",
        text,
        "",
        bool(number % 2),
        False,
        at,
        at,
        "on_time",
        text.encode() * number,
    )


def in_parts(sizes: Sequence[int]) -> tuple[list[EventRow], list[list[EventRow]]]:
    rows = [event(number) for number in range(sum(sizes))]
    ends = [sum(sizes[: at + 1]) for at in range(len(sizes))]
    return rows, [rows[end - size : end] for size, end in zip(sizes, ends, strict=True)]


@given(st.lists(st.integers(0, 40), max_size=6))
def test_parts_make_the_block_that_the_driver_makes(sizes: list[int]) -> None:
    """Byte for byte, however the rows are parted; without rows there is nothing to send."""
    rows, parts = in_parts(sizes)
    written = [write(event_columns(columns_of(part))) for part in parts]
    whole = as_the_driver_does("d.`t t`", event_columns(columns_of(rows))) if rows else b""
    assert join("d.`t t`", written) == whole


@given(
    st.one_of(
        st.lists(st.sampled_from(["", "a", "b", "é", "ab", "\0"]), min_size=1, max_size=4),
        st.lists(st.sampled_from([b"", b"a", b"\xff", b"\xff\xfe"]), min_size=1, max_size=4),
        st.sampled_from([127, 128, 300, 0x110000]).map(lambda length: ["x" * length] * 2),
    ),
    st.lists(st.booleans(), min_size=1, max_size=4),
)
def test_columns_with_a_way_of_their_own_are_the_driver_s_too(
    texts: list[str] | list[bytes], flags: list[bool]
) -> None:
    """Texts of one length or not, of more bytes than characters, too long for one byte of
    length."""
    for columns in ({"a": ("String", texts)}, {"b": ("Bool", flags)}):
        assert pack("t", columns) == as_the_driver_does("t", columns)


def test_ids_and_flags_do_not_need_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes three times as long for them."""
    monkeypatch.setattr("headrace.store.blocks.get_from_name", None)
    write({"ids": ("String", ["evt_1", "evt_2"]), "flags": ("Bool", [True, False])})


def test_a_whole_block_may_have_any_of_our_types() -> None:
    """Times that are not known among them."""
    rows = [
        RejectedRow(
            Place("log", 0, number),
            "ws",
            "evt_1",
            "click",
            "",
            "é",
            NOON if number else None,
            None,
            b"{}",
            Code.SCHEMA_VIOLATION,
            "why",
            "$.a",
            "click",
            b"\xff",
        )
        for number in range(3)
    ]
    columns = rejected_columns(rows)
    assert pack("t", columns) == as_the_driver_does("t", columns)


@pytest.mark.parametrize(("type_name", "value"), [("UInt32", -1), ("DateTime64(6, 'UTC')", 2**63)])
def test_what_does_not_fit_its_column_is_refused(type_name: str, value: Any) -> None:
    """By the error that the store's port has for it, naming the column."""
    with pytest.raises(HeadraceError, match="some_column"):
        pack("t", {"some_column": (type_name, [value])})


def test_a_type_that_is_more_than_its_values_is_not_put_together() -> None:
    """A `Nullable` column says first which of all its values are there."""
    part = write({"at": ("Nullable(UInt32)", [1, None])})
    with pytest.raises(AssertionError):
        join("t", [part, part])
