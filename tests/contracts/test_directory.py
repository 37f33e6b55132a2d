"""What every directory promises: look-up of keys and store users, never blocking.

The suite of `headrace.workspaces.port.Directory`. An adapter joins by a factory in `SUBJECTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest

from headrace.runtime.clock import ManualClock
from headrace.workspaces import keys
from headrace.workspaces.credentials import Credentials
from headrace.workspaces.database import ControlData
from headrace.workspaces.directory import LiveDirectory
from headrace.workspaces.errors import OtherPartitions
from headrace.workspaces.kept import KeptSnapshot
from headrace.workspaces.memory import MemoryDirectory
from headrace.workspaces.port import ApiKey, Directory, Log, Role, Scope, Workspace
from tests.services.postgres import PostgresServer


class Maker(Protocol):
    """Where workspaces, keys and users are made: `ControlData` or the directory in memory."""

    def create_workspace(
        self, name: str, *, requests_per_minute: int | None = None, dry_run: bool = False
    ) -> Workspace: ...

    def create_key(
        self,
        workspace: Workspace,
        *,
        scopes: Collection[Scope | str] = (Scope.INGEST,),
        name: str = "",
        expires_at: datetime | None = None,
    ) -> str: ...

    def revoke_key(self, text: str) -> ApiKey: ...

    def create_store_user(
        self, role: Role, *, workspace: Workspace | None = None, name: str | None = None
    ) -> Credentials: ...

    def note_log(self, log_id: str, name: str, partitions: int) -> Log: ...


class Subject:
    """A directory under test, and how to change what it shows."""

    def __init__(self, directory: Directory, make: Maker, settle: Callable[[], None]) -> None:
        self.directory = directory
        self.make = make
        self.settle = settle

    def key(self, text: str) -> ApiKey:
        self.settle()
        found = self.directory.find_key(text)
        assert found is not None
        return found


def memory(_request: pytest.FixtureRequest, clock: ManualClock) -> Iterator[Subject]:
    directory = MemoryDirectory(clock)
    yield Subject(directory, directory, lambda: None)


def sqlite(request: pytest.FixtureRequest, clock: ManualClock) -> Iterator[Subject]:
    folder: Path = request.getfixturevalue("tmp_path")
    yield from live(f"sqlite:///{folder / 'control.sqlite'}", clock)


def postgresql(request: pytest.FixtureRequest, clock: ManualClock) -> Iterator[Subject]:
    postgres: PostgresServer = request.getfixturevalue("postgres")
    yield from live(postgres.make_database(), clock)


def kept(request: pytest.FixtureRequest, clock: ManualClock) -> Iterator[Subject]:
    """What was read from disk: the directory that the database's absence leaves."""
    postgres: PostgresServer = request.getfixturevalue("postgres")
    folder: Path = request.getfixturevalue("tmp_path")
    control = ControlData.open(postgres.make_database(), clock)
    subject = Subject(MemoryDirectory(clock), control, lambda: None)

    def settle() -> None:
        file = KeptSnapshot(folder / "kept.json", control.place)
        file.write(control.snapshot(), clock.now())
        subject.directory = LiveDirectory(control, clock, kept=file.read())

    settle()
    subject.settle = settle
    yield subject
    control.close()


def live(url: str, clock: ManualClock) -> Iterator[Subject]:
    control = ControlData.open(url, clock)
    directory = LiveDirectory(control, clock)
    yield Subject(directory, control, directory.refresh)
    control.close()


SUBJECTS = {"memory": memory, "sqlite": sqlite, "postgresql": postgresql, "kept": kept}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=SUBJECTS)
def subject(request: pytest.FixtureRequest, clock: ManualClock) -> Iterator[Subject]:
    yield from SUBJECTS[request.param](request, clock)


def test_a_key_is_found_with_its_workspace(subject: Subject, clock: ManualClock) -> None:
    """Everything a request needs to be judged is in the one answer."""
    workspace = subject.make.create_workspace("Shop", requests_per_minute=7, dry_run=True)
    expires_at = clock.now() + timedelta(days=1)
    text = subject.make.create_key(
        workspace, scopes=["query", "admin"], name="x", expires_at=expires_at
    )
    found = subject.key(text)
    assert found.workspace == workspace
    assert found.scopes == {Scope.QUERY, Scope.ADMIN}
    assert (found.name, found.hint, found.expires_at) == ("x", keys.hint(text), expires_at)
    assert found.sha256 == keys.fingerprint(text)
    assert found.created_at == clock.now()
    assert found.revoked_at is None


def test_a_new_key_may_send_and_nothing_else(subject: Subject) -> None:
    """The scope is `ingest` unless said otherwise."""
    text = subject.make.create_key(subject.make.create_workspace("Shop"))
    assert subject.key(text).scopes == {Scope.INGEST}


