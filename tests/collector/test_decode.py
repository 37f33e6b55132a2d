"""Decoding: the hot and the slow path give the same, and nothing makes either of them fall."""

from __future__ import annotations

import contextlib
import json
from datetime import datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.collector.answers import Refusal
from headrace.collector.decode import Decoded, Event, read_batch, read_event
from headrace.collector.json_text import cut_depths, invalid_utf8_at, replace_lone_surrogates
from headrace.collector.properties import is_shallow
from headrace.collector.timestamps import read_timestamp

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
TIMES = st.datetimes().map(lambda moment: moment.isoformat() + "Z") | st.sampled_from(
    [
        "2024-03-15T14:22:00Z",
        "2024-03-15T14:22:00.123+05:30",
        "2024-03-15T14:22:00.1234567+05:30",
        "2024-03-15 14:22",
        "soon",
        "",
    ]
)
IDS = st.text(max_size=5) | st.none() | st.just("x" * 257)
EVENTS = st.fixed_dictionaries(
    {"event": st.text(max_size=4) | JSON, "timestamp": TIMES | JSON},
    optional={
        "user_id": IDS | JSON,
        "anonymous_id": IDS | JSON,
        "properties": st.dictionaries(st.text(), JSON) | JSON,
        "other": JSON,
    },
)
ELEMENTS = st.lists(EVENTS | JSON, min_size=1, max_size=8)


def plain(event: Event) -> tuple[Any, ...]:
    properties = bytes(event.properties)
    return event.event, event.timestamp, event.user_id, event.anonymous_id, properties


def accepted(decoded: Decoded) -> list[tuple[int, tuple[Any, ...]]]:
    pairs = zip(decoded.indexes, decoded.events, strict=True)
    return [(index, plain(event)) for index, event in pairs]


@given(ELEMENTS, st.booleans())
def test_hot_and_slow_path_agree(elements: list[Any], ascii_only: bool) -> None:
    """A bad element at the end forces the slow path; the others come out as without it."""
    texts = [
        json.dumps(one, ensure_ascii=ascii_only).encode("utf-8", "replace") for one in elements
    ]
    alone = read_batch(b'{"events":[%s]}' % b",".join(texts))
    forced = read_batch(b'{"events":[%s]}' % b",".join([*texts, b"17"]))
    assert accepted(alone) == accepted(forced)
    assert list(alone.rejections) == list(forced.rejections)[:-1]
    assert len(alone.events) + len(alone.rejections) == len(elements)


@given(ELEMENTS)
def test_a_single_event_is_judged_as_in_a_batch(elements: list[Any]) -> None:
    """One rule book: the same event or the same code."""
    element = json.dumps(elements[0]).encode()
    in_batch = read_batch(b'{"events":[%s]}' % element)
    if in_batch.events:
        assert accepted(read_event(element)) == accepted(in_batch)
        return
    with pytest.raises(Refusal) as refused:
        read_event(element)
    assert refused.value.problem.error == in_batch.rejections[0].code
    assert refused.value.message == in_batch.rejections[0].reason


@given(ELEMENTS)
def test_accepted_properties_keep_their_value(elements: list[Any]) -> None:
    """What was sent and what lies in the record are equal as JSON."""
    decoded = read_batch(json.dumps({"events": elements}).encode())
    for index, event in zip(decoded.indexes, decoded.events, strict=True):
        sent = elements[index].get("properties") or {}
        # Lone surrogates, which Python's JSON can carry, are replaced.
        repaired = replace_lone_surrogates(json.dumps(sent).encode())
        assert json.loads(bytes(event.properties)) == json.loads(repaired)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_decoded_or_refused(body: bytes) -> None:
    """Nothing a client sends is a fault of ours."""
    for read in (read_batch, read_event):
        with contextlib.suppress(Refusal):
            read(body)


PIECES = st.sampled_from(
    [
        b"\\ud800",
        b"\\uDFFF",
        b"\\ud83d\\ude00",
        b"\\\\",
        b"\\n",
        b"\\u0041",
        b"a",
        b"\xc3\xa4",
        b"\\u",
    ]
)


@given(st.lists(PIECES, max_size=12).map(b"".join))
def test_lone_surrogates_are_replaced_as_a_json_decoder_would(inner: bytes) -> None:
    """Python's decoder lets lone surrogates live; replaced, both say the same."""
    text = b'"%s"' % inner
    repaired = replace_lone_surrogates(text)
    assert len(repaired) == len(text)
    try:
        expected = json.loads(text)
    except ValueError:
        return
    expected = expected.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert msgspec.json.decode(repaired) == expected


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_the_offset_of_bad_utf8_is_that_of_the_codec(body: bytes) -> None:
    """Checked in chunks, the offset is as if checked at once."""
    filler = b"\xc3\xa4" * 32_767  # what follows crosses a chunk's edge
    try:
        (filler + body).decode()
        expected = None
    except UnicodeDecodeError as error:
        expected = error.start
    assert invalid_utf8_at(filler + body) == expected


@given(JSON, st.integers(0, 5))
def test_cutting_depths_leaves_shallow_json_alone(value: Any, levels: int) -> None:
    """Only what is deeper than any event may be is cut."""
    text = b"[" * levels + json.dumps(value).encode() + b"]" * levels
    assert cut_depths(text) == text


