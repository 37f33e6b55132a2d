"""Control data, kept: workspaces, API keys and store users in SQLite or PostgreSQL.

Owns every statement that reads or changes control data. Synchronous: the command line calls it
directly, running processes read a snapshot through `directory.py`. Keys and passwords are
handed out once, by the call that makes them; what is kept are SHA-256 and a hint.

Every method raises `Unavailable` (or `Overloaded`: disk full) where the database cannot be
reached, and errors of `errors.py` where the request cannot be done.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from headrace.runtime.clock import Clock, SystemClock
from headrace.workspaces import keys
from headrace.workspaces.checks import checked_limit, checked_name, checked_scopes
from headrace.workspaces.credentials import Credentials, new_credentials, stored_user
from headrace.workspaces.engine import is_postgresql, make_engine, place, reading, writing
from headrace.workspaces.errors import NotUsable, Taken, Unknown
from headrace.workspaces.logs import same_partitions
from headrace.workspaces.migrate import migrate
from headrace.workspaces.port import ApiKey, Log, Role, Scope, StoreUser, Workspace
from headrace.workspaces.snapshot import Snapshot, take_snapshot
from headrace.workspaces.tables import api_keys, logs, revision, store_users, workspaces


class ControlData:
    """One object per process; its methods may be called from any thread."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    @classmethod
    def open(cls, url: str, clock: Clock | None = None) -> ControlData:
        """Reach control data at a URL as `at` takes it and, where needed, migrate it.

        Raises `NewerDatabase` if a newer Headrace wrote it.
        """
        control = cls.at(url, clock)
        try:
            control.migrate()
        except BaseException:
            control.close()
            raise
        return control

    @classmethod
    def at(cls, url: str, clock: Clock | None = None) -> ControlData:
        """Control data at `sqlite:////file` or `postgresql://…`, not yet reached."""
        return cls(make_engine(url), clock or SystemClock())

    def migrate(self) -> None:
        """Bring it to this program's version, from nothing if need be."""
        migrate(self._engine)

    @property
    def place(self) -> str:
        """Which database it is, without secrets."""
        return place(self._engine.url)

    @property
    def is_remote(self) -> bool:
        """Whether it is on a server, which may be away while this process runs."""
        return is_postgresql(self._engine.url)

    def close(self) -> None:
        """Close every connection; the object may be used again."""
        self._engine.dispose()

    # workspaces

    def create_workspace(
        self, name: str, *, requests_per_minute: int | None = None, dry_run: bool = False
    ) -> Workspace:
        """A new workspace; raises `Taken` if the name is in use."""
        workspace = Workspace(
            id=keys.make_id("ws"),
            name=checked_name("workspace name", name),
            requests_per_minute=checked_limit(requests_per_minute),
            rate_limit_dry_run=dry_run,
            created_at=self._clock.now(),
        )
        with writing(self._engine) as connection:
            _insert(
                connection, workspaces, msgspec.structs.asdict(workspace), f"a workspace {name!r}"
            )
        return workspace

    def list_workspaces(self) -> list[Workspace]:
        """All workspaces, oldest first."""
        with reading(self._engine) as connection:
            return list(_workspaces(connection).values())

    def find_workspace(self, name: str) -> Workspace:
        """The workspace of this name or id; raises `Unknown`, naming those that exist."""
        known = self.list_workspaces()
        for workspace in known:
            if name in {workspace.name, workspace.id}:
                return workspace
        names = ", ".join(workspace.name for workspace in known[:10]) or "none yet"
        raise Unknown(
            f"there is no workspace {name!r} (there is: {names}). "
            "Make it with `headrace workspaces create`."
        )

    def set_limit(
        self, workspace: Workspace, *, requests_per_minute: int | None, dry_run: bool = False
    ) -> Workspace:
        """Change a workspace's rate limit; None means the node's default."""
        values = {
            "requests_per_minute": checked_limit(requests_per_minute),
            "rate_limit_dry_run": dry_run,
        }
        with writing(self._engine) as connection:
            _bump(connection)
            connection.execute(
                workspaces.update().where(workspaces.c.id == workspace.id).values(values)
            )
        return msgspec.structs.replace(workspace, **values)

    # API keys

    def create_key(
        self,
        workspace: Workspace,
        *,
        scopes: Collection[Scope | str] = (Scope.INGEST,),
        name: str = "",
        expires_at: datetime | None = None,
    ) -> str:
        """A new key, in clear: the only time it can be had."""
        now = self._clock.now()
        if expires_at is not None and expires_at <= now:
            raise NotUsable(f"expiry {expires_at.isoformat()} is in the past; give a later one.")
        key = keys.make_key()
        row = {
            "id": keys.make_id("key"),
            "workspace_id": workspace.id,
            "name": checked_name("key name", name) if name else "",
            "hint": keys.hint(key),
            "sha256": keys.fingerprint(key),
            "scopes": " ".join(sorted(checked_scopes(scopes))),
            "created_at": now,
            "expires_at": expires_at,
        }
        with writing(self._engine) as connection:
            _insert(connection, api_keys, row, f"a key {row['id']}")
        return key

    def list_keys(self, workspace: Workspace | None = None) -> list[ApiKey]:
        """Keys of a workspace or of all, oldest first, revoked and expired ones too."""
        with reading(self._engine) as connection:
            found = _keys(connection)
        return [key for key in found if workspace is None or key.workspace.id == workspace.id]

    def revoke_key(self, text: str) -> ApiKey:
        """Revoke the key with this id or hint, or the key itself; twice does no harm.

        Raises `Unknown` if none or several fit.
        """
        with writing(self._engine) as connection:
            key = _the_one(text, [key for key in _keys(connection) if _is_meant(key, text)])
            if key.revoked_at is not None:
                return key
            now = self._clock.now()
            _bump(connection)
            connection.execute(
                api_keys.update().where(api_keys.c.id == key.id).values(revoked_at=now)
            )
        return msgspec.structs.replace(key, revoked_at=now)

    def note_uses(self, uses: Mapping[str, datetime]) -> None:
        """Write back when keys (by id) were last used; never moves one back.

        Not a change that snapshots show, so the revision stays and nobody reloads.
        """
        if not uses:
            return
        column = api_keys.c.last_used_at
        used_at: sa.BindParameter[datetime] = sa.bindparam("used_at")
        # One statement for all: by itself each would cost the collector 100 µs.
        update = (
            api_keys.update()
            .where(api_keys.c.id == sa.bindparam("key"), sa.or_(column.is_(None), column < used_at))
            .values(last_used_at=used_at)
        )
        in_order = sorted(uses.items())  # or two collectors lock each other out
        with writing(self._engine) as connection:
            connection.execute(update, [{"key": key, "used_at": at} for key, at in in_order])

    # users of the store

    def create_store_user(
        self, role: Role, *, workspace: Workspace | None = None, name: str | None = None
    ) -> Credentials:
        """A new user of the store; analysts need a workspace, nobody else may have one.

        Without a name: the role's, or `analyst_…` after the workspace's id.
        """
        credentials = new_credentials(role, workspace, name)
        user = stored_user(role, workspace, credentials)
        row = msgspec.structs.asdict(user) | {"created_at": self._clock.now()}
        with writing(self._engine) as connection:
            _insert(connection, store_users, row, f"a user {credentials.user!r} of the store")
        return credentials

    def replace_store_password(self, name: str) -> Credentials:
        """A new password for a user whose old one is lost or known to too many."""
        password = keys.make_password()
        with writing(self._engine) as connection:
            user = {user.name: user for user in _users(connection)}.get(name)
            if user is None:
                raise Unknown(f"the store has no user {name!r}.")
            _bump(connection)
            connection.execute(
                store_users.update()
                .where(store_users.c.name == name)
                .values(password_sha256=keys.fingerprint(password))
            )
        return Credentials(user=name, password=password, database=user.database)

    def drop_store_user(self, name: str) -> StoreUser:
        """Let a user of the store log in no more; returns who it was. Raises `Unknown`."""
        with writing(self._engine) as connection:
            user = {user.name: user for user in _users(connection)}.get(name)
            if user is None:
                raise Unknown(f"the store has no user {name!r}.")
            _bump(connection)
            connection.execute(store_users.delete().where(store_users.c.name == name))
        return user

    def list_store_users(self) -> list[StoreUser]:
        """Everybody who may log in to the store, by name."""
        with reading(self._engine) as connection:
            return _users(connection)

    # logs

    def note_log(self, log_id: str, name: str, partitions: int) -> Log:
        """A log as it is now, whoever sees it; the first to do so fixes its partitions.

        Raises `OtherPartitions` if it was known with another number.
        """
        with reading(self._engine) as connection:
            known = _logs(connection).get(log_id)
        if known is None:
            known = self._first_seen(Log(log_id, name, partitions, self._clock.now()))
        return same_partitions(known, partitions)

    def _first_seen(self, log: Log) -> Log:
        with writing(self._engine) as connection:
            _bump(connection)  # where others wait who see the log at the same time
            known = _logs(connection).get(log.id)
            if known is None:
                connection.execute(logs.insert().values(msgspec.structs.asdict(log)))
        return known or log

    def list_logs(self) -> list[Log]:
        """Every log that was ever seen, oldest first."""
        with reading(self._engine) as connection:
            return list(_logs(connection).values())

    # for directories

    def revision(self) -> int:
        """A number that is another whenever a snapshot would be another."""
        with reading(self._engine) as connection:
            return _revision(connection)

    def snapshot(self) -> Snapshot:
        """Everything a directory answers from, at one moment."""
        with reading(self._engine) as connection:
            # The revision first: a change in between then looks new at the next poll.
            number = _revision(connection)
            found = _logs(connection)
            return take_snapshot(number, _keys(connection), _users(connection), found.values())


