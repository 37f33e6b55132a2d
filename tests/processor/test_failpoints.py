"""Fail points as the environment names them: a whole process dies there."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys

import pytest

from headrace.processor.failpoints import Point, pass_by, read_fail_point

PASSES = """
import asyncio, sys
from headrace.processor.failpoints import Point, read_fail_point
fail_point = read_fail_point(sys.argv[1])
async def work():
    for name in sys.argv[2:]:
        await fail_point(Point(name))
        print(name, flush=True)
asyncio.run(work())"""


def passed(text: str, *points: str) -> tuple[int, list[str]]:
    """How a process ended that passes these points, and which of them it got past."""
    done = subprocess.run(
        [sys.executable, "-c", PASSES, text, *points], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout.split()


def test_a_process_is_killed_where_it_passes_its_fail_point() -> None:
    """Without a word and without a chance to tidy up."""
    assert passed("announced", "prepared", "announced", "written") == (
        -signal.SIGKILL,
        ["prepared"],
    )


def test_it_may_die_later_than_at_the_first_pass() -> None:
    """`<point>:3` lets it pass there twice."""
    points = ["written", "committed"] * 3
    assert passed("written:3", *points) == (-signal.SIGKILL, points[:4])


def test_without_a_fail_point_nothing_happens() -> None:
    """The setting's default."""
    assert read_fail_point("") is pass_by


@pytest.mark.parametrize(
    "text",
    ["nowhere", "announced:0", "announced:", "announced:-1", "announced:x", "ANNOUNCED", ":1"],
)
def test_a_point_that_does_not_exist_is_refused_with_those_that_do(text: str) -> None:
    """Whoever mistypes one is told all of them."""
    with pytest.raises(ValueError, match="expected <point> or <point>:<n>") as caught:
        read_fail_point(text)
    assert all(point in str(caught.value) for point in Point)


async def test_other_points_are_passed_by() -> None:
    """Only the one that is named kills."""
    fail_point = read_fail_point("written")
    await asyncio.gather(*(fail_point(point) for point in Point if point is not Point.WRITTEN))
