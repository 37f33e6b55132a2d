"""One ClickHouse over HTTP, blocking: statements, rows back, blocks in.

Owns how clickhouse-connect is used: no session (so that calls from several threads run side by
side), no compression on the way to a neighbour, no proxy from the environment, time-outs, and
every exception translated (`errors.py`). Connects at the first call, so that it can be made
while the store is down. What is asked and inserted is the callers' business.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.httputil import get_pool_manager

from headrace.store.blocks import Insert, keep_data_frames_out
from headrace.store.errors import translated

CONNECT_SECONDS: Final = 5
ANSWER_SECONDS: Final = 60
_CONNECTIONS: Final = 16

Settings = Mapping[str, str | int]


class Connection:
    """Calls may come from any number of threads. All raise the errors of the store's port."""

    def __init__(
        self,
        url: str,
        user: str,
        password: str,
        *,
        database: str = "",
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        keep_data_frames_out()
        self._url = url
        self._user = user
        self._password = password
        self._database = database
        self._answer_seconds = answer_seconds
        self._lock = threading.Lock()
        self._opened: Client | None = None
        # Its own, so that a proxy in the environment is not asked for a neighbour. Over https a
        # certificate must be one that this machine trusts (SSL_CERT_FILE adds others).
        self._pool = get_pool_manager(maxsize=_CONNECTIONS)

    def rows(self, sql: str, *, settings: Settings | None = None) -> Sequence[Sequence[Any]]:
        """The rows a query answers."""
        with translated():
            return self._client().query(sql, settings=dict(settings or {})).result_rows

    def run(self, sql: str, *, settings: Settings | None = None) -> None:
        """A statement without an answer."""
        with translated():
            self._client().command(sql, settings=dict(settings or {}))

    def insert(self, insert: Insert, *, settings: Settings) -> None:
        """Insert one block, whole or not at all; does nothing without rows."""
        if insert:
            with translated():
                self._client().raw_insert("", insert_block=insert, settings=dict(settings))

    def close(self) -> None:
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None
            self._pool.clear()

    def _client(self) -> Client:
        with self._lock:
            if self._opened is None:
                self._opened = self._open()
            return self._opened

    def _open(self) -> Client:
        address = urlsplit(self._url)
        return clickhouse_connect.get_client(
            host=address.hostname,
            port=address.port,
            interface=address.scheme,
            username=self._user,
            password=self._password,
            database=self._database,
            compress=False,
            autogenerate_session_id=False,
            tz_mode="aware",
            connect_timeout=CONNECT_SECONDS,
            send_receive_timeout=self._answer_seconds,
            pool_mgr=self._pool,
        )