def _insert(connection: sa.Connection, table: sa.Table, row: Mapping[str, Any], what: str) -> None:
    _bump(connection)
    try:
        connection.execute(table.insert().values(row))
    except IntegrityError as error:
        raise Taken(f"there is {what} already; choose another name.") from error


def _bump(connection: sa.Connection) -> None:
    connection.execute(revision.update().values(value=revision.c.value + 1))


def _revision(connection: sa.Connection) -> int:
    return int(connection.execute(sa.select(revision.c.value)).scalar_one())


def _workspaces(connection: sa.Connection) -> dict[str, Workspace]:
    order = (workspaces.c.created_at, workspaces.c.id)
    rows = connection.execute(sa.select(workspaces).order_by(*order)).mappings()
    return {row["id"]: Workspace(**row) for row in rows}


def _keys(connection: sa.Connection) -> list[ApiKey]:
    order = (api_keys.c.created_at, api_keys.c.id)
    rows = connection.execute(sa.select(api_keys).order_by(*order)).mappings().all()
    # Workspaces after keys: PostgreSQL may show the later statement more than the earlier.
    owners = _workspaces(connection)
    return [_key(dict(row), owners) for row in rows]


def _key(row: dict[str, Any], owners: Mapping[str, Workspace]) -> ApiKey:
    workspace = owners[row.pop("workspace_id")]
    # A newer Headrace beside us may know scopes and roles that we do not: here they give nothing.
    scopes = frozenset(Scope(each) for each in row.pop("scopes").split() if each in set(Scope))
    return ApiKey(workspace=workspace, scopes=scopes, **row)


def _users(connection: sa.Connection) -> list[StoreUser]:
    rows = connection.execute(sa.select(store_users).order_by(store_users.c.name))
    return [
        StoreUser(row.name, Role(row.role), row.password_sha256, row.database, row.workspace_id)
        for row in rows
        if row.role in set(Role)
    ]


def _logs(connection: sa.Connection) -> dict[str, Log]:
    rows = connection.execute(sa.select(logs).order_by(logs.c.created_at, logs.c.id)).mappings()
    return {row["id"]: Log(**row) for row in rows}


def _is_meant(key: ApiKey, text: str) -> bool:
    return text in {key.id, key.hint} or keys.fingerprint(text) == key.sha256


def _the_one(text: str, found: Sequence[ApiKey]) -> ApiKey:
    # A whole key shown in an error message would end up in a log.
    shown = keys.hint(text) if keys.well_formed(text) else repr(text)
    if not found:
        raise Unknown(f"there is no key {shown}; `headrace keys list` shows those there are.")
    if len(found) > 1:
        ids = ", ".join(key.id for key in found)
        raise Unknown(f"{shown} fits {len(found)} keys ({ids}); name one by its id.")
    return found[0]
