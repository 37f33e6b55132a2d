"""Trouble with our surroundings, in the three shapes that decide what happens next.

Owns the exceptions that adapters translate driver errors into (``raise … from``) and that
stages react to. What is wrong with an *event* is never one of these: that is an outcome
(`headrace.schemas.outcomes`).
"""


class HeadraceError(Exception):
    """Anything Headrace raises on purpose. The message is a sentence for a person."""


class Unavailable(HeadraceError):
    """A neighbour cannot be reached or did not answer in time; whether it acted is unknown.

    Retry for ever with back-off; never drop anything because of it.
    """


class Overloaded(HeadraceError):
    """A neighbour (or we) has no room now: disk, memory, queue. Nothing was done.

    `retry_after` is in seconds.
    """

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Refused(HeadraceError):
    """A neighbour understood what we sent and will never take it as it is (bad data).

    `code` is the neighbour's own code (ClickHouse: the exception number).
    """

    def __init__(self, message: str, *, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class Fenced(HeadraceError):
    """Somebody else owns this partition now: stop at once, write and commit nothing more."""
