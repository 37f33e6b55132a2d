"""Retries: the same answer, the same ids, nothing twice; and a mark where that is not sure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from headrace.collector.idempotency import LocalKeys
from headrace.eventlog.port import Batch, KeyRecord
from headrace.eventlog.sqlite.appender import SqliteAppender
from headrace.runtime.clock import ManualClock
from headrace.schemas.errors import HeadraceError, Overloaded, Unavailable
from headrace.schemas.event_ids import request_of
from headrace.schemas.records import MARK_RETRY, Header
from tests.collector.trial import BATCH, GOOD, NOW, ONE, Trial, problem

DAY = 24 * 3600
KEY = {"idempotency_key": "key-1"}
RECENT = {**GOOD, "timestamp": "2024-03-16T15:00:00Z"}
MIXED = {"events": [RECENT, 17, RECENT, {}, RECENT]}


@pytest.fixture
def old(trial: Trial) -> Trial:
    """A collector whose log has kept keys for more than a day."""
    trial.clock.advance(DAY + 60)
    return trial


def marks(trial: Trial) -> list[bytes | None]:
    return [record.headers.get(Header.MARK) for record in trial.log.records()]


async def test_the_same_again_gets_the_first_answer(old: Trial) -> None:
    """Word for word, marked as replayed, and nothing is appended."""
    first = await old.send(MIXED, **KEY)
    again = await old.send(MIXED, **KEY)
    assert first.status_code == again.status_code == 200
    assert first.content == again.content
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["ratelimit"] != first.headers["ratelimit"]
    assert len(old.log.records()) == 3
    assert marks(old) == [None, None, None]


async def test_a_single_event_is_replayed_too(old: Trial) -> None:
    """The other endpoint, the other shape."""
    answers = [await old.send(RECENT, ONE, **KEY) for _ in range(2)]
    assert answers[0].content == answers[1].content
    assert len(old.log.records()) == 1


async def test_ids_of_a_request_are_those_of_its_elements(old: Trial) -> None:
    """They share their beginning; refused elements leave gaps."""
    ids = (await old.send(MIXED, **KEY)).json()["event_ids"]
    assert len({request_of(each) for each in ids}) == 1
    assert [each[-2:] for each in ids] == ["00", "02", "04"]


async def test_the_same_key_with_another_body_is_422(old: Trial) -> None:
    """Whichever came first stays as it is."""
    await old.send(RECENT, ONE, **KEY)
    answer = await old.send({**RECENT, "event": "other"}, ONE, **KEY)
    assert (answer.status_code, problem(answer)) == (422, "idempotency_key_reused")
    assert len(old.log.records()) == 1


async def test_a_key_belongs_to_its_workspace_and_endpoint(old: Trial) -> None:
    """Others may use the same one for something else."""
    other = old.directory.create_key(old.directory.create_workspace("other"))
    ids = {
        (await old.send(RECENT, ONE, **KEY)).json()["event_id"],
        (await old.send(RECENT, ONE, key=other, **KEY)).json()["event_id"],
        (await old.send({"events": [RECENT]}, BATCH, **KEY)).json()["event_ids"][0],
    }
    assert len(ids) == 3
    assert len(old.log.records()) == 3


async def test_packing_a_retry_otherwise_does_not_make_it_another(old: Trial) -> None:
    """The digest is of the decompressed body."""
    import gzip
    import json

    body = json.dumps(RECENT).encode()
    await old.send(body, ONE, **KEY)
    again = await old.send(gzip.compress(body), ONE, content_encoding="gzip", **KEY)
    assert again.headers["idempotent-replayed"] == "true"


async def test_a_refused_request_leaves_the_key_free(old: Trial) -> None:
    """After a 4xx the mended body goes under the same key."""
    assert (await old.send({}, ONE, **KEY)).status_code == 400
    answer = await old.send(RECENT, ONE, **KEY)
    assert answer.status_code == 200
    assert marks(old) == [None]


async def test_a_batch_of_bad_events_keeps_its_key(old: Trial) -> None:
    """It was answered 200, so it is answered the same again."""
    answers = [await old.send({"events": [1]}, **KEY) for _ in range(2)]
    assert answers[1].headers["idempotent-replayed"] == "true"
    assert (await old.send(MIXED, **KEY)).status_code == 422


async def test_a_key_is_forgotten_after_24_hours(old: Trial) -> None:
    """Then it is a new request; if its events are as old as that, it is marked."""
    first = await old.send(RECENT, ONE, **KEY)
    old.clock.advance(DAY - 1)
    assert "idempotent-replayed" in (await old.send(RECENT, ONE, **KEY)).headers
    old.clock.advance(1)
    again = await old.send(RECENT, ONE, **KEY)
    assert "idempotent-replayed" not in again.headers
    assert again.json() == first.json()
    assert marks(old) == [None, MARK_RETRY]


async def test_an_emptied_answer_is_made_again(old: Trial) -> None:
    """What a person's erasure empties: the retry gets the same answer, and is marked."""
    first = await old.send(MIXED, **KEY)
    (record,) = old.log.keys.values()
    assert b"ws" in record.value
    old.log.keys[record.key] = KeyRecord(record.key, b"", record.expires_at)
    again = await old.send(MIXED, **KEY)
    assert again.json() == first.json()
    assert "idempotent-replayed" not in again.headers
    assert marks(old) == [None] * 3 + [MARK_RETRY] * 3
    assert "idempotent-replayed" in (await old.send(MIXED, **KEY)).headers


