"""Analysts of a real server, as SQL: what they may do, read and parsed by the real engine.

The engine here has no users, so this cannot be run; `harmless.sql` and its like try the same wall
on the embedded server.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from headrace.store.analyst_settings import FORCED_ON_ANALYSTS
from headrace.store.analyst_users import AnalystAccess, AnalystUser
from headrace.store.analysts import NotAWorkspace
from headrace.store.connection import Connection
from headrace.store.text import quote
from tests.store.golden import check_golden
from tests.store.server_fixture import PASSWORD, PROCESSOR, StoreServer

ANN = AnalystUser("ann", hashlib.sha256(b"a secret").digest(), "ws_one")
KNOWN = frozenset({*FORCED_ON_ANALYSTS, "allow_ddl", "join_use_nulls", "limit"})
SERVER = AnalystAccess(database="headrace", known=KNOWN)
CLUSTER = AnalystAccess(database="headrace", cluster="events", known=KNOWN)
BOTH = pytest.mark.parametrize("access", [SERVER, CLUSTER], ids=["server", "cluster"])


def everything(access: AnalystAccess, user: AnalystUser = ANN) -> list[str]:
    """From the first statement to the last: made, and dropped again."""
    return [
        *access.create(user),
        *access.drop_user(user.name),
        *access.drop_workspace(user.workspace_id),
    ]


@pytest.fixture
def engine(module_server: StoreServer) -> Connection:
    """The real engine, to parse with."""
    return Connection(module_server.url, PROCESSOR, PASSWORD, database="default")


@BOTH
def test_analysts_are_made_as_written_down(
    access: AnalystAccess, request: pytest.FixtureRequest
) -> None:
    """A change of what analysts may do shows as a change of a file somebody reads."""
    check_golden(f"analysts_{request.node.callspec.id}.sql", everything(access))


@BOTH
def test_the_engine_reads_every_statement(engine: Connection, access: AnalystAccess) -> None:
    """With all the settings it knows, and with names that need quotes."""
    known = [str(row[0]) for row in engine.rows("SELECT name FROM system.settings")]
    strange = AnalystUser("ann@host `'", ANN.password_sha256, "ws_one")
    full = AnalystAccess(database="my-events", cluster=access.cluster, known=known)
    for statement in everything(full, strange):
        engine.rows(f"SELECT formatQuery({quote(statement)})")


def test_the_engine_reads_the_grants_of_the_documents(engine: Connection) -> None:
    """Somebody copies them."""
    page = Path(__file__).parents[2] / "docs" / "decisions" / "0008-clickhouse-cluster.md"
    [block] = re.findall(r"```sql\n(.*?)```", page.read_text(), re.DOTALL)
    for statement in filter(None, map(str.strip, block.split(";"))):
        engine.rows(f"SELECT formatQuery({quote(statement)})")


def test_settings_are_those_of_the_engine(engine: Connection) -> None:
    """A name that no engine knows would be left out without a word."""
    known = {str(row[0]) for row in engine.rows("SELECT name FROM system.settings")}
    assert known >= FORCED_ON_ANALYSTS.keys()


@pytest.mark.parametrize("name", sorted(FORCED_ON_ANALYSTS))
def test_what_keeps_predicates_from_other_rows_cannot_be_set(name: str) -> None:
    """CONST in the profile, which itself is read-only for what is not named in it."""
    [profile] = [each for each in SERVER.create(ANN) if each.startswith("ALTER SETTINGS PROFILE")]
    assert re.search(rf"\b{name} = \S+ CONST", profile)
    assert "readonly = 1 CONST" in profile


def test_an_analyst_reads_views_and_no_table() -> None:
    """Its role has the workspace's database and what lists the engine's abilities."""
    to_role = [each for each in SERVER.create(ANN) if each.endswith("TO `headrace_ws_one_analyst`")]
    granted = " ".join(each for each in to_role if each.startswith("GRANT"))
    assert "SELECT ON `ws_one`.*" in granted
    assert "`headrace`." not in granted
    assert "_log" not in granted
    assert not re.search(r"\b(INSERT|ALTER|CREATE|DROP|SOURCES|FILE|URL|dictGet)\b", granted)
    to_user = [each for each in SERVER.create(ANN) if each.endswith("TO `ann`")]
    assert to_user == ["GRANT `headrace_ws_one_analyst` TO `ann`"]


def test_views_read_as_somebody_who_sees_one_workspace() -> None:
    """Every table behind them has a policy for it, made before the views; nobody logs in as it."""
    made = SERVER.create(ANN)
    views = [each for each in made if each.startswith("CREATE OR REPLACE VIEW")]
    assert len(views) == 4
    for view in views:
        assert "DEFINER = `headrace_ws_one_views` SQL SECURITY DEFINER" in view
        assert view.endswith("WHERE workspace_id = 'ws_one'")
    read = {
        found[1]
        for each in made
        if (found := re.match(r"GRANT SELECT ON (\S+_rows) TO `headrace_ws_one_views`", each))
    }
    policies = {
        found[1]: made.index(each)
        for each in made
        if (found := re.search(r"`ws_one` ON (\S+) .*'ws_one' AS RESTRICTIVE TO `headrace", each))
    }
    assert read == policies.keys()
    assert max(policies.values()) < made.index(views[0])
    [definer] = [each for each in made if each.startswith("CREATE USER") and "_views" in each]
    assert definer.endswith("HOST NONE")


def test_the_password_is_kept_as_its_digest() -> None:
    """As everywhere."""
    made = " ".join(SERVER.create(ANN))
    assert "a secret" not in made
    assert f"sha256_hash BY '{ANN.password_sha256.hex()}'" in made


def test_making_an_analyst_twice_is_making_it_once() -> None:
    """Each statement may be repeated: a new password, a view after a migration."""
    for statement in SERVER.create(ANN):
        if statement.startswith("CREATE"):
            assert re.search(r"IF NOT EXISTS|OR REPLACE", statement), statement


def test_everything_that_was_made_is_dropped() -> None:
    """But what other workspaces share, and the rows."""
    made = {
        (found[1], found[2], found[3])
        for each in SERVER.create(ANN)
        if (
            found := re.match(
                r"CREATE (DATABASE|USER|ROLE|QUOTA|ROW POLICY) (?:IF NOT EXISTS|OR REPLACE) "
                r"(`?\w+`?)(?: ON (\S+))?",
                each,
            )
        )
        and found[2] != "headrace_everyone"
    }
    gone = {
        (found[1], found[2], found[3])
        for each in everything(SERVER)
        if (
            found := re.match(
                r"DROP (DATABASE|USER|ROLE|QUOTA|ROW POLICY) IF EXISTS (`?\w+`?)(?: ON (\S+))?",
                each,
            )
        )
    }
    assert made == gone


def test_a_cluster_has_them_on_every_replica() -> None:
    """Users are a server's own, unless it keeps them elsewhere."""
    for statement in everything(CLUSTER):
        assert " ON CLUSTER `events`" in statement, statement


def test_what_is_no_workspace_makes_nobody() -> None:
    """Its id becomes part of names."""
    with pytest.raises(NotAWorkspace):
        SERVER.create(AnalystUser("ann", b"", "headrace"))
