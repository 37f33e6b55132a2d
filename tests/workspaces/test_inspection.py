"""What `headrace check` says of control data, without changing anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.schemas.errors import Unavailable
from headrace.workspaces.database import ControlData
from headrace.workspaces.engine import make_engine, reading
from headrace.workspaces.inspection import ControlReport, inspect_control
from headrace.workspaces.migrate import NEWEST, version_of
from tests.services.postgres import PostgresServer
from tests.workspaces.test_migrate import bring_to, set_version


def test_what_is_in_order_is_told_with_versions_and_counts(control: ControlData, url: str) -> None:
    """Kind, place, versions, how many workspaces and keys; no problem."""
    workspace = control.create_workspace("Shop")
    control.create_key(workspace)
    control.create_key(workspace)
    report = inspect_control(url)
    assert report.problem is None
    assert report.kind == ("PostgreSQL" if control.is_remote else "SQLite")
    assert report.place == control.place
    assert report.server_version is not None
    assert report.server_version[0].isdigit()
    assert (report.schema_version, report.workspaces, report.keys) == (NEWEST, 1, 2)


def test_what_is_not_made_yet_is_told_and_not_made(url: str, tmp_path: Path) -> None:
    """An empty database stays empty, a missing file stays missing."""
    report = inspect_control(url)
    assert report.problem is not None
    assert "yet. `headrace migrate` makes it" in report.problem
    assert report.workspaces is None
    assert list(tmp_path.iterdir()) == []
    engine = make_engine(url)
    if report.kind == "PostgreSQL":
        with reading(engine) as connection:
            assert version_of(connection) is None
    engine.dispose()


def test_an_older_one_is_told_and_not_migrated(url: str) -> None:
    """Both versions, and the command that brings it along."""
    engine = make_engine(url)
    with engine.begin() as connection:
        bring_to(connection, "0001")
    engine.dispose()
    report = inspect_control(url)
    assert report.problem is not None
    assert f"of version 0001, this Headrace works with {NEWEST}. Run `headrace mi" in report.problem
    assert inspect_control(url) == report


def test_a_newer_one_is_told(url: str) -> None:
    """As whoever opens it would be."""
    ControlData.open(url).close()
    set_version(url, "9999")
    report = inspect_control(url)
    assert report.schema_version == "9999"
    assert report.problem is not None
    assert "Start the newer Headrace" in report.problem


def test_a_server_out_of_reach_is_told() -> None:
    """What is the matter, without the password."""
    report = inspect_control("postgresql://headrace:s3cr3t@127.0.0.1:1/headrace")
    assert report.problem is not None
    assert "See that PostgreSQL runs there" in report.problem
    assert report == ControlReport(
        "PostgreSQL", "postgresql://127.0.0.1:1/headrace", problem=report.problem
    )
    assert "s3cr3t" not in report.problem


def test_a_wrong_password_is_told(postgres: PostgresServer) -> None:
    """With the name of the user."""
    report = inspect_control(postgres.url().replace("p4ss%2Fw%40rd", "s3cr3t"))
    assert report.problem is not None
    assert 'failed for user "headrace". See that user and password' in report.problem


def test_a_url_that_is_none_is_an_error() -> None:
    """There is nothing to report on."""
    with pytest.raises(Unavailable, match="cannot use this URL"):
        inspect_control("nosuch://host/db")
