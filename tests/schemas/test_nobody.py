"""Ids that stand for nobody, however clients write them."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.schemas.nobody import _SPACES, NOBODY, is_nobody

AROUND = st.text(st.sampled_from(sorted(_SPACES)), max_size=3)
QUOTES = st.sampled_from(["", '"', "'"])


@given(
    st.sampled_from(sorted(NOBODY)),
    st.sampled_from([str.lower, str.upper, str.title]),
    QUOTES,
    AROUND,
    AROUND,
)
def test_placeholders_stand_for_nobody(
    word: str, case: object, quote: str, before: str, after: str
) -> None:
    """In any case, in quotes, with spaces around."""
    assert callable(case)
    assert is_nobody(f"{before}{quote}{case(word)}{quote}{after}")


@pytest.mark.parametrize("identifier", ["10", "u", "user-1", "null2", "a null", "nullx" * 20, "é"])
def test_ids_stand_for_somebody(identifier: str) -> None:
    """Whatever they end with."""
    assert not is_nobody(identifier)


def test_no_space_is_forgotten() -> None:
    """As Python strips them."""
    assert {chr(each) for each in range(sys.maxunicode) if chr(each).isspace()} == _SPACES