def test_cutting_depths_leaves_what_can_be_decoded() -> None:
    """Around the cut everything is as it was, brackets in strings included."""
    deep = b'{"]":[' * 5_000 + b"]}" * 5_000
    text = b'{"a":"[\\"[","b":%s,"c":[1,%s,"]"]}' % (deep, deep)
    decoded = msgspec.json.decode(cut_depths(text))
    assert list(decoded) == ["a", "b", "c"]
    assert decoded["a"] == '["['
    assert (decoded["c"][0], decoded["c"][2]) == (1, "]")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ('"%s"' % ("a" * 100_000), "`event` has 100,000 characters; at most 200 are taken"),
        ('"%s"' % ("é" * 201), "`event` has 201 characters; at most 200 are taken"),
        ('"%s"' % ("é" * 10_000), "`event` has 20,000 bytes; at most 200 characters are taken"),
        ('"%s"' % ("\\ud83d\\ude00" * 200), None),
    ],
)
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_a_name_far_too_long_is_not_decoded_to_be_counted(
    name: str, told: str | None, kind: type[bytes | bytearray]
) -> None:
    """The longest that is taken is twelve bytes a character."""
    body = kind(f'{{"event":{name},"user_id":"u","timestamp":"2024-03-15T14:22:00Z"}}'.encode())
    if told is None:
        assert read_event(body).events
        return
    with pytest.raises(Refusal) as refused:
        read_event(body)
    assert refused.value.message == told


@given(JSON)
def test_depth_is_that_of_the_value(value: Any) -> None:
    """Counting brackets gives what walking the value gives."""

    def depth(part: Any) -> int:
        parts = part.values() if isinstance(part, dict) else part
        return 1 + max(map(depth, parts), default=0) if isinstance(part, dict | list) else 0

    wrapped: Any = {"a": value}
    for _ in range(25):
        wrapped = {"a": wrapped}
    assert is_shallow(json.dumps(wrapped).encode()) == (depth(wrapped) <= 32)


@given(
    st.datetimes(),
    st.sampled_from(["seconds", "milliseconds", "microseconds"]),
    st.sampled_from(["", "0", "5", "999"]),
    st.sampled_from(["", "Z", "z", "+00:00", "-00:00", "+05:30", "-1100", "+14"]),
)
def test_the_decoder_reads_times_as_we_do(
    moment: datetime, precision: str, digits: str, offset: str
) -> None:
    """Any year, any precision, any offset: taken or not, and the same moment."""
    text = moment.isoformat(timespec=precision) + ("" if precision == "seconds" else digits)
    found = read_timestamp(text + offset)
    batch = read_batch(b'{"events":[%s]}' % b",".join(bodies_at(text + offset)))
    assert [each.timestamp for each in batch.events] == ([] if found is None else [found] * 2)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-03-15T14:22:00Z", "2024-03-15T14:22:00+00:00"),
        ("2024-03-15T14:22:00", "2024-03-15T14:22:00+00:00"),
        ("2024-03-15t14:22:00z", "2024-03-15T14:22:00+00:00"),
        ("2024-03-15 14:22:00.5", "2024-03-15T14:22:00.500000+00:00"),
        ("2024-03-15T14:22:00,25Z", "2024-03-15T14:22:00.250000+00:00"),
        ("2024-03-15T14:22Z", "2024-03-15T14:22:00+00:00"),
        ("2024-03-15T23:22:00-05:00", "2024-03-16T04:22:00+00:00"),
        ("2024-03-15T14:22:00+0530", "2024-03-15T08:52:00+00:00"),
        ("2024-03-15T14:22:00+01", "2024-03-15T13:22:00+00:00"),
        ("20240315T142200Z", "2024-03-15T14:22:00+00:00"),
        ("2024-03-15T14:22:00.1234564999Z", "2024-03-15T14:22:00.123456+00:00"),
        ("2024-03-15T14:22:00.1234565Z", "2024-03-15T14:22:00.123457+00:00"),
        ("2024-12-31T23:59:59.9999995Z", "2025-01-01T00:00:00+00:00"),
        ("2199-12-31T23:59:59.99999949Z", "2199-12-31T23:59:59.999999+00:00"),
        ("2024-03-15T14:22:00." + "1" * 100 + "Z", "2024-03-15T14:22:00.111111+00:00"),
        ("1971-01-01T00:00:00Z", "1971-01-01T00:00:00+00:00"),
    ],
)
def test_timestamps_that_are_taken(text: str, moment: str) -> None:
    """In UTC, and rounded to the microsecond."""
    found = read_timestamp(text)
    assert found is not None
    assert found.isoformat() == moment
    for body in bodies_at(text):
        assert read_event(body).events[0].timestamp == found


@pytest.mark.parametrize(
    "text",
    [
        "1970-12-31T23:59:59Z",
        "1971-01-01T00:00:00+00:01",
        "2199-12-31T23:59:59-00:01",
        "2024-03-15T14:22.5Z",
        "2024-03-15X14:22:00Z",
        "2024-03-15T14:22:00+24:00",
        "2024-03-15T14:22:00+5",
        "2024-3-15T14:22:00Z",
        "2024-W11-5T14:22:00Z",
        "２０２４-03-15T14:22:00Z",
        "2024-03-15T14:22:00Z\x00",
        "2024-03-15T14:22:00Z\n",
        " 2024-03-15T14:22:00Z",
        "2199-12-31T23:59:59.9999999Z",
        "9999-12-31T23:59:59.9999999Z",
    ],
)
def test_timestamps_that_are_not_taken(text: str) -> None:
    """Out of range, or not the format."""
    assert read_timestamp(text) is None
    for body in bodies_at(text):
        with pytest.raises(Refusal):
            read_event(body)


def bodies_at(text: str) -> list[bytes]:
    """An event of that time, as it is and with every character escaped."""
    escaped = "".join(f"\\u{ord(each):04x}" for each in text)
    return [
        b'{"event":"e","user_id":"u","timestamp":"%s"}' % time.encode()
        for time in (json.dumps(text)[1:-1], escaped)
    ]
