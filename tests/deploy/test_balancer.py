"""The load balancer's configuration, in a real HAProxy before made-up collectors."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Final

import pytest

from tests.deploy.tools import DEPLOY, find
from tests.services.ports import free_port
from tests.services.server import Server

CONFIGURATION: Final = DEPLOY / "haproxy" / "haproxy.cfg"
_PATIENCE_SECONDS: Final = 20.0


class Collector:
    """Answers as one does, ready or not, and remembers what it was asked."""

    def __init__(self, name: str) -> None:
        self.is_ready = True
        self.seen: list[tuple[str, str]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                # Before the answer: whoever has it may look at once.
                if self.path != "/readyz":
                    collector.seen.append((self.path, self.headers["X-Forwarded-For"] or ""))
                status = 200 if collector.is_ready or self.path != "/readyz" else 503
                self.send_response(status)
                self.send_header("Content-Length", str(len(name)))
                self.end_headers()
                self.wfile.write(name.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield
        finally:
            self.server.shutdown()
            thread.join()
            self.server.server_close()


class Balancer(Server):
    """HAProxy with our configuration; only addresses and the pace of checks are the test's."""

    def __init__(self, root: Path, port: int, collectors: Sequence[Collector]) -> None:
        super().__init__(root, port)
        text = CONFIGURATION.read_text().replace("bind :8080", f"bind 127.0.0.1:{port}")
        servers = "\n".join(
            f"    server c{each.port} 127.0.0.1:{each.port} check inter 200ms fall 2 rise 1"
            for each in collectors
        )
        text = re.sub(r"^ +server-template .*$", servers, text, flags=re.MULTILINE)
        # The pace is also a check's limit, unless there is another: this machine may be busy.
        text = text.replace("option httpchk\n", "option httpchk\n    timeout check 5s\n")
        self.file = root / "haproxy.cfg"
        self.file.write_text(text)

    def command(self) -> Sequence[str]:
        return [find("haproxy", "apt-get install haproxy"), "-db", "-f", str(self.file)]

    def is_ready(self) -> bool:
        return self.get("/v1/anything") is not None

    def get(self, path: str) -> tuple[int, bytes, dict[str, str]] | None:
        """Status, body and headers; None if nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read(), dict(answer.headers)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(), dict(error.headers)
        except OSError:
            return None

    def status(self, path: str) -> int:
        answer = self.get(path)
        return answer[0] if answer else 0


@pytest.fixture
def collectors() -> Iterator[list[Collector]]:
    """Two of them."""
    first, second = Collector("first"), Collector("second")
    with first.running(), second.running():
        yield [first, second]


@pytest.fixture
def balancer(tmp_path: Path, collectors: list[Collector]) -> Iterator[Balancer]:
    """One that runs before both."""
    find("haproxy", "apt-get install haproxy")
    with Balancer(tmp_path, free_port(), collectors) as server:
        yield server


def test_a_collector_that_is_not_ready_gets_nothing(
    balancer: Balancer, collectors: list[Collector]
) -> None:
    """It is left out while `/readyz` says no, and comes back by itself."""
    first, second = collectors
    first.is_ready = False
    _until(lambda: _who_answers(balancer) == {b"second"})
    first.is_ready = True
    _until(lambda: _who_answers(balancer) == {b"first", b"second"})
    assert second.seen


def test_without_a_ready_collector_clients_are_told_when_to_come_back(
    balancer: Balancer, collectors: list[Collector]
) -> None:
    """503 with `Retry-After`, in the collectors' own shape, readable for a browser's page."""
    for each in collectors:
        each.is_ready = False
    _until(lambda: balancer.status("/v1/events") == 503)
    answer = balancer.get("/v1/events")
    assert answer is not None
    status, body, headers = answer
    assert status == 503
    assert b'"error":"unavailable"' in body
    assert int(headers["retry-after"]) > 0
    assert headers["access-control-allow-origin"] == "*"


def test_figures_are_not_shown_to_the_outside(balancer: Balancer) -> None:
    """Prometheus asks each collector by itself."""
    assert balancer.status("/metrics") == 404
    _until(lambda: balancer.status("/livez") == 200)


def test_collectors_learn_where_a_request_came_from(
    balancer: Balancer, collectors: list[Collector]
) -> None:
    """By `X-Forwarded-For`, which they believe of HEADRACE_TRUSTED_PROXIES."""
    _until(lambda: balancer.status("/v1/events") == 200)
    seen = [address for each in collectors for _, address in each.seen]
    assert set(seen) == {"127.0.0.1"}


def test_collectors_are_found_by_their_name_in_the_compose_file() -> None:
    """As many as --scale makes, on the port they listen on."""
    text = CONFIGURATION.read_text()
    assert re.search(r"server-template collector \d+ collector:8080 .*resolvers containers", text)


def _who_answers(balancer: Balancer) -> set[bytes]:
    answers = [balancer.get("/v1/events") for _ in range(8)]
    return {answer[1] for answer in answers if answer is not None}


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.05)
