"""The supervisor, with tiny real programs as children."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from headrace.runtime.child import EXIT_NEEDS_A_PERSON, CannotStart, Program
from headrace.runtime.clock import SystemClock
from headrace.runtime.node_state import ProcessState
from headrace.runtime.supervisor import Supervisor

PATIENCE = 20.0
WELL_BEHAVED = "print('ready', flush=True); sys.stdin.read()"
STUBBORN = (
    "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(99)"
)


def program(name: str, code: str, *arguments: str, grace_seconds: float = 10.0) -> Program:
    return Program(
        name=name,
        command=(sys.executable, "-c", f"import os, signal, sys, time\n{code}", *arguments),
        grace_seconds=grace_seconds,
    )


@contextlib.asynccontextmanager
async def running(
    *programs: Program, changed: Callable[[tuple[ProcessState, ...]], None] = lambda _: None
) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(programs, SystemClock(), changed)
    stop = asyncio.Event()
    task = asyncio.create_task(supervisor.run(stop))
    try:
        async with asyncio.timeout(PATIENCE):
            yield supervisor
            stop.set()
            await task
    finally:
        supervisor.hurry()
        stop.set()
        await asyncio.wait([task])


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


async def test_a_program_is_ready_when_it_says_so() -> None:
    """`ready` on standard output, and not the start alone, makes a program ready."""
    async with running(
        program("quick", WELL_BEHAVED), program("slow", "sys.stdin.read()")
    ) as supervisor:
        await until(lambda: supervisor.states()[0].ready)
        assert [state.ready for state in supervisor.states()] == [True, False]


async def test_what_is_killed_runs_again_within_two_seconds() -> None:
    """A killed program is started at once, under a new pid, and the restart is counted. One of
    three must be in time: what else the machine does may spoil some."""
    down_seconds: list[float] = []
    while min(down_seconds, default=2.0) >= 2.0:
        assert len(down_seconds) < 3, down_seconds
        down_seconds.append(await killed_once())


async def killed_once() -> float:
    """The seconds that a program was not there."""
    async with running(program("one", WELL_BEHAVED)) as supervisor:
        await supervisor.ready()
        (before,) = supervisor.states()
        assert before.pid is not None
        began = time.monotonic()
        os.kill(before.pid, signal.SIGKILL)
        await until(lambda: supervisor.states()[0].pid not in {before.pid, None})
        seconds = time.monotonic() - began
        await supervisor.ready()
        (after,) = supervisor.states()
        assert (before.died, after.died, after.restarts) == ("", "SIGKILL", 1)
        return seconds


async def test_what_dies_again_and_again_is_tried_on(tmp_path: Path) -> None:
    """A program that dies three times and then works is running in the end."""
    code = """
with open(sys.argv[1], 'a') as file:
    file.write('.')
if os.path.getsize(sys.argv[1]) <= 3:
    sys.exit(1)
print('ready', flush=True); sys.stdin.read()"""
    async with running(program("one", code, str(tmp_path / "starts"))) as supervisor:
        await supervisor.ready()
        (state,) = supervisor.states()
        assert (state.restarts, state.died) == (3, "exit code 1")


async def test_a_first_start_that_needs_a_person_ends_everything() -> None:
    """A program that says so with its exit code is not started again; the others are stopped."""
    seen: list[tuple[ProcessState, ...]] = []
    supervisor = Supervisor(
        [
            program("good", WELL_BEHAVED),
            program("bad", f"time.sleep(0.2); sys.exit({EXIT_NEEDS_A_PERSON})"),
        ],
        SystemClock(),
        seen.append,
    )
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(CannotStart, match="the bad cannot start"):
            await supervisor.run(asyncio.Event())
    assert [state.pid for state in supervisor.states()] == [None, None]
    assert max(state.restarts for states in seen for state in states) == 0


async def test_what_was_ready_once_is_restarted_whatever_it_says(tmp_path: Path) -> None:
    """The exit code that ends a first start does not end a node that ran."""
    code = f"""
print('ready', flush=True)
if not os.path.exists(sys.argv[1]):
    open(sys.argv[1], 'w').close()
    time.sleep(0.2)
    sys.exit({EXIT_NEEDS_A_PERSON})
sys.stdin.read()"""
    async with running(program("one", code, str(tmp_path / "second"))) as supervisor:
        await until(lambda: supervisor.states()[0].restarts == 1)
        await supervisor.ready()


async def test_programs_stop_one_after_the_other_in_reverse(tmp_path: Path) -> None:
    """The last program has ended before the one before it is asked to."""
    code = """
def end(*_):
    time.sleep(float(sys.argv[2]))
    with open(sys.argv[1], 'a') as file:
        file.write(sys.argv[3])
    os._exit(0)
signal.signal(signal.SIGTERM, end)
print('ready', flush=True)
while True:
    time.sleep(1)"""
    order = tmp_path / "order"
    async with running(
        program("a", code, str(order), "0", "a"),
        program("b", code, str(order), "0.1", "b"),
        program("c", code, str(order), "0.3", "c"),
    ) as supervisor:
        await supervisor.ready()
    assert order.read_text() == "cba"


async def test_who_does_not_end_in_time_is_ended() -> None:
    """A program that ignores SIGTERM is killed after its grace time."""
    async with running(program("one", STUBBORN, grace_seconds=0.1)) as supervisor:
        await supervisor.ready()
    assert supervisor.states()[0].pid is None


async def test_a_second_wish_to_end_hurries() -> None:
    """`hurry` ends what would have taken its time."""
    supervisor = Supervisor(
        [program("one", STUBBORN, grace_seconds=1000.0)], SystemClock(), lambda _: None
    )
    stop = asyncio.Event()
    task = asyncio.create_task(supervisor.run(stop))
    await supervisor.ready()
    stop.set()
    supervisor.hurry()
    async with asyncio.timeout(PATIENCE):
        await task


async def test_changes_are_told() -> None:
    """Whoever asked is told of every start, every readiness and every end."""
    seen: list[ProcessState] = []
    async with running(program("one", WELL_BEHAVED), changed=seen.extend) as supervisor:
        await supervisor.ready()
    assert [(state.pid is not None, state.ready) for state in seen] == [
        (True, False),
        (True, True),
        (False, False),
    ]


async def test_a_program_that_is_not_there_is_tried_again() -> None:
    """A command that cannot be run counts as a death, not as the end of the node."""
    missing = Program(name="one", command=("/nowhere/headrace",), grace_seconds=1.0)
    async with running(missing) as supervisor:
        await until(lambda: supervisor.states()[0].restarts >= 1)
