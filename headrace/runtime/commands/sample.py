"""`headrace sample`: events to try things with, as NDJSON that `headrace send` takes."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Annotated

import msgspec
from cyclopts import Parameter

from headrace.runtime.clock import SystemClock
from headrace.runtime.moments import parse_moment
from headrace.runtime.sampling import make_samples
from headrace.schemas.errors import HeadraceError


def sample(
    count: Annotated[int, Parameter(help="How many events.")] = 1_000,
    /,
    *,
    seed: Annotated[int, Parameter(help="Another seed, other people.")] = 1,
    days: Annotated[float, Parameter(help="How far back they go.")] = 7.0,
    end: Annotated[
        str | None, Parameter(help="The last one's time, ISO 8601; the same end, the same events.")
    ] = None,
) -> None:
    """Write made-up events of people who come without a name, sign up, and sometimes pay."""
    if count < 0 or not 0 < days < 3650:
        raise HeadraceError("give a count of 0 or more, and --days above 0 and below 3650")
    encoder = msgspec.json.Encoder()
    moment = _moment(end) if end else SystemClock().now().replace(microsecond=0)
    for event in make_samples(count, seed=seed, end=moment, days=days):
        sys.stdout.buffer.write(encoder.encode(event) + b"\n")
    sys.stdout.buffer.flush()


def _moment(text: str) -> datetime:
    try:
        return parse_moment(text)
    except ValueError as error:
        raise HeadraceError(f"--end {text!r} is no ISO 8601 time, such as 2026-01-31") from error
