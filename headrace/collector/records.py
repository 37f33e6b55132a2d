"""Events into records of the log: the key that decides the partition, the value that is read.

Owns the record's key. A device's events and the event that links the device to a user must lie
in one partition, hence the anonymous id first. Ids that stand for nobody would pile strangers
up in one partition: they count as absent, and with no id left the event id spreads the records.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from headrace.collector.decode import Event
from headrace.eventlog.port import NewRecord
from headrace.schemas.nobody import LAST_CHARACTERS, is_nobody
from headrace.schemas.records import EventValue

KEY_SEPARATOR: Final = b"\x1f"

_encode: Final = msgspec.json.Encoder().encode


def make_records(
    events: Sequence[Event], event_ids: Sequence[str], workspace_id: str, received_at: datetime
) -> list[NewRecord]:
    """One record per event, in their order. Runs for every event: 0.6 µs, half of it encoding."""
    prefix = record_prefix(workspace_id)
    if len(events) == 1:
        return [make_record(_value(events[0], event_ids[0], workspace_id, received_at), prefix)]
    # What is the same in all of them is written once.
    workspace, received = _written(workspace_id), _written(received_at)
    records = []
    for event, event_id in zip(events, event_ids, strict=True):
        user_id, anonymous_id = event.user_id, event.anonymous_id
        value = EventValue(
            event_id,
            workspace,
            event.event,
            event.timestamp,
            received,
            user_id,
            anonymous_id,
            event.properties,
        )
        owner = anonymous_id
        if not owner or (owner[-1] in LAST_CHARACTERS and is_nobody(owner)):
            owner = _owner(user_id, event_id)
        records.append(NewRecord(prefix + owner.encode(), _encode(value)))
    return records


def record_prefix(workspace_id: str) -> bytes:
    """The workspace's part of its records' keys."""
    return workspace_id.encode() + KEY_SEPARATOR


def make_record(value: EventValue, prefix: bytes) -> NewRecord:
    """The record of one event; `prefix` is `record_prefix` of its workspace."""
    owner = value.anonymous_id
    if is_nobody(owner):
        owner = _owner(value.user_id, value.event_id)
    return NewRecord(prefix + owner.encode(), _encode(value))  # type: ignore[union-attr] # as above


def _value(event: Event, event_id: str, workspace_id: str, received_at: datetime) -> EventValue:
    return EventValue(
        event_id,
        workspace_id,
        event.event,
        event.timestamp,
        received_at,
        event.user_id,
        event.anonymous_id,
        event.properties,
    )


def _written(value: str | datetime) -> Any:
    """As the encoder writes it, and takes without looking."""
    return msgspec.Raw(_encode(value))


def _owner(user_id: str | None, event_id: str) -> str:
    """Whose partition an event without a device is for."""
    return event_id if is_nobody(user_id) else user_id  # type: ignore[return-value] # as above
