"""The taxonomy: which event types have a schema, and whether an event keeps to its.

Owns the set of compiled schemas. What a schema file may say is `definition.py`'s, the wording
of a violation `reasons.py`'s, the files themselves are `events/*.json`, one per event type:
add a file to add a type. Events of other types are nobody's business here and pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import fastjsonschema
import msgspec

from headrace.schemas.definition import BadSchema, Definition, read_definition
from headrace.schemas.errors import HeadraceError
from headrace.schemas.outcomes import Code, Rejected
from headrace.schemas.quick import Takes, taker
from headrace.schemas.reasons import MAX_PATH_CHARACTERS, explain, shorten

SHIPPED: Final = Path(__file__).parent / "events"
_ROOT: Final = "$.properties"

_NO_FORMATS: Final[Mapping[str, Any]] = {}
_SCHEMES: Final = ("data", "file", "ftp", "http", "https")
"""What urllib opens, and fastjsonschema with it."""

Check = Callable[[Any, Mapping[str, Any], str], Any]
"""What fastjsonschema makes: data, formats, and the name that paths begin with."""
T = TypeVar("T")


class BadTaxonomy(HeadraceError):
    """Schema files cannot be used; the message names each file, what is wrong, what to do."""


class Compiled(msgspec.Struct, frozen=True):
    """An event type ready to check events of it."""

    event: str
    schema: str
    check: Check
    takes: Takes | None = None


class Taxonomy:
    """Compiled schemas by event type. Immutable; checks may run in any thread."""

    def __init__(self, event_types: Iterable[Compiled]) -> None:
        self._compiled = {one.event: one for one in event_types}
        self._takers = {name: one.takes or _ask_schema for name, one in self._compiled.items()}

    def has(self, event: str) -> bool:
        """Whether the event type has a schema."""
        return event in self._compiled

    def is_doubtful(self, event: str, properties: bytes) -> bool:
        """Whether `check` must be asked about the event: it has a schema, and does not plainly
        keep to it. `properties` are JSON."""
        takes = self._takers.get(event)
        return takes is not None and not takes(properties)

    def check(self, event: str, properties: dict[str, Any]) -> Rejected | None:
        """Why the event breaks its schema, or None: it keeps to it, or there is none.

        `properties` are plain JSON values and stay as they are. Never raises.
        """
        compiled = self._compiled.get(event)
        if compiled is None:
            return None
        try:
            compiled.check(properties, _NO_FORMATS, _ROOT)
        except fastjsonschema.JsonSchemaValueException as error:
            reason = explain(error.rule, error.definition, error.value)
            path = shorten(error.name or _ROOT, MAX_PATH_CHARACTERS)
            return Rejected(Code.SCHEMA_VIOLATION, reason, path, compiled.schema)
        except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
            # A value the rule cannot handle, such as 1e400 under multipleOf.
            reason = f"the schema cannot judge these properties: {type(error).__name__}"
            return Rejected(Code.SCHEMA_VIOLATION, reason, _ROOT, compiled.schema)
        return None


def load_taxonomy(folder: Path | None = None) -> Taxonomy:
    """The taxonomy of a folder of `<event>.json` files; the shipped one without a folder.

    Raises `BadTaxonomy` naming every file that cannot be used.
    """
    return Taxonomy(_of_each_file(folder or SHIPPED, _compile_file))


def load_definitions(folder: Path = SHIPPED) -> list[Definition]:
    """The event types that a folder defines, by name, not compiled; raises likewise."""
    return _of_each_file(folder, read_definition)


def compile_definition(definition: Definition) -> Compiled:
    """An event type ready for use; raises `BadSchema` if its rules make no sense together."""
    try:
        check = fastjsonschema.compile(
            definition.rules, handlers=dict.fromkeys(_SCHEMES, _refuse), use_default=False
        )
    except (ArithmeticError, AttributeError, LookupError, SyntaxError, TypeError, ValueError) as e:
        raise BadSchema(f"does not compile: {e}; mend it or take it away") from e
    return Compiled(definition.event, definition.id, check, taker(definition.rules))


def _compile_file(path: Path) -> Compiled:
    return compile_definition(read_definition(path))


def _of_each_file(folder: Path, read: Callable[[Path], T]) -> list[T]:
    files = sorted(folder.glob("*.json"))
    if not files:
        raise BadTaxonomy(
            f"there are no event schemas in {folder}; put files named <event>.json there, "
            "or leave HEADRACE_SCHEMAS empty for those that come with Headrace."
        )
    good, problems = [], []
    for file in files:
        try:
            good.append(read(file))
        except BadSchema as error:
            problems.append(f"  {file} {error}")
    if problems:
        raise BadTaxonomy("event schemas cannot be used:\n" + "\n".join(problems))
    return good


def _ask_schema(_properties: bytes) -> bool:
    return False


def _refuse(uri: str) -> Any:
    raise BadSchema(f"would fetch {uri}; copy what it refers to into the file")