async def test_a_young_log_cannot_prove_a_first(trial: Trial) -> None:
    """What happened before it began is not known, so the records are marked."""
    await trial.send(GOOD, ONE, **KEY)
    trial.clock.advance(DAY - 1)
    await trial.send(RECENT, ONE, idempotency_key="key-2")
    trial.clock.advance(1)
    await trial.send(RECENT, ONE, idempotency_key="key-3")
    assert marks(trial) == [MARK_RETRY, MARK_RETRY, None]


async def test_an_old_first_event_is_marked(old: Trial) -> None:
    """Over 23 hours: the key may have been used and forgotten."""
    await old.send({"events": [{**GOOD, "timestamp": "2024-03-15T15:30:59Z"}, RECENT]}, **KEY)
    recent = {"events": [{**GOOD, "timestamp": "2024-03-15T15:31:01Z"}, GOOD]}
    await old.send(recent, idempotency_key="key-2")
    assert marks(old) == [MARK_RETRY, MARK_RETRY, None, None]


async def test_requests_without_a_key_are_never_marked(trial: Trial) -> None:
    """Their ids are new, so nobody can hold them already."""
    await trial.send(GOOD, ONE)
    assert marks(trial) == [None]


@pytest.mark.parametrize("stored", [True, False])
async def test_after_an_uncertain_try_the_next_is_marked(old: Trial, stored: bool) -> None:
    """503 `unavailable`: it may have been stored. The retry makes the same ids."""
    old.log.fail_appends(Unavailable("the disk does not answer"), stored=False)
    answer = await old.send(MIXED, **KEY)
    assert (answer.status_code, problem(answer)) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    lost = old.log.records()
    old.log.fail_appends(None)
    again = await old.send(MIXED, **KEY)
    assert again.status_code == 200
    assert "idempotent-replayed" not in again.headers
    assert marks(old)[len(lost) :] == [MARK_RETRY] * 3
    assert (await old.send(MIXED, **KEY)).headers["idempotent-replayed"] == "true"


async def test_what_an_uncertain_try_stored_after_all_is_replayed(old: Trial) -> None:
    """Events and key were committed together, though the answer was lost."""
    old.log.fail_appends(Unavailable("too slow"), stored=True)
    assert (await old.send(MIXED, **KEY)).status_code == 503
    old.log.fail_appends(None)
    again = await old.send(MIXED, **KEY)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json()["event_ids"] == [value.event_id for value in old.values()]


async def test_a_full_log_is_503_and_recovers(old: Trial) -> None:
    """`overloaded` means nothing was stored: the retry is a first, unmarked."""
    old.log.fail_appends(Overloaded("the log is full", retry_after=2.5))
    for headers in ({}, KEY):
        answer = await old.send(RECENT, ONE, **headers)
        assert (answer.status_code, problem(answer)) == (503, "overloaded")
        assert answer.headers["retry-after"] == "3"
        assert "the log is full" in answer.json()["message"]
        assert "ratelimit" in answer.headers
    async with old.client() as client:
        assert (await client.get("/readyz")).status_code == 503
        old.log.fail_appends(None)
        assert (await client.get("/readyz")).status_code == 200
    assert (await old.send(RECENT, ONE, **KEY)).status_code == 200
    assert marks(old) == [None]


