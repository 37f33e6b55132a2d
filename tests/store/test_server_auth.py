"""Nobody gets in without credentials, in whichever way they are sent."""

from __future__ import annotations

import base64

import pytest

from tests.store.asking import basic, request
from tests.store.server_fixture import ANALYST, OPERATOR, PASSWORD, PROCESSOR, StoreServer

pytestmark = pytest.mark.node
QUERY = "/?query=SELECT%201"


@pytest.mark.parametrize("user", [ANALYST, OPERATOR, PROCESSOR])
def test_the_ways_in(two_workspaces: StoreServer, user: str) -> None:
    """Basic, ClickHouse's own headers, URL parameters."""
    key = {"X-ClickHouse-User": user, "X-ClickHouse-Key": PASSWORD}
    url = f"{QUERY}&user={user}&password={PASSWORD}"

    assert request(two_workspaces, "GET", QUERY, headers=basic(user)).body == b"1\n"
    assert request(two_workspaces, "GET", QUERY, headers=key).body == b"1\n"
    assert request(two_workspaces, "GET", url).body == b"1\n"


@pytest.mark.parametrize("path", ["/", QUERY, "/replicas_status", "/play", "/?query="])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_without_credentials_there_is_nothing(
    two_workspaces: StoreServer, method: str, path: str
) -> None:
    """401 with the server's code for a missing password."""
    answer = request(two_workspaces, method, path)

    assert (answer.status, answer.code) == (401, 194)
    assert answer.headers["www-authenticate"].startswith("Basic")


@pytest.mark.parametrize(
    "headers",
    [
        basic(ANALYST, "wrong"),
        basic(ANALYST, ""),
        basic(ANALYST, PASSWORD + " "),
        basic(ANALYST, PASSWORD.upper()),
        basic("nobody"),
        basic("", ""),
        basic("default", ""),
        basic("äöü", "pässwörd\U0001f600"),
        {"X-ClickHouse-User": ANALYST},
        {"X-ClickHouse-User": ANALYST, "X-ClickHouse-Key": "wrong"},
        {"X-ClickHouse-Key": PASSWORD, "X-ClickHouse-User": "nobody"},
        {"Authorization": "Bearer " + PASSWORD},
        {"Authorization": f"Bearer {ANALYST}:{PASSWORD}"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic " + base64.b64encode(b"\xff\xfe:x").decode()},
        {"Authorization": "Basic"},
        {"Authorization": "Digest username=analyst"},
        {**basic(ANALYST), "X-ClickHouse-User": ANALYST},
        {**basic(ANALYST), "X-ClickHouse-Key": PASSWORD},
    ],
)
def test_wrong_credentials_are_refused_alike(
    two_workspaces: StoreServer, headers: dict[str, str]
) -> None:
    """403 and code 516, whatever was wrong; no password is repeated."""
    answer = request(two_workspaces, "GET", QUERY, headers=headers)

    assert (answer.status, answer.code) == (403, 516), answer.text
    assert PASSWORD not in answer.text


def test_no_user_or_a_wrong_password_look_the_same(two_workspaces: StoreServer) -> None:
    """Only the name that was sent differs."""
    wrong = request(two_workspaces, "GET", QUERY, headers=basic(ANALYST, "wrong")).text
    nobody = request(two_workspaces, "GET", QUERY, headers=basic("nobody", "wrong")).text

    assert wrong.replace(ANALYST, "nobody") == nobody


def test_a_changed_directory_counts_at_once(two_workspaces: StoreServer) -> None:
    """Users come and go while the server runs."""
    users = two_workspaces.directory.users
    gone = users.pop(OPERATOR)
    try:
        assert request(two_workspaces, "GET", QUERY, headers=basic(OPERATOR)).status == 403
    finally:
        users[OPERATOR] = gone
    assert request(two_workspaces, "GET", QUERY, headers=basic(OPERATOR)).status == 200


def test_metrics_are_for_the_operator(two_workspaces: StoreServer) -> None:
    """They count all workspaces' queries."""
    for user, status in ((OPERATOR, 200), (PROCESSOR, 200), (ANALYST, 404)):
        answer = request(two_workspaces, "GET", "/metrics", headers=basic(user))
        assert answer.status == status
        assert (b"headrace_store_queries_total" in answer.body) == (status == 200)
    assert request(two_workspaces, "GET", "/metrics").status == 401
