"""Where an export goes: standard output, or a file that is whole or not there.

Owns compression by the file's name, and that a file shows under its name only when all is in it.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, cast

import zstandard

from headrace.runtime.exporting.writers import Format
from headrace.schemas.errors import HeadraceError

_FORMATS: Final[dict[str, Format]] = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".csv": "csv",
    ".parquet": "parquet",
}
_COMPRESSED: Final = (".gz", ".zst")
_BUFFER_BYTES: Final = 256 * 1024


def format_of(file: Path | None, given: Format | None) -> Format:
    """The format that was asked for, else the one the file is named after. Raises `HeadraceError`.

    Without a file and a format it is NDJSON.
    """
    if file is None:
        if given == "parquet" and sys.stdout.isatty():
            raise HeadraceError("Parquet is nothing for a terminal: give a file, or use a pipe")
        return given or "ndjson"
    suffixes = [suffix.lower() for suffix in file.suffixes]
    is_compressed = bool(suffixes) and suffixes[-1] in _COMPRESSED
    if is_compressed:
        suffixes.pop()
    found = given or (_FORMATS.get(suffixes[-1]) if suffixes else None)
    if found is None:
        raise HeadraceError(
            f"{file.name} does not end in .ndjson, .csv or .parquet: say --format ndjson, csv or "
            "parquet"
        )
    if found == "parquet" and is_compressed:
        raise HeadraceError(f"{file.name}: Parquet is packed in itself; leave out {file.suffix}")
    return found


@contextmanager
def opened(file: Path | None, *, may_replace: bool, is_secret: bool = False) -> Iterator[BinaryIO]:
    """What to write into. A file gets its name at the end of the block, unless that fails; if it
    is secret, for its owner alone. What a link leads to is replaced, not the link.

    Raises `HeadraceError` if the file is there and may not be replaced, or cannot be written.
    """
    if file is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if file.exists() and not may_replace:
        raise HeadraceError(f"{file} is there already: give another name, or --force to replace it")
    if file.exists() and not file.is_file():
        raise HeadraceError(f"{file} is there and is no file: give another name")
    place = file.resolve()
    beside = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        with beside.open("wb", _BUFFER_BYTES) as raw:
            if is_secret:
                beside.chmod(0o600)
            with _packed(raw, file.suffix.lower()) as packed:
                yield packed
            raw.flush()
            os.fsync(raw.fileno())
        beside.replace(place)
    except OSError as error:
        raise HeadraceError(f"cannot write {file}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


@contextmanager
def _packed(raw: BinaryIO, suffix: str) -> Iterator[BinaryIO]:
    if suffix == ".gz":
        # No name and no time in it: the same events, the same bytes.
        with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
            yield cast("BinaryIO", packed)
    elif suffix == ".zst":
        with zstandard.ZstdCompressor().stream_writer(raw, closefd=False) as packed:
            yield cast("BinaryIO", packed)
    else:
        yield raw
