"""What is PostgreSQL's own: how it is reached, what its troubles are called, what ends waiting."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from headrace.runtime.clock import ManualClock
from headrace.schemas.errors import HeadraceError, Overloaded, Unavailable
from headrace.workspaces import keys
from headrace.workspaces.database import ControlData
from headrace.workspaces.engine import make_engine, place, reading, writing
from headrace.workspaces.port import Role
from headrace.workspaces.tables import metadata
from tests.services.postgres import PASSWORD, PostgresServer

PEM = Path(__file__).parent.parent / "collector" / "localhost.pem"
ESCAPED = "p4ss%2Fw%40rd"


@pytest.fixture(scope="module")
def over_tls() -> Iterator[PostgresServer]:
    server = PostgresServer.make(pem=PEM)
    try:
        yield server.start()
    finally:
        server.remove()


@pytest.mark.parametrize("kind", ["postgresql", "postgres", "postgresql+psycopg"])
def test_urls_as_people_write_them(postgres_url: str, kind: str) -> None:
    """With the driver's name or without, and the short word that hosts hand out."""
    control = ControlData.open(postgres_url.replace("postgresql", kind))
    control.create_workspace("Shop")
    assert control.place == place(sa.make_url(postgres_url))
    assert control.is_remote
    control.close()


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (("headrace:p4ss%2Fw%40rd@", "headrace:s3cr3t@"), "See that user and password"),
        (("headrace:p4ss%2Fw%40rd@", "headrace@"), "See that user and password"),
        (("headrace:p4ss%2Fw%40rd@", "nobody:s3cr3t@"), "nobody.*See that user and password"),
        (("/test_", "/nowhere_"), "nowhere_.* does not exist. Make it"),
        (("127.0.0.1", "nosuch.invalid"), "nosuch.invalid.*See that the host's name"),
    ],
)
def test_what_keeps_us_out_is_a_sentence(
    postgres_url: str, trouble: tuple[str, str], said: str
) -> None:
    """Where it was looked for, what was the matter, what to do; the password nowhere."""
    with pytest.raises(Unavailable, match=said) as raised:
        ControlData.open(postgres_url.replace(*trouble))
    assert "control data at postgresql://" in str(raised.value)
    shown = "".join(traceback.format_exception(raised.value))
    for secret in (PASSWORD, ESCAPED, "s3cr3t"):
        assert secret not in shown


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("127.0.0.1:1/headrace", "Connection refused. See"),
        ("127.0.0.1:99999/headrace", "99999"),
        ("/headrace?host=/nowhere", "/nowhere"),
    ],
)
def test_nobody_there_is_a_sentence(where: str, said: str) -> None:
    """A port or socket at which nothing listens: start it, or mend host and port."""
    with pytest.raises(Unavailable, match=said) as raised:
        ControlData.open(f"postgresql://headrace:s3cr3t@{where}")
    assert "See that PostgreSQL runs there and that host" in str(raised.value)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("sslmode=bogus", "bogus.*See"),
        ("nosuch=s3cr3t", "See what stands after the `\\?`"),
        ("connect_timeout=soon", "See what stands after the `\\?`"),
        ("sslmode=require", "does not support SSL.*See sslmode"),
    ],
)
def test_options_that_do_not_work_are_a_sentence(postgres_url: str, query: str, said: str) -> None:
    """The URL's own options are the driver's; their values are not shown."""
    with pytest.raises(Unavailable, match=said) as raised:
        ControlData.open(f"{postgres_url}?{query}")
    assert "s3cr3t" not in str(raised.value)


def test_a_certificate_is_checked_as_the_url_says(over_tls: PostgresServer) -> None:
    """`sslmode` and `sslrootcert` are the URL's; whom nobody vouches for is refused."""
    url = over_tls.make_database()
    control = ControlData.open(f"{url}?sslmode=verify-full&sslrootcert={PEM}")
    with reading(control._engine) as connection:
        used = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        assert connection.execute(sa.text(used)).scalar_one()
    control.close()
    with pytest.raises(Unavailable, match=r"certificate.*See sslmode"):
        ControlData.open(f"{url}?sslmode=verify-full&sslrootcert=/nowhere.pem")


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        ("53100", Overloaded, "Make room on the server"),
        ("53300", Unavailable, "Raise max_connections"),
        ("57P03", Unavailable, "try again in a moment"),
        ("25006", Unavailable, "name the primary"),
        ("42501", Unavailable, "GRANT CREATE"),
        ("57014", Unavailable, "pg_stat_activity"),
        ("XX000", Unavailable, "See the server's log"),
    ],
)
def test_the_servers_own_troubles_are_sentences(
    control_on_postgres: ControlData, code: str, kind: type[HeadraceError], said: str
) -> None:
    """Told apart by the server's codes, whatever language it speaks."""
    raising = f"DO $$ BEGIN RAISE EXCEPTION 'oje' USING ERRCODE = '{code}'; END $$"
    with pytest.raises(kind, match=f"oje.*{said}"), writing(control_on_postgres._engine) as session:
        session.execute(sa.text(raising))


