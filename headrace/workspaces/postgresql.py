"""What is PostgreSQL's own about control data: how it is connected to, its errors in our words.

Owns the time-outs. A server that is stopped keeps its connections and its kernel goes on taking
what we send, so every wait has an end on our side; a client that is stopped in a transaction
keeps what it locked, so every statement and open transaction has an end on the server's.
"""

from __future__ import annotations

import re
from typing import Any, Final

import psycopg
import sqlalchemy as sa
from psycopg.abc import RV, PQGen
from sqlalchemy import event

from headrace.schemas.errors import HeadraceError, Overloaded, Unavailable

CONNECT_SECONDS: Final = 3
ANSWER_SECONDS: Final = 6
"""An answer that took longer will not come: the server's own limit ends statements before."""
STATEMENT_SECONDS: Final = 5
TRANSACTION_SECONDS: Final = 10
_CONNECTIONS: Final = 1
_MORE_CONNECTIONS: Final = 3
"""A process needs one at a time, almost always; servers allow 100 to all of them together."""
_LIMITS: Final = (
    f"SET statement_timeout = '{STATEMENT_SECONDS}s';"
    f"SET idle_in_transaction_session_timeout = '{TRANSACTION_SECONDS}s'"
)
_PLACE: Final = ("host", "port", "hostaddr")
"""Of a URL's query only these are ever shown: others may be secrets."""
_ADVICE: Final = (
    (
        "password authentication failed|no password|role .* does not exist",
        "See that user and password in HEADRACE_DATABASE are right.",
    ),
    (
        "no pg_hba.conf entry|pg_hba.conf rejects",
        "Let this user in from this machine with a line in the server's pg_hba.conf; if it speaks "
        "of `no encryption`, add ?sslmode=require to HEADRACE_DATABASE.",
    ),
    (
        "database .* does not exist",
        "Make it (`createdb`, or CREATE DATABASE), or name another in HEADRACE_DATABASE.",
    ),
    ("failed to resolve host", "See that the host's name in HEADRACE_DATABASE is right."),
    (
        "Connection refused|on socket|invalid port|connection timeout expired|No route|unreachable",
        "See that PostgreSQL runs there and that host and port in HEADRACE_DATABASE are right.",
    ),
    ("no answer within", "See whether PostgreSQL is stopped or has too much to do."),
    ("57014|55P03", "See in its pg_stat_activity what holds it up."),
    (
        "53300|too many c|connection slots",
        "Raise max_connections on the server, or run fewer processes.",
    ),
    (
        "57P0[123]|starting up|shutting down|recovery mode|terminating connection|closed the conn",
        "It stopped or is starting: try again in a moment.",
    ),
    ("25006", "It is a read-only copy: name the primary in HEADRACE_DATABASE."),
    (
        "42501",
        "Give this user the right (GRANT CREATE, USAGE ON SCHEMA public), or a database "
        "of its own.",
    ),
    ("42P01", "Its tables are gone: run `headrace migrate`, or name the right database."),
    ("SSL|certificate", "See sslmode, sslrootcert, sslcert and sslkey in HEADRACE_DATABASE."),
    (
        "connection option|bad value for|connection is bad",
        "See what stands after the `?` in HEADRACE_DATABASE.",
    ),
)
"""By the server's code or, where a connection failed and there is none, by what was said."""


class BoundedConnection(psycopg.Connection[Any]):
    """A connection on which nothing waits for ever; past its time it is closed for good."""

    def wait(
        self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = ANSWER_SECONDS
    ) -> RV:
        try:
            return super().wait(gen, interval, timeout)
        except psycopg.OperationalError as error:
            if "wait timeout expired" not in str(error):
                raise
            self.pgconn.finish()  # its answer may still come, and would be taken for another's
            raise psycopg.OperationalError(f"no answer within {timeout:g} s") from error


def make_postgresql_engine(url: sa.URL) -> sa.Engine:
    """An engine with a small pool. Nothing is connected to yet."""
    engine = sa.create_engine(
        url.set(drivername="postgresql+psycopg"),
        connect_args={
            "connect_timeout": url.query.get("connect_timeout", str(CONNECT_SECONDS)),
            "application_name": url.query.get("application_name", "headrace"),
            "prepare_threshold": None,  # a pooler may give each transaction another session
        },
        pool_size=_CONNECTIONS,
        max_overflow=_MORE_CONNECTIONS,
        pool_timeout=ANSWER_SECONDS,
        pool_pre_ping=True,
        hide_parameters=True,
        use_native_hstore=False,
    )
    event.listen(engine, "do_connect", _connect)
    event.listen(engine, "connect", _set_limits)
    return engine


def place(url: sa.URL, *, user: bool = False) -> str:
    """Which database a URL means, without secrets; the same whoever asks, unless `user`."""
    query = {name: url.query[name] for name in _PLACE if name in url.query}
    shown = sa.URL.create(
        "postgresql", url.username if user else None, None, url.host, url.port, url.database, query
    )
    return shown.render_as_string()


def in_our_words(url: sa.URL, error: BaseException | None) -> HeadraceError:
    """What psycopg raised as a sentence that says what to do."""
    lines = (line for line in str(error).splitlines() if "Is the server running" not in line)
    problem = " ".join(" ".join(lines).split()).rstrip(".?")
    code = getattr(error, "sqlstate", None) or ""
    sentence = f"control data at {place(url, user=True)} cannot be used: {problem}. "
    if code in {"53100", "53200"}:
        return Overloaded(sentence + "Make room on the server.")
    said = f"{code} {problem}"
    advice = (advice for pattern, advice in _ADVICE if re.search(pattern, said))
    return Unavailable(sentence + next(advice, "See the server's log."))


def _connect(
    _dialect: Any, _record: Any, arguments: list[Any], options: dict[str, Any]
) -> BoundedConnection:
    return BoundedConnection.connect(*arguments, **options)


def _set_limits(connection: BoundedConnection, _record: Any) -> None:
    # Not as a startup option: poolers between us and the server refuse those they do not know.
    connection.autocommit = True
    connection.execute(_LIMITS)
    connection.autocommit = False
