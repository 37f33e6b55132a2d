"""Control data as the command line changes it, in real SQLite files and PostgreSQL databases."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from headrace.runtime.clock import ManualClock
from headrace.schemas.errors import HeadraceError, Unavailable
from headrace.workspaces import keys
from headrace.workspaces.database import ControlData
from headrace.workspaces.errors import NotUsable, OtherPartitions, Taken, Unknown
from headrace.workspaces.port import ApiKey, Log, Role, Scope, Workspace
from headrace.workspaces.tables import api_keys, store_users


def found(control: ControlData, key: str) -> ApiKey:
    known = control.snapshot().find_key(key)
    assert known is not None
    return known


def fill(control: ControlData, workspace: Workspace) -> None:
    for _ in range(1_000):
        control.create_key(workspace, name="x" * 100)


def test_a_workspace_is_found_by_name_and_by_id(control: ControlData, url: str) -> None:
    """What was made is there for whoever opens the database next, times included."""
    made = control.create_workspace("Shop", requests_per_minute=5, dry_run=True)
    again = ControlData.open(url)
    assert again.find_workspace("Shop") == again.find_workspace(made.id) == made
    again.close()


def test_workspaces_are_listed_oldest_first(control: ControlData, clock: ManualClock) -> None:
    """The first one made comes first."""
    for name in ("b", "c", "a"):
        control.create_workspace(name)
        clock.advance(1)
    assert [workspace.name for workspace in control.list_workspaces()] == ["b", "c", "a"]


def test_a_name_is_given_once(control: ControlData) -> None:
    """The message names the name."""
    control.create_workspace("Shop")
    with pytest.raises(Taken, match="there is a workspace 'Shop' already; choose another name"):
        control.create_workspace("Shop")
    assert len(control.list_workspaces()) == 1


def test_an_unknown_workspace_is_told_from_the_known(control: ControlData) -> None:
    """The message names what was asked for and what there is."""
    control.create_workspace("Shop")
    with pytest.raises(Unknown, match=r"no workspace 'shop' \(there is: Shop\)"):
        control.find_workspace("shop")


def test_a_limit_can_be_changed(control: ControlData) -> None:
    """The new limit is what snapshots show with the workspace's keys."""
    workspace = control.create_workspace("Shop")
    key = control.create_key(workspace)
    control.set_limit(workspace, requests_per_minute=7, dry_run=True)
    assert found(control, key).workspace.requests_per_minute == 7
    assert found(control, key).workspace.rate_limit_dry_run
    control.set_limit(workspace, requests_per_minute=None)
    assert found(control, key).workspace == workspace


def test_a_key_is_known_with_all_that_was_said_of_it(
    control: ControlData, clock: ManualClock
) -> None:
    """Scopes, name, expiry and hint; the key itself is handed out once."""
    expires_at = clock.now() + timedelta(days=30)
    key = control.create_key(
        control.create_workspace("Shop"),
        scopes=["query", Scope.INGEST],
        name="import",
        expires_at=expires_at,
    )
    known = found(control, key)
    assert known == control.list_keys()[0]
    assert (known.name, known.expires_at, known.revoked_at) == ("import", expires_at, None)
    assert known.scopes == {Scope.QUERY, Scope.INGEST}
    assert known.hint == keys.hint(key)
    assert known.created_at == clock.now()


def test_a_workspace_may_have_several_keys(control: ControlData) -> None:
    """Keys are listed by workspace or all together."""
    shop, blog = control.create_workspace("Shop"), control.create_workspace("Blog")
    control.create_key(shop)
    control.create_key(shop)
    control.create_key(blog)
    assert len(control.list_keys(shop)) == 2
    assert len(control.list_keys()) == 3
    assert control.list_keys(blog)[0].scopes == {Scope.INGEST}


def test_a_key_that_could_never_be_used_is_not_made(
    control: ControlData, clock: ManualClock
) -> None:
    """An expiry in the past, a scope that is none."""
    workspace = control.create_workspace("Shop")
    with pytest.raises(NotUsable, match="is in the past"):
        control.create_key(workspace, expires_at=clock.now())
    with pytest.raises(NotUsable, match="no scope 'root'"):
        control.create_key(workspace, scopes=["root"])
    assert control.list_keys() == []


@pytest.mark.parametrize(
    "named", [lambda key: key.id, lambda key: key.hint], ids=["by id", "by hint"]
)
def test_a_key_is_revoked_by_what_lists_show(
    control: ControlData, clock: ManualClock, named: Callable[[ApiKey], str]
) -> None:
    """A revoked key is still known, with the time it was revoked."""
    text = control.create_key(control.create_workspace("Shop"))
    assert control.revoke_key(named(control.list_keys()[0])).revoked_at == clock.now()
    assert found(control, text).revoked_at == clock.now()


