"""What is said of a Redis before it is relied upon, and which URLs are taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.collector.redis.address import RedisAddress, read_redis_url
from headrace.collector.redis.report import inspect_redis
from headrace.schemas.errors import HeadraceError
from tests.services.ports import free_port
from tests.services.redis import RedisServer


async def test_a_good_server_has_no_problems(redis: RedisServer) -> None:
    """Its version, role and speed are told."""
    report = await inspect_redis(redis.url)
    assert report.is_reachable
    assert report.problems == []
    assert report.version.startswith(("Redis ", "Valkey "))
    assert (report.role, report.policy) == ("master", "noeviction")
    assert any("appendonly" in remark for remark in report.remarks)


async def test_a_server_that_keeps_a_file_is_told_apart(tmp_path: Path) -> None:
    """Then nothing needs to be remarked about it."""
    with RedisServer(tmp_path, appendonly=True) as server:
        report = await inspect_redis(server.url)
    assert report.persistence == "append-only file"
    assert not any("appendonly" in remark for remark in report.remarks)


async def test_eviction_is_a_problem(tmp_path: Path) -> None:
    """The sentence says what it must be."""
    with RedisServer(tmp_path, maxmemory_policy="allkeys-lru") as server:
        (problem,) = (await inspect_redis(server.url)).problems
    assert "allkeys-lru" in problem
    assert "noeviction" in problem


async def test_a_replica_is_a_problem(redis: RedisServer, tmp_path: Path) -> None:
    """It takes no writes."""
    primary = ["--replicaof", "127.0.0.1", str(redis.port)]
    with RedisServer(tmp_path, options=primary) as server:
        report = await inspect_redis(server.url)
    assert any(f"127.0.0.1:{redis.port}" in problem for problem in report.problems)


async def test_a_password_is_asked_for_and_never_told(tmp_path: Path) -> None:
    """Wrong, missing, right."""
    with RedisServer(tmp_path, options=["--requirepass", "p@ss/word"]) as server:
        right = server.url.replace("//", "//:p%40ss%2Fword@")
        assert (await inspect_redis(right)).problems == []
        for url in (server.url, right.replace("word", "wOrd")):
            report = await inspect_redis(url)
            assert not report.is_reachable
            assert f"redis://127.0.0.1:{server.port}/0" in report.problems[0]
            assert "ss" not in report.problems[0].replace("password", "")


async def test_nobody_there_is_a_problem_not_an_error() -> None:
    """The address is named."""
    port = free_port()
    report = await inspect_redis(f"redis://127.0.0.1:{port}")
    assert not report.is_reachable
    assert str(port) in report.problems[0]


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://host", RedisAddress("host", 6379)),
        ("redis://host:7000/3", RedisAddress("host", 7000, 3)),
        ("redis://:a%40b@host", RedisAddress("host", 6379, 0, None, "a@b")),
        ("rediss://u:p@host/1", RedisAddress("host", 6379, 1, "u", "p", tls=True)),
        ("rediss://host?ca=/etc/ca.pem", RedisAddress("host", 6379, tls=True, ca="/etc/ca.pem")),
    ],
)
def test_urls_that_are_taken(url: str, address: RedisAddress) -> None:
    """With and without TLS, user, password and database."""
    assert read_redis_url(url) == address
    assert "p@" not in str(address)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host:6379",
        "http://host",
        "unix:///run/redis.sock",
        "redis://",
        "redis://host:port",
        "redis://host/name",
        "redis://host/-1",
        "redis://host?ca=x",
        "rediss://host?timeout=1",
        "redis://host#x",
        "redis://:secret@host:99999",
    ],
)
def test_urls_that_are_refused(url: str) -> None:
    """In a sentence that says what it must be, without the password."""
    with pytest.raises(HeadraceError, match="must be redis://") as caught:
        read_redis_url(url)
    assert "secret" not in str(caught.value)


async def test_a_server_behind_tls(tmp_path: Path) -> None:
    """`rediss://`, with a certificate of one's own; another one is not believed."""
    pem = str(Path(__file__).parent.parent / "localhost.pem")
    port = free_port()
    tls = [
        *("--tls-port", str(port)),
        *("--tls-cert-file", pem),
        *("--tls-key-file", pem),
        *("--tls-ca-cert-file", pem),
        *("--tls-auth-clients", "no"),
    ]
    with RedisServer(tmp_path, options=tls):
        assert (await inspect_redis(f"rediss://localhost:{port}?ca={pem}")).problems == []
        assert not (await inspect_redis(f"rediss://localhost:{port}")).is_reachable
