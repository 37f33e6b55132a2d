"""Plain HTTP requests to a store server, as curl would send them."""

from __future__ import annotations

import base64
import http.client
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlencode

import msgspec

from tests.store.server_fixture import PASSWORD, StoreServer

REFUSED = {46, 62, 73, 115, 164, 452, 497}
"""What the wall answers. A refused connection or a file that cannot be opened is not among them:
a statement that got so far has got through."""
NOT_THERE = {47, 60, 81, 182, 456}
"""What the engine answers on names that an analyst's database does not hold."""


class Answer(msgspec.Struct, frozen=True):
    """What came back; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def code(self) -> int | None:
        code = self.headers.get("x-clickhouse-exception-code")
        return int(code) if code is not None else None


def basic(user: str, password: str = PASSWORD) -> dict[str, str]:
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {token}"}


def request(
    server: StoreServer,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str] = {},
    body: bytes | Iterable[bytes] | None = None,
) -> Answer:
    """One request on a connection of its own; an iterable body is sent chunked."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request(
            method,
            path,
            body=body,
            headers=dict(headers),
            encode_chunked=not isinstance(body, bytes | None),
        )
        response = connection.getresponse()
        answered = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, answered, response.read())
    finally:
        connection.close()


def ask(
    server: StoreServer,
    user: str,
    sql: str | bytes,
    *,
    headers: Mapping[str, str] = {},
    url: Mapping[str, str] = {},
    **parameters: str,
) -> Answer:
    """A query in the body of a POST; `url` and `parameters` are the URL's."""
    body = sql.encode() if isinstance(sql, str) else sql
    path = f"/?{urlencode({**url, **parameters})}"
    return request(server, "POST", path, headers={**basic(user), **headers}, body=body)


def get(server: StoreServer, user: str, sql: str, **parameters: str) -> Answer:
    """A query in the URL of a GET."""
    path = f"/?{urlencode({'query': sql, **parameters})}"
    return request(server, "GET", path, headers=basic(user))


def statements(name: str) -> list[str]:
    """The statements of a file beside the tests: one per line, `#` comments, \\n a line break."""
    lines = (Path(__file__).parent / name).read_text().splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    return [line.replace("\\n", "\n") for line in wanted]