@pytest.mark.parametrize("text", ["", "hrk_", "ключ", "\ud800", "x" * 100_000, keys.make_key()])
def test_what_is_no_key_is_not_found(subject: Subject, text: str) -> None:
    """Whatever was presented: None, and no exception."""
    subject.make.create_key(subject.make.create_workspace("Shop"))
    subject.settle()
    assert subject.directory.find_key(text) is None


def test_a_hint_or_fingerprint_is_no_key(subject: Subject) -> None:
    """What lists and the database show lets nobody in."""
    found = subject.key(subject.make.create_key(subject.make.create_workspace("Shop")))
    for text in (found.id, found.hint, found.sha256.hex(), found.sha256.decode("latin-1")):
        assert subject.directory.find_key(text) is None


def test_a_revoked_key_is_found_as_revoked(subject: Subject, clock: ManualClock) -> None:
    """The caller can tell a revoked key from an unknown one."""
    text = subject.make.create_key(subject.make.create_workspace("Shop"))
    clock.advance(5)
    subject.make.revoke_key(text)
    assert subject.key(text).revoked_at == clock.now()


def test_an_expired_key_is_found_as_it_is(subject: Subject, clock: ManualClock) -> None:
    """Whether it has expired is the caller's to judge, by its own now."""
    expires_at = clock.now() + timedelta(hours=1)
    text = subject.make.create_key(subject.make.create_workspace("Shop"), expires_at=expires_at)
    clock.advance(7200)
    assert subject.key(text).expires_at == expires_at


def test_keys_of_several_workspaces_are_kept_apart(subject: Subject) -> None:
    """Each key leads to its own workspace."""
    shop, blog = (subject.make.create_workspace(name) for name in ("Shop", "Blog"))
    of_shop, of_blog = subject.make.create_key(shop), subject.make.create_key(blog)
    assert subject.key(of_shop).workspace.id == shop.id != blog.id
    assert subject.key(of_blog).workspace.id == blog.id


def test_a_store_user_is_found_by_name(subject: Subject) -> None:
    """Role, database and workspace; the password only as a digest."""
    workspace = subject.make.create_workspace("Shop")
    analyst = subject.make.create_store_user(Role.ANALYST, workspace=workspace, name="ada")
    processor = subject.make.create_store_user(Role.PROCESSOR)
    subject.settle()
    user = subject.directory.find_store_user("ada")
    assert user is not None
    assert (user.role, user.database, user.workspace_id) == (
        Role.ANALYST,
        analyst.database,
        workspace.id,
    )
    assert user.password_sha256 == keys.fingerprint(analyst.password)
    user = subject.directory.find_store_user(processor.user)
    assert user is not None
    assert (user.role, user.workspace_id) == (Role.PROCESSOR, None)


@pytest.mark.parametrize("name", ["", "nobody", "ADA", "\ud800", "ada' or 1=1"])
def test_an_unknown_store_user_is_not_found(subject: Subject, name: str) -> None:
    """Names are looked up as they are."""
    workspace = subject.make.create_workspace("Shop")
    subject.make.create_store_user(Role.ANALYST, workspace=workspace, name="ada")
    subject.settle()
    assert subject.directory.find_store_user(name) is None


def test_a_log_is_found_with_its_partitions(subject: Subject, clock: ManualClock) -> None:
    """As it was first seen; one that was made anew under its name is another."""
    log = subject.make.note_log("a1" * 16, "headrace.events", 12)
    clock.advance(1)
    again = subject.make.note_log("b2" * 16, "headrace.events", 24)
    subject.settle()
    assert subject.directory.find_log(log.id) == log
    assert subject.directory.find_log(again.id) == again
    assert (log.name, log.partitions) == ("headrace.events", 12)
    assert subject.directory.find_log("headrace.events") is None


def test_a_log_with_other_partitions_is_refused(subject: Subject) -> None:
    """What is known of it stays."""
    log = subject.make.note_log("a1" * 16, "headrace.events", 12)
    assert subject.make.note_log("a1" * 16, "headrace.events", 12) == log
    with pytest.raises(OtherPartitions, match="with 12 partitions and has 13 now"):
        subject.make.note_log("a1" * 16, "headrace.events", 13)
    subject.settle()
    assert subject.directory.find_log(log.id) == log


def test_noting_a_use_changes_no_answer(subject: Subject, clock: ManualClock) -> None:
    """It is written back in the background; nothing waits for it."""
    text = subject.make.create_key(subject.make.create_workspace("Shop"))
    found = subject.key(text)
    subject.directory.note_use(found, clock.now())
    assert subject.directory.find_key(text) is found
