"""What each question of `docs/analysts.md` must be answered: plain Python over the same events.

One function a question, in the page's order; it gets all events and returns the rows.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from tests.store.guide_events import APRIL, MARCH, Told, links_of

Rows = list[tuple[Any, ...]]
_BERLIN: Final = ZoneInfo("Europe/Berlin")
_DAY: Final = timedelta(days=1)


def active_each_day(events: Sequence[Told]) -> Rows:
    days: dict[date, list[str]] = {date(2026, 3, day): [] for day in range(1, 32)}
    for event in people(events):
        day = event.timestamp.astimezone(_BERLIN).date()
        if day in days:
            days[day].append(event.person_id)
    return [(day, len(set(persons)), len(persons)) for day, persons in days.items()]


def back_within_a_week(events: Sequence[Told]) -> Rows:
    active = defaultdict(set)
    for event in people(in_march(events)):
        active[event.timestamp.date()].add(event.person_id)
    rows: Rows = []
    for day in (date(2026, 3, number) for number in range(7, 32)):
        weekly = set().union(*(active[day - _DAY * age] for age in range(7)))
        if weekly:
            share = rounded(len(active[day]) / len(weekly), 3)
            rows.append((day, len(active[day]), len(weekly), share))
    return rows


def new_and_returning(events: Sequence[Told]) -> Rows:
    weeks, first = weeks_of_people(events)
    rows: Rows = []
    for week in FOUR_WEEKS:
        here = [person for person, active in weeks.items() if week in active]
        new = sum(first[person] == week for person in here)
        if here:
            rows.append((week, len(here), new, len(here) - new))
    return rows


def funnel(events: Sequence[Told]) -> Rows:
    steps = ("app_opened", "signup", "paywall_viewed", "subscription_started")
    names = ("opened", "signed up", "saw a paywall", "subscribed")
    reached = [_steps_done(mine, steps) for mine in by_person(in_march(events)).values()]
    people = [sum(done >= step for done in reached) for step in (1, 2, 3, 4)]
    return [
        (step, name, count, rounded(count / max(people), 3))
        for step, name, count in zip((1, 2, 3, 4), names, people, strict=True)
    ]


def _steps_done(mine: Iterable[Told], steps: Sequence[str]) -> int:
    """The most steps in order, within seven days of a first one, in whole seconds."""
    moments = sorted(
        (event.timestamp.replace(microsecond=0), steps.index(event.event))
        for event in mine
        if event.event in steps
    )
    most = 0
    for begin, (start, step) in enumerate(moments):
        if step == 0:
            done = 1
            for at, which in moments[begin:]:
                if done < len(steps) and which == done and at <= start + 7 * _DAY:
                    done += 1
            most = max(most, done)
    return most


def paywalls(events: Sequence[Told]) -> Rows:
    seen: Counter[str] = Counter()
    bought: Counter[str] = Counter()
    for mine in by_person(in_march(events)).values():
        views = [event for event in mine if event.event == "paywall_viewed"]
        if views:
            first = min(views, key=lambda event: event.timestamp)
            paywall = first.properties.get("paywall_id") or ""
            seen[paywall] += 1
            bought[paywall] += any(
                event.event == "subscription_started"
                and first.timestamp <= event.timestamp < first.timestamp + 7 * _DAY
                for event in mine
            )
    return [
        (paywall, count, bought[paywall], rounded(bought[paywall] / count, 3))
        for paywall, count in most_first(seen)
    ]


def time_to_subscribe(events: Sequence[Told]) -> Rows:
    signed_up = 0
    seconds = []
    for mine in by_person(events).values():
        since = min((each.timestamp for each in mine if each.event == "signup"), default=None)
        if since is None or not MARCH <= since < APRIL:
            continue
        signed_up += 1
        sales = [each.timestamp for each in mine if each.event == "subscription_started"]
        if sales and min(sales) >= since:
            seconds.append((min(sales) - since) // timedelta(seconds=1))
    hours = [
        rounded(exact_quantile(seconds, level) / 3600, 2) if seconds else None
        for level in (0.5, 0.9)
    ]
    return [(signed_up, len(seconds), *hours)]


def retention(events: Sequence[Told]) -> Rows:
    weeks, _ = weeks_of_people(events)
    here = [active for active in weeks.values() if FOUR_WEEKS[0] in active]
    return [tuple(sum(week in active for active in here) for week in FOUR_WEEKS)]


def cohorts(events: Sequence[Told]) -> Rows:
    weeks, first = weeks_of_people(events)
    rows: Rows = []
    for cohort in FOUR_WEEKS:
        members = [weeks[person] for person, week in first.items() if week == cohort]
        for later, week in enumerate(FOUR_WEEKS[FOUR_WEEKS.index(cohort) :]):
            here = sum(week in active for active in members)
            if here:
                rows.append((cohort, later, here, rounded(here / len(members), 3)))
    return rows


def sessions(events: Sequence[Told]) -> Rows:
    weeks: dict[date, list[list[datetime]]] = defaultdict(list)
    for mine in by_person(in_march(events)).values():
        visits: list[list[datetime]] = []
        for at in sorted(event.timestamp for event in mine):
            if not visits or at - visits[-1][-1] > timedelta(minutes=30):
                visits.append([])
            visits[-1].append(at)
        for visit in visits:
            weeks[monday(visit[0])].append(visit)
    rows: Rows = []
    for week, visits in sorted(weeks.items()):
        lengths = [(visit[-1] - visit[0]) // timedelta(seconds=1) for visit in visits]
        each = rounded(sum(map(len, visits)) / len(visits), 2)
        rows.append((week, len(visits), each, exact_quantile(lengths, 0.5)))
    return rows


def after_a_paywall(events: Sequence[Told]) -> Rows:
    times: Counter[str] = Counter()
    persons = defaultdict(set)
    for person, mine in by_person(in_march(events)).items():
        ordered = sorted(mine, key=lambda event: (event.timestamp, event.event_id))
        for event, following in zip(ordered, [*ordered[1:], None], strict=True):
            if event.event == "paywall_viewed":
                name = following.event if following else "(nothing)"
                times[name] += 1
                persons[name].add(person)
    return [(name, count, len(persons[name])) for name, count in most_first(times)]


def features(events: Sequence[Told]) -> Rows:
    used = [event for event in in_march(events) if event.event == "feature_used"]
    uses = Counter(event.properties.get("feature") or "" for event in used)
    rows: Rows = []
    for feature, count in most_first(uses)[:20]:
        mine = {e.person_id for e in used if (e.properties.get("feature") or "") == feature}
        rows.append((feature, count, len(mine), rounded(count / len(used), 3)))
    return rows


def systems(events: Sequence[Told]) -> Rows:
    counts: Counter[tuple[str, str]] = Counter()
    for mine in by_person(in_march(events)).values():
        opened = [event for event in mine if event.event == "app_opened"]
        if opened:
            last = max(opened, key=lambda event: (event.timestamp, event.event_id)).properties
            counts[last["os"], last["app_version"]] += 1
    return [(*system, count) for system, count in most_first(counts)]


def revenue(events: Sequence[Told]) -> Rows:
    paid: dict[str, Decimal] = defaultdict(Decimal)
    refunded: dict[str, Decimal] = defaultdict(Decimal)
    wanted = {"subscription_started", "subscription_renewed", "purchase", "refund"}
    for event in in_march(events):
        sent = event.properties
        if event.event in wanted and sent.get("environment") != "sandbox":
            money = Decimal(str(sent.get("amount", sent.get("price", 0))))
            side, other = (refunded, paid) if event.event == "refund" else (paid, refunded)
            side[sent.get("currency", "")] += money
            other[sent.get("currency", "")] += 0
    return [
        (date(2026, 3, 1), currency, paid[currency], refunded[currency], paid[currency] - back)
        for currency, back in sorted(refunded.items())
    ]


def plans(events: Sequence[Told]) -> Rows:
    found: dict[tuple[str, str], list[Told]] = defaultdict(list)
    for event in people(in_march(events)):
        sent = event.properties
        if (
            event.event in {"subscription_started", "subscription_renewed"}
            and sent.get("environment") != "sandbox"
        ):
            found[sent.get("plan_id", ""), sent.get("currency", "")].append(event)
    rows: Rows = []
    for key, payments in sorted(found.items()):
        prices = [Decimal(str(e.properties["price"])) for e in payments if "price" in e.properties]
        payers = {event.person_id for event in payments}
        rows.append((*key, len(payers), len(payments), sum(prices) if prices else None))
    return rows


def trials(events: Sequence[Told]) -> Rows:
    started = subscribed = cancelled = won_back = undecided = 0
    for mine in by_person(in_march(events)).values():
        names = [event.event for event in sorted(mine, key=lambda event: event.timestamp)]
        if "trial_started" in names:
            after = names[names.index("trial_started") :]
            buys, cancels = "subscription_started" in after, "trial_cancelled" in after
            started += 1
            subscribed += buys
            cancelled += cancels
            undecided += not buys and not cancels
            won_back += (
                cancels and "subscription_started" in after[after.index("trial_cancelled") :]
            )
    return [(started, subscribed, cancelled, won_back, undecided)]


def timeline(events: Sequence[Told]) -> Rows:
    mine = [event for event in events if event.person_id == "usr_ada"]
    return [
        (e.timestamp, e.event, e.user_id, e.anonymous_id, json.dumps(e.properties))
        for e in sorted(mine, key=lambda event: (event.timestamp, event.event_id))
    ]


def known_by(events: Sequence[Told]) -> Rows:
    links = links_of(events)
    kinds: dict[str, list[str]] = defaultdict(list)
    for event in in_march(events):
        if not event.person_id:
            kind = "nobody"
        elif event.person_id == event.user_id:
            kind = "user"
        else:
            kind = "linked" if event.anonymous_id in links else "device"
        kinds[kind].append(event.person_id)
    return [(kind, len(persons), len(set(persons))) for kind, persons in sorted(kinds.items())]


def completeness(events: Sequence[Told]) -> Rows:
    days: dict[date, list[Told]] = defaultdict(list)
    for event in in_march(events):
        days[event.timestamp.date()].append(event)
    rows: Rows = []
    for day, found in sorted(days.items()):
        delays = [event.received_at - event.timestamp for event in found]
        rows.append(
            (
                day,
                len(found),
                sum(delay < timedelta(hours=1) for delay in delays),
                sum(delay > timedelta(hours=24) for delay in delays),
                sum(-delay > timedelta(hours=1) for delay in delays),
                max(event.received_at for event in found),
            )
        )
    return rows


def properties(events: Sequence[Told]) -> Rows:
    total = Counter(event.event for event in in_march(events))
    filled: Counter[tuple[str, str]] = Counter()
    types = defaultdict(set)
    for event in in_march(events):
        for path, kind in _paths("", event.properties):
            filled[event.event, path] += 1
            types[event.event, path].add(kind)
    return [
        (event, path, count, rounded(count / total[event], 3), sorted(types[event, path]))
        for (event, path), count in sorted(filled.items())
    ]


def _paths(prefix: str, sent: dict[str, Any]) -> Iterable[tuple[str, str]]:
    for key, value in sent.items():
        if isinstance(value, dict):
            yield from _paths(f"{prefix}{key}.", value)
        elif value is not None:
            yield f"{prefix}{key}", _TYPES[type(value)]


_TYPES: Final = {
    bool: "Bool",
    int: "Int64",
    float: "Float64",
    str: "String",
    list: "Array(Nullable(String))",
}

ANSWERS: Final[dict[int, Callable[[Sequence[Told]], Rows]]] = {
    1: active_each_day,
    2: back_within_a_week,
    3: new_and_returning,
    4: funnel,
    5: paywalls,
    6: time_to_subscribe,
    7: retention,
    8: cohorts,
    9: sessions,
    10: after_a_paywall,
    11: features,
    12: systems,
    13: revenue,
    14: plans,
    15: trials,
    16: timeline,
    17: known_by,
    19: completeness,
    20: properties,
}
"""By the number of the question; 18 is about rejected events, of which the test knows more."""

FOUR_WEEKS: Final = [date(2026, 3, 2) + 7 * _DAY * week for week in range(4)]


def in_march(events: Iterable[Told]) -> list[Told]:
    return [event for event in events if MARCH <= event.timestamp < APRIL]


def people(events: Iterable[Told]) -> list[Told]:
    """Without the events of nobody."""
    return [event for event in events if event.person_id]


def by_person(events: Iterable[Told]) -> dict[str, list[Told]]:
    found: dict[str, list[Told]] = defaultdict(list)
    for event in people(events):
        found[event.person_id].append(event)
    return found


def monday(moment: datetime) -> date:
    return moment.date() - _DAY * moment.weekday()


def weeks_of_people(events: Sequence[Told]) -> tuple[dict[str, set[date]], dict[str, date]]:
    """Person → the weeks they were active in, and the first of them."""
    weeks = {
        person: {monday(event.timestamp) for event in mine}
        for person, mine in by_person(events).items()
    }
    return weeks, {person: min(active) for person, active in weeks.items()}


def exact_quantile(values: list[int], level: float) -> int:
    """An element of the list, as `quantileExact` chooses it."""
    return sorted(values)[int(level * len(values))]


def rounded(value: float, digits: int) -> float:
    """As the engine rounds a float."""
    scale = float(10**digits)
    return round(value * scale) / scale


def most_first(counts: Counter[Any]) -> list[tuple[Any, int]]:
    """By count, then by name."""
    return sorted(counts.items(), key=lambda each: (-each[1], each[0]))