def test_a_key_is_revoked_by_itself_once(control: ControlData, clock: ManualClock) -> None:
    """Whoever finds a leaked key can use it for this; the first time counts."""
    text = control.create_key(control.create_workspace("Shop"))
    revoked_at = control.revoke_key(text).revoked_at
    clock.advance(60)
    assert control.revoke_key(text).revoked_at == revoked_at


def test_an_unknown_key_is_not_shown_in_the_error(control: ControlData) -> None:
    """A whole key in an error message would end up in a log."""
    stranger = keys.make_key()
    with pytest.raises(Unknown) as raised:
        control.revoke_key(stranger)
    assert stranger not in str(raised.value)
    assert keys.hint(stranger) in str(raised.value)
    with pytest.raises(Unknown, match="there is no key 'key_nothing'"):
        control.revoke_key("key_nothing")


def test_a_hint_that_fits_two_keys_revokes_neither(control: ControlData) -> None:
    """The message names both by id."""
    workspace = control.create_workspace("Shop")
    control.create_key(workspace)
    control.create_key(workspace)
    with control._engine.begin() as connection:
        connection.execute(api_keys.update().values(hint="hrk_same...same"))
    with pytest.raises(Unknown) as raised:
        control.revoke_key("hrk_same...same")
    assert all(key.id in str(raised.value) for key in control.list_keys())
    assert all(key.revoked_at is None for key in control.list_keys())


def test_uses_are_noted_without_making_anybody_reload(
    control: ControlData, clock: ManualClock
) -> None:
    """A last use moves forward only, and the revision stays."""
    control.create_key(control.create_workspace("Shop"))
    key, before, now = control.list_keys()[0], control.revision(), clock.now()
    control.note_uses({key.id: now})
    control.note_uses({key.id: now - timedelta(seconds=5), "key_gone": now})
    assert control.list_keys()[0].last_used_at == now
    assert control.revision() == before


def test_every_change_makes_another_revision(control: ControlData) -> None:
    """Directories look at this number alone."""
    seen = [control.revision()]
    workspace = control.create_workspace("Shop")
    seen.append(control.revision())
    key = control.create_key(workspace)
    seen.append(control.revision())
    control.revoke_key(key)
    seen.append(control.revision())
    control.set_limit(workspace, requests_per_minute=5)
    seen.append(control.revision())
    user = control.create_store_user(Role.ANALYST, workspace=workspace).user
    seen.append(control.revision())
    control.replace_store_password(user)
    seen.append(control.revision())
    control.note_log("f" * 32, "headrace.events", 12)
    seen.append(control.revision())
    assert len(set(seen)) == len(seen)


def test_what_failed_makes_no_new_revision(control: ControlData) -> None:
    """A refused change is none."""
    control.create_workspace("Shop")
    before = control.revision()
    with pytest.raises(Taken):
        control.create_workspace("Shop")
    assert control.revision() == before


def test_a_log_keeps_its_number_of_partitions(control: ControlData, clock: ManualClock) -> None:
    """Whoever sees it first fixes it; another number is refused with both and what to do."""
    log = control.note_log("a1" * 16, "headrace.events", 12)
    assert log == Log("a1" * 16, "headrace.events", 12, clock.now())
    clock.advance(5)
    before = control.revision()
    assert control.note_log("a1" * 16, "headrace.events", 12) == log
    with pytest.raises(OtherPartitions, match="made with 12 partitions and has 24 now") as raised:
        control.note_log("a1" * 16, "headrace.events", 24)
    assert "HEADRACE_KAFKA_TOPIC" in str(raised.value)
    assert control.list_logs() == [log]
    assert control.revision() == before


def test_a_log_made_anew_is_another(control: ControlData, clock: ManualClock) -> None:
    """Under the same name, with another id and as many partitions as it likes."""
    first = control.note_log("a1" * 16, "headrace.events", 12)
    clock.advance(1)
    second = control.note_log("b2" * 16, "headrace.events", 24)
    assert control.list_logs() == [first, second]
    assert control.snapshot().find_log(second.id) == second


def test_an_analyst_reads_the_database_of_the_workspace(control: ControlData) -> None:
    """The others read the shared one; only an analyst has a workspace."""
    workspace = control.create_workspace("Shop")
    analyst = control.create_store_user(Role.ANALYST, workspace=workspace)
    operator = control.create_store_user(Role.OPERATOR)
    assert (analyst.database, operator.database) == (workspace.id, "headrace")
    user = control.snapshot().find_store_user(analyst.user)
    assert user is not None
    assert user.role is Role.ANALYST
    assert user.workspace_id == workspace.id
    assert user.password_sha256 == keys.fingerprint(analyst.password)
    assert {user.name for user in control.list_store_users()} == {analyst.user, "operator"}


