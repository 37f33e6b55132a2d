"""What a collector's answer means for the one who sends: the only place that reads its statuses.

Also for answers that a proxy in between gives, and for servers that are no collector at all.
"""

from __future__ import annotations

from typing import Final

import httpx2
import msgspec

REPLAYED_HEADER: Final = "Idempotent-Replayed"
_SPLIT_BY_ERROR: Final = frozenset({"invalid_json"})
_HINTS: Final = {
    401: "is the key right, and not expired or revoked? (`headrace keys list`)",
    403: "make a key with the scope this needs: `headrace keys create --scope …`",
    404: "is this the collector's URL?",
    405: "is this the collector's URL?",
    413: "send fewer events at once: --batch-size",
}


class EventError(msgspec.Struct, frozen=True):
    """Why one event of a batch was not taken."""

    index: int
    reason: str = ""
    code: str = "rejected"


class Taken(msgspec.Struct, frozen=True):
    """The batch was judged, event by event; what was accepted is durable."""

    accepted: int
    rejected: int = 0
    errors: list[EventError] = []
    replayed: bool = False


class Later(msgspec.Struct, frozen=True):
    """Not now, through no fault of the batch: wait and repeat, however often.

    `seconds` is None where the server did not say; `everyone` holds back the other batches too.
    """

    reason: str
    seconds: float | None
    everyone: bool


class Again(msgspec.Struct, frozen=True):
    """Whether it was done is unknown: repeat, but not for ever."""

    reason: str


class Split(msgspec.Struct, frozen=True):
    """The body was refused whole for what is in it: find the event by halves."""

    code: str
    reason: str


class Ended(msgspec.Struct, frozen=True):
    """No repeat will help; the sentence says what to do.

    `unknown_key`: unless the key was made a moment ago.
    """

    reason: str
    unknown_key: bool = False


Verdict = Taken | Later | Again | Split | Ended


class _Trouble(msgspec.Struct):
    error: str = ""
    message: str = ""


def judge(response: httpx2.Response) -> Verdict:
    """The meaning of an answer to a batch."""
    status = response.status_code
    match status:
        case 200:
            return _taken(response)
        case 400:
            return _bad_request(response)
        case 401:
            return Ended(_sentence(response), unknown_key=True)
        case 408:
            return Again(_sentence(response))
        case 409:
            return Later("the first try still runs", _retry_after(response), everyone=False)
        case 429:
            return Later("rate limit", _retry_after(response), everyone=True)
        case 503:
            trouble = _trouble(response)
            why = ": ".join(filter(None, (trouble.error or "unavailable", trouble.message)))
            return Later(f"collector says {why}", _retry_after(response), everyone=True)
        case _ if status >= 500:
            return Again(_sentence(response))
        case _:
            return Ended(_sentence(response))


def _taken(response: httpx2.Response) -> Verdict:
    try:
        taken = msgspec.json.decode(response.content, type=Taken)
    except msgspec.DecodeError:
        return Ended("it answered 200, but not as a collector does: is this the collector's URL?")
    replayed = response.headers.get(REPLAYED_HEADER, "").lower() == "true"
    return msgspec.structs.replace(taken, replayed=replayed)


def _bad_request(response: httpx2.Response) -> Verdict:
    trouble = _trouble(response)
    if trouble.error in _SPLIT_BY_ERROR:
        return Split(trouble.error, trouble.message)
    return Ended(_sentence(response))


def _sentence(response: httpx2.Response) -> str:
    message = _trouble(response).message or response.reason_phrase
    hint = _HINTS.get(response.status_code)
    return f"it answered {response.status_code}: {message}" + (f" ({hint})" if hint else "")


def _trouble(response: httpx2.Response) -> _Trouble:
    try:
        return msgspec.json.decode(response.content, type=_Trouble)
    except msgspec.DecodeError:
        return _Trouble()


def _retry_after(response: httpx2.Response) -> float | None:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else None
