"""Stored events as NDJSON, CSV or Parquet, one after the other, in bounded memory.

Owns the formats. NDJSON is what `headrace send` takes: an event as it was sent, with what Headrace
knows of it beside it.
"""

from __future__ import annotations

import csv
import importlib
import io
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, Literal, Self

import msgspec

from headrace.runtime.exporting.stored import StoredEvent
from headrace.schemas.errors import HeadraceError

Format = Literal["ndjson", "csv", "parquet"]
COLUMNS: Final = StoredEvent.__struct_fields__
_GROUP_ROWS: Final = 50_000
_GROUP_BYTES: Final = 64 * 1024 * 1024
_TIMES: Final = ("timestamp", "received_at")
_IDS: Final = ("user_id", "anonymous_id", "person_id")


class Writer:
    """Takes events; a context manager whose end writes what is left and leaves the file open.

    After an error nothing more is written, so that what is cut short does not look whole.
    """

    def write(self, event: StoredEvent) -> None:
        raise NotImplementedError

    def finish(self) -> None:
        """Write what was held back."""

    def abandon(self) -> None:
        """Write nothing more."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, trouble: type[BaseException] | None, *_: object) -> None:
        if trouble is None:
            self.finish()
        else:
            self.abandon()


class _Line(msgspec.Struct, omit_defaults=True, gc=False):
    event_id: str
    event: str
    timestamp: str
    received_at: str
    user_id: str = ""
    anonymous_id: str = ""
    person_id: str = ""
    properties: msgspec.Raw = msgspec.Raw(b"")


class NdjsonWriter(Writer):
    """One JSON object a line; properties as they came, an id that is not there left out."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._encode = msgspec.json.Encoder().encode

    def write(self, event: StoredEvent) -> None:
        line = _Line(
            event_id=event.event_id,
            event=event.event,
            timestamp=event.timestamp,
            received_at=event.received_at,
            user_id=event.user_id,
            anonymous_id=event.anonymous_id,
            person_id=event.person_id,
            # In JSON a line feed is but space between tokens.
            properties=msgspec.Raw(event.properties.replace("\n", " ")),
        )
        self._file.write(self._encode(line) + b"\n")


class CsvWriter(Writer):
    """A line of names, then one for each event (RFC 4180, UTF-8); properties as JSON text."""

    def __init__(self, file: BinaryIO) -> None:
        self._text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
        self._writer = csv.writer(self._text)
        self._writer.writerow(COLUMNS)

    def write(self, event: StoredEvent) -> None:
        self._writer.writerow(msgspec.structs.astuple(event))

    def finish(self) -> None:
        self._text.detach()

    def abandon(self) -> None:
        self._text.detach()


class _Sink(io.RawIOBase):
    """A file until it is shut: pyarrow ends every file as if it were whole, also after an error."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self.is_shut = False
        self._file = file
        self._written = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._written

    def write(self, data: Any) -> int:
        count = memoryview(data).nbytes
        if not self.is_shut:
            self._file.write(data)
        self._written += count
        return count


class ParquetWriter(Writer):
    """Row groups of up to 50,000 events, packed by zstd; times are UTC microseconds."""

    def __init__(self, file: BinaryIO) -> None:
        self._arrow, parquet = _pyarrow()
        self._schema = self._arrow.schema(
            [(name, self._type(name)) for name in COLUMNS],
        )
        self._sink = _Sink(file)
        self._writer = parquet.ParquetWriter(self._sink, self._schema, compression="zstd")
        self._held: list[StoredEvent] = []
        self._held_bytes = 0

    def write(self, event: StoredEvent) -> None:
        self._held.append(event)
        self._held_bytes += len(event.properties)
        if len(self._held) >= _GROUP_ROWS or self._held_bytes >= _GROUP_BYTES:
            self._write_group()

    def finish(self) -> None:
        if self._held:
            self._write_group()
        self._writer.close()

    def abandon(self) -> None:
        self._sink.is_shut = True
        self._writer.close()

    def _write_group(self) -> None:
        arrays = [self._array(name) for name in COLUMNS]
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))
        self._held.clear()
        self._held_bytes = 0

    def _array(self, name: str) -> Any:
        values: Iterator[str | None] = (getattr(event, name) for event in self._held)
        if name in _IDS:
            values = (value or None for value in values)
        return self._arrow.array(list(values), self._arrow.string()).cast(self._type(name))

    def _type(self, name: str) -> Any:
        is_time = name in _TIMES
        return self._arrow.timestamp("us", tz="UTC") if is_time else self._arrow.string()


def _pyarrow() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise HeadraceError(
            "Parquet needs the package pyarrow, which is not installed here: "
            "pip install pyarrow, or export NDJSON or CSV"
        ) from error


def writer_of(name: Format, file: BinaryIO) -> Writer:
    """The writer of a format. Raises `HeadraceError` if it cannot be had here."""
    match name:
        case "ndjson":
            return NdjsonWriter(file)
        case "csv":
            return CsvWriter(file)
        case "parquet":
            return ParquetWriter(file)
