"""Where Redis is: a URL that people write, and the connections made from it.

Owns which URLs are taken, and what driver options every connection has.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from headrace.schemas.errors import HeadraceError

_FORM: Final = (
    "it must be redis://[[user]:password@]host[:port][/database], or rediss:// for TLS, with "
    "?ca=FILE for a certificate of your own"
)
_DEFAULT_PORT: Final = 6379


class RedisAddress(msgspec.Struct, frozen=True):
    """A server and one of its databases."""

    host: str
    port: int
    database: int = 0
    user: str | None = None
    password: str | None = None
    tls: bool = False
    ca: str | None = None

    def __str__(self) -> str:
        """Without secrets."""
        return f"{'rediss' if self.tls else 'redis'}://{self.host}:{self.port}/{self.database}"

    def connection(self) -> AbstractConnection:
        """A connection, not connected yet. It has no time limits of its own and tries once."""
        options: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "db": self.database,
            "username": self.user,
            "password": self.password,
            "protocol": 2,
            "driver_info": None,
            "socket_timeout": None,
            "socket_connect_timeout": None,
            "retry": Retry(NoBackoff(), 0),
        }
        if self.tls:
            return SSLConnection(ssl_ca_certs=self.ca, **options)
        return Connection(**options)


def read_redis_url(url: str) -> RedisAddress:
    """The address in a URL; raises `HeadraceError` with a sentence."""
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORT
        database = int(parts.path.strip("/") or 0)
    except ValueError as error:
        raise HeadraceError(f"the URL of Redis cannot be read: {_FORM}") from error
    name, _, ca = parts.query.partition("=")
    tls = parts.scheme == "rediss"
    if (
        parts.scheme not in ("redis", "rediss")
        or not parts.hostname
        or parts.fragment
        or database < 0
        or (parts.query and not (tls and name == "ca" and ca))
    ):
        raise HeadraceError(f"the URL of Redis is none, or has more in it than is known: {_FORM}")
    return RedisAddress(
        parts.hostname,
        port,
        database,
        unquote(parts.username) if parts.username else None,
        unquote(parts.password) if parts.password else None,
        tls,
        unquote(ca) or None,
    )
