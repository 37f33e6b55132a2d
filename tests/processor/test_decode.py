"""What a record holds: an event of ours, or the reason why not."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.eventlog.port import Record
from headrace.processor.decode import MAX_RECORD_BYTES, decode, decode_record, glimpse
from headrace.processor.ranges import Range
from headrace.schemas.outcomes import Code, Rejected
from headrace.schemas.records import END_OF_MOMENTS, FIRST_MOMENT, MAX_PROPERTIES_BYTES, EventValue

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
OURS = EventValue(
    event_id="evt_" + "0" * 26,
    workspace_id="ws",
    event="click",
    timestamp=NOON,
    received_at=NOON,
    user_id="u",
    properties=msgspec.Raw(b'{ "a": 1e999 }'),
)


def encode(**fields: object) -> bytes:
    """Our event with some fields replaced, or taken away with None."""
    plain = msgspec.to_builtins(OURS, builtin_types=(msgspec.Raw,)) | fields
    plain["properties"] = fields.get("properties", msgspec.Raw(b"{}"))
    return msgspec.json.encode({name: value for name, value in plain.items() if value is not None})


def test_an_event_of_ours_comes_back_with_its_properties_untouched() -> None:
    """The client's bytes are not read, so not even a number beyond a double hurts here."""
    decoded = decode_record(msgspec.json.encode(OURS))
    assert isinstance(decoded, EventValue)
    assert bytes(decoded.properties) == b'{ "a": 1e999 }'
    assert decoded == msgspec.structs.replace(OURS, properties=decoded.properties)


def fields_of(decoded: EventValue | Rejected) -> tuple[object, ...]:
    """As a range holds them; blanks where there is no event."""
    if isinstance(decoded, Rejected):
        return ("", "", "", EPOCH, EPOCH, "", "", b"{}")
    return (
        decoded.event_id,
        decoded.workspace_id,
        decoded.event,
        decoded.timestamp,
        decoded.received_at,
        decoded.user_id or "",
        decoded.anonymous_id or "",
        bytes(decoded.properties),
    )


KINDS = [
    encode(),
    encode(user_id=None, anonymous_id="d"),
    encode(user_id="", anonymous_id="d", timestamp="2026-01-02T00:00:00.5Z"),
    encode(user_id="", anonymous_id=""),
    encode(user_id=None, anonymous_id=None),
    encode(properties=msgspec.Raw(b"[]")),
    encode(event_id="xyz_" + "0" * 26),
    encode(event_id="evs_" + "0" * 26),
    encode(event_id="evu_" + "0" * 26),
    encode(received_at="2026-01-01T12:00:00+02:00"),
    encode(timestamp="2026-01-01T12:00:00"),
    encode(timestamp="1850-01-01T12:00:00Z"),
    encode(received_at="2350-01-01T12:00:00Z"),
    encode(properties=msgspec.Raw(b'{"a":"%s"}' % (b"x" * MAX_RECORD_BYTES))),
    b"",
    b"[" * 5_000,
    b'{"x":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    encode(timestamp=FIRST_MOMENT),
    encode(received_at=END_OF_MOMENTS),
    encode(received_at=END_OF_MOMENTS - datetime.resolution),
]


@given(st.lists(st.sampled_from([*KINDS[:3] * 16, *KINDS]), max_size=6))
def test_many_at_once_are_read_as_one_by_one(values: list[bytes]) -> None:
    """Whoever stands beside a bad one."""
    records = [Record(7 + at, b"", value, {}, NOON) for at, value in enumerate(values)]
    range_ = Range("log", 0, records)
    decode(range_)
    expected = [decode_record(value) for value in values]
    assert range_.fields is not None
    found = list(zip(*msgspec.structs.astuple(range_.fields), strict=True))
    assert found == [fields_of(each) for each in expected]
    bad = {7 + at: each for at, each in enumerate(expected) if isinstance(each, Rejected)}
    assert range_.rejected == bad


@pytest.mark.parametrize("value", KINDS)
def test_one_bad_one_spoils_nothing_around_it(value: bytes) -> None:
    """Each kind, between two good ones."""
    values = [encode(), value, encode()]
    range_ = Range("log", 0, [Record(at, b"", one, {}, NOON) for at, one in enumerate(values)])
    decode(range_)
    assert range_.fields is not None
    found = list(zip(*msgspec.structs.astuple(range_.fields), strict=True))
    assert found == [fields_of(decode_record(one)) for one in values]
    assert range_.rejected.keys() <= {1}