def test_a_workspace_may_have_several_analysts(control: ControlData) -> None:
    """Each under a name of their own; a name in use is refused."""
    workspace = control.create_workspace("Shop")
    control.create_store_user(Role.ANALYST, workspace=workspace)
    second = control.create_store_user(Role.ANALYST, workspace=workspace, name="ada")
    assert (second.user, second.database) == ("ada", workspace.id)
    with pytest.raises(Taken, match="there is a user 'ada' of the store already"):
        control.create_store_user(Role.ANALYST, workspace=workspace, name="ada")


@pytest.mark.parametrize("role", Role)
def test_role_and_workspace_must_fit(control: ControlData, role: Role) -> None:
    """An analyst without a workspace would see all, an operator with one too little."""
    workspace = None if role is Role.ANALYST else control.create_workspace("Shop")
    with pytest.raises(NotUsable, match="an analyst needs a workspace"):
        control.create_store_user(role, workspace=workspace)


def test_what_a_newer_headrace_wrote_gives_nothing_here(control: ControlData) -> None:
    """A scope or role that is not known yet opens no door, and keeps nobody else out."""
    workspace = control.create_workspace("Shop")
    key = control.create_key(workspace)
    control.create_store_user(Role.OPERATOR)
    control.create_store_user(Role.ANALYST, workspace=workspace, name="ada")
    with control._engine.begin() as connection:
        connection.execute(api_keys.update().values(scopes="ingest journeys"))
        newer = store_users.update().where(store_users.c.name == "ada")
        connection.execute(newer.values(role="auditor"))
    assert found(control, key).scopes == {Scope.INGEST}
    assert [user.name for user in control.list_store_users()] == ["operator"]


def test_a_lost_password_is_replaced(control: ControlData) -> None:
    """The old one is worth nothing afterwards."""
    old = control.create_store_user(Role.OPERATOR)
    new = control.replace_store_password("operator")
    user = control.snapshot().find_store_user("operator")
    assert user is not None
    assert user.password_sha256 == keys.fingerprint(new.password) != keys.fingerprint(old.password)
    with pytest.raises(Unknown, match="the store has no user 'nobody'"):
        control.replace_store_password("nobody")


def test_no_secret_is_in_the_files(sqlite_url: str, tmp_path: Path) -> None:
    """Whoever copies the database can use neither keys nor passwords."""
    control = ControlData.open(sqlite_url)
    workspace = control.create_workspace("Shop")
    secrets = [control.create_key(workspace) for _ in range(3)]
    secrets.append(control.create_store_user(Role.ANALYST, workspace=workspace).password)
    secrets.append(control.replace_store_password(control.list_store_users()[0].name).password)
    kept = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert keys.fingerprint(secrets[0]) in kept
    for secret in secrets:
        assert secret.encode() not in kept
        assert secret[8:-4].encode() not in kept
    control.close()


def test_a_folder_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    """Where it was looked for, and what to see to."""
    with pytest.raises(Unavailable, match=r"nowhere/control\.sqlite cannot be used.*See that"):
        ControlData.open(f"sqlite:///{tmp_path}/nowhere/control.sqlite")


def test_a_file_that_is_no_database_is_a_sentence(tmp_path: Path) -> None:
    """A damaged file is told apart from one that cannot be reached."""
    (tmp_path / "control.sqlite").write_bytes(b"no database at all " * 100)
    with pytest.raises(Unavailable, match=r"is damaged.*Put back a copy"):
        ControlData.open(f"sqlite:///{tmp_path}/control.sqlite")


@pytest.mark.parametrize(
    "bad_url",
    [
        "",
        "control.sqlite",
        "nosuch://x:secret@host/db",
        "mysql://x:secret@host/db",
        "postgresql://x:secret@host:port/db",
    ],
)
def test_a_url_that_is_none_is_a_sentence(bad_url: str) -> None:
    """Without the password that may be in it."""
    with pytest.raises(HeadraceError, match="for control data") as raised:
        ControlData.open(bad_url)
    assert "secret" not in str(raised.value)


def test_a_full_disk_is_a_sentence_and_loses_nothing(sqlite_url: str) -> None:
    """What was there before is there after, and writing goes on when there is room."""
    control = ControlData.open(sqlite_url)
    workspace = control.create_workspace("Shop")
    with control._engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(HeadraceError, match=r"cannot be written.*disk is full.*Make room"):
        fill(control, workspace)
    kept = len(control.list_keys())
    control.close()
    again = ControlData.open(sqlite_url)
    assert len(again.list_keys()) == kept
    again.create_key(workspace)
    again.close()
