"""The events that the analysts' guide is tried on: a month that is made, and one that was recorded.

Owns what is sent. Who a person is, is worked out here in the plainest way, from the rules in
`docs/analysts.md`, so that the store's answer has something to be compared with.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from headrace.runtime.sampling import make_samples

RECORDED: Final = (
    Path(__file__).resolve().parents[3] / "shared" / "data" / "clickstream_mobile.ndjson.gz"
)
MARCH: Final = datetime(2026, 3, 1, tzinfo=UTC)
APRIL: Final = datetime(2026, 4, 1, tzinfo=UTC)
NOBODY: Final = ("", "null", "undefined")
_RECORDED_ON: Final = datetime(2025, 3, 15, tzinfo=UTC)
_RENAMED: Final = {
    "cold_launch": "app_opened",
    "warm_launch": "signup",
    "lifecycle_app": "paywall_viewed",
    "gesture_click": "feature_used",
    "session_start": "subscription_started",
    "test_user_ios": "usr_ada",
}
"""So that each question finds something: apps have other names for what they record."""


class Told(msgspec.Struct, frozen=True):
    """An event as it was sent, when it came, and whose it is."""

    event_id: str
    event: str
    timestamp: datetime
    received_at: datetime
    user_id: str
    anonymous_id: str
    properties: dict[str, Any]
    person_id: str = ""


def made() -> list[Told]:
    """A month of people who come back, sign up and pay; dates around it, late events, nobodies."""
    chance = random.Random(20_260_301)
    told = [event for number in range(70) for event in _person(chance, number)]
    told += [
        _told(
            sample.event,
            sample.timestamp,
            user=sample.user_id or "",
            device=sample.anonymous_id,
            properties=sample.properties,
        )
        for sample in make_samples(700, seed=3, end=MARCH + timedelta(days=26), days=0.6)
    ]
    told += [
        _told("app_opened", MARCH + timedelta(days=day, hours=4), user="null", device="undefined")
        for day in (3, 3, 17)
    ]
    return _identified(told)


def recorded() -> list[Told]:
    """What real apps sent, its first day moved to the first of March, some names changed."""
    told = []
    with gzip.open(RECORDED) as lines:
        for line in lines:
            event: dict[str, Any] = json.loads(line)
            ids = event["attribute"]
            told.append(
                _told(
                    _RENAMED.get(event["type"], event["type"]),
                    datetime.fromisoformat(event["timestamp"]) + (MARCH - _RECORDED_ON),
                    user=_RENAMED.get(user := ids.get("user_id") or "", user),
                    device=ids.get("installation_id") or "",
                    properties={
                        "feature": event["type"],
                        "paywall_id": ids.get("platform"),
                        "os": ids.get("os_name"),
                        "app_version": ids.get("app_version"),
                        "device": {"width": ids.get("device_width_px")},
                    },
                )
            )
    return _identified(told)


def links_of(events: Sequence[Told]) -> dict[str, Told]:
    """Device → the event that linked it: the first with both ids, by arrival."""
    links: dict[str, Told] = {}
    for event in sorted(events, key=lambda each: (each.received_at, each.event_id)):
        if event.user_id not in NOBODY and event.anonymous_id not in NOBODY:
            links.setdefault(event.anonymous_id, event)
    return links


def _identified(told: list[Told]) -> list[Told]:
    """Numbered in the order of arrival, each with its person."""
    told.sort(key=lambda each: (each.received_at, each.timestamp))
    numbered = [
        msgspec.structs.replace(event, event_id=f"evt_{number:026d}")
        for number, event in enumerate(told)
    ]
    links = links_of(numbered)
    return [msgspec.structs.replace(each, person_id=_person_of(each, links)) for each in numbered]


def _person_of(event: Told, links: dict[str, Told]) -> str:
    if event.user_id not in NOBODY:
        return event.user_id
    if event.anonymous_id in NOBODY:
        return ""
    link = links.get(event.anonymous_id)
    return link.user_id if link else event.anonymous_id


def _told(
    event: str,
    timestamp: datetime,
    *,
    user: str = "",
    device: str = "",
    properties: dict[str, Any] | None = None,
    delay: timedelta = timedelta(seconds=2),
) -> Told:
    return Told("", event, timestamp, timestamp + delay, user, device, properties or {})


def _person(chance: random.Random, number: int) -> Iterator[Told]:
    """The visits of one person over some weeks, at any hour of the day."""
    device = f"device_{number:02d}"
    user = "usr_ada" if number == 0 else f"usr_{number:02d}"
    at = MARCH + timedelta(days=chance.uniform(-3, 24), microseconds=number)
    signs_up_on_visit = chance.choice((0, 1, 1, 2, 9))
    name = ""
    for visit in range(chance.randrange(1, 9)):
        if visit >= 3 and number % 7 == 0:
            device = f"tablet_{number:02d}"
        visits = list(_visit(chance, at, name, device))
        if visit == signs_up_on_visit or (number == 0 and visit == 0):
            name = user
            at = visits[-1].timestamp + timedelta(seconds=chance.randrange(5, 600))
            visits.append(_told("signup", at, user=name, device=device))
            visits += _pay(chance, at, name, device)
        yield from visits
        at = visits[-1].timestamp + timedelta(hours=chance.choice((0.4, 0.6, 9, 30, 80, 170)))


def _visit(chance: random.Random, at: datetime, name: str, device: str) -> Iterator[Told]:
    late = chance.random() < 0.1
    delay = timedelta(hours=chance.choice((0.5, 3, 30, 70))) if late else timedelta(seconds=1)
    if chance.random() < 0.03:
        delay = timedelta(hours=-5)  # a clock that is ahead
    os, version = chance.choice((("ios", "4.2.0"), ("ios", "4.3.0"), ("android", "4.2.0")))
    properties: dict[str, Any] = {"os": os, "app_version": version, "device": {"width": 1206}}
    yield _told("app_opened", at, user=name, device=device, properties=properties, delay=delay)
    for _ in range(chance.randrange(5)):
        at += timedelta(seconds=chance.randrange(5, 2_400))
        feature = chance.choice(("export_pdf", "export_pdf", "offline_mode", None))
        used = {"feature": feature, "ok": True}
        yield _told("feature_used", at, user=name, device=device, properties=used, delay=delay)


def _pay(chance: random.Random, at: datetime, user: str, device: str) -> list[Told]:
    """A paywall or two, perhaps a trial, payments that a server tells of without a device."""

    def later(hours: float) -> datetime:
        nonlocal at
        at += timedelta(hours=chance.uniform(0.01, hours))
        return at

    paywall = {"paywall_id": chance.choice(("pw_a", "pw_b")), "plan_ids": ["monthly", "annual"]}
    told = [_told("paywall_viewed", later(1), user=user, device=device, properties=paywall)]
    if chance.random() < 0.3:
        return told
    plan, price = chance.choice((("monthly", 19.99), ("monthly", 10), ("annual", 1.15)))
    money: dict[str, Any] = {"plan_id": plan, "price": price}
    money["currency"] = chance.choice(("EUR", "USD"))
    if chance.random() < 0.1:
        money["environment"] = "sandbox"
    if chance.random() < 0.6:
        told.append(_told("trial_started", later(2), user=user, properties={"plan_id": plan}))
        if chance.random() < 0.5:
            told.append(_told("trial_cancelled", later(40), user=user))
            if chance.random() < 0.5:
                return told
    told.append(_told("subscription_started", later(200), user=user, properties=money))
    if chance.random() < 0.4:
        told.append(_told("subscription_renewed", later(200), user=user, properties=money))
    if chance.random() < 0.3:
        given_back = {"amount": price, "currency": money["currency"], "reason": "accident"}
        told.append(_told("refund", later(20), user=user, properties=given_back))
    if chance.random() < 0.3:
        bought = {"amount": 4.35, "price": 99, "currency": "EUR"}
        told.append(_told("purchase", later(20), user=user, properties=bought))
    return told
