"""Bad input: a clear answer to each, and nothing around it lost or blocked."""

from __future__ import annotations

import json

import pytest

from headrace.collector.decode import read_batch
from tests.collector.trial import BATCH, GOOD, ONE, Trial, problem

pytestmark = pytest.mark.usefixtures("both_ways")

GOOD_BYTES = json.dumps(GOOD).encode()
TIMED = b'{"event":"e","user_id":"u","timestamp":%s}'
WITH = b'{"event":"e","user_id":"u","timestamp":"2024-03-15T14:22:00Z","properties":%s}'
DEEP = b"[" * 10_000 + b"]" * 10_000


def lacking(field: str) -> bytes:
    return json.dumps({name: value for name, value in GOOD.items() if name != field}).encode()


def having(**fields: object) -> bytes:
    return json.dumps({**GOOD, **fields}).encode()


WHOLE = {
    # body: code, what the message must say
    "nothing": (b"", "invalid_json", "empty"),
    "blanks": (b" \n ", "invalid_json", "empty"),
    "not JSON": (b"hello", "invalid_json", "byte 0"),
    "{}": (b"{}", "missing_events", "events"),
    "[]": (b"[]", "wrong_type", "an array"),
    "null": (b"null", "wrong_type", "null"),
    "a number": (b"17", "wrong_type", "a number"),
    "a fraction": (b"1.7", "wrong_type", "a number"),
    "true": (b"true", "wrong_type", "a boolean"),
    "events is an object": (b'{"events":{}}', "wrong_type", "an object"),
    "events is a string": (b'{"events":"[]"}', "wrong_type", "a string"),
    "events is null": (b'{"events":null}', "wrong_type", "null"),
    "no events": (b'{"events":[]}', "no_events", "empty"),
    "1,001 events": (
        b'{"events":[%s]}' % b",".join([GOOD_BYTES] * 1001),
        "too_many_events",
        "1,001",
    ),
    "1,001 events, one bad": (
        b'{"events":[1,%s]}' % b",".join([GOOD_BYTES] * 1000),
        "too_many_events",
        "1,000",
    ),
    "5 million events": (
        b'{"events":[%s1]}' % (b"1," * 5_000_000),
        "too_many_events",
        "1,000",
    ),
    "truncated": (b'{"events":[%s,{"event":' % GOOD_BYTES, "invalid_json", "too early"),
    "deep and truncated": (
        b'{"events":[' + b"[" * 5_000,
        "invalid_json",
        "too early, at byte 5011",
    ),
    "something behind it": (b'{"events":[%s]} x' % GOOD_BYTES, "invalid_json", "byte"),
    "a second document": (b'{"events":[%s]}{}' % GOOD_BYTES, "invalid_json", "trailing"),
    "NaN": (b'{"events":[%s]}' % (WITH % b'{"a":NaN}'), "invalid_json", "byte 91"),
    "Infinity": (b'{"events":[%s]}' % (WITH % b'{"a":-Infinity}'), "invalid_json", "byte"),
    "a bad escape": (b'{"events":[%s]}' % (WITH % b'{"a":"\\q"}'), "invalid_json", "byte"),
    "a line break in a string": (
        b'{"events":[%s]}' % (WITH % b'{"a":"\n"}'),
        "invalid_json",
        "byte",
    ),
    "invalid UTF-8": (b'{"events":[%s]}' % (WITH % b'{"a":"\xff"}'), "invalid_json", "byte 92"),
    "invalid UTF-8 after much": (
        b'{"events":["%s\xc3\xa4\xe4"]}' % (b"\xc3\xa4" * 50_001),
        "invalid_json",
        "byte 0xe4 at byte 100016",
    ),
    "a byte order mark": (
        b'\xef\xbb\xbf{"events":[%s]}' % GOOD_BYTES,
        "invalid_json",
        "byte order mark",
    ),
    "UTF-16": ('{"events":[]}'.encode("utf-16"), "invalid_json", "byte order mark"),
    "only brackets": (b"[" * 1_000_000, "wrong_type", "array"),
    "deep and then broken": (
        b'{"events":[%s,{"x":%s}' % (GOOD_BYTES, DEEP),
        "invalid_json",
        "too early",
    ),
}


@pytest.mark.parametrize("case", WHOLE)
async def test_a_body_that_is_no_batch_is_refused_whole(trial: Trial, case: str) -> None:
    """400 with a code and a sentence that says what and where; nothing is stored."""
    body, code, says = WHOLE[case]
    answer = await trial.send(body)
    assert (answer.status_code, problem(answer)) == (400, code)
    assert says in answer.json()["message"]
    assert len(answer.json()["message"]) < 300
    assert trial.log.records() == []


