"""`POST /v1/rejected/replay`: rejected events through the log again, under their old ids.

Owns what an operator's tool sends after a schema was mended. The records are marked, so that
the processor drops what it holds already; ids and times of receipt are those of the first time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from headrace.collector import reasons
from headrace.collector.answers import Answer, BatchAnswered, Rejection, ok
from headrace.collector.bodies import Held, read_body
from headrace.collector.decode import elements_of, judge
from headrace.collector.gate import Entry
from headrace.collector.intake import Endpoint, count_refused, record_headers
from headrace.collector.reasons import BadEvent, shown
from headrace.collector.records import make_record, record_prefix
from headrace.collector.requests import Body, Incoming
from headrace.collector.timestamps import explain_timestamp, read_timestamp
from headrace.eventlog.port import Batch, NewRecord
from headrace.runtime.metrics import EVENTS_ACCEPTED
from headrace.schemas.event_ids import ALPHABET, ID_PREFIX
from headrace.schemas.outcomes import Code
from headrace.schemas.records import MARK_REPLAY, EventValue, Header
from headrace.workspaces.port import ApiKey, Scope

_EVENT_ID: Final = re.compile(f"{ID_PREFIX}[0-7][{ALPHABET}]{{25}}")


class _FirstTime(msgspec.Struct, gc=False):
    """What a replayed event has beside an event's own fields."""

    event_id: str
    received_at: str


_decode_first_time: Final = msgspec.json.Decoder(_FirstTime).decode


class Replayed(msgspec.Struct, frozen=True):
    """What a replay's body holds."""

    values: Sequence[EventValue]
    rejections: Sequence[Rejection]


class ReplayEndpoint(Endpoint):
    """Takes `{"events": [{"event_id", "received_at", …an event…}]}`, up to 1,000."""

    name = "/v1/rejected/replay"
    scope_needed = Scope.ADMIN

    async def take(self, request: Incoming, key: ApiKey, held: Held, _entry: Entry) -> Answer:
        workspace_id = key.workspace.id

        def read(body: Body) -> Replayed:
            return read_replay(body, workspace_id)

        body = await read_body(request, held, aside=self.shared.aside)
        replayed: Replayed = await self.shared.aside(read, body)
        count_refused(replayed.rejections)
        records = _records(replayed.values, workspace_id)
        headers = {**record_headers(request), Header.MARK: MARK_REPLAY}
        if records:
            await self.shared.log.append(Batch(records, headers))
            self.shared.tallies.count(EVENTS_ACCEPTED, len(records))
        event_ids = [value.event_id for value in replayed.values]
        rejections = replayed.rejections
        return ok(BatchAnswered(len(event_ids), len(rejections), event_ids, rejections))


def read_replay(body: Body, workspace_id: str) -> Replayed:
    """The events of a body with their first ids. Raises `Refusal`."""
    values: list[EventValue] = []
    rejections: list[Rejection] = []
    for index, element in enumerate(elements_of(body)):
        match _value(element, workspace_id):
            case EventValue() as value:
                values.append(value)
            case BadEvent(code, field, reason):
                rejections.append(Rejection(index, reason, code.value, field))
    return Replayed(values, rejections)


def _value(element: bytes, workspace_id: str) -> EventValue | BadEvent:
    event = judge(element)
    if isinstance(event, BadEvent):
        return event
    try:
        first_time = _decode_first_time(element)
    except msgspec.ValidationError as error:
        field = "received_at" if "received_at" in str(error) else "event_id"
        if "missing" in str(error):
            return reasons.missing(field)
        return BadEvent(Code.WRONG_TYPE, field, f"`{field}` must be a string")
    if not _EVENT_ID.fullmatch(first_time.event_id):
        return BadEvent(
            Code.WRONG_TYPE,
            "event_id",
            f"`event_id` is none of ours: {shown(first_time.event_id)}",
        )
    received_at = read_timestamp(first_time.received_at)
    if received_at is None:
        return explain_timestamp(first_time.received_at, field="received_at")
    return EventValue(
        event_id=first_time.event_id,
        workspace_id=workspace_id,
        event=event.event,
        timestamp=event.timestamp,
        received_at=received_at,
        user_id=event.user_id,
        anonymous_id=event.anonymous_id,
        properties=event.properties,
    )


def _records(values: Sequence[EventValue], workspace_id: str) -> list[NewRecord]:
    prefix = record_prefix(workspace_id)
    return [make_record(value, prefix) for value in values]
