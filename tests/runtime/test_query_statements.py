"""Where statements end, and what Tab offers within them."""

from __future__ import annotations

import pytest

from headrace.runtime.querying.names import Names
from headrace.runtime.querying.statements import (
    is_inside_piece,
    is_whole,
    split_statements,
)

NAMES = Names(
    {
        "events": {"event": "String", "event_id": "String", "user_id": "String"},
        "identity_links": {"anonymous_id": "String", "user_id": "String"},
    }
)


@pytest.mark.parametrize(
    ("text", "statements", "rest"),
    [
        ("SELECT 1", [], "SELECT 1"),
        ("SELECT 1;", ["SELECT 1"], ""),
        ("SELECT 1; SELECT\n2 ;\n", ["SELECT 1", "SELECT\n2"], ""),
        (";; SELECT 1;;", ["SELECT 1"], ""),
        ("SELECT ';', \"a;b\", `c;d`; x", ["SELECT ';', \"a;b\", `c;d`"], "x"),
        ("SELECT 'it''s;', 'a\\';';", ["SELECT 'it''s;', 'a\\';'"], ""),
        ("SELECT 1 -- not here;\n;", ["SELECT 1 -- not here;"], ""),
        ("SELECT /* ; */ 1 # ;\n; # the end", ["SELECT /* ; */ 1 # ;"], "# the end"),
        ("SELECT $$a;b$$, $x$;$$;$x$;", ["SELECT $$a;b$$, $x$;$$;$x$"], ""),
        ("SELECT 'open; ", [], "SELECT 'open;"),
        ("SELECT /* open; ", [], "SELECT /* open;"),
        ("SELECT 'a\\", [], "SELECT 'a\\"),
        ("-- only;\n;", [], ""),
    ],
)
def test_a_semicolon_ends_a_statement(text: str, statements: list[str], rest: str) -> None:
    """But not within quotes, comments and heredocs, closed or still open."""
    assert split_statements(text) == (statements, rest)


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("", True),
        ("\\q", True),
        ("exit", True),
        (" Quit; ", True),
        ("SELECT 1", False),
        ("SELECT 1;", True),
        ("SELECT 1; -- done", True),
        ("SELECT 1; SELECT", False),
        ("SELECT ';", False),
    ],
)
def test_enter_sends_what_is_whole(text: str, whole: bool) -> None:
    """Anything else goes on in the next line."""
    assert is_whole(text) is whole


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("SELECT 'a", True),
        ("SELECT 'a'", False),
        ("SELECT 'a\\'", True),
        ("SELECT 'a''", True),
        ("SELECT `a` ", False),
        ("SELECT 1 -- a", True),
        ("SELECT 1 -- a\n", False),
        ("SELECT /* a", True),
        ("SELECT /*/", True),
        ("SELECT /* a */", False),
        ("SELECT $$ a", True),
        ("SELECT $$ a $$", False),
        ("SELECT $$", True),
        ("SELECT 1;", False),
    ],
)
def test_it_is_known_what_stands_within_quotes(text: str, inside: bool) -> None:
    """Text and comments hold no names."""
    assert is_inside_piece(text) is inside


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("SELECT count() FROM ev", "", ["events"]),
        ("SELECT 1 FROM ", "", ["events", "identity_links"]),
        ("select 1 from events join ", "", ["events", "identity_links"]),
        ("SELECT event_", " FROM events", ["event_id"]),
        ("SELECT US", "", ["user_id", "USING", "USE"]),
        ("SELECT anon", " FROM events", []),
        ("SELECT anon", " FROM events; SELECT 1 FROM identity_links", []),
        ("SELECT e.us", " FROM events AS e", ["user_id"]),
        ("SELECT l.an", " FROM events JOIN identity_links l USING (user_id)", ["anonymous_id"]),
        ("SELECT x.", " FROM events", []),
        ("sel", "", ["select"]),
        ("SELECT 1; SEL", "", ["SELECT"]),
        ("SELECT 'us", "", []),
        ("SELECT 1 FROM events WHE", "", ["WHERE", "WHEN"]),
    ],
)
def test_tab_offers_what_fits(before: str, after: str, words: list[str]) -> None:
    """Tables where a table stands; columns of the tables named, of all where none is."""
    _, offers = NAMES.offers(before, after)

    assert [offer.word for offer in offers] == words


def test_an_offer_says_what_it_is() -> None:
    """A column's type, or that it is a table or a keyword."""
    typed, offers = NAMES.offers("SELECT event")
    assert typed == "event"
    assert {offer.word: offer.meaning for offer in offers} == {
        "event": "String",
        "event_id": "String",
        "events": "table",
    }