class Gate:
    """An appender that holds appends back, and can lose its memory for keys."""

    def __init__(self, trial: Trial) -> None:
        self._appender = trial.log.appender()
        self.log_id = self._appender.log_id
        self.reached = asyncio.Event()
        self.open = asyncio.Event()
        self.recall_error: HeadraceError | None = None

    def append(self, batch: Batch, *, key_record: KeyRecord | None = None) -> asyncio.Future[None]:
        return asyncio.ensure_future(self._append(batch, key_record))

    async def _append(self, batch: Batch, key_record: KeyRecord | None) -> None:
        self.reached.set()
        await self.open.wait()
        await self._appender.append(batch, key_record=key_record)

    async def recall(self, key: bytes, now: Any) -> KeyRecord | None:
        if self.recall_error is not None:
            raise self.recall_error
        return await self._appender.recall(key, now)

    async def keys_since(self) -> Any:
        return await self._appender.keys_since()

    def is_writable(self) -> bool:
        return True

    async def stop(self) -> None:
        await self._appender.stop()


def gated(**parts: Any) -> tuple[Trial, Gate]:
    inner = Trial()
    gate = Gate(inner)
    trial = Trial(log=gate, clock=inner.clock, **parts)
    trial.log, trial.clock = inner.log, inner.clock
    trial.clock.advance(DAY + 60)
    return trial, gate


async def test_a_fault_of_the_log_leaves_the_key_free() -> None:
    """Also one that is raised before anything is waited for."""
    trial, gate = gated()
    gate.open.set()
    with mock.patch.object(gate, "append", side_effect=ZeroDivisionError):
        assert (await trial.send(MIXED, **KEY)).status_code == 500
    assert (await trial.send(MIXED, **KEY)).status_code == 200


async def test_while_the_first_runs_the_others_wait() -> None:
    """409 with Retry-After; then they get its answer."""
    trial, gate = gated()
    running = asyncio.create_task(trial.send(MIXED, **KEY))
    await gate.reached.wait()
    answer = await trial.send(MIXED, **KEY)
    assert (answer.status_code, problem(answer)) == (409, "idempotency_key_in_use")
    assert answer.headers["retry-after"] == "1"
    gate.open.set()
    first = await running
    assert (await trial.send(MIXED, **KEY)).content == first.content
    assert len(trial.log.records()) == 3


async def test_of_many_at_once_one_is_first() -> None:
    """The claim is atomic: one append, the others are told to come back."""
    trial, gate = gated()
    tasks = [asyncio.create_task(trial.send(MIXED, **KEY)) for _ in range(20)]
    await gate.reached.wait()
    for _ in range(50):
        await asyncio.sleep(0)
    gate.open.set()
    answers = await asyncio.gather(*tasks)
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 19
    assert len(trial.log.records()) == 3


async def test_of_many_retries_at_once_all_are_replayed(old: Trial) -> None:
    """Who only looks does not stand in the others' way."""
    first = await old.send(MIXED, **KEY)
    answers = await asyncio.gather(*(old.send(MIXED, **KEY) for _ in range(20)))
    assert [answer.content for answer in answers] == [first.content] * 20
    assert len(old.log.records()) == 3


async def test_a_cancelled_first_leaves_the_next_marked() -> None:
    """Its append may go on without it."""
    trial, gate = gated()
    running = asyncio.create_task(trial.send(MIXED, **KEY))
    await gate.reached.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    gate.open.set()
    assert (await trial.send(MIXED, **KEY)).status_code == 200
    assert marks(trial) == [MARK_RETRY] * 3


async def test_a_log_that_cannot_be_asked_marks() -> None:
    """Going on is better than refusing; the processor looks."""
    trial, gate = gated()
    gate.open.set()
    gate.recall_error = Unavailable("no answer")
    answer = await trial.send(MIXED, **KEY)
    assert answer.status_code == 200
    assert marks(trial) == [MARK_RETRY] * 3


async def test_a_collector_that_died_between_claim_and_append_blocks_nobody(old: Trial) -> None:
    """The claim died with it; another process on the same log goes on."""
    survivor = Trial(log=old.log.appender(), clock=old.clock)
    survivor.directory, survivor.key = old.directory, old.key
    survivor = _on(old)
    old.log.fail_appends(Unavailable("killed"))
    await old.send(MIXED, **KEY)
    old.log.fail_appends(None)
    answer = await survivor.send(MIXED, **KEY)
    assert answer.status_code == 200
    assert (await old.send(MIXED, **KEY)).content == answer.content
    assert len(old.log.records()) == 3


