"""Batches and their keys: a repeat of an import makes the same ones."""

from __future__ import annotations

import io
from pathlib import Path

from headrace.runtime.sending.batches import Batch, make_batches
from headrace.runtime.sending.mapping import Fields, Mapper
from headrace.runtime.sending.source import open_source
from headrace.runtime.sending.summary import Summary


def line(number: int, size: int = 0) -> bytes:
    return b'{"event":"e%d","user_id":"u","timestamp":"t","properties":{"x":"%s"}}\n' % (
        number,
        b"x" * size,
    )


def batches_of(
    path: Path, content: bytes, *, batch_size: int = 10, max_body_bytes: int = 100_000
) -> tuple[list[Batch], Summary]:
    path.write_bytes(content)
    summary = Summary()
    with open_source(path) as source:
        made = list(
            make_batches(
                source,
                Mapper(Fields()),
                summary,
                batch_size=batch_size,
                max_body_bytes=max_body_bytes,
            )
        )
    return made, summary


def test_the_same_content_makes_the_same_keys(tmp_path: Path) -> None:
    """Also under another name, and with blank lines' ends written otherwise."""
    content = b"".join(map(line, range(25)))
    first, _ = batches_of(tmp_path / "a", content)
    second, _ = batches_of(tmp_path / "b", content.replace(b"\n", b"\r\n"))
    assert [batch.key for batch in first] == [batch.key for batch in second]
    assert len({batch.key for batch in first}) == 3
    assert [len(batch.events) for batch in first] == [10, 10, 5]


def test_equal_batches_of_one_file_get_keys_of_their_own(tmp_path: Path) -> None:
    """Ten equal lines twice are twenty events, and the repeat knows each of them again."""
    content = line(1) * 30
    first, _ = batches_of(tmp_path / "a", content)
    second, _ = batches_of(tmp_path / "a", content)
    assert len({batch.key for batch in first}) == 3
    assert [batch.key for batch in first] == [batch.key for batch in second]


def test_another_mapping_makes_other_keys(tmp_path: Path) -> None:
    """The same lines read otherwise are other events."""
    path = tmp_path / "a"
    path.write_bytes(line(1))
    keys = set()
    for fields in (Fields(), Fields(properties=".")):
        with open_source(path) as source:
            keys |= {batch.key for batch in make_batches(source, Mapper(fields), Summary())}
    assert len(keys) == 2


def test_a_body_past_the_limit_is_split(tmp_path: Path) -> None:
    """Every body keeps to the limit, and no event is missing."""
    made, summary = batches_of(
        tmp_path / "a", b"".join(line(number, 300) for number in range(9)), max_body_bytes=1000
    )
    assert all(len(batch.body()) <= 1000 for batch in made)
    assert sum(len(batch.events) for batch in made) == 9
    assert summary.unreadable == 0


def test_an_event_that_no_body_holds_is_counted(tmp_path: Path) -> None:
    """Its neighbours go on."""
    content = line(1) + line(2, 980) + line(3, 2000) + line(4)
    made, summary = batches_of(tmp_path / "a", content, max_body_bytes=1000)
    assert [number for batch in made for number in batch.lines] == [1, 4]
    assert summary.unreadable_by["too_long"].lines == [2, 3]


def test_bad_lines_are_counted_by_reason_with_their_numbers(tmp_path: Path) -> None:
    """Blank lines are nothing, but count as lines when numbers are told."""
    content = line(1) + b"\n   \nnonsense\n" + b"{}\n" * 5 + line(2)
    made, summary = batches_of(tmp_path / "a", content)
    assert [batch.lines for batch in made] == [[1, 10]]
    assert (summary.lines_read, summary.unreadable) == (8, 6)
    assert summary.unreadable_by["not_json"].lines == [4]
    assert summary.unreadable_by["no_event"].where() == "5, 6, 7, …"


def test_batches_say_how_much_of_the_source_they_took(tmp_path: Path) -> None:
    """All together it is the whole file, so the bar ends full."""
    content = b"".join(map(line, range(25)))
    made, _ = batches_of(tmp_path / "a", content)
    assert sum(batch.source_bytes for batch in made) == len(content)


def test_halves_have_keys_that_follow_from_the_whole() -> None:
    """A batch that must be split is split alike when it is repeated."""
    first, second = Batch("k", [b"1", b"2", b"3"], [7, 8, 9], 30).halves()
    assert (first.key, first.lines, second.key, second.lines) == ("k.0", [7], "k.1", [8, 9])
    assert io.BytesIO(second.body()).read() == b'{"events":[2,3]}'
