"""What replicas need of inserts and reads, and a certificate that is looked at.

Replicas cannot be run here: their answers are played, the statements are the real ones.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from headrace.schemas.errors import Overloaded, Unavailable
from headrace.store import guarantees
from headrace.store.blocks import Insert, pack
from headrace.store.clickhouse import ClickHouseStore
from headrace.store.connection import Connection, Settings
from headrace.store.errors import QuorumBusy, classify
from headrace.store.guarantees import Inserts, guarantees_for
from headrace.store.migrate import migrate
from headrace.store.refresh import Identities
from tests.store.harness import LOG, event_row, link_row
from tests.store.server_fixture import PASSWORD, PROCESSOR, StoreServer

CERTIFICATE = Path(__file__).parents[1] / "collector" / "localhost.pem"
INSERT = pack("t", {"a": ("String", ["x"])})


class Replica(Connection):
    """Remembers statements with their settings; is busy so many times."""

    def __init__(self, busy: int = 0) -> None:
        super().__init__("http://127.0.0.1:1", "", "")
        self.busy = busy
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.entered: list[str] = []

    def rows(self, sql: str, *, settings: Settings | None = None) -> Sequence[Sequence[Any]]:
        self.told.append((sql, dict(settings or {})))
        return [("2026-01-01 00:00:00",)] if "now64" in sql else []

    def run(self, sql: str, *, settings: Settings | None = None) -> None:
        self.told.append((sql, dict(settings or {})))

    def insert(self, insert: Insert, *, settings: Settings) -> None:
        is_busy, self.busy = self.busy > 0, self.busy - 1
        if is_busy:
            raise QuorumBusy("busy")
        self.told.append((insert.partition(b"\n")[0].decode(), dict(settings)))


def test_another_quorums_insert_is_told_from_other_trouble() -> None:
    """Nothing was done, and it will be over soon."""
    error = classify("Quorum for previous write has not been satisfied yet", 286)
    assert isinstance(error, QuorumBusy)
    assert isinstance(error, Overloaded)


def test_a_busy_quorum_is_waited_out_with_the_same_token() -> None:
    """The range need not be doubted: nothing was done."""
    replica = Replica(busy=3)
    Inserts(replica, guarantees_for("events")).insert("t", INSERT, token="a token")
    [(_, settings)] = replica.told
    assert settings["insert_deduplication_token"] == "a token"
    assert settings["insert_quorum"] == "auto"


def test_a_quorum_that_stays_busy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller waits on, and hears whether the partition is still its own."""
    monkeypatch.setattr(guarantees, "_BUSY_SECONDS", 0.05)
    with pytest.raises(QuorumBusy):
        Inserts(Replica(busy=1_000), guarantees_for("events")).insert("t", INSERT)


def test_inserts_into_one_replicated_table_wait_for_one_another() -> None:
    """Side by side they would refuse one another."""

    class Slow(Replica):
        def insert(self, insert: Insert, *, settings: Settings) -> None:
            self.entered.append("an insert")
            assert len(self.entered) == 1
            go_on.wait(0.05)
            super().insert(insert, settings=settings)
            self.entered.remove("an insert")

    go_on = threading.Event()
    replica = Slow()
    inserts = Inserts(replica, guarantees_for("events"))
    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(inserts.insert, "t", INSERT) for _ in range(4)]:
            done.result()
    assert len(replica.told) == 4


async def test_a_cluster_is_asked_for_what_a_majority_has() -> None:
    """Every read, every insert; links in whatever order."""
    replica, links = Replica(), Replica()
    store = ClickHouseStore(replica, links, "headrace", guarantees_for("events"))
    await store.held_positions(LOG, 0, 1, 2)
    await store.insert_events([event_row(1)], token="t")
    await store.insert_links([link_row("device", "alice")])
    await store.stop()
    (_, read), (_, insert) = replica.told
    [(_, link)] = links.told
    assert read["select_sequential_consistency"] == 1
    assert (insert["insert_quorum"], insert["insert_quorum_parallel"]) == ("auto", 0)
    assert (link["insert_quorum"], link["insert_quorum_parallel"]) == ("auto", 1)


async def test_all_replicas_load_all_identities_and_one_the_recent_ones() -> None:
    """The others load the recent ones by themselves; the moment is noted for the cluster."""
    replica = Replica()

    async def at_once(call: Any, *args: Any) -> Any:
        return call(*args)

    identities = Identities(replica, "headrace", at_once, cluster="events")
    await identities.load_all()
    statements = [sql for sql, _ in replica.told]
    assert (
        "SYSTEM RELOAD DICTIONARY ON CLUSTER `events` `headrace`.identity_links_all" in statements
    )
    assert "SYSTEM RELOAD DICTIONARY `headrace`.identity_links_recent" in statements
    assert any("SELECT 'events', toDateTime64('2026-01-01 00:00:00'" in each for each in statements)


# https


class TlsEnd:
    """TLS in front of a server, as a proxy or the server itself would speak it."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(CERTIFICATE)
        self._listening = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._listening.getsockname()[1]}"

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with (
            suppress(OSError),
            self._context.wrap_socket(plain, server_side=True) as client,
            socket.create_connection(("127.0.0.1", self._to)) as server,
        ):
            back = threading.Thread(target=_pump, args=(server, client), daemon=True)
            back.start()
            _pump(client, server)
            back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(1 << 16):
            sink.sendall(piece)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def tls(module_server: StoreServer) -> Iterator[TlsEnd]:
    end = TlsEnd(module_server.port)
    yield end
    end.close()


def test_a_certificate_nobody_vouches_for_is_refused(tls: TlsEnd) -> None:
    """A password is not sent to whoever answers."""
    with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
        migrate(tls.url, PROCESSOR, PASSWORD, "over_tls")


def test_a_certificate_that_is_trusted_will_do(
    tls: TlsEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An authority of one's own is named as for other programs."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    assert migrate(tls.url, PROCESSOR, PASSWORD, "over_tls")
    assert migrate(tls.url, PROCESSOR, PASSWORD, "over_tls") == []
