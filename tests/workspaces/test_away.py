"""A running or starting process while PostgreSQL is killed, frozen or away, and its return."""

from __future__ import annotations

import asyncio
import json
import stat
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from headrace.runtime.clock import ManualClock
from headrace.schemas.errors import Unavailable
from headrace.workspaces import keys
from headrace.workspaces.database import ControlData
from headrace.workspaces.directory import WRITE_BACK_SECONDS, LiveDirectory
from headrace.workspaces.engine import make_engine, writing
from headrace.workspaces.errors import NewerDatabase
from headrace.workspaces.kept import KeptSnapshot
from headrace.workspaces.port import Role
from headrace.workspaces.tables import revision
from tests.services.ports import free_port
from tests.services.postgres import PostgresServer
from tests.workspaces.test_migrate import set_version
from tests.workspaces.waiting import until

NOBODY = "postgresql://headrace:s3cr3t@127.0.0.1:1/headrace"


@pytest.fixture
def server_url(own_postgres: PostgresServer) -> str:
    return own_postgres.make_database()


@pytest.fixture
def made(server_url: str, clock: ManualClock) -> Iterator[ControlData]:
    """Control data as a command changes it beside the process under test."""
    control = ControlData.open(server_url, clock)
    yield control
    control.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "control-snapshot.json"


@asynccontextmanager
async def running(directory: LiveDirectory) -> AsyncIterator[LiveDirectory]:
    task = asyncio.create_task(directory.run())
    try:
        yield directory
    finally:
        directory.stop()
        await task
        directory.close()


def trouble_of(directory: LiveDirectory) -> str:
    return directory.trouble or ""


@pytest.mark.parametrize("frozen", [False, True], ids=["killed", "frozen"])
async def test_who_could_send_still_can_while_the_server_is_away(
    own_postgres: PostgresServer, server_url: str, made: ControlData, frozen: bool
) -> None:
    """Look-ups go on at once, no threads pile up, uses are written back after its return."""
    key = made.create_key(made.create_workspace("Shop"))
    clock = ManualClock()
    async with running(LiveDirectory.open(server_url, clock)) as directory:
        found = directory.find_key(key)
        assert found is not None
        own_postgres.freeze() if frozen else own_postgres.kill()
        await until(lambda: directory.trouble is not None)
        directory.note_use(found, clock.now())
        clock.advance(WRITE_BACK_SECONDS)
        threads = threading.active_count()
        await asyncio.sleep(1)
        assert threading.active_count() <= threads + 1
        assert directory.find_key(key) is found
        await asyncio.to_thread(own_postgres.thaw if frozen else own_postgres.start)
        other = await asyncio.to_thread(made.create_key, found.workspace)
        await until(lambda: directory.find_key(other) is not None)
        clock.advance(WRITE_BACK_SECONDS)
        await until(lambda: any(key.last_used_at for key in made.list_keys()))


async def test_a_process_ends_while_the_server_is_frozen(
    own_postgres: PostgresServer, server_url: str, made: ControlData
) -> None:
    """Uses that cannot be written back are let go: nobody waits for them."""
    key = made.create_key(made.create_workspace("Shop"))
    clock = ManualClock()
    async with running(LiveDirectory.open(server_url, clock)) as directory:
        found = directory.find_key(key)
        assert found is not None
        own_postgres.freeze()
        await until(lambda: directory.trouble is not None)
        directory.note_use(found, clock.now())
    own_postgres.thaw()
    assert made.list_keys()[0].last_used_at is None


async def test_a_database_put_back_from_a_copy_is_noticed(
    own_postgres: PostgresServer, server_url: str, made: ControlData
) -> None:
    """Even if its revision is the one that was known before it went away."""
    key = made.create_key(made.create_workspace("Shop"))
    async with running(LiveDirectory.open(server_url, ManualClock())) as directory:
        before = made.revision()
        own_postgres.kill()
        await until(lambda: directory.trouble is not None)
        # Not at its own port, for the directory must not see it before all is in place.
        own_postgres.port, port = free_port(), own_postgres.port
        own_postgres.start()
        aside = ControlData.open(own_postgres.url(server_url.rsplit("/", 1)[1]))
        aside.revoke_key(key)
        with writing(aside._engine) as connection:
            connection.execute(revision.update().values(value=before))
        aside.close()
        own_postgres.stop()
        own_postgres.port = port
        own_postgres.start()
        await until(lambda: getattr(directory.find_key(key), "revoked_at", None) is not None)


async def test_a_process_starts_from_what_was_kept(
    own_postgres: PostgresServer, server_url: str, made: ControlData, file: Path
) -> None:
    """Keys, users and logs are known without the server, loudly; its return is noticed."""
    workspace = made.create_workspace("Shop")
    key = made.create_key(workspace)
    made.create_store_user(Role.ANALYST, workspace=workspace, name="ada")
    log = made.note_log("a1" * 16, "headrace.events", 12)
    clock = ManualClock()
    LiveDirectory.open(server_url, clock, keep_at=file).close()
    own_postgres.kill()
    with capture_logs() as logs:
        directory = LiveDirectory.open(server_url, clock, keep_at=file)
        async with running(directory):
            assert trouble_of(directory)
            found = directory.find_key(key)
            assert found is not None
            assert (found.workspace, found.sha256) == (workspace, keys.fingerprint(key))
            assert directory.find_store_user("ada") is not None
            assert directory.find_log(log.id) == log
            own_postgres.start()
            made.revoke_key(key)
            await until(lambda: getattr(directory.find_key(key), "revoked_at", None) is not None)
            await until(lambda: not trouble_of(directory))
    assert [entry["log_level"] for entry in logs] == ["error", "info"]
    assert "starting from what was kept on disk" in logs[0]["event"]
    assert logs[0]["kept_at"] == clock.now().isoformat()


