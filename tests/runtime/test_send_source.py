"""Lines out of files: plain, gzip and zstd, whole and broken, long and short."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from headrace.runtime.sending.source import DamagedSource, Source, open_source, split_lines
from headrace.schemas.errors import HeadraceError

TEXT = b"".join(b'{"n":%d}\n' % number for number in range(50_000))


def read(path: Path | None) -> list[bytes | None]:
    with open_source(path) as source:
        return list(source.lines())


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(TEXT, id="plain"),
        pytest.param(gzip.compress(TEXT), id="gzip"),
        pytest.param(gzip.compress(TEXT[:1000]) + gzip.compress(TEXT[1000:]), id="two members"),
        pytest.param(gzip.compress(TEXT) + b"\0" * 512, id="padded"),
        pytest.param(zstandard.compress(TEXT), id="zstd"),
        pytest.param(zstandard.compress(TEXT[:999]) + zstandard.compress(TEXT[999:]), id="frames"),
    ],
)
def test_compression_is_told_from_the_content(tmp_path: Path, content: bytes) -> None:
    """Whatever the file is called, its lines are those that were put in."""
    lines = read(written(tmp_path / "events", content))
    assert lines == TEXT.splitlines()


@pytest.mark.parametrize("compressed", [gzip.compress(TEXT), zstandard.compress(TEXT)])
def test_a_file_that_is_cut_short_is_said_to_be(tmp_path: Path, compressed: bytes) -> None:
    """What could be read is read first, then the damage is told."""
    path = written(tmp_path / "events", compressed[:-100])
    seen: list[bytes | None] = []
    with open_source(path) as source, pytest.raises(DamagedSource, match="cut short"):
        seen.extend(source.lines())
    assert TEXT.startswith(b"\n".join(line for line in seen if line is not None))


def test_a_broken_gzip_stream_is_said_to_be(tmp_path: Path) -> None:
    """Bytes that are no gzip in the middle end the reading with a sentence."""
    content = bytearray(gzip.compress(TEXT))
    content[len(content) // 2 : len(content) // 2 + 64] = b"\xff" * 64
    path = written(tmp_path / "events.gz", bytes(content))
    with pytest.raises(DamagedSource, match="broken"):
        read(path)


def test_a_byte_order_mark_is_not_part_of_the_first_line(tmp_path: Path) -> None:
    """Files from Windows begin with one."""
    assert read(written(tmp_path / "events", b"\xef\xbb\xbf{}\n[]")) == [b"{}", b"[]"]


def test_lines_end_at_line_feeds_alone() -> None:
    """Other separators may be inside JSON strings."""
    text = '{"a":"x\u2028y\x85"}\n{}'.encode()
    assert list(split_lines(iter([text]), 1000)) == text.split(b"\n")


@pytest.mark.parametrize("chunk", [1, 7, 100, 100_000])
def test_a_line_too_long_is_dropped_wherever_chunks_end(chunk: int) -> None:
    """Memory stays bounded: the line is passed over, its neighbours are not."""
    text = b"first\n" + b"x" * 5_000 + b"\nlast\n" + b"y" * 5_000

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(text), chunk):
            yield text[start : start + chunk]

    assert list(split_lines(chunks(), 100)) == [b"first", None, b"last", None]


def test_the_position_counts_bytes_as_they_lie_there(tmp_path: Path) -> None:
    """A progress bar measures the compressed file."""
    path = written(tmp_path / "events.gz", gzip.compress(TEXT))
    with open_source(path) as source:
        assert source.size == path.stat().st_size
        list(source.lines())
        assert source.position == source.size


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The sentence says which file and why."""
    with (
        pytest.raises(HeadraceError, match=r"nothing\.ndjson: No such file"),
        open_source(tmp_path / "nothing.ndjson"),
    ):
        pass


@pytest.mark.parametrize("path", [None, Path("-")])
def test_standard_input_that_cannot_be_read_is_named(
    path: Path | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closed (`<&-`), or a folder: the sentence says so in words."""
    folder = os.open(tmp_path, os.O_RDONLY)
    monkeypatch.setattr("headrace.runtime.sending.source._STANDARD_INPUT", folder)
    with pytest.raises(HeadraceError, match=r"^cannot read standard input: Is a directory$"):
        read(path)
    os.close(folder)
    with pytest.raises(HeadraceError, match=r"^cannot read standard input: Bad file descriptor$"):
        read(path)


@pytest.mark.parametrize("name", ["june.csv", "june.CSV.gz", "june.parquet"])
def test_other_formats_are_told_by_their_names(tmp_path: Path, name: str) -> None:
    """One sentence instead of one for each line."""
    with pytest.raises(HeadraceError, match=f"{name} is named like CSV or Parquet"):
        read(written(tmp_path / name, b"event,user_id"))
    assert read(written(tmp_path / f"{name}.ndjson", b"{}")) == [b"{}"]


def test_trouble_of_whoever_reads_is_not_the_sources() -> None:
    """What goes wrong while standard input is open is told as what it is."""
    with pytest.raises(ConnectionResetError), open_source(None):
        raise ConnectionResetError("somewhere else")


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    """And is no trouble."""
    assert read(written(tmp_path / "empty", b"")) == []


def test_a_source_reads_from_anything_raw(tmp_path: Path) -> None:
    """Reads that return little, as a pipe's do, change nothing."""

    class Drip(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 0, 1)) or b""

    path = written(tmp_path / "drip.gz", gzip.compress(b'{"a":1}\n{"b":2}\n'))
    with Drip(path) as raw:
        assert list(Source("drip", raw, None).lines()) == [b'{"a":1}', b'{"b":2}']
