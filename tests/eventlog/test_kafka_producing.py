"""The request that carries batches is aiokafka's byte for byte, and its answer is read as there."""

from __future__ import annotations

from io import BytesIO

import pytest
from aiokafka.protocol.produce import ProduceRequest_v7 as PlainRequest
from aiokafka.protocol.produce import ProduceResponse_v7 as PlainResponse
from hypothesis import given
from hypothesis import strategies as st

from headrace.eventlog.kafka.producing import ProduceRequest, ProduceRequest_v7, ProduceResponse_v7

BATCHES = st.dictionaries(st.integers(0, 2**31 - 1), st.binary(max_size=50)).map(
    lambda batches: list(batches.items())
)
OUTCOMES = st.lists(
    st.tuples(
        st.integers(0, 2**31 - 1),
        st.integers(-1, 120),
        st.integers(-1, 2**62),
        st.integers(-1, 2**42),
        st.integers(-1, 2**62),
    )
)


@given(st.text(min_size=1, max_size=20), BATCHES, st.integers(1, 60))
def test_requests_are_those_of_aiokafka(
    topic: str, batches: list[tuple[int, bytes]], seconds: int
) -> None:
    """No transaction, acks of all; any name and any bytes."""
    request = ProduceRequest(topic, batches, timeout_seconds=seconds).prepare({0: (3, 12)})
    assert isinstance(request, ProduceRequest_v7)
    assert request.encode() == PlainRequest(None, -1, seconds * 1000, [(topic, batches)]).encode()


@given(st.text(min_size=1, max_size=20), OUTCOMES, st.integers(0, 1000))
def test_answers_are_read_as_aiokafka_reads_them(
    topic: str, outcomes: list[tuple[int, int, int, int, int]], throttled: int
) -> None:
    """Of each partition its error code."""
    answer = PlainResponse([(topic, outcomes)], throttled).encode()
    found = ProduceResponse_v7.decode(BytesIO(answer))
    assert found.outcomes == [(partition, code) for partition, code, *_ in outcomes]


@given(st.integers(0, 60))
def test_an_answer_that_is_cut_short_is_no_success(length: int) -> None:
    """Whoever waits must not take a partition that is missing for stored."""
    answer = PlainResponse([("events", [(1, 0, 5, -1, 0), (2, 0, 5, -1, 0)])], 0).encode()
    with pytest.raises(ValueError, match="cut short"):
        ProduceResponse_v7.decode(BytesIO(answer[:length]))


def test_an_answer_about_something_else_is_no_success() -> None:
    """One topic was sent."""
    answer = PlainResponse([("a", []), ("b", [(1, 0, 5, -1, 0)])], 0).encode()
    with pytest.raises(ValueError, match="2 topics"):
        ProduceResponse_v7.decode(BytesIO(answer))
