"""HOME: its folder, its version, its locks, and what the first start puts there."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from headrace.runtime.clock import ManualClock
from headrace.runtime.credentials import (
    Credentials,
    NoCredentials,
    StoreLogin,
    read_credentials,
    read_processor_login,
)
from headrace.runtime.first_start import complete_home
from headrace.runtime.home import LAYOUT, Home, HomeTrouble, Lock, in_use, is_held, open_home
from headrace.runtime.settings import read_settings
from headrace.workspaces.database import ControlData
from headrace.workspaces.keys import fingerprint
from headrace.workspaces.port import Role, Scope

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
URL = "http://127.0.0.1:8123"
SETTINGS = read_settings({})


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def _umask_as_before() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(tmp_path / "home", version="0.1.0")


@pytest.fixture
def control(home: Home) -> Iterator[ControlData]:
    control = ControlData.open(home.control_url, ManualClock())
    yield control
    control.close()


def test_home_is_its_owners_alone(home: Home, control: ControlData) -> None:
    """The folder is 0700, and the files in it are 0600 whatever the folder allows."""
    complete_home(home, control, SETTINGS)
    assert mode(home.root) == 0o700
    assert {mode(path) for path in home.root.iterdir() if path.is_file()} == {0o600}


def test_a_home_of_a_newer_layout_is_refused(tmp_path: Path) -> None:
    """The sentence names both versions and what to do."""
    (tmp_path / "version.json").write_text(f'{{"layout": {LAYOUT + 1}, "version": "9.1.0"}}')
    with pytest.raises(HomeTrouble, match=r"headrace 9\.1\.0 .* Install headrace 9\.1\.0 or newer"):
        open_home(tmp_path, version="0.1.0")


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    """HOME cannot be a file; the sentence says so."""
    (tmp_path / "home").write_text("")
    with pytest.raises(HomeTrouble, match="file in the way"):
        open_home(tmp_path / "home", version="0.1.0")


def test_an_unwritable_home_is_a_sentence() -> None:
    """Where nothing can be made, the sentence says why and what to do."""
    with pytest.raises(HomeTrouble, match="HEADRACE_HOME"):
        open_home(Path("/proc/headrace"), version="0.1.0")


def test_a_lock_is_held_by_one_process(home: Home) -> None:
    """The second one does not get it, and can say who has it."""
    lock = Lock.take(home.lock, NOW)
    assert lock is not None
    assert Lock.take(home.lock, NOW) is None
    assert is_held(home.lock)
    assert f"process {os.getpid()} (since 2026-01-02 03:04:05 UTC)" in str(in_use(home, home.lock))
    lock.release()
    assert not is_held(home.lock)


def test_a_lock_ends_with_its_process(home: Home) -> None:
    """However the process ends."""
    code = f"""
import sys; from datetime import datetime, UTC; from pathlib import Path
from headrace.runtime.home import Lock
lock = Lock.take(Path({str(home.lock)!r}), datetime.now(UTC)); print('held', flush=True)
sys.stdin.read()"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert is_held(home.lock)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not is_held(home.lock)
    assert Lock.take(home.lock, NOW) is not None


def test_several_first_starts_at_once_make_one_of_each(home: Home, control: ControlData) -> None:
    """`headrace migrate` may run twice at once: nobody revokes what another has just made."""

    def start() -> Credentials:
        with closing(ControlData.open(home.control_url)) as its_own:
            return complete_home(home, its_own, SETTINGS)

    with ThreadPoolExecutor(6) as threads:
        starts = [threads.submit(start) for _ in range(6)]
        assert {start.result().api_key for start in starts} == {read_credentials(home).api_key}
    (key,) = control.list_keys()
    assert key.revoked_at is None
    assert len(control.list_store_users()) == 3


def test_the_first_start_makes_everything_to_get_in(home: Home, control: ControlData) -> None:
    """A workspace, a key that may send, and three users of the store."""
    credentials = complete_home(home, control, SETTINGS)
    (workspace,) = control.list_workspaces()
    (key,) = control.list_keys()
    assert (workspace.name, workspace.id) == ("default", credentials.workspace_id)
    assert key.sha256 == fingerprint(credentials.api_key)
    assert key.scopes == {Scope.INGEST}
    users = {user.name: user for user in control.list_store_users()}
    for login, role in (
        (credentials.clickhouse, Role.OPERATOR),
        (credentials.analyst, Role.ANALYST),
        (read_processor_login(home), Role.PROCESSOR),
    ):
        assert users[login.user].role is role
        assert users[login.user].password_sha256 == fingerprint(login.password)
        assert users[login.user].database == login.database


def test_credentials_have_the_shape_scripts_rely_on(home: Home, control: ControlData) -> None:
    """Exactly these names."""
    complete_home(home, control, SETTINGS)
    content = msgspec.json.decode(home.credentials.read_bytes())
    assert set(content) == {"workspace_id", "api_key", "clickhouse", "analyst"}
    assert set(content["clickhouse"]) == {"url", "database", "user", "password"}
    assert set(content["analyst"]) == {"user", "password", "database"}
    assert content["clickhouse"]["database"] == "headrace"
    assert content["clickhouse"]["url"] == URL


