"""Reading from the store over ClickHouse's HTTP interface, for commands.

Owns the requests; answers come as the bytes of whatever format was asked for, or as rows. The
processor's writes have a client of their own (`headrace.store.clickhouse`).
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

import httpx2
import msgspec

from headrace.runtime.commands.output import printable
from headrace.runtime.credentials import StoreLogin
from headrace.runtime.reach import is_local, store_out_of_reach
from headrace.runtime.sending.source import split_lines
from headrace.schemas.errors import HeadraceError

T = TypeVar("T")
_ROWS_FORMAT: Final = "JSONEachRow"
_KILL_SECONDS: Final = 5.0
_STRANGERS_CHARACTERS: Final = 80


class QueryFailed(HeadraceError):
    """The store answered with an error; the message is the store's own sentence."""


class StoreReader:
    """One login; a context manager. With a `session` what `SET` changes lasts."""

    def __init__(
        self, login: StoreLogin, *, timeout_seconds: float | None = None, session: str = ""
    ) -> None:
        self._login = login
        self._session = {"session_id": session, "session_timeout": "3600"} if session else {}
        self._client = httpx2.Client(
            auth=httpx2.BasicAuth(login.user, login.password),
            # The store bounds a query's time, so that nothing need be said here.
            timeout=httpx2.Timeout(timeout_seconds, connect=5.0),
            trust_env=not is_local(login.url),
            headers={"User-Agent": "headrace"},
        )

    def __enter__(self) -> StoreReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    @contextmanager
    def stream(
        self,
        sql: str,
        default_format: str,
        parameters: Mapping[str, str] | None = None,
    ) -> Iterator[httpx2.Response]:
        """The open answer to a query, in `default_format` unless the SQL names another.

        Ctrl-C within it ends the query at the store, too. Raises `QueryFailed`, or
        `HeadraceError` where the store cannot be reached.
        """
        query_id = uuid.uuid4().hex
        options = {"database": self._login.database, "default_format": default_format}
        options |= self._session | {"query_id": query_id}
        options |= {f"param_{name}": _escaped(value) for name, value in (parameters or {}).items()}
        try:
            with self._client.stream(
                "POST", self._login.url, params=options, content=sql.encode()
            ) as response:
                if not response.is_success:
                    said = response.read().decode(errors="replace").strip()
                    if not said.startswith("Code: "):
                        raise self._stranger(response.status_code, said)
                    raise QueryFailed(printable(said))  # it may quote what an event held
                yield response
        except httpx2.TransportError as error:
            raise store_out_of_reach(self._login.url, error) from error
        except KeyboardInterrupt:
            self._kill(query_id)
            raise

    def _stranger(self, status: int, said: str) -> HeadraceError:
        """The sentence for what is no ClickHouse, or stands before one."""
        begins = printable(said.partition("\n")[0][:_STRANGERS_CHARACTERS])
        return HeadraceError(
            f"what answers at {self._login.url} is no ClickHouse: {status} {begins!r}"
        )

    def _kill(self, query_id: str) -> None:
        """The embedded store ends what nobody listens to, and refuses this; a server has to be
        told."""
        kill = f"KILL QUERY WHERE query_id = '{query_id}' ASYNC"
        with suppress(httpx2.TransportError):
            self._client.post(self._login.url, content=kill, timeout=_KILL_SECONDS)

    def rows(self, sql: str, shape: type[T], **parameters: str) -> list[T]:
        """All rows of a query, each decoded into `shape` by column name."""
        # Servers before 25.8 put numbers of 64 bits in quotes.
        decoder = msgspec.json.Decoder(shape, strict=False)
        with self.stream(sql, _ROWS_FORMAT, parameters) as response:
            return [decoder.decode(line) for line in lines_of(response)]


def lines_of(response: httpx2.Response) -> Iterator[bytes]:
    """The lines of an answer, ended by line feeds alone (JSON text may hold U+2028)."""
    for line in split_lines(response.iter_bytes(), sys.maxsize):
        if line:
            yield line


def _escaped(text: str) -> str:
    """A query parameter's text form, as ClickHouse reads it."""
    for character, replacement in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(character, replacement)
    return text
