"""How ClickHouse answers: exception codes, their HTTP statuses, headers and error bodies.

The only place of the store with HTTP status codes. The table is the server's own
(`src/Server/HTTP/exceptionCodeToHTTPStatus.cpp`); clients look at the code in
`X-ClickHouse-Exception-Code` and at the text `Code: n. DB::Exception: … (NAME)`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec
import orjson

OK: Final = 200
DISPLAY_NAME: Final = "headrace"

_STATUS_OF_CODE: Final[Mapping[int, int]] = {
    194: 401,  # REQUIRED_PASSWORD
    **dict.fromkeys((192, 193, 452, 497, 512, 516), 403),
    **dict.fromkeys((6, 8, 15, 25, 26, 27, 36, 37, 38, 41, 44, 53, 62, 72), 400),
    **dict.fromkeys((117, 123, 167, 168, 223, 321, 376, 427, 441, 675, 676), 400),
    **dict.fromkeys((46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511), 404),
    159: 408,  # TIMEOUT_EXCEEDED
    381: 411,  # HTTP_LENGTH_REQUIRED
    229: 413,  # QUERY_IS_TOO_LARGE
    779: 415,  # UNSUPPORTED_MEDIA_TYPE
    48: 501,  # NOT_IMPLEMENTED
    **dict.fromkeys((76, 209, 439), 503),
    # Three that the server answers with 500. The first two are not the server's fault, and
    # clients repeat a request after 503: right for the third, wrong for the others.
    164: 403,  # READONLY
    39: 413,  # TOO_LARGE_SIZE_COMPRESSED
    202: 503,  # TOO_MANY_SIMULTANEOUS_QUERIES
}
_SERVER_ERROR: Final = 500
_CODE: Final = re.compile(r"Code: (\d+)\. ")
_VERSION: Final = re.compile(r" \(version [^()]*\)\Z")
_VERSION_BYTES: Final = 200
_HALF_BYTES: Final = 32 * 1024
"""Of the engine's text that is looked at, at either end: a query may put a gigabyte into it."""


class Refusal(Exception):
    """A query that is answered with an exception, as ClickHouse would word it."""

    def __init__(self, code: int, name: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.text = f"Code: {code}. DB::Exception: {message} ({name})"
        self.is_the_engines = False
        """Whether the text is the engine's, who does not know what the reader may know."""

    @classmethod
    def of_engine(cls, error: Exception) -> Refusal:
        """From what chDB raised; its text is passed on as it is."""
        text = str(error)
        if len(text) > 2 * _HALF_BYTES:
            text = f"{text[:_HALF_BYTES]} … {text[-_HALF_BYTES:]}"
        text = text.rstrip()
        found = _CODE.match(text)
        if found is None:
            return cls(1002, "UNKNOWN_EXCEPTION", text)
        refusal = cls(int(found[1]), "", "")
        refusal.is_the_engines = True
        end = max(0, len(text) - _VERSION_BYTES)
        return refusal.with_text(text[:end] + _VERSION.sub("", text[end:]))

    def with_text(self, text: str) -> Refusal:
        """The same refusal in other words."""
        other = Refusal(self.code, "", "")
        other.text = text
        other.is_the_engines = self.is_the_engines
        return other

    @property
    def status(self) -> int:
        return _STATUS_OF_CODE.get(self.code, _SERVER_ERROR)


class Summary(msgspec.Struct, frozen=True):
    """What `X-ClickHouse-Summary` says; clients expect every value as a string."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    result_bytes: int = 0
    elapsed_seconds: float = 0.0

    def header(self) -> str:
        numbers = {
            "read_rows": self.read_rows,
            "read_bytes": self.read_bytes,
            "written_rows": self.written_rows,
            "written_bytes": self.written_bytes,
            "total_rows_to_read": 0,
            "result_rows": self.result_rows,
            "result_bytes": self.result_bytes,
            "elapsed_ns": int(self.elapsed_seconds * 1e9),
        }
        return orjson.dumps({name: str(number) for name, number in numbers.items()}).decode()


_CONTENT_TYPES: Final[Mapping[str, str]] = {
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TSV": "text/tab-separated-values; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "JSON": "application/json; charset=UTF-8",
    "JSONCompact": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "JSONCompactEachRow": "application/x-ndjson; charset=UTF-8",
    "XML": "application/xml; charset=UTF-8",
    "HTML": "text/html; charset=UTF-8",
    "Native": "application/octet-stream",
    "Parquet": "application/octet-stream",
    "Arrow": "application/octet-stream",
    "ArrowStream": "application/octet-stream",
}


def content_type(output_format: str) -> str:
    """The media type of an answer in this format, as the server names it."""
    if output_format.startswith("RowBinary"):
        return "application/octet-stream"
    return _CONTENT_TYPES.get(output_format, "text/plain; charset=UTF-8")


def query_headers(
    *, query_id: str, output_format: str, timezone: str, summary: Summary
) -> dict[str, str]:
    """The headers of a query's answer."""
    return {
        "content-type": content_type(output_format),
        "x-clickhouse-query-id": query_id,
        "x-clickhouse-format": output_format,
        "x-clickhouse-timezone": timezone,
        "x-clickhouse-server-display-name": DISPLAY_NAME,
        "x-clickhouse-summary": summary.header(),
    }


def refusal_headers(refusal: Refusal, *, query_id: str) -> dict[str, str]:
    """The headers of an answer that is an exception."""
    headers = {
        "content-type": "text/plain; charset=UTF-8",
        "x-clickhouse-exception-code": str(refusal.code),
        "x-clickhouse-query-id": query_id,
        "x-clickhouse-server-display-name": DISPLAY_NAME,
    }
    if refusal.status in {401, 403}:
        headers["www-authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
    if refusal.status == 503:
        headers["retry-after"] = "1"
    return headers
