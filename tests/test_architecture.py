"""The rules that keep the parts apart, held against the source itself.

They are those of ARCHITECTURE.md: who may import whom, and which things happen in one place.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "headrace"
SOURCES = sorted(PACKAGE.rglob("*.py"))
STAGES = {"collector", "processor", "store", "eventlog", "workspaces"}
FROM_RUNTIME = {"headrace.runtime.clock", "headrace.runtime.metrics"}
DRIVERS = {
    "aiokafka": {"eventlog/kafka"},
    "alembic": {"workspaces"},
    "chdb": {"store/server"},
    "clickhouse_connect": {"store", "runtime"},
    "opentelemetry": {"runtime/spans.py"},
    "psycopg": {"workspaces"},
    "redis": {"collector/redis"},
    "sqlalchemy": {"workspaces"},
    "sqlite3": {"eventlog/sqlite", "runtime"},
    "httptools": {"collector/parsing.py", "collector/wire.py", "store/server"},
    "uvicorn": {"store/server", "runtime"},
}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def folder_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def allowed(stage: str, module: str) -> bool:
    """Whether a file of `stage` may import `module` of ours."""
    if module == "headrace" or folder_of(module) in {"schemas", stage}:
        return True
    if any(module == ours or module.startswith(ours + ".") for ours in FROM_RUNTIME):
        return True
    if module == "headrace.runtime":
        return True  # `from headrace.runtime import clock` yields both names
    return bool(re.fullmatch(r"headrace\.\w+(\.port(\.\w+)?)?", module))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_stage_imports_ports_and_never_another_stage(path: Path) -> None:
    """Stages know each other by ports alone; schemas know nobody; only runtime knows all."""
    stage = path.relative_to(PACKAGE).parts[0]
    ours = [module for module in imports(path) if module.split(".")[0] == "headrace"]
    if stage == "schemas":
        assert [module for module in ours if folder_of(module) not in {"schemas", ""}] == []
    elif stage in STAGES:
        assert [module for module in ours if not allowed(stage, module)] == []


def test_clock_and_metrics_import_nothing_of_the_stages() -> None:
    """What stages may import of runtime must not bring the rest of runtime along."""
    for name in ("clock.py", "metrics.py"):
        assert not [m for m in imports(PACKAGE / "runtime" / name) if m.startswith("headrace")]


@pytest.mark.parametrize("driver", sorted(DRIVERS))
def test_a_driver_is_named_only_by_its_adapter(driver: str) -> None:
    """Exchanging a driver touches its adapter and the wiring, nothing else."""
    strangers = [
        name_of(path)
        for path in SOURCES
        if any(module.split(".")[0] == driver for module in imports(path))
        and not any(
            path.relative_to(PACKAGE).as_posix().startswith(home) for home in DRIVERS[driver]
        )
    ]
    assert strangers == []


def calls(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node)


def places(pattern: str) -> set[str]:
    return {name_of(path) for path in SOURCES if any(re.search(pattern, c) for c in calls(path))}


def test_the_environment_is_read_in_one_place() -> None:
    """Settings come from `runtime/settings.py`, so that `headrace check` shows them all."""
    assert places(r"^os\.(environ|getenv)") <= {"headrace/runtime/settings.py"}


def test_the_wall_clock_is_read_in_one_place() -> None:
    """Tests move time by a clock of their own, never by patching."""
    pattern = r"(\bdatetime\.(now|utcnow|today)|\btime\.(time|time_ns|gmtime|localtime))$"
    assert places(pattern) == {"headrace/runtime/clock.py"}


def test_status_codes_of_the_collector_live_in_answers() -> None:
    """Somebody who asks "when is it 409?" opens one file."""
    for path in (PACKAGE / "collector").rglob("*.py"):
        if path.name in {"answers.py", "openapi.py"}:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg in {"status", "status_code"}:
                assert not isinstance(node.value, ast.Constant), (
                    f"{name_of(path)}:{node.value.lineno}"
                )


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_every_module_says_what_it_owns(path: Path) -> None:
    """The first lines of a file say what it owns; `__init__.py` files are empty."""
    text = path.read_text()
    if path.name == "__init__.py":
        assert text == ""
    else:
        assert ast.get_docstring(ast.parse(text)), f"{name_of(path)} has no docstring"


def test_nothing_of_this_machine_is_in_the_project() -> None:
    """No registry host and no private path: the project speaks of itself alone."""
    pattern = re.compile(r"pypi\.org|pythonhosted|registry\.npmjs|/(?:work|root|home/\w+)/")
    kinds = {".py", ".md", ".toml", ".lock", ".sql", ".json", ".html", "", ".sh"}
    skipped = {".git", ".venv", ".services", ".headrace", ".hypothesis"}
    skipped |= {".mypy_cache", ".ruff_cache", ".pytest_cache"}
    for path in ROOT.rglob("*"):
        inside = set(path.relative_to(ROOT).parts)
        if (
            path.is_file()
            and path.suffix in kinds
            and not inside & skipped
            and path != Path(__file__)
        ):
            text = path.read_text(errors="replace")
            assert not pattern.search(text), f"{name_of(path)}: {pattern.search(text)}"
