"""The processor's own page: alive, ready and why not, metrics."""

from __future__ import annotations

import asyncio

import httpx2
import pytest

from headrace.collector.listening import CannotListen
from headrace.processor.failpoints import Point
from headrace.runtime.processor_server import checks_of, processor_served, remarks_of
from headrace.runtime.setting_text import Address
from headrace.schemas.errors import Unavailable
from tests.processor.trial import Crash, Freeze, Trial, crash_at, finish, until

ANYWHERE = Address("127.0.0.1", 0)


async def get(address: Address, path: str) -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=address.url, trust_env=False) as client:
        return await client.get(path)


async def test_a_processor_says_what_it_is_at() -> None:
    """Ready while it moves; when it has waited too long it says for what, and lives."""
    trial = Trial()
    await trial.append(trial.make_event())
    trial.store.fail("insert_events", error=Unavailable("the store is away"), times=1_000_000)
    processor = trial.processor()
    checks, remarks = checks_of(processor), remarks_of(processor)
    async with processor_served(ANYWHERE, checks, remarks) as address:
        run = asyncio.create_task(processor.run())
        await until(lambda: "insert_events" in trial.store.calls)
        assert (await get(address, "/readyz")).json() == {"status": "ok"}
        assert (await get(address, "/readyz?verbose")).json() == {
            "status": "ok",
            "checks": {"moving": True, "whole": True},
            "remarks": {"partitions": "0", "waits_for": "nothing"},
        }
        trial.clock.advance(16)
        stuck = await get(address, "/readyz")
        assert stuck.status_code == 503
        assert stuck.json() == {
            "status": "not ready",
            "checks": {"moving": False, "whole": True},
            "remarks": {
                "partitions": "0",
                "waits_for": "partition 0: write, 16 s: the store is away",
            },
        }
        assert (await get(address, "/livez")).json() == {"status": "ok"}
        text = (await get(address, "/metrics")).text
        assert 'headrace_ready{check="moving"} 0.0' in text
        assert 'headrace_lag_records{partition="0"} 1.0' in text
        trial.store._faults.clear()
        await until(trial.is_settled)
        await finish(run, processor)


async def test_a_processor_that_failed_is_not_ready() -> None:
    """Until it ends, which it does as soon as its other workers have."""
    trial = Trial(partitions=2)
    for key in (b"a", b"b", b"c", b"d"):
        await trial.append(trial.make_event(), key=key)
    assert all(len(partition.records) for partition in trial.log.partitions)
    freeze, crash = Freeze(Point.PREPARED), crash_at(Point.ANNOUNCED)

    async def fail_point(point: Point) -> None:
        await freeze(point)
        await crash(point)

    processor = trial.processor(fail_point=fail_point)
    run = asyncio.create_task(processor.run())
    await until(lambda: not processor.is_whole())
    async with processor_served(ANYWHERE, checks_of(processor), {}) as address:
        answer = await get(address, "/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["whole"] is False
    freeze.thawed.set()
    with pytest.raises(Crash):
        await run


async def test_an_address_that_is_taken_is_named_with_the_setting() -> None:
    """Whoever reads it knows what to change."""
    async with processor_served(ANYWHERE, {}, {}) as address:
        with pytest.raises(CannotListen, match=r"the processor cannot listen .* HEADRACE_PROC"):
            async with processor_served(address, {}, {}):
                pass


async def test_there_is_nothing_else() -> None:
    """A stranger's path is 404, and the page ends with its block."""
    async with processor_served(ANYWHERE, {}, {}) as address:
        assert (await get(address, "/v1/events")).status_code == 404
    with pytest.raises(httpx2.ConnectError):
        await get(address, "/livez")
