"""How a person's statement runs: read, judged, held to limits; what of it is answered here.

`SET` and `USE` never reach the engine: they change the session's record, whose settings every
later connection of that session gets.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from headrace.store.analyst_settings import FORCED_ON_ANALYSTS
from headrace.store.server.answers import Refusal
from headrace.store.server.catalog import Catalog
from headrace.store.server.engine import Engine, Handle
from headrace.store.server.formats import is_permitted, is_streamed
from headrace.store.server.limits import StoreLimits
from headrace.store.server.named_things import DescribedQuery, NamedThing, read_named_thing
from headrace.store.server.permitted_settings import PermittedSettings
from headrace.store.server.protocol import Asked
from headrace.store.server.rights import FILTERED, Rights
from headrace.store.server.running import Plan
from headrace.store.server.sessions import SessionState
from headrace.store.server.syntax import Node, NoTree, Parser, render
from headrace.store.server.wall import Wall, no_database

_DATABASES: Final = "SELECT lower(name) FROM system.databases"
_AGE_SECONDS: Final = 1.0
_FORCED: Final = {
    "timeout_overflow_mode": "throw",
    "timeout_before_checking_execution_speed": "0",
    "allow_introspection_functions": "0",
    "allow_ddl": "0",
}


class Question(msgspec.Struct, frozen=True):
    """One person's request: who, what, in which session."""

    rights: Rights
    asked: Asked
    session: SessionState
    sql: str


class People:
    """Plans statements of people for one engine."""

    def __init__(self, engine: Engine, limits: StoreLimits) -> None:
        self._limits = limits
        self._engine = engine
        self._parser = Parser()
        self._catalog = Catalog(engine)
        names = engine.names
        self._settings = PermittedSettings.within(limits, names.settings)
        self._functions = names.functions

    def plan(self, question: Question, handle: Handle) -> Plan:
        """What to run for it; raises `Refusal`. Called in a thread, on the statement's handle."""
        if "\0" in question.sql:
            raise Refusal(62, "SYNTAX_ERROR", "Syntax error: the query holds a NUL character")
        _check_database(question)
        try:
            tree = self._parser.parse(handle, question.sql)
        except NoTree:
            return self._plan_named_thing(question, handle)
        wall = self._wall(question)
        has_changed = wall.judge(tree)
        sql = self._rendered(wall, handle, tree) if has_changed else question.sql
        match tree["type"]:
            case "SetQuery":
                return self._set(question, tree)
            case "UseQuery":
                return self._use(question, tree)
            case kind:
                written = (tree.get("format_ast") or {}).get("name")
                return self._plan(question, sql, written, is_select=kind == "SelectWithUnionQuery")

    def _wall(self, question: Question) -> Wall:
        return Wall(
            rights=question.rights,
            settings=self._settings,
            functions=self._functions,
            databases=frozenset(self._engine.remembered(_DATABASES, _AGE_SECONDS)),
            parameters=question.asked.parameters,
        )

    def _rendered(self, wall: Wall, handle: Handle, tree: Node) -> str:
        """The text of a changed tree, judged as what it is."""
        self._catalog.prepare(wall.rights)
        sql = render(handle, tree)
        again = msgspec.structs.replace(wall, views_in_place=True)
        if again.judge(self._parser.parse(handle, sql)):
            raise Refusal(497, "ACCESS_DENIED", "Not enough privileges: it cannot be checked")
        return sql

    def _plan(
        self, question: Question, sql: str, written_format: str | None, *, is_select: bool
    ) -> Plan:
        output_format = written_format or question.asked.default_format
        if not is_permitted(output_format):
            raise Refusal(73, "UNKNOWN_FORMAT", "The format is unknown or not for people")
        streamed = is_select and is_streamed(output_format)
        return Plan(
            sql=sql,
            parameters=question.asked.parameters,
            settings={
                **self._settings_of(question, streamed=streamed),
                # 1 is the stricter, but takes no SETTINGS clause, not even one that was judged.
                "readonly": "2" if "settings" in sql.lower() else "1",
            },
            database=_database(question),
            output_format=output_format,
            streamed=streamed,
        )

    def _settings_of(self, question: Question, *, streamed: bool) -> dict[str, str]:
        limits = self._limits
        settings = {
            "max_execution_time": str(limits.query_seconds),
            "max_memory_usage": str(limits.query_bytes),
            "max_temporary_data_on_disk_size_for_query": str(limits.query_bytes),
            "max_threads": str(limits.query_threads),
            "max_rows_to_read": str(limits.read_rows),
            "read_overflow_mode": "throw",
            "max_result_rows": str(limits.result_rows),
            "max_result_bytes": str(
                limits.streamed_result_bytes if streamed else limits.whole_result_bytes
            ),
            "result_overflow_mode": "throw",
            # Making one automaton of many patterns took seconds, which no limit of time ends.
            "max_hyperscan_regexp_length": "1000",
            "max_hyperscan_regexp_total_length": "10000",
            **question.session.settings,
            **self._settings.of_request(question.asked.settings),
        }
        if question.rights.is_analyst:
            settings.update(FORCED_ON_ANALYSTS)
            settings["additional_table_filters"] = self._catalog.filters(question.rights)
        return {**settings, **_FORCED}

    def _plan_named_thing(self, question: Question, handle: Handle) -> Plan:
        thing = read_named_thing(question.sql)
        if isinstance(thing, DescribedQuery):
            tree = self._parser.parse(handle, thing.query)
            if tree["type"] != "SelectWithUnionQuery":
                raise Refusal(62, "SYNTAX_ERROR", "Syntax error: expected a SELECT query")
            wall = self._wall(question)
            wall.judge(tree)
            sql = f"DESCRIBE ({self._rendered(wall, handle, tree)})"
        else:
            _check_named_thing(question, thing)
            sql = thing.sql()
        return self._plan(question, sql, thing.output_format, is_select=False)

    def _set(self, question: Question, tree: Node) -> Plan:
        for change in tree["changes"]:
            question.session.settings[change["name"]] = _as_text(change["value"]["value"])
        return Plan.nothing(question.asked.default_format)

    def _use(self, question: Question, tree: Node) -> Plan:
        name = tree["database"]["name"]
        if not question.rights.may_use(name):
            raise no_database(name)
        question.session.database = name
        return Plan.nothing(question.asked.default_format)


def _database(question: Question) -> str:
    wanted = question.asked.database
    if wanted in {None, "default"}:
        return question.session.database or question.rights.database
    return wanted or question.rights.database


def _check_database(question: Question) -> None:
    name = _database(question)
    if not question.rights.may_use(name) and not (
        name == "system" and not question.rights.is_analyst
    ):
        raise no_database(name)


def _check_named_thing(question: Question, thing: NamedThing) -> None:
    rights = question.rights
    if thing.is_database:
        if not rights.may_use(thing.name):
            raise no_database(thing.name)
        return
    database = thing.database or _database(question)
    of_system = database == "system" and thing.verb != "SHOW CREATE"
    if rights.may_use(database):
        return
    if of_system and (thing.name in FILTERED or rights.may_read_system(thing.name)):
        return
    raise Refusal(
        497,
        "ACCESS_DENIED",
        f"Not enough privileges: there is no table {database[:128]}.{thing.name[:128]}"
        " that you may read",
    )


def _as_text(value: Any) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)
