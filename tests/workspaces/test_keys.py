"""How keys, passwords and ids look, and that a mistyped key is known for one."""

from __future__ import annotations

import re
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.workspaces import keys

KEY = keys.make_key()


def test_a_key_has_a_prefix_a_secret_and_a_checksum() -> None:
    """`hrk_`, then 38 characters that need no quoting anywhere."""
    assert re.fullmatch(r"hrk_[0-9A-Za-z]{38}", KEY)
    assert keys.well_formed(KEY)
    assert len({keys.make_key() for _ in range(100)}) == 100


def test_the_checksum_follows_from_the_secret() -> None:
    """The same secret makes the same key: the format is fixed for good."""
    assert keys.make_key(lambda _: "a") == "hrk_" + "a" * 32 + "11eBWs"


@given(st.integers(0, len(KEY) - 1), st.characters())
def test_any_changed_character_is_noticed(index: int, character: str) -> None:
    """A typing mistake never makes another well-formed key."""
    changed = KEY[:index] + character + KEY[index + 1 :]
    assert keys.well_formed(changed) == (changed == KEY)


@given(st.integers(4, len(KEY) - 2))
def test_two_exchanged_characters_are_noticed(index: int) -> None:
    """Nor does exchanging two neighbours."""
    changed = KEY[:index] + KEY[index + 1] + KEY[index] + KEY[index + 2 :]
    assert keys.well_formed(changed) == (changed == KEY)


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_may_be_presented(text: str) -> None:
    """Lone surrogates, NUL, other scripts: no key, and no exception."""
    assert not keys.well_formed(text)
    assert len(keys.fingerprint(text)) == 32
    assert len(keys.hint(text)) <= 15


@pytest.mark.parametrize(
    "text", ["", "hrk_", KEY[:-1], KEY + "0", " " + KEY, KEY.upper(), "hrk_" + "é" * 38]
)
def test_near_misses_are_not_well_formed(text: str) -> None:
    """Cut, lengthened, folded or written in other letters."""
    assert not keys.well_formed(text)


def test_what_is_kept_of_a_key() -> None:
    """Its SHA-256 for look-up, eight and four characters for people."""
    assert keys.fingerprint(KEY) == sha256(KEY.encode()).digest()
    assert keys.hint(KEY) == f"{KEY[:8]}...{KEY[-4:]}"


def test_ids_are_database_names_as_they_stand() -> None:
    """An id needs no quoting in ClickHouse and starts with a letter."""
    assert re.fullmatch(r"ws_[0-9a-z]{16}", keys.make_id("ws"))


def test_passwords_are_long_and_random() -> None:
    """190 bits that need no escaping in URLs, JSON or shells."""
    assert re.fullmatch(r"[0-9A-Za-z]{32}", keys.make_password())
    assert keys.make_password() != keys.make_password()
