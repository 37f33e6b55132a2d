"""How a command reaches a node: its settings, its control data, its collector, its store.

Owns the sentences for what is missing. Commands run beside the node, never inside it: control
data is opened directly (the node notices within a second), everything else goes over HTTP.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from cyclopts import Parameter

from headrace.runtime.credentials import StoreLogin, read_credentials, read_processor_login
from headrace.runtime.home import Home, check_layout, is_held
from headrace.runtime.node_state import collector_url, read_node_state
from headrace.runtime.sending.delivery import Target
from headrace.runtime.setting_text import ClickHouseUrl
from headrace.runtime.settings import Settings, read_settings
from headrace.schemas.errors import HeadraceError, Unavailable
from headrace.workspaces.database import ControlData

if TYPE_CHECKING:
    from headrace.store.connection import Connection

UrlOption = Annotated[
    str | None, Parameter(name="--url", help="The collector.  [HOME's node, if not given]")
]
KeyOption = Annotated[
    str | None,
    Parameter(name="--key", help="An API key; seen by whoever lists processes: see --key-file."),
]
KeyFileOption = Annotated[
    Path | None, Parameter(name="--key-file", help="A file whose first line is the API key.")
]


class NoNode(HeadraceError):
    """HOME has no node, or it does not run."""


def settings_for(home: Path | None) -> Settings:
    """The settings of the HOME that a command was pointed at. Raises `BadSettings`."""
    return read_settings(home=home)


@contextmanager
def open_control(settings: Settings) -> Iterator[ControlData]:
    """The control data, whether or not the node runs. Raises `NoNode` before the first start."""
    home = Home(settings.home)
    check_layout(home)
    if settings.has_local_control and not home.control.exists():
        raise NoNode(
            f"there is no node in {home.root} yet. Run `headrace up` first, or say with --home "
            "(HEADRACE_HOME) where it is."
        )
    control = ControlData.open(control_url(settings))
    try:
        yield control
    finally:
        control.close()


def control_url(settings: Settings) -> str:
    """Where control data is, as a URL: the database that was set, or HOME's file."""
    return settings.database or Home(settings.home).control_url


def operator_login(settings: Settings) -> StoreLogin:
    """Who reads everything of every workspace. Raises `NoCredentials`, and `NoNode` if HOME's own
    store does not run."""
    if settings.clickhouse is not None:
        return login_of(settings.clickhouse)
    found = read_credentials(Home(settings.home)).clickhouse
    demand_store(settings)
    return _where_it_runs(settings, found)


def demand_store(settings: Settings) -> None:
    """Raises `NoNode` if HOME's own store does not run.

    What answers where it used to be is another HOME's then, with the same passwords if one is a
    copy of the other: a command for the copy would change what belongs to the other.
    """
    home = Home(settings.home)
    if settings.has_embedded_store and not is_held(home.process_lock("store")):
        raise NoNode(
            f"the store of {home.root} does not run. Start the node there with `headrace up`, or "
            "say with --home (HEADRACE_HOME) where it is."
        )


def processor_login(settings: Settings) -> StoreLogin:
    """Who may write to the store, whether or not it runs. Raises `NoCredentials`."""
    if settings.clickhouse is not None:
        return login_of(settings.clickhouse)
    return _where_it_runs(settings, read_processor_login(Home(settings.home)))


def writer_login(settings: Settings) -> StoreLogin:
    """The same for a command: raises `NoNode`, too, if HOME's own store does not run."""
    login = processor_login(settings)
    demand_store(settings)
    return login


@contextmanager
def writing_to_store(
    settings: Settings, *, answer_seconds: float = 60
) -> Iterator[tuple[Connection, str]]:
    """A connection of who may write, and the database. Raises `NoNode` if the store is away."""
    # Not at the top: they bring clickhouse-connect along.
    from headrace.runtime.logging import quiet_drivers
    from headrace.store.connection import Connection

    login = writer_login(settings)
    quiet_drivers()
    connection = Connection(login.url, login.user, login.password, answer_seconds=answer_seconds)
    try:
        with closing(connection):
            yield connection, login.database
    except Unavailable as error:
        raise store_out_of_reach(login.url, error) from error


def login_of(server: ClickHouseUrl) -> StoreLogin:
    """The login that a ClickHouse server's URL names."""
    return StoreLogin(server.url, server.database, server.user, server.password)


def _where_it_runs(settings: Settings, login: StoreLogin) -> StoreLogin:
    """The login with the URL of the node that runs now: it may listen elsewhere than before."""
    state = read_node_state(Home(settings.home))
    if state is None:
        return login
    return StoreLogin(state.store_listen.url, login.database, login.user, login.password)


def target_for(
    settings: Settings, *, url: str | None, key: str | None, key_file: Path | None
) -> Target:
    """Where to send, and as whom: HOME's node unless something else is said.

    HOME's own key is used for nothing but this machine; for another one a key must be given.
    """
    where = (url or collector_url(settings)).rstrip("/")
    if urlsplit(where).scheme not in {"http", "https"}:
        raise HeadraceError(f"{url!r} is not a URL; give one such as http://127.0.0.1:8080")
    if key and key_file:
        raise HeadraceError("--key and --key-file were both given; give one of them")
    if key_file is not None:
        key = read_secret(key_file)
    elif key is None:
        if not is_local(where):
            raise HeadraceError(f"give the key for {where}: --key-file FILE (or --key KEY)")
        key = read_credentials(Home(settings.home)).api_key
    if not key.isascii() or not key.isprintable() or not key:
        raise HeadraceError("the API key holds characters that no key has; was it cut or quoted?")
    return Target(where, key, local=is_local(where))


def is_local(url: str) -> bool:
    """Whether a URL leads to this very machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def verify_for(settings: Settings, url: str) -> ssl.SSLContext | bool:
    """Which certificates to believe: on this machine also the node's own, whatever its name."""
    if settings.tls_certificate is None or not is_local(url):
        return True
    context = ssl.create_default_context(cafile=str(settings.tls_certificate))
    context.check_hostname = False
    return context


def store_out_of_reach(url: str, error: Exception | None = None) -> NoNode:
    """The sentence for a store that does not answer."""
    why = f" ({str(error) or type(error).__name__})" if error is not None else ""
    return NoNode(
        f"the store at {url} cannot be reached{why}. Is it running? A node's own runs with "
        "`headrace up`; where a server is, HEADRACE_CLICKHOUSE says."
    )


def read_secret(path: Path) -> str:
    """The first line of a file that holds a key or a password."""
    try:
        return path.read_text().partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise HeadraceError(f"cannot read {path}: {error}") from error
