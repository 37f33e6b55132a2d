"""The image: what its Dockerfile says, checked without an engine to build it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import PackageNotFoundError, requires
from threading import Thread
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.healthy import address_to_ask, is_alive
from headrace.runtime.settings import read_settings
from tests.deploy.tools import DEPLOY, ROOT

TEXT: Final = (DEPLOY / "Dockerfile").read_text()
LINES: Final = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", TEXT, flags=re.MULTILINE)).splitlines()

KEPT_ALL_THE_SAME: Final = {"tzdata"}
"""Time zones by name: the slim base image has none of its own."""


def instructions(name: str) -> list[str]:
    """What follows an instruction's name, for each of them."""
    return [line.split(maxsplit=1)[1] for line in LINES if line.startswith(f"{name} ")]


def needed_by(name: str, extra: str = "") -> set[str]:
    """The packages that a package needs here, directly and indirectly."""
    found: set[str] = set()
    waiting = [(name, extra)]
    while waiting:
        package, wanted = waiting.pop()
        try:
            texts = requires(package) or []
        except PackageNotFoundError:  # for another platform
            continue
        for requirement in map(Requirement, texts):
            marker = requirement.marker
            if marker is not None and not marker.evaluate({"extra": wanted}):
                continue
            one = canonicalize_name(requirement.name)
            if one not in found:
                found.add(one)
                waiting += [(one, each) for each in (requirement.extras or {""})]
    return found


def test_the_process_is_not_root() -> None:
    """A user of its own, by number, so that Kubernetes can see it too."""
    assert instructions("USER") == ["10001:10001"]
    assert "--uid 10001" in TEXT


def test_the_base_is_a_named_version_that_the_project_supports() -> None:
    """The Python that the tests run on, slim."""
    bases = {base.split()[0] for base in instructions("FROM")}
    stages = {base.split()[2] for base in instructions("FROM")}
    assert bases - stages == {"python:3.11-slim-bookworm"}


def test_only_locked_packages_get_in() -> None:
    """Every install from outside demands hashes and takes no dependencies of its own."""
    installs = [line for line in instructions("RUN") if " install " in line and "pip" in line]
    assert installs
    for line in installs:
        assert "--no-deps" in line
        assert "--require-hashes" in line or "--no-build-isolation ." in line


def test_what_is_copied_exists_and_is_let_through() -> None:
    """.dockerignore keeps everything back but what the Dockerfile names."""
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignore
    for copied in instructions("COPY"):
        if copied.startswith("--from="):
            continue
        for source in copied.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in ignore, source


def test_the_last_stage_is_the_small_one_and_the_command_is_headrace() -> None:
    """`docker build` without more makes the image for several machines."""
    assert instructions("FROM")[-1] == "base AS distributed"
    assert instructions("ENTRYPOINT") == ['["headrace"]']
    assert len(instructions("HEALTHCHECK")) == 1


def test_headrace_takes_the_settings_of_the_image() -> None:
    """Each exists, and listens where the outside can reach it."""
    found = dict(re.findall(r"(HEADRACE_\w+)=(\S+)", " ".join(instructions("ENV"))))
    settings = read_settings(found)
    assert str(settings.listen) == "0.0.0.0:8080"
    assert str(settings.processor_listen) == "0.0.0.0:9090"


def test_the_small_image_lacks_exactly_what_chdb_alone_needs() -> None:
    """Nothing is taken away that the collector or the processor imports."""
    taken = next(line for line in instructions("RUN") if "uninstall" in line and "chdb" in line)
    names = set(taken.partition("--yes")[2].split())
    others = {
        name
        for each in requires("headrace") or []
        if "extra ==" not in each
        if (name := canonicalize_name(Requirement(each).name)) != "chdb"
    }
    kept = others.union(*map(needed_by, others))
    assert names & kept == set()
    assert names | kept | KEPT_ALL_THE_SAME >= needed_by("chdb")


def test_traces_add_exactly_the_extra_and_what_it_needs() -> None:
    """By the lines of the lock file that the pattern picks."""
    pattern = re.search(r"keep = /(.+?)/}", TEXT)
    assert pattern is not None
    lock = (ROOT / "requirements-dev.lock").read_text()
    picked = {
        match[1]
        for line in lock.splitlines()
        if re.match(pattern[1], line) and (match := re.match(r"([a-z0-9-]+)==", line))
    }
    extra = {
        canonicalize_name(Requirement(each).name)
        for each in requires("headrace") or []
        if "extra == 'traces'" in each.replace('"', "'")
    }
    assert extra
    assert picked == (extra.union(*map(needed_by, extra))) - needed_by("headrace")


@pytest.mark.parametrize(
    ("command", "environment", "url"),
    [
        (["python", "/bin/headrace", "collector"], {}, "http://127.0.0.1:8080/livez"),
        (
            ["headrace", "collector"],
            {"HEADRACE_LISTEN": "0.0.0.0:8443", "HEADRACE_TLS_CERTIFICATE": "/tls/a.pem"},
            "https://127.0.0.1:8443/livez",
        ),
        (["headrace", "up"], {"HEADRACE_LISTEN": "[::]:80"}, "http://127.0.0.1:80/livez"),
        (
            ["headrace", "processor"],
            {"HEADRACE_PROCESSOR_LISTEN": "0.0.0.0:9090"},
            "http://127.0.0.1:9090/livez",
        ),
        (["headrace", "processor"], {}, None),
        (["headrace", "migrate"], {"HEADRACE_LISTEN": "0.0.0.0:8080"}, None),
    ],
)
def test_the_health_check_asks_the_process_of_its_container(
    command: list[str], environment: dict[str, str], url: str | None
) -> None:
    """A collector and a processor are asked where they listen; what ends by itself is not."""
    assert address_to_ask(command, environment) == url


@pytest.fixture
def answering() -> Iterator[tuple[str, type[BaseHTTPRequestHandler]]]:
    """A server whose answers a test chooses."""

    class Answer(BaseHTTPRequestHandler):
        status = 200

        def do_GET(self) -> None:
            self.send_response(self.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/livez", Answer
    server.shutdown()
    thread.join()
    server.server_close()


def test_alive_is_who_answers_with_a_success(
    answering: tuple[str, type[BaseHTTPRequestHandler]],
) -> None:
    """An error is no life, and neither is nobody."""
    url, answer = answering
    assert is_alive(url)
    answer.status = 503  # type: ignore[attr-defined]
    assert not is_alive(url)
    assert not is_alive("http://127.0.0.1:9/livez")