def _on(trial: Trial) -> Trial:
    """Another collector process on the same log and directory."""
    other = Trial(log=trial.log.appender(), directory=trial.directory, clock=trial.clock)
    other.log, other.key, other.clock = trial.log, trial.key, trial.clock
    return other


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ('"key-1"', "key-1"),
        ("key-1", "key-1"),
        ('"a \\" b"', 'a " b'),
        ("k" * 255, "k" * 255),
        ("8e03978e-40d5-43e8-bc93-6894a57f9324", "8e03978e-40d5-43e8-bc93-6894a57f9324"),
    ],
)
async def test_keys_are_quoted_or_bare(old: Trial, header: str, key: str) -> None:
    """Both mean the same key."""
    await old.send(RECENT, ONE, idempotency_key=header)
    again = await old.send(RECENT, ONE, idempotency_key=key if key[0] != '"' else header)
    assert "idempotent-replayed" in again.headers


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (b"", "has 0;"),
        (b'""', "has 0;"),
        (b"k" * 256, "has 256;"),
        (b'"' + b"k" * 256 + b'"', "has 256;"),
        (b"caf\xe9", "has others, too"),
        (b"tab\there", "has others, too"),
        (b'"open', "has a quote that does not end"),
        (b'"in"side"', "or one in it without a backslash"),
    ],
)
async def test_other_keys_are_400(old: Trial, header: bytes, why: str) -> None:
    """1 to 255 printable characters, and the answer says so and what is wrong with this one."""
    async with old.client() as client:
        answer = await client.post(ONE, json=RECENT, headers={b"Idempotency-Key": header})
    assert (answer.status_code, problem(answer)) == (400, "invalid_idempotency_key")
    assert why in answer.json()["message"]
    assert old.log.records() == []


async def test_what_is_kept_of_a_clean_batch_is_small(old: Trial) -> None:
    """A thousand ids are derived, not stored; many errors stay bounded."""
    await old.send({"events": [RECENT] * 1000}, **KEY)
    (kept,) = old.log.keys.values()
    assert len(kept.key) + len(kept.value) <= 1024
    await old.send({"events": [{"event": "x" * 5_000}] * 1000}, idempotency_key="bad")
    assert max(len(one.value) for one in old.log.keys.values()) < 300_000


async def test_uncertain_keys_are_bounded() -> None:
    """Past the bound every key counts as uncertain for a day; none is wrongly proved first."""
    clock = ManualClock(NOW)
    keys = LocalKeys(Trial().log.appender())
    for number in range(100_001):
        keys._remember_uncertain(b"%d" % number, clock.now())
    assert len(keys._uncertain) == 100_000
    assert keys._is_uncertain(b"0", clock.now())
    clock.advance(DAY)
    assert not keys._is_uncertain(b"0", clock.now())
    keys._remember_uncertain(b"late", clock.now())
    assert len(keys._uncertain) == 1


@pytest.fixture
async def restarting(tmp_path: Path) -> AsyncIterator[Any]:
    """Opens the SQLite log again and again, as a collector that restarts does."""
    clock = ManualClock(NOW)
    opened: list[SqliteAppender] = []

    async def restart() -> SqliteAppender:
        for appender in opened:
            await appender.stop()
        opened[:] = [
            SqliteAppender.open(
                tmp_path / "log.sqlite",
                positions=tmp_path / "positions.sqlite",
                clock=clock,
                max_bytes=1 << 30,
            )
        ]
        return opened[0]

    yield restart
    for appender in opened:
        await appender.stop()


async def test_a_retry_after_a_restart_is_replayed_from_the_log(restarting: Any) -> None:
    """Key and events lie in one transaction of the local log's file."""
    trial = Trial(log=await restarting())
    first = await trial.send(MIXED, **KEY)
    nothing = await trial.send({"events": [0]}, idempotency_key="key-2")
    later = Trial(log=await restarting(), directory=trial.directory)
    later.key = trial.key
    assert (await later.send(MIXED, **KEY)).content == first.content
    again = await later.send({"events": [0]}, idempotency_key="key-2")
    assert (again.content, again.headers["idempotent-replayed"]) == (nothing.content, "true")
    assert (await later.send(RECENT, ONE, idempotency_key="key-3")).status_code == 200
