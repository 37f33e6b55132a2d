"""Event ids: ULIDs that grow, and ids that a retry makes again."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from headrace.collector.event_ids import RequestIds, UlidMaker
from headrace.schemas.event_ids import ALPHABET, ID_PREFIX, request_of

START = datetime(2024, 3, 15, 14, 22, 0, 123_999, tzinfo=UTC)


def number_of(event_id: str) -> int:
    digits = event_id.removeprefix(ID_PREFIX)
    assert len(digits) == 26
    return sum(ALPHABET.index(digit) << 5 * place for place, digit in enumerate(reversed(digits)))


@given(st.lists(st.tuples(st.integers(1, 1_200), st.integers(-5, 5)), min_size=1, max_size=6))
def test_ulids_grow_whatever_the_clock_does(steps: list[tuple[int, int]]) -> None:
    """Also within a millisecond, and when the clock goes back."""
    maker, now = UlidMaker(), START
    made: list[str] = []
    for count, milliseconds in steps:
        now += timedelta(milliseconds=milliseconds)
        ids = maker.make(count, now)
        assert len(ids) == count
        made += ids
    numbers = [number_of(each) for each in made]
    assert all(a < b for a, b in pairwise(numbers))
    assert made == sorted(made)
    assert all(number < 1 << 128 for number in numbers)


def test_a_ulid_begins_with_its_time() -> None:
    """48 bits of milliseconds, as the specification has it."""
    number = number_of(UlidMaker().make(1, START)[0])
    assert number >> 80 == int(START.timestamp() * 1000)


def test_ulids_of_two_processes_differ() -> None:
    """80 random bits lie between them."""
    assert UlidMaker().make(1, START) != UlidMaker().make(1, START)


def test_random_bits_at_their_end_carry_over() -> None:
    """Ids that start at the largest number there is; the next millisecond has larger ones."""
    maker = UlidMaker(lambda count: b"\xff" * count)
    ids = maker.make(2_000, START)
    assert [number_of(each) - number_of(ids[0]) for each in ids] == list(range(2_000))
    later = UlidMaker(lambda count: bytes(count) if maker_begun else b"\xff" * count)
    maker_begun = False
    first = later.make(2_000, START)
    maker_begun = True
    assert later.make(1, START + timedelta(milliseconds=1))[0] > first[-1]


def test_the_random_characters_are_even() -> None:
    """All 32 at each of the 16 places; more than one pool's worth."""
    maker = UlidMaker()
    ids = [maker.make(1, START + timedelta(milliseconds=number))[0] for number in range(4_000)]
    assert len(set(ids)) == 4_000
    for place in range(-16, 0):
        counts = Counter(each[place] for each in ids)
        assert counts.keys() == set(ALPHABET)
        assert max(counts.values()) < 300  # 125 are expected; 16 standard deviations away


def test_ids_of_a_request_are_made_again() -> None:
    """No clock and no chance is in them; another key, body or endpoint makes others."""
    ids = RequestIds(b"key", b"body").at(range(1_000))
    assert ids == RequestIds(b"key", b"body").at(range(1_000))
    assert len(set(ids)) == 1_000
    assert RequestIds(b"key", b"body").at([7, 999]) == [ids[7], ids[999]]
    assert not set(ids) & set(RequestIds(b"keyb", b"ody").at(range(1_000)))
    assert all(number_of(each) < 1 << 128 for each in ids)


def test_ids_of_a_request_share_their_beginning() -> None:
    """So the processor finds all of them by one prefix."""
    ids = RequestIds(b"key", b"body").at(range(1_000))
    assert len({request_of(each) for each in ids}) == 1
