"""aiokafka's errors in our shapes: none is missing, and what they promise is true."""

from __future__ import annotations

import inspect

import pytest
from aiokafka import errors

from headrace.eventlog.kafka.errors import (
    IN_DOUBT,
    NOT_DONE,
    REPLACED,
    describe,
    is_refusal,
    translate,
    unanswered,
)
from headrace.schemas.errors import Fenced, Overloaded, Unavailable

THEIRS = {
    found
    for _, found in inspect.getmembers(errors, inspect.isclass)
    if issubclass(found, BaseException) and found.__module__ == errors.__name__
}


def test_every_error_of_the_driver_has_one_meaning() -> None:
    """A new version of aiokafka with a new error fails here, not in production."""
    tables = [set(NOT_DONE), set(IN_DOUBT), set(REPLACED)]
    assert THEIRS - set().union(*tables) == set()
    assert sum(map(len, tables)) == len(set().union(*tables))


@pytest.mark.parametrize("kind", sorted(THEIRS, key=str))
def test_every_error_is_one_of_our_shapes_and_says_why(kind: type[Exception]) -> None:
    """Whatever the driver raises, a caller hears one of three things, with a reason."""
    error = translate(kind(), "appending")
    assert type(error) in (Overloaded, Unavailable, Fenced)
    assert str(error).startswith("appending: ")
    assert kind.__name__ in str(error)
    assert type(unanswered(kind(), "asking")) is Unavailable


def test_an_unknown_error_is_in_doubt() -> None:
    """What nobody has thought of must not promise that nothing was stored."""
    assert type(translate(ZeroDivisionError("x"), "appending")) is Unavailable
    assert not is_refusal(ZeroDivisionError())
    assert describe(ZeroDivisionError("x")) == "ZeroDivisionError: x"


@pytest.mark.parametrize(
    "kind",
    [
        errors.KafkaConnectionError,
        errors.RequestTimedOutError,
        errors.NotEnoughReplicasAfterAppendError,
        errors.UnknownError,
        errors.KafkaStorageError,
    ],
)
def test_what_may_have_been_stored_is_never_called_refused(kind: type[Exception]) -> None:
    """A retry of it must be marked, so the caller must hear that nobody knows."""
    assert not is_refusal(kind())
    assert type(translate(kind(), "appending")) is Unavailable