def test_later_starts_keep_credentials(home: Home, control: ControlData) -> None:
    """A second start changes nothing but the URL, when the store listens elsewhere."""
    first = complete_home(home, control, SETTINGS)
    second = complete_home(
        home, control, read_settings({"HEADRACE_STORE_LISTEN": "127.0.0.1:9000"})
    )
    assert second.clickhouse.url == "http://127.0.0.1:9000"
    assert read_processor_login(home).url == "http://127.0.0.1:9000"
    assert complete_home(home, control, SETTINGS) == first == read_credentials(home)
    assert len(control.list_keys()) == 1


@pytest.mark.parametrize("lost", ["credentials.json", "processor.json"])
def test_a_first_start_killed_half_way_is_completed(
    home: Home, control: ControlData, lost: str
) -> None:
    """What was made but not written is made anew: the files log in, unknown keys are revoked."""
    first = complete_home(home, control, SETTINGS)
    (home.root / lost).unlink()
    second = complete_home(home, control, SETTINGS)
    passwords = {user.name: user.password_sha256 for user in control.list_store_users()}
    for login in (second.clickhouse, second.analyst, read_processor_login(home)):
        assert passwords[login.user] == fingerprint(login.password)
    assert len(control.list_store_users()) == 3
    good = [key for key in control.list_keys() if key.revoked_at is None]
    assert [key.sha256 for key in good] == [fingerprint(second.api_key)]
    assert (second == first) == (lost == "processor.json")


@pytest.mark.parametrize("content", ["", "{bad", "[]", '{"api_key": "hrk_1"}'])
def test_damaged_credentials_are_left_to_a_person(
    home: Home, control: ControlData, content: str
) -> None:
    """New ones would lock everybody out who has the old key."""
    complete_home(home, control, SETTINGS)
    home.credentials.write_text(content)
    said = r"credentials.json is damaged.*or remove it"
    with pytest.raises(NoCredentials, match=said):
        complete_home(home, control, SETTINGS)
    with pytest.raises(NoCredentials, match=said):
        read_credentials(home)
    assert home.credentials.read_text() == content
    assert [key.revoked_at for key in control.list_keys()] == [None]


def test_a_home_whose_control_data_was_lost_is_completed(home: Home, tmp_path: Path) -> None:
    """With files but without control data, new credentials are made and written."""
    for number in (1, 2):
        control = ControlData.open(f"sqlite:///{tmp_path}/{number}.sqlite", ManualClock())
        credentials = complete_home(home, control, SETTINGS)
        assert control.list_keys()[0].sha256 == fingerprint(credentials.api_key)
        assert read_credentials(home) == credentials
        control.close()


def test_missing_credentials_say_what_to_do(home: Home) -> None:
    """Before the first start there are none."""
    with pytest.raises(NoCredentials, match="headrace up"):
        read_credentials(home)
    with pytest.raises(NoCredentials, match="headrace up"):
        read_processor_login(home)


def test_credentials_survive_a_round_trip(home: Home, control: ControlData) -> None:
    """What is read is what was made."""
    made = complete_home(home, control, SETTINGS)
    assert isinstance(made, Credentials)
    assert read_credentials(home) == made


@pytest.mark.parametrize("apart", ["machines", "homes"])
def test_nodes_that_share_control_data_leave_each_others_logins_alone(
    tmp_path: Path, control: ControlData, monkeypatch: pytest.MonkeyPatch, apart: str
) -> None:
    """Each has a key and users of its own, so that a second start locks nobody out: nodes on two
    machines, in folders of one name, and two on one machine."""
    shared = read_settings({"HEADRACE_DATABASE": "postgresql://db/control"})
    made = []
    for number in "12":
        home = open_home(tmp_path / f"home-{number}", version="0.1.0")
        if apart == "machines":
            monkeypatch.setattr("socket.gethostname", lambda number=number: f"machine-{number}")
            home.root.rename(tmp_path / "home-0")
            home = Home(tmp_path / "home-0")
        made.append(complete_home(home, control, shared))
        home.root.rename(tmp_path / f"done-{number}")
    users = {each.clickhouse.user for each in made}
    assert len(users) == 2
    assert all(user.startswith("operator@") for user in users)
    hashes = {user.name: user.password_sha256 for user in control.list_store_users()}
    for each in made:
        for login in (each.clickhouse, each.analyst):
            assert hashes[login.user] == fingerprint(login.password)
    keys = {key.sha256: key for key in control.list_keys()}
    for each in made:
        assert keys[fingerprint(each.api_key)].revoked_at is None


def test_with_a_server_the_operator_is_who_its_url_names(home: Home, control: ControlData) -> None:
    """There is no embedded store then, and no processor's login to it."""
    server = read_settings({"HEADRACE_CLICKHOUSE": "https://me:secret@db/events"})
    made = complete_home(home, control, server).clickhouse
    assert made == StoreLogin("https://db:8443", "events", "me", "secret")
    assert not home.processor.exists()