def test_good_ones_are_not_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which costs twice as much."""
    monkeypatch.setattr("headrace.processor.decode.decode_record", None)
    decode(Range("log", 0, [Record(at, b"", one, {}, NOON) for at, one in enumerate(KINDS[:3])]))


def test_the_largest_event_the_collector_takes_fits() -> None:
    """Control characters are the longest way to write a character in JSON: six bytes each."""
    properties = b'{"a":"%s"}' % (b"x" * (MAX_PROPERTIES_BYTES - 8))
    largest = msgspec.structs.replace(
        OURS,
        event="\x01" * 200,
        user_id="\x01" * 256,
        anonymous_id="\x01" * 256,
        properties=msgspec.Raw(properties),
    )
    assert isinstance(decode_record(msgspec.json.encode(largest)), EventValue)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "Input data was truncated"),
        (b"null", "Expected `object`"),
        (b"[]", "Expected `object`"),
        (b"{}", "missing required field"),
        (b"not JSON", "malformed"),
        (b"\xef\xbb\xbf{}", "malformed"),
        (b"\xff\xfe", "malformed"),
        (b'{"event_id":"\xff"}', "utf-8"),
        (encode(properties=msgspec.Raw(b'{"a":"\\ud800"}')), "truncated"),
        (b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}", "recursion"),
        (b'"' + b"x" * 10_000_000 + b'"', "10000002 bytes"),
        (b"x" * (MAX_RECORD_BYTES + 1), "bytes; a record has at most"),
        (encode(event_id="1"), "event_id is not"),
        (encode(event_id="xyz_" + "0" * 26), "event_id is not"),
        (encode(workspace_id=""), "workspace_id has 0 characters, not 1 to 256"),
        (encode(workspace_id="w" * 257), "workspace_id has 257 characters"),
        (encode(workspace_id=7), "Expected `str`, got `int`"),
        (encode(event=""), "event has 0 characters, not 1 to 200"),
        (encode(event="e" * 201), "event has 201 characters"),
        (encode(user_id=None), "neither user_id nor anonymous_id"),
        (encode(user_id="", anonymous_id=""), "neither user_id nor anonymous_id"),
        (encode(user_id="u" * 257), "user_id is over 256 characters"),
        (encode(anonymous_id="a" * 257), "anonymous_id is over 256 characters"),
        (encode(properties=[1]), "properties are not an object"),
        (encode(properties="{}"), "properties are not an object"),
        (encode(timestamp="2026-01-01T00:00:00"), "not in UTC"),
        (encode(timestamp="2026-01-01T00:00:00+02:00"), "not in UTC"),
        (encode(timestamp="0001-01-01T00:00:00Z"), "out of range"),
        (encode(received_at="9999-01-01T00:00:00Z"), "out of range"),
        (encode(received_at="yesterday"), "RFC3339"),
        (encode(received_at=None), "missing required field"),
        (b'{"event":"",' + encode()[1:], "length >= 1"),
    ],
)
def test_anything_else_is_an_unreadable_record(value: bytes, reason: str) -> None:
    """It is told why, and nothing is raised."""
    decoded = decode_record(value)
    assert isinstance(decoded, Rejected)
    assert decoded.code is Code.UNREADABLE_RECORD
    assert reason in decoded.reason


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", {}),
        (b"[1]", {}),
        (b"x" * 10_000_000, {}),
        (b'{"workspace_id":"ws","event":7,"other":"x"}', {"workspace_id": "ws"}),
        (encode(event_id="1"), {"event_id": "1", "workspace_id": "ws", "user_id": "u"}),
    ],
)
def test_what_can_be_read_of_it_is_kept(value: bytes, expected: dict[str, str]) -> None:
    """Texts under our names, so that a workspace sees its own unreadable records."""
    found = glimpse(value)
    assert expected.items() <= found.items()
    assert found.keys() <= {"workspace_id", "event_id", "event", "user_id", "anonymous_id"}