@pytest.fixture
def control_on_postgres(postgres_url: str, clock: ManualClock) -> Iterator[ControlData]:
    control = ControlData.open(postgres_url, clock)
    yield control
    control.close()


def test_a_user_without_rights_is_a_sentence(postgres: PostgresServer, postgres_url: str) -> None:
    """A user who may log in, and no more, cannot make the tables."""
    with postgres.connect() as connection:
        connection.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    url = postgres_url.replace(f"headrace:{ESCAPED}", "guest:guest")
    with pytest.raises(Unavailable, match=r"permission denied.*GRANT CREATE"):
        ControlData.open(url)


def test_no_secret_is_in_the_tables(control_on_postgres: ControlData) -> None:
    """Whoever reads the database can use neither keys nor passwords."""
    workspace = control_on_postgres.create_workspace("Shop")
    secret = control_on_postgres.create_key(workspace)
    password = control_on_postgres.create_store_user(Role.ANALYST, workspace=workspace).password
    with reading(control_on_postgres._engine) as connection:
        rows = [
            str(row)
            for table in metadata.sorted_tables
            for row in connection.execute(sa.select(table))
        ]
    kept = "\n".join(rows)
    assert str(keys.fingerprint(secret)) in kept
    assert secret not in kept
    assert password not in kept


def test_a_statement_and_an_open_transaction_have_an_end(control_on_postgres: ControlData) -> None:
    """A process that was stopped in between keeps nobody else from writing for long."""
    with reading(control_on_postgres._engine) as connection:
        assert connection.execute(sa.text("SHOW statement_timeout")).scalar_one() == "5s"
        limit = sa.text("SHOW idle_in_transaction_session_timeout")
        assert connection.execute(limit).scalar_one() == "10s"


def test_a_process_holds_one_connection(
    postgres: PostgresServer, control_on_postgres: ControlData
) -> None:
    """A server has a hundred for all: what was borrowed beyond one is given back, which the
    server notices a moment later."""

    def read() -> None:
        for _ in range(5):
            control_on_postgres.list_workspaces()

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    database = control_on_postgres.place.rsplit("/", 1)[1]
    sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name = %s"
    deadline = time.monotonic() + 20
    held = None
    while held != (1,):
        assert time.monotonic() < deadline, held
        with postgres.connect() as connection:
            held = connection.execute(sql, [database, "headrace"]).fetchone()


def test_collectors_that_write_uses_back_at_once_do_not_lock_each_other_out(
    postgres_url: str, clock: ManualClock
) -> None:
    """They know the same keys in different orders."""
    controls = [ControlData.open(postgres_url, clock) for _ in range(4)]
    workspace = controls[0].create_workspace("Shop")
    for _ in range(20):
        controls[0].create_key(workspace)
    ids = [key.id for key in controls[0].list_keys()]
    failed: list[Exception] = []

    def write(number: int) -> None:
        order = ids[number * 5 :] + ids[: number * 5]
        try:
            for second in range(20):
                used_at = clock.now() + timedelta(seconds=second)
                controls[number].note_uses(dict.fromkeys(order, used_at))
        except HeadraceError as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    latest = {key.last_used_at for key in controls[0].list_keys()}
    assert latest == {clock.now() + timedelta(seconds=19)}
    for control in controls:
        control.close()


def test_a_restarted_server_is_none_of_the_callers_business(own_postgres: PostgresServer) -> None:
    """A connection that broke while nobody used it is made anew without a word."""
    control = ControlData.open(own_postgres.make_database())
    workspace = control.create_workspace("Shop")
    own_postgres.kill()
    with pytest.raises(Unavailable, match="control data at postgresql://"):
        control.list_workspaces()
    own_postgres.start()
    assert control.list_workspaces() == [workspace]
    own_postgres.stop()
    own_postgres.start()
    assert control.list_workspaces() == [workspace]
    control.close()


def test_a_frozen_server_holds_nobody_for_ever(own_postgres: PostgresServer) -> None:
    """Known connections and new ones end with a sentence; later all is as before."""
    url = own_postgres.make_database()
    control = ControlData.open(url)
    workspace = control.create_workspace("Shop")
    own_postgres.freeze()
    with pytest.raises(Unavailable, match="control data at postgresql://"):
        control.list_workspaces()
    with pytest.raises(Unavailable, match=r"timeout expired. See that PostgreSQL runs there"):
        ControlData.open(url)
    own_postgres.thaw()
    assert control.list_workspaces() == [workspace]
    control.close()


def freeze_in_the_middle(engine: sa.Engine, server: PostgresServer) -> None:
    with reading(engine) as connection:
        server.freeze()
        connection.execute(sa.text("SELECT 1"))


def test_a_server_that_freezes_in_the_middle_is_given_up(own_postgres: PostgresServer) -> None:
    """The answer to a statement that was sent is not waited for without end."""
    engine = make_engine(own_postgres.make_database())
    with pytest.raises(Unavailable, match=r"no answer within 6 s\. See whether PostgreSQL is st"):
        freeze_in_the_middle(engine, own_postgres)
    own_postgres.thaw()
    with reading(engine) as connection:
        assert connection.execute(sa.text("SELECT 2")).scalar_one() == 2
    engine.dispose()
