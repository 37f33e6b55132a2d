"""The requests that benchmarks send: events of about 360 bytes, singly and in batches of 1,000."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

import msgspec

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
EVENTS: Final = ("paywall_viewed", "app_opened", "screen_viewed", "feature_used", "level_up")


class Chance(Protocol):
    """What is needed of `random.Random`."""

    def randrange(self, stop: int, /) -> int: ...

    def getrandbits(self, bits: int, /) -> int: ...


def make_event(number: int, chance: Chance, at: datetime = START) -> dict[str, object]:
    """One event of about 360 bytes; every fifth type has no schema.

    10,000 devices of 5,000 people, two of three events after the login: links as in real use,
    where a device is linked once and then sends for long.
    """
    device = chance.randrange(10_000)
    return {
        "event": EVENTS[number % len(EVENTS)],
        "user_id": f"usr_{device // 2:08d}" if number % 3 else None,
        "anonymous_id": f"device-{device:012d}",
        "timestamp": (at + timedelta(milliseconds=number)).isoformat().replace("+00:00", "Z"),
        "properties": {
            "paywall_id": "pw_annual_v3",
            "offer_id": f"offer_intro_{number % 50}pct",
            "context": f"onboarding_step_{number % 7}",
            "app_version": "7.7.3",
            "platform": "ios",
            "locale": "en_IN",
            "experiment_arm": f"arm_{number % 4}",
            "session_id": f"{chance.getrandbits(64):016x}",
            "n": number,
        },
    }


def http(path: str, key: str, body: bytes, *, extra: str = "") -> bytes:
    """The bytes of one POST request."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    ).encode() + body


def singles(key: str, count: int = 2_000, at: datetime = START) -> list[bytes]:
    """Requests of one event each."""
    chance = random.Random(7)
    return [
        http("/v1/events", key, msgspec.json.encode(make_event(n, chance, at)))
        for n in range(count)
    ]


def batches(key: str, count: int = 20, size: int = 1_000, at: datetime = START) -> list[bytes]:
    """Requests of `size` events each."""
    chance = random.Random(8)
    numbers = itertools.count()
    return [
        http(
            "/v1/batch/events",
            key,
            msgspec.json.encode(
                {"events": [make_event(next(numbers), chance, at) for _ in range(size)]}
            ),
        )
        for _ in range(count)
    ]
