"""The store's tables and analysts' views, brought up to date for whichever store is set.

Owns which engines a store's settings mean, and that analysts' databases follow the tables. What
is run is `store/migrate.py`'s and `analyst_databases.py`'s.
"""

from __future__ import annotations

from contextlib import closing

from headrace.runtime.analyst_databases import ensure_analyst_databases
from headrace.runtime.credentials import StoreLogin
from headrace.runtime.reach import control_url
from headrace.runtime.settings import Settings
from headrace.store.engines import EMBEDDED, Engines, engines_for
from headrace.store.migrate import migrate
from headrace.workspaces.database import ControlData


def engines_of(settings: Settings, login: StoreLogin) -> Engines:
    """What tables are made of: embedded, on one server, or on a cluster's replicas."""
    if settings.has_embedded_store:
        return EMBEDDED
    return engines_for(settings.clickhouse_cluster, login.user, login.password)


def update_tables(settings: Settings, login: StoreLogin) -> list[str]:
    """Bring tables and views up to date; the names of the migrations applied now.

    Blocks; raises the errors of the store's port.
    """
    engines = engines_of(settings, login)
    applied = migrate(login.url, login.user, login.password, login.database, engines=engines)
    with closing(ControlData.open(control_url(settings))) as control:
        ensure_analyst_databases(login, control.list_store_users())
    return applied