ELEMENT = {
    # element: code, field, what the reason must say
    "a number": (b"17", "not_an_object", "", "number 17"),
    "a string": (b'"event"', "not_an_object", "", 'string "event"'),
    "null": (b"null", "not_an_object", "", "null"),
    "true": (b"true", "not_an_object", "", "true"),
    "an array": (b"[1]", "not_an_object", "", "array"),
    "{}": (b"{}", "missing_field", "event", "required"),
    "no event": (lacking("event"), "missing_field", "event", "required"),
    "no timestamp": (lacking("timestamp"), "missing_field", "timestamp", "required"),
    "no ids": (lacking("user_id"), "missing_id", "user_id", "anonymous_id"),
    "null ids": (having(user_id=None, anonymous_id=None), "missing_id", "user_id", "required"),
    "event is a number": (having(event=5), "wrong_type", "event", "number 5"),
    "event is null": (having(event=None), "wrong_type", "event", "null"),
    "event is an object": (having(event={}), "wrong_type", "event", "object"),
    "event is empty": (having(event=""), "too_short", "event", "empty"),
    "event is 10 MiB": (having(event="e" * 10_000_000), "too_long", "event", "10,000,000"),
    "user_id is a number": (having(user_id=12345), "wrong_type", "user_id", "12345"),
    "user_id is huge": (having(user_id=10**400), "wrong_type", "user_id", "1000000"),
    "user_id is empty": (having(user_id=""), "too_short", "user_id", "empty"),
    "anonymous_id is a list": (having(anonymous_id=[]), "wrong_type", "anonymous_id", "array"),
    "timestamp is a number": (
        having(timestamp=1710512520),
        "wrong_type",
        "timestamp",
        "1710512520",
    ),
    "timestamp is no date": (TIMED % b'"soon"', "invalid_timestamp", "timestamp", '"soon"'),
    "timestamp is empty": (TIMED % b'""', "invalid_timestamp", "timestamp", "ISO 8601"),
    "a date alone": (TIMED % b'"2024-03-15"', "invalid_timestamp", "timestamp", "without a time"),
    "hour 24": (TIMED % b'"2024-03-15T24:00:00Z"', "invalid_timestamp", "timestamp", "hour 24"),
    "a leap second": (
        TIMED % b'"2016-12-31T23:59:60Z"',
        "invalid_timestamp",
        "timestamp",
        "leap second",
    ),
    "30 February": (TIMED % b'"2024-02-30T00:00:00Z"', "invalid_timestamp", "timestamp", "exist"),
    "NUL behind it": (
        TIMED % b'"2024-03-15T14:22:00Z\\u0000"',
        "invalid_timestamp",
        "timestamp",
        "ISO",
    ),
    "year 0001": (
        TIMED % b'"0001-01-01T00:00:00+14:00"',
        "timestamp_out_of_range",
        "timestamp",
        "1971",
    ),
    "year 9999": (
        TIMED % b'"9999-12-31T23:59:59-14:00"',
        "timestamp_out_of_range",
        "timestamp",
        "2199",
    ),
    "properties is a string": (WITH % b'"{}"', "wrong_type", "properties", "object"),
    "properties is a list": (WITH % b"[]", "wrong_type", "properties", "array"),
    "nesting of 10,000": (WITH % (b'{"a":%s}' % DEEP), "properties_too_deep", "properties", "32"),
    "nesting of 10,000 objects": (
        WITH % (b'{"a":' * 10_000 + b"1" + b"}" * 10_000),
        "properties_too_deep",
        "properties",
        "32",
    ),
    "nesting of 10,000 instead of a name": (
        b'{"event":%s,"user_id":"u","timestamp":"2024-03-15T14:22:00Z"}' % DEEP,
        "wrong_type",
        "event",
        "array",
    ),
    "a string of 9 MiB": (
        WITH % (b'{"a":"%s"}' % (b"x" * 9_000_000)),
        "properties_too_large",
        "properties",
        "65,536",
    ),
}


@pytest.mark.parametrize("case", ELEMENT)
async def test_a_bad_element_is_refused_by_its_index(trial: Trial, case: str) -> None:
    """Its neighbours are accepted, and the reason says field, value and what would do."""
    element, code, field, says = ELEMENT[case]
    answer = await trial.send(b'{"events":[%s,%s,%s]}' % (GOOD_BYTES, element, GOOD_BYTES))
    assert answer.status_code == 200
    assert answer.json()["accepted"] == len(trial.log.records()) == 2
    (error,) = answer.json()["errors"]
    assert (error["index"], error["code"], error["field"]) == (1, code, field)
    assert says in error["reason"]
    assert len(error["reason"]) < 300


@pytest.mark.parametrize("case", ELEMENT)
async def test_the_same_as_a_single_event(trial: Trial, case: str) -> None:
    """The code of an element is the code of the refused request."""
    element, code, field, says = ELEMENT[case]
    answer = await trial.send(element, ONE)
    assert (answer.status_code, problem(answer)) == (400, code)
    assert answer.json().get("field", "") == field
    assert says in answer.json()["message"]