async def test_what_is_kept_follows_every_change(
    server_url: str, made: ControlData, file: Path, clock: ManualClock
) -> None:
    """A key revoked before the server went away stays so for who starts after."""
    key = made.create_key(made.create_workspace("Shop"))
    place = made.place
    async with running(LiveDirectory.open(server_url, clock, keep_at=file)):
        made.revoke_key(key)
        await until(lambda: revoked_in(KeptSnapshot(file, place), key))
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def revoked_in(kept: KeptSnapshot, key: str) -> bool:
    read = kept.read()
    return read is not None and getattr(read.snapshot.find_key(key), "revoked_at", None) is not None


def test_the_kept_file_is_its_owners_and_holds_no_secret(
    server_url: str, made: ControlData, file: Path, clock: ManualClock
) -> None:
    """Fingerprints, hints and names: nobody gets in with what is in it, nor into the database."""
    key = made.create_key(made.create_workspace("Shop"))
    password = made.create_store_user(Role.OPERATOR).password
    LiveDirectory.open(server_url, clock, keep_at=file).close()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text()
    assert json.loads(text)["place"] == made.place
    for secret in (key, password, "p4ss"):
        assert secret not in text


def test_what_was_kept_of_another_database_is_not_used(
    server_url: str, made: ControlData, file: Path, clock: ManualClock
) -> None:
    """Keys of one installation open no other; the message says what is the matter."""
    LiveDirectory.open(server_url, clock, keep_at=file).close()
    with capture_logs() as logs, pytest.raises(Unavailable, match="See that PostgreSQL runs"):
        LiveDirectory.open(NOBODY, clock, keep_at=file)
    assert [entry["event"] for entry in logs] == ["a kept snapshot of control data is not used"]
    assert made.place in logs[0]["why"]


def test_another_password_is_no_other_database(
    server_url: str, made: ControlData, file: Path, clock: ManualClock
) -> None:
    """A password that was changed, here to a wrong one, keeps nobody from starting."""
    LiveDirectory.open(server_url, clock, keep_at=file).close()
    wrong = server_url.replace("p4ss%2Fw%40rd", "s3cr3t")
    directory = LiveDirectory.open(wrong, clock, keep_at=file)
    assert directory.trouble is not None
    assert "See that user and password" in directory.trouble
    assert "s3cr3t" not in directory.trouble
    directory.close()


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff\xfe", b'{"layout":'])
def test_without_a_usable_file_a_process_does_not_start(
    file: Path, clock: ManualClock, content: bytes | None
) -> None:
    """It says why; a damaged file is no other than none."""
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Unavailable, match="See that PostgreSQL runs there"):
        LiveDirectory.open(NOBODY, clock, keep_at=file)


def test_a_newer_database_is_refused_whatever_was_kept(
    server_url: str, made: ControlData, file: Path, clock: ManualClock
) -> None:
    """That is no absence: it needs the newer Headrace."""
    LiveDirectory.open(server_url, clock, keep_at=file).close()
    set_version(server_url, "9999")
    with pytest.raises(NewerDatabase, match="HEADRACE_DATABASE"):
        LiveDirectory.open(server_url, clock, keep_at=file)


async def test_a_database_made_after_the_start_is_migrated(
    own_postgres: PostgresServer, server_url: str, made: ControlData, file: Path
) -> None:
    """Whoever started from disk finds, at the server's return, an empty database: it is filled."""
    clock = ManualClock()
    LiveDirectory.open(server_url, clock, keep_at=file).close()
    made.close()
    own_postgres.kill()
    directory = LiveDirectory.open(server_url, clock, keep_at=file)
    own_postgres.start()
    name = server_url.rsplit("/", 1)[1]
    with own_postgres.connect() as connection:
        connection.execute(f"DROP DATABASE {name}")
        connection.execute(f"CREATE DATABASE {name}")
    async with running(directory):
        await until(lambda: directory.trouble is None)
    assert made.list_workspaces() == []


def test_a_folder_that_takes_nothing_is_only_said(
    server_url: str, made: ControlData, tmp_path: Path, clock: ManualClock
) -> None:
    """Keeping is for later: it stops nothing now."""
    with capture_logs() as logs:
        LiveDirectory.open(server_url, clock, keep_at=tmp_path / "gone" / "kept.json").close()
    assert ["cannot be kept" in entry["event"] for entry in logs] == [True]


def test_a_file_on_this_machine_needs_no_copy(
    sqlite_url: str, file: Path, clock: ManualClock
) -> None:
    """Embedded control data is as near as its copy would be."""
    LiveDirectory.open(sqlite_url, clock, keep_at=file).close()
    assert not file.exists()


def test_an_engine_that_was_made_is_closed_when_nothing_comes_of_it(tmp_path: Path) -> None:
    """No connection is left open by an `open` that raised."""
    set_up = f"sqlite:///{tmp_path / 'control.sqlite'}"
    ControlData.open(set_up).close()
    set_version(set_up, "9999")
    with pytest.raises(NewerDatabase, match="HEADRACE_HOME"):
        LiveDirectory.open(set_up, ManualClock())
    make_engine(set_up).dispose()
