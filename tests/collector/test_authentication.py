"""Keys: who may send, what the others learn, and peers that keep failing."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from headrace.collector.authentication import LONGEST_DELAY_SECONDS, FailingPeers
from headrace.collector.requests import Incoming, by_name, networks, peer_of
from headrace.workspaces.keys import make_key
from tests.collector.trial import GOOD, NOW, ONE, REPLAY, Trial, problem

pytestmark = pytest.mark.usefixtures("both_ways")


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "missing_key"),
        (b"", "missing_key"),
        (b"Bearer", "missing_key"),
        (b"Bearer ", "missing_key"),
        (b"Bearer hrk_short", "invalid_key"),
        (b"Basic aHJrOng=", "missing_key"),
        (b"Bearer " + make_key().encode(), "invalid_key"),
        (b"Bearer \xff\xfe\x80", "invalid_key"),
        (b"Bearer " + b"k" * 5_000, "invalid_key"),
    ],
)
async def test_without_a_key_of_ours_it_is_401(
    trial: Trial, header: bytes | None, code: str
) -> None:
    """Bytes of any kind are just no key; the challenge says what is wanted."""
    async with trial.client() as client:
        del client.headers["authorization"]
        headers = {} if header is None else {b"Authorization": header}
        answer = await client.post(ONE, json=GOOD, headers=headers)
    assert (answer.status_code, problem(answer)) == (401, code)
    assert answer.headers["www-authenticate"].startswith('Bearer realm="headrace"')
    assert trial.log.records() == []


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER "])
async def test_the_scheme_is_read_in_any_case(trial: Trial, scheme: str) -> None:
    """RFC 9110 says so, and clients do it."""
    async with trial.client() as client:
        headers = {"Authorization": f"{scheme} {trial.key}"}
        assert (await client.post(ONE, json=GOOD, headers=headers)).status_code == 200


async def test_a_revoked_key_is_refused_at_once(trial: Trial) -> None:
    """Its holder learns why; no grace."""
    assert (await trial.send(GOOD, ONE)).status_code == 200
    trial.directory.revoke_key(trial.key)
    answer = await trial.send(GOOD, ONE)
    assert (answer.status_code, problem(answer)) == (401, "revoked_key")
    assert trial.key not in answer.text


async def test_a_key_ends_with_its_expiry(trial: Trial) -> None:
    """To the moment."""
    key = trial.directory.create_key(trial.workspace, expires_at=NOW + timedelta(seconds=5))
    assert (await trial.send(GOOD, ONE, key=key)).status_code == 200
    trial.clock.advance(5)
    answer = await trial.send(GOOD, ONE, key=key)
    assert (answer.status_code, problem(answer)) == (401, "expired_key")


async def test_a_key_needs_the_scope(trial: Trial) -> None:
    """An admin key does not ingest, an ingest key does not replay."""
    for path, key in ((ONE, trial.admin_key()), (REPLAY, trial.key)):
        answer = await trial.send(GOOD, path, key=key)
        assert (answer.status_code, problem(answer)) == (403, "missing_scope")
        assert "insufficient_scope" in answer.headers["www-authenticate"]


async def test_a_use_is_noted(trial: Trial) -> None:
    """For `keys list`; a refused key's is not."""
    found = trial.directory.find_key(trial.key)
    assert found is not None
    await trial.send(GOOD, ONE)
    assert trial.directory.uses == {found.id: NOW}


def test_a_peer_that_keeps_failing_waits_longer_and_longer() -> None:
    """The first failures are free; after a quiet minute they are again."""
    peers = FailingPeers(free_failures=3)
    delays = [peers.delay("peer", 0.0) for _ in range(12)]
    assert delays[:3] == [0, 0, 0]
    assert delays[3:] == sorted(delays[3:])
    assert delays[3] > 0
    assert delays[-1] == LONGEST_DELAY_SECONDS
    assert peers.delay("other", 0.0) == 0
    assert peers.delay("peer", 61.0) == 0


def test_failing_peers_are_bounded() -> None:
    """A flood from everywhere is not remembered without end."""
    peers = FailingPeers(max_peers=100)
    for number in range(1_000):
        peers.delay(f"peer{number}", 0.0)
    assert len(peers) == 100


async def test_a_refusal_is_held_back_and_a_good_key_is_not(trial: Trial) -> None:
    """From an address that fails all the time: the refusal waits, the good key overtakes it."""
    # So many that the next one waits for 1.6 s, on a machine that may be busy.
    await asyncio.gather(*(trial.send(GOOD, ONE, key="hrk_wrong") for _ in range(14)))
    refused = asyncio.create_task(trial.send(GOOD, ONE, key="hrk_wrong"))
    await asyncio.sleep(0)
    for _ in range(3):
        assert (await trial.send(GOOD, ONE)).status_code == 200
    assert not refused.done()
    assert (await refused).status_code == 401


@pytest.mark.parametrize(
    ("client", "forwarded", "peer"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["1.2.3.4"], "203.0.113.9"),
        ("10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6, 1.2.3.4, 10.0.0.2"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6", "1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["nonsense"], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", [], "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.9", [], "203.0.113.9"),
        ("", [], "unknown"),
    ],
)
def test_forwarded_addresses_are_believed_from_trusted_proxies_only(
    client: str, forwarded: list[str], peer: str
) -> None:
    """What is left of the last trusted hop is anybody's claim."""
    headers = by_name([(b"x-forwarded-for", value.encode()) for value in forwarded])
    request = Incoming("POST", ONE, b"", headers, client)
    assert peer_of(request, networks(["10.0.0.0/8"])) == peer
