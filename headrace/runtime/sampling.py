"""Events to try things with: people who come, look around, sign up and some of whom pay.

Owns the story; every event keeps to its schema of the shipped taxonomy. The same seed, count
and end give the same events. Memory does not grow with the count.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

_PEOPLE_AT_ONCE: Final = 60
_SIGN_UP: Final = 0.6
_RETURNING: Final = 0.15
"""Of those who come, so many have an account already, and a new device."""
_PLANS: Final = (("plan_monthly_usd", 9.99, "P1M"), ("plan_annual_usd", 59.99, "P1Y"))
_SCREENS: Final = ("home", "library", "search", "profile", "settings", "player")
_FEATURES: Final = ("export_pdf", "offline_mode", "sleep_timer", "share_list")
_OS: Final = (("ios", "18.3.1"), ("ios", "17.6"), ("android", "15"), ("android", "14"))
_PROPERTIES = dict[str, Any]


class SampleEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event in the shape that `headrace send` takes without options."""

    event: str
    timestamp: datetime
    anonymous_id: str
    user_id: str | None = None
    properties: dict[str, Any] = {}


def make_samples(
    count: int, *, seed: int, end: datetime, days: float = 7.0
) -> Iterator[SampleEvent]:
    """So many events, in the order of time, spread over the `days` before `end`."""
    chance = random.Random(seed)  # noqa: S311 - the same events for the same seed
    users: list[str] = []
    visits = [_visit(chance, users) for _ in range(_PEOPLE_AT_ONCE)]
    step = timedelta(days=days) / max(count, 1)
    for number in range(count):
        timestamp = end - step * (count - number)
        while True:
            place = chance.randrange(len(visits))
            told = next(visits[place], None)
            if told is not None:
                break
            visits[place] = _visit(chance, users)
        event, device, user, properties = told
        yield SampleEvent(event, timestamp, device, user, properties)


_Told = tuple[str, str, str | None, _PROPERTIES]


def _visit(chance: random.Random, users: list[str]) -> Iterator[_Told]:
    """One person on one device: without a name at first, with one once they sign up or log in."""
    device = str(uuid.UUID(int=chance.getrandbits(128), version=4))
    for event, properties in _arrive(chance):
        yield event, device, None, properties
    for event, properties in _look_around(chance):
        yield event, device, None, properties
    if users and chance.random() < _RETURNING:
        user = chance.choice(users)
        yield "login", device, user, {"method": "email", "success": True, "is_new_device": True}
    elif chance.random() < _SIGN_UP:
        user = f"usr_{chance.getrandbits(40):010x}"
        users[:] = [*users[-99:], user]
        yield "signup", device, user, {"method": chance.choice(("email", "google", "apple"))}
    else:
        return
    for _ in range(chance.randrange(1, 4)):
        for event, properties in _look_around(chance):
            yield event, device, user, properties
    for event, properties in _pay(chance):
        yield event, device, user, properties


def _arrive(chance: random.Random) -> Iterator[tuple[str, _PROPERTIES]]:
    os, version = chance.choice(_OS)
    device = {"app_version": "4.2.0", "os": os, "os_version": version}
    yield "app_opened", {**device, "launch_type": "cold", "launch_ms": chance.randrange(300, 2000)}
    for step in range(1, chance.randrange(2, 5)):
        seconds = round(chance.uniform(1, 30), 1)
        yield "onboarding_step", {"flow_id": "onb_v5", "step": step, "seconds_spent": seconds}


def _look_around(chance: random.Random) -> Iterator[tuple[str, _PROPERTIES]]:
    previous = "home"
    for _ in range(chance.randrange(1, 6)):
        screen = chance.choice(_SCREENS)
        yield "screen_viewed", {"screen": screen, "previous_screen": previous}
        previous = screen
        if chance.random() < 0.3:
            feature = chance.choice(_FEATURES)
            yield "feature_used", {"feature": feature, "screen": screen, "result": "ok"}


def _pay(chance: random.Random) -> Iterator[tuple[str, _PROPERTIES]]:
    plan, price, period = chance.choice(_PLANS)
    yield (
        "paywall_viewed",
        {"paywall_id": "pw_annual_v3", "plan_ids": [each[0] for each in _PLANS], "context": "home"},
    )
    if chance.random() < 0.5:
        return
    yield "trial_started", {"plan_id": plan, "trial_length_days": 7, "price": price}
    if chance.random() < 0.5:
        yield "trial_cancelled", {"plan_id": plan}
        return
    money = {"plan_id": plan, "price": price, "currency": "USD", "store": "app_store"}
    yield "subscription_started", {**money, "billing_period": period}
    yield "subscription_renewed", money
