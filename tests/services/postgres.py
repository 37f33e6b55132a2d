"""A real PostgreSQL from Debian's package: a folder, a port and a password of its own.

Owns how it is made, started and ended. `postgres` is the one most tests share, each in a database
of its own (`make_database`); a test that kills or freezes it starts a `PostgresServer` itself.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Final, Self

import psutil
import psycopg
import pytest

from tests.services.missing import leave_out
from tests.services.ports import free_port
from tests.services.server import Server

USER: Final = "headrace"
PASSWORD: Final = "p4ss/w@rd"
"""With characters that a URL must escape."""
_ESCAPED: Final = "p4ss%2Fw%40rd"
_PACKAGES: Final = Path("/usr/lib/postgresql")
_NUMBERS: Final = count(1)


class PostgresServer(Server):
    """PostgreSQL on 127.0.0.1, with SCRAM passwords; `keeps` says whether it waits for the disk."""

    def __init__(self, binaries: Path, root: Path, port: int, *, keeps: bool = False) -> None:
        super().__init__(root, port)
        self.binaries = binaries
        self.data = root / "data"
        self.options = ["fsync=on" if keeps else "fsync=off"]

    @classmethod
    def make(cls, *, keeps: bool = False, pem: Path | None = None) -> Self:
        """A new server in a temporary folder, not yet started; leaves the test out without one.

        With a certificate and its key in `pem` it speaks TLS with whoever wants to.
        """
        binaries = find_binaries()
        # Not pytest's folder: that is closed to the user the server runs as.
        root = Path(tempfile.mkdtemp(prefix="headrace-postgres-"))
        server = cls(binaries, root, free_port(), keeps=keeps)
        server._initialise()
        if pem is not None:
            server._use_tls(pem)
        return server

    def remove(self) -> None:
        """End it and delete its folder."""
        self.stop()
        shutil.rmtree(self.root, ignore_errors=True)

    def command(self) -> Sequence[str]:
        options = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=200",
            *self.options,
        ]
        settings = [part for option in options for part in ("-c", option)]
        postgres = [str(self.binaries / "postgres"), "-D", str(self.data), "-p", str(self.port)]
        return [*_as_its_user(), *postgres, *settings]

    def is_ready(self) -> bool:
        try:
            with self.connect(seconds=2):
                return True
        except psycopg.OperationalError:
            return False

    def stop(self) -> None:
        """Ends sessions at once; `SIGTERM` would wait for whoever is connected."""
        self._signal(signal.SIGCONT)
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self._wait()

    def url(self, database: str = "postgres") -> str:
        """As it would be in HEADRACE_DATABASE."""
        return f"postgresql://{USER}:{_ESCAPED}@127.0.0.1:{self.port}/{database}"

    def connect(
        self, database: str = "postgres", *, seconds: int = 10
    ) -> psycopg.Connection[tuple[object, ...]]:
        """A connection beside the one under test; every statement is a transaction."""
        return psycopg.connect(self.url(database), autocommit=True, connect_timeout=seconds)

    def make_database(self) -> str:
        """A fresh, empty database; its URL."""
        name = f"test_{next(_NUMBERS)}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def _initialise(self) -> None:
        password = self.root / "password"
        password.write_text(PASSWORD)
        _give_to_its_user(self.root, password)
        initdb = [str(self.binaries / "initdb"), "-D", str(self.data), "--no-sync"]
        options = ["-U", USER, f"--pwfile={password}", "-A", "scram-sha-256", "-E", "UTF8"]
        command = [*_as_its_user(), *initdb, *options, "--locale=C"]
        subprocess.run(command, cwd=self.root, check=True, capture_output=True, timeout=60)

    def _use_tls(self, pem: Path) -> None:
        copy = self.root / "server.pem"
        copy.touch(mode=0o600)
        copy.write_bytes(pem.read_bytes())
        _give_to_its_user(copy)
        self.options += ["ssl=on", f"ssl_cert_file={copy}", f"ssl_key_file={copy}"]

    def _signal(self, number: signal.Signals) -> None:
        # Each session is a process in a group of its own, and goes on while the first is stopped.
        if self.process is None or self.process.poll() is not None:
            return
        first = psutil.Process(self.process.pid)
        for process in [first, *first.children(recursive=True)]:
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                continue


def find_binaries() -> Path:
    """Where Debian keeps the newest version that is installed."""
    found = [path.parent for path in _PACKAGES.glob("*/bin/initdb")]
    if not found:
        leave_out("PostgreSQL", "install postgresql (Debian: apt-get install postgresql)")
    return max(found, key=lambda path: float(path.parent.name))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The one that tests share: fast, for it does not wait for the disk."""
    server = PostgresServer.make()
    try:
        yield server.start()
    finally:
        server.remove()


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """One to kill, freeze and start again."""
    server = PostgresServer.make(keeps=True)
    try:
        yield server.start()
    finally:
        server.remove()


def _account() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _give_to_its_user(*paths: Path) -> None:
    if os.geteuid() == 0:
        account = _account()
        for path in paths:
            os.chown(path, account.pw_uid, account.pw_gid)


def _as_its_user() -> list[str]:
    """PostgreSQL refuses to run as root; whoever else we are will do."""
    if os.geteuid() != 0:
        return []
    account = _account()
    return [
        "setpriv",
        f"--reuid={account.pw_uid}",
        f"--regid={account.pw_gid}",
        "--clear-groups",
    ]
