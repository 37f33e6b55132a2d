"""The store's tables and analysts' views, brought up to date for whichever store is set.

Owns which engines a store's settings mean, and that analysts' databases follow the tables. What
is run is `store/migrate.py`'s and `analyst_databases.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import structlog

from headrace.runtime.analyst_databases import (
    CannotManageUsers,
    NameTaken,
    ensure_analyst_databases,
    ensure_analyst_users,
)
from headrace.runtime.credentials import StoreLogin
from headrace.runtime.reach import control_url
from headrace.runtime.settings import Settings
from headrace.schemas.errors import Overloaded, Unavailable
from headrace.store.engines import EMBEDDED, Engines, engines_for
from headrace.store.migrate import migrate
from headrace.workspaces.database import ControlData
from headrace.workspaces.port import StoreUser

log = structlog.get_logger(__name__)


def engines_of(settings: Settings, login: StoreLogin) -> Engines:
    """What tables are made of: embedded, on one server, or on a cluster's replicas."""
    if settings.has_embedded_store:
        return EMBEDDED
    return engines_for(settings.clickhouse_cluster, login.user, login.password)


def update_tables(settings: Settings, login: StoreLogin) -> list[str]:
    """Bring tables and views up to date; the names of the migrations applied now.

    Blocks; raises the errors of the store's port. Who the analysts are is in control data: while
    that is away, events are stored all the same.
    """
    engines = engines_of(settings, login)
    applied = migrate(login.url, login.user, login.password, login.database, engines=engines)
    try:
        with closing(ControlData.open(control_url(settings))) as control:
            users = control.list_store_users()
    except (Unavailable, Overloaded) as error:
        log.warning("analysts' views are left as they are", why=str(error))
        return applied
    if settings.has_embedded_store:
        ensure_analyst_databases(login, users)
    else:
        _update_analysts(settings, login, users, are_tables_new=bool(applied))
    return applied


def _update_analysts(
    settings: Settings, login: StoreLogin, users: Sequence[StoreUser], *, are_tables_new: bool
) -> None:
    """Events are stored whether or not analysts may read them."""
    try:
        ensure_analyst_users(login, users, settings.clickhouse_cluster, only_new=not are_tables_new)
    except (CannotManageUsers, NameTaken) as error:
        log.warning("analysts cannot read the store", why=str(error))
