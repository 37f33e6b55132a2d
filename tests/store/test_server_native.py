"""Native blocks for clients of a later protocol, held against what the engine itself writes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.store.server.answers import Refusal
from headrace.store.server.native import FRAMED_FROM, Framer
from tests.store.asking import ask
from tests.store.server_fixture import ANALYST, OPERATOR, StoreServer

INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"
# A value of each kind; every column is followed by a marker, which shifts if a length is wrong.
VALUES = [
    "number",
    "toInt8(1)", "toUInt16(2)", "toInt32(3)", "toInt128(4)", "toUInt256(5)",
    "toFloat32(1.5)", "toBFloat16(1.5)", "true", "CAST('a', 'Enum8(\\'a\\' = 1, \\'b, (\\' = 2)')",
    "CAST('a', 'Enum16(\\'a\\' = 1000)')",
    "toDecimal32(1, 2)", "toDecimal64(1, 2)", "toDecimal128(1, 2)", "toDecimal256(1, 2)",
    "toDate('2026-01-01')", "toDate32('2026-01-01')", "toDateTime(0, 'Europe/Berlin')",
    "toDateTime64('2026-01-01 00:00:00', 6, 'UTC')", "toIntervalDay(number)",
    "toUUID('00000000-0000-0000-0000-000000000001')", "toIPv4('1.2.3.4')", "toIPv6('::1')",
    "toString(number)", "repeat('long ', 100)", "toFixedString('abc', 5)", "NULL",
    "if(number % 2, NULL, toString(number))", "[NULL]", "range(number)", "[[1, 2], [3]]",
    "arrayMap(x -> toString(x), range(number))", "[]::Array(LowCardinality(String))",
    "toLowCardinality(toString(number))", "toLowCardinality(toNullable('a'))",
    "[toLowCardinality('a'), toLowCardinality('b')]", "map('k', number)", "map('k', [1, 2])",
    "map(toLowCardinality('k'), map('l', toLowCardinality(toString(number))))",
    "(1, 'two', [3])", "tuple()", "(1, 'two')::Tuple(a UInt8, `b, c` String)",
    "(1.0, 2.0)::Point", "[(1.0, 2.0)]::Ring", "[[(1.0, 2.0)]]::Polygon",
    "[[[(1.0, 2.0)]]]::MultiPolygon",
    "multiIf(number % 3 = 0, 1::Variant(UInt8, String), number % 3 = 1, "
    "'x'::Variant(UInt8, String), NULL)",
    "toString(number)::Dynamic", "[number]::Dynamic",
    "'{\"a\": 1, \"b\": {\"c\": [1, {\"d\": \"e\"}]}, \"n\": null}'::JSON",
    "('{\"a' || toString(number) || '\": \"x\", \"t\": 7}')::JSON(t UInt8, max_dynamic_paths = 2)",
    "'{\"t\": {\"u\": [\"x\"]}, \"s\": 1}'"
    "::JSON(`t.u` Array(Nullable(String)), SKIP s, SKIP REGEXP 'r.*')",
]  # fmt: skip


def native(server: StoreServer, sql: str, **parameters: str) -> bytes:
    url = {"default_format": "Native", **parameters}
    answer = ask(server, OPERATOR, sql, url=url)
    assert answer.status == 200, answer.text
    return answer.body


@pytest.mark.node
@pytest.mark.parametrize("value", VALUES)
def test_every_kind_of_column(two_workspaces: StoreServer, value: str) -> None:
    """The engine's bytes with the block's info before them and a zero after each type."""
    sql = f"SELECT {value} AS v, 'marker' AS after FROM numbers(5)"
    plain = native(two_workspaces, sql)
    framed = Framer().feed(plain)
    assert len(framed) == len(plain) + len(INFO) + 2
    assert framed.startswith(INFO + plain[:2])
    name = b"\x05after\x06String"
    rows = b"\x06marker" * 5
    assert framed.endswith(name + b"\x00" + rows)
    without = framed.removeprefix(INFO).replace(name + b"\x00", name)
    at = next(i for i, (a, b) in enumerate(zip(plain, without, strict=False)) if a != b)
    assert without[:at] + without[at + 1 :] == plain
    assert framed == native(two_workspaces, sql, client_protocol_version=str(FRAMED_FROM))


@pytest.mark.node
def test_a_result_of_many_blocks(two_workspaces: StoreServer) -> None:
    """As it is streamed, and in whatever pieces it comes."""
    sql = "SELECT number, toString(number), [number] FROM numbers(300000)"
    plain = native(two_workspaces, sql)
    framed = native(two_workspaces, sql, client_protocol_version="54460")
    assert framed.count(INFO) > 3
    assert framed == Framer().feed(plain)
    assert plain == native(two_workspaces, sql, client_protocol_version=str(FRAMED_FROM - 1))
    assert native(two_workspaces, f"{sql} WHERE 0", client_protocol_version="54460") == b""


@pytest.fixture(scope="module")
def two_blocks(two_workspaces: StoreServer) -> bytes:
    sql = "SELECT toString(number), '{\"a\":1}'::JSON FROM numbers(6) SETTINGS max_block_size = 3"
    return native(two_workspaces, sql)


@pytest.mark.node
@given(data=st.data())
def test_blocks_in_any_pieces(two_blocks: bytes, data: st.DataObject) -> None:
    """Nothing is given of a block before it is whole, and nothing is lost."""
    cuts = sorted(data.draw(st.sets(st.integers(0, len(two_blocks)))))
    framer = Framer()
    bounds = [0, *cuts, len(two_blocks)]
    pieces = [framer.feed(two_blocks[start:end]) for start, end in pairwise(bounds)]
    assert b"".join(pieces) == Framer().feed(two_blocks)
    assert all(not piece or piece.startswith(INFO) for piece in pieces)


@pytest.mark.node
def test_what_cannot_be_framed_is_told(two_workspaces: StoreServer) -> None:
    """States of aggregates have no length that can be seen; other formats are as always."""
    sql = "SELECT sumState(number) FROM numbers(3)"
    with pytest.raises(Refusal, match="finalizeAggregation"):
        Framer().feed(native(two_workspaces, sql))
    answer = ask(
        two_workspaces, OPERATOR, sql, default_format="Native", client_protocol_version="54460"
    )
    assert (answer.status, answer.code) == (501, 48)
    version = "54460"
    assert ask(two_workspaces, ANALYST, "SELECT 1", client_protocol_version=version).body == b"1\n"