STRANGE = {
    "1e999": b'{"a":1e999,"b":-1e-999}',
    "an integer beyond 64 bits": b'{"a":%d}' % 10**300,
    "equal keys": b'{"a":1,"a":2}',
    "a key that is a path": b'{"a.b":1,"a":{"b":2}}',
    "dots and quotes in keys": b'{".":1,"..":2,"\\"":3,"\'":4,"`":5}',
    "NUL": b'{"\\u0000":"\\u0000"}',
    "a key of 10,000 characters": b'{"%s":1}' % (b"k" * 10_000),
    "5,000 keys": b"{%s}" % b",".join(b'"k%d":%d' % (n, n) for n in range(5_000)),
    "64 KiB of brackets": b'{"a":[%s1]}' % (b"[]," * 21_000),
    "brackets in strings": b'{"a":["%s"]}' % (b"[{" * 1_000),
    "escaped quotes": b'{"a":"\\\\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[","b":"\\\\"}',
    "emoji in escapes": b'{"a":"\\ud83d\\ude00"}',
    "an escaped backslash before ud800": b'{"a":"\\\\ud800"}',
    "emoji in UTF-8": '{"a":"\N{GRINNING FACE}"}'.encode(),
    "nothing": b"{}",
}


@pytest.mark.parametrize("case", STRANGE)
async def test_strange_properties_are_taken_as_they_are(trial: Trial, case: str) -> None:
    """What is JSON is kept byte for byte; whether it fits a table is decided behind the log."""
    answer = await trial.send(b'{"events":[%s,%s]}' % (WITH % STRANGE[case], GOOD_BYTES))
    assert answer.json()["accepted"] == 2
    assert bytes(trial.values()[0].properties) == STRANGE[case]


async def test_null_stands_for_absent(trial: Trial) -> None:
    """Null ids and null properties are what many clients send for nothing."""
    await trial.send({"events": [{**GOOD, "anonymous_id": None, "properties": None}]})
    (value,) = trial.values()
    assert value.anonymous_id is None
    assert bytes(value.properties) == b"{}"


async def test_a_lone_surrogate_becomes_u_fffd(trial: Trial) -> None:
    """JavaScript sends them; all else stays byte for byte, pairs and escaped backslashes too."""
    event = (
        b'{"event":"a\\ud800","user_id":"\\uDFFFu","timestamp":"2024-03-15T14:22:00Z",'
        b'"properties":{"\\udbff":"\\\\ud800 \\ud83d\\ude00 \\ud83d\\ud83d\\ude00 \\ud83d"}}'
    )
    await trial.send(b'{"events":[%s]}' % event)
    (value,) = trial.values()
    assert (value.event, value.user_id) == ("a\ufffd", "\ufffdu")
    assert bytes(value.properties) == (
        b'{"\\ufffd":"\\\\ud800 \\ud83d\\ude00 \\ufffd\\ud83d\\ude00 \\ufffd"}'
    )


async def test_of_equal_keys_the_last_counts(trial: Trial) -> None:
    """Whatever the earlier ones were, and whichever path decodes it."""
    event = (
        b'{"event":%s,"event":"last","user_id":"u","timestamp":"2024-03-15T14:22:00Z",'
        b'"properties":[],"properties":{"a":1}}'
    )
    await trial.send(b'{"events":[%s]}' % (event % b'"first"'))
    await trial.send(b'{"events":[%s]}' % (event % b"5"))
    for value in trial.values():
        assert (value.event, bytes(value.properties)) == ("last", b'{"a":1}')


async def test_a_field_nested_deep_that_nobody_reads_does_no_harm(trial: Trial) -> None:
    """Unknown fields are ignored, however deep they are."""
    answer = await trial.send(GOOD_BYTES[:-1] + b',"x":%s}' % DEEP, ONE)
    assert answer.status_code == 200


async def test_200_months_in_one_batch_are_taken(trial: Trial) -> None:
    """Times far from now are not the collector's business."""
    events = [
        {**GOOD, "timestamp": f"{2000 + month // 12}-{month % 12 + 1:02d}-01T00:00:00Z"}
        for month in range(200)
    ]
    answer = await trial.send({"events": events})
    assert answer.json()["accepted"] == 200


def test_a_batch_of_10_mib_of_lone_surrogates_is_read() -> None:
    """The repair takes every one of them in a single pass."""
    body = b'{"events":[{"x":"%s"}]}' % (b"\\ud800" * 1_700_000)
    assert read_batch(body).rejections[0].code == "missing_field"


async def test_content_types(trial: Trial) -> None:
    """JSON under its names and as browsers send it; what else is 415 and says so."""
    for taken in ("application/json; charset=UTF-8", "text/plain", "application/vnd.x+json", ""):
        answer = await trial.send(GOOD, ONE, content_type=taken)
        assert answer.status_code == 200, taken
    refused = ("application/x-www-form-urlencoded", "application/json; charset=latin-1", "\xff")
    for header in refused:
        async with trial.client() as client:
            headers = {b"Content-Type": header.encode("latin-1")}
            answer = await client.post(BATCH, content=GOOD_BYTES, headers=headers)
        assert (answer.status_code, problem(answer)) == (415, "unsupported_media_type"), header
