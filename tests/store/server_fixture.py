"""A real store server on a free port, in this process or in one of its own, for any test.

In a test module or `conftest.py`:

    from tests.store.server_fixture import store_server  # a pytest fixture

or, where a fixture does not fit, `with StoreServer(folder) as server: …`. `server.url`,
`server.client(PROCESSOR)` and the users below are all a test needs.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import clickhouse_connect
import msgspec
import pytest
from clickhouse_connect.driver.client import Client

from headrace.store.server.app import serve_store
from headrace.store.server.limits import StoreLimits
from headrace.workspaces.port import ApiKey, Log, Role, StoreUser

PASSWORD = "a-long-password-of-a-test"
PROCESSOR, OPERATOR, ANALYST, OTHER_ANALYST = "processor", "operator", "analyst", "other_analyst"
OWN_DATABASE, OTHER_DATABASE = "ws_one", "ws_two"


def store_user(name: str, role: Role, database: str, workspace_id: str | None = None) -> StoreUser:
    """A user with the password of all tests."""
    digest = hashlib.sha256(PASSWORD.encode()).digest()
    return StoreUser(name, role, digest, database, workspace_id)


class FakeDirectory:
    """A directory of store users only; `users` may be changed while the server runs."""

    def __init__(self, *users: StoreUser) -> None:
        self.users = {user.name: user for user in users}

    def find_store_user(self, name: str) -> StoreUser | None:
        return self.users.get(name)

    def find_key(self, key: str) -> ApiKey | None:
        return None

    def find_log(self, log_id: str) -> Log | None:
        return None

    def note_use(self, key: ApiKey, now: object) -> None:
        return


def test_directory() -> FakeDirectory:
    """The processor, the operator and two analysts; a workspace's id is its database's name."""
    return FakeDirectory(
        store_user(PROCESSOR, Role.PROCESSOR, "headrace"),
        store_user(OPERATOR, Role.OPERATOR, "headrace"),
        store_user(ANALYST, Role.ANALYST, OWN_DATABASE, OWN_DATABASE),
        store_user(OTHER_ANALYST, Role.ANALYST, OTHER_DATABASE, OTHER_DATABASE),
    )


test_directory.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it


class _Anywhere(msgspec.Struct, frozen=True):
    host: str = "127.0.0.1"
    port: int = 0


class StoreServer:
    """The server in a thread of this process, over `folder`; a context manager."""

    def __init__(
        self,
        folder: Path,
        *,
        directory: FakeDirectory | None = None,
        limits: StoreLimits | None = None,
    ) -> None:
        self.folder = folder
        self.directory = directory or test_directory()
        self.limits = limits or StoreLimits()
        self.port = 0
        self._ready = threading.Event()
        self._trouble: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, user: str, database: str | None = None, **options: object) -> Client:
        """A clickhouse-connect client of one of the users."""
        return clickhouse_connect.get_client(
            host="127.0.0.1",
            port=self.port,
            username=user,
            password=PASSWORD,
            database=database or self.directory.users[user].database,
            **options,  # type: ignore[arg-type]  # whatever get_client takes
        )

    def __enter__(self) -> StoreServer:
        self._thread.start()
        self._ready.wait(30)
        if self._trouble is not None:
            raise self._trouble
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """As SIGTERM stops the process: returns when the folder is closed."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - handed to whoever started the thread
            self._trouble = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        await serve_store(
            self.folder, _Anywhere(), self.directory, self.limits, self._stop, on_ready=self._note
        )

    def _note(self, port: int) -> None:
        self.port = port
        self._ready.set()


@pytest.fixture
def store_server(tmp_path: Path) -> Iterator[StoreServer]:
    """A fresh server with an empty database `headrace`."""
    with StoreServer(tmp_path / "store") as server:
        processor = server.client(PROCESSOR, database="default")
        processor.command("CREATE DATABASE headrace")
        processor.close()
        yield server
