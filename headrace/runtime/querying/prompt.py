"""The prompt of `headrace query`: statements typed at a terminal, until somebody leaves.

Owns the loop, the orders that begin with a backslash, and what Ctrl-C means. Showing answers is
`showing.py`'s, what Tab offers `names.py`'s.
"""

from __future__ import annotations

import contextlib
import re
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec
from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition

from headrace.runtime.commands.output import printable, say
from headrace.runtime.credentials import StoreLogin
from headrace.runtime.querying.history import open_history
from headrace.runtime.querying.names import Names, read_names
from headrace.runtime.querying.showing import Showing, show
from headrace.runtime.querying.statements import (
    is_blank,
    is_leaving,
    is_order,
    is_whole,
    split_statements,
)
from headrace.runtime.store_reader import QueryFailed, StoreReader
from headrace.schemas.errors import HeadraceError

_HELP: Final = r"""Statements end with a semicolon and may take several lines.
  Tab         completes keywords, tables and columns
  Ctrl-C      cancels what runs, or what is typed
  \d          the tables;  \d events  the columns of one
  \chart      draws results as charts, or as tables again
  \q          leaves, as do exit, quit and Ctrl-D"""
_WHERE: Final = "SELECT version() AS version, currentDatabase() AS database"
_USE: Final = re.compile(r"USE\s+(?:`([^`]+)`|(\w+))", re.IGNORECASE)
_SESSION_IS_LOCKED: Final = "Code: 373."
_PATIENCE_SECONDS: Final = 5.0


class _Where(msgspec.Struct):
    version: str
    database: str


class Prompt:
    """One person at a terminal, with one login."""

    def __init__(self, login: StoreLogin, how: Showing, history: Path) -> None:
        self._login = login
        self._how = how
        self._session_id = uuid.uuid4().hex
        self._names = Names({})
        self._typing: PromptSession[str] = PromptSession(
            completer=_Completer(lambda: self._names),
            complete_while_typing=False,
            history=open_history(history),
            multiline=Condition(lambda: not is_whole(get_app().current_buffer.text)),
            prompt_continuation="       -> ",
        )

    def run(self) -> None:
        """Until somebody leaves. Raises `HeadraceError` if the store cannot be asked at all."""
        with self._store() as store:
            [found] = store.rows(_WHERE, _Where)
            self._names = read_names(store)
        say(
            f"ClickHouse {found.version} at {self._login.url}, {self._login.user} in "
            rf"{found.database}. Statements end with a semicolon; \h helps, \q leaves."
        )
        has_left = False
        while not has_left:
            with contextlib.suppress(KeyboardInterrupt):  # what was typed so far is dropped
                has_left = self._take_turn()

    def _take_turn(self) -> bool:
        """Read and obey; True to leave."""
        try:
            text = self._typing.prompt("headrace> ")
        except EOFError:
            return True
        if is_leaving(text) or text.strip().rstrip("; ") == r"\q":
            return True
        self._obey(text)
        return False

    def _obey(self, text: str) -> None:
        try:
            if is_order(text):
                self._follow(text.strip().rstrip("; "))
                return
            statements, rest = split_statements(text)
            for statement in [*statements, rest]:
                if not is_blank(statement):
                    self._ask(statement)
        except KeyboardInterrupt:
            say("Cancelled.")
        except HeadraceError as error:
            say(printable(f"headrace: {error}"))

    def _follow(self, order: str) -> None:
        match order.split(maxsplit=1):
            case ["\\h" | "\\?"]:
                say(_HELP)
            case ["\\d"]:
                self._ask("SHOW TABLES")
            case ["\\d", table]:
                self._ask(f"SHOW COLUMNS FROM {table}")
            case ["\\chart"]:
                self._how = msgspec.structs.replace(self._how, chart=not self._how.chart)
                say(f"Results are drawn as {'charts' if self._how.chart else 'tables'}.")
            case _:
                raise HeadraceError(rf"{order} is no order of this prompt; \h lists them")

    def _ask(self, statement: str) -> None:
        if used := _USE.fullmatch(statement):
            self._use(used[1] or used[2])
            return
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                with self._store() as store:
                    show(store, statement, self._how)
                return
            except QueryFailed as error:
                # The session is busy for a moment with a statement that was cancelled.
                if not str(error).startswith(_SESSION_IS_LOCKED) or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def _use(self, database: str) -> None:
        """Kept here and sent with each statement, so that it outlives the store's session."""
        login = msgspec.structs.replace(self._login, database=database)
        with StoreReader(login) as store:
            store.rows(_WHERE, _Where)  # fails where there is no such database
            self._names = read_names(store)
        self._login = login
        say("Done.")

    def _store(self) -> StoreReader:
        return StoreReader(self._login, session=self._session_id)


class _Completer(Completer):
    """`Names` as the prompt's library wants it."""

    def __init__(self, names: Callable[[], Names]) -> None:
        self._names = names

    def get_completions(
        self,
        document: Document,
        complete_event: CompleteEvent,  # noqa: ARG002 - the library passes it
    ) -> Iterable[Completion]:
        typed, offers = self._names().offers(
            document.text_before_cursor, document.text_after_cursor
        )
        for offer in offers:
            yield Completion(
                offer.word, start_position=-len(typed), display_meta=printable(offer.meaning)
            )
