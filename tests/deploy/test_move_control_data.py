"""Control data moves from one machine's file to PostgreSQL, and apps notice nothing."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from deploy.move_control_data import NotEmpty, main, move
from headrace.workspaces.database import ControlData
from headrace.workspaces.keys import fingerprint
from headrace.workspaces.port import Scope
from tests.services.postgres import PostgresServer


@pytest.fixture
def source(tmp_path: Path) -> tuple[Path, str]:
    """A machine's control data with two workspaces, and the key of one of them."""
    path = tmp_path / "control.sqlite"
    with closing(ControlData.open(f"sqlite:///{path}")) as control:
        control.create_workspace("shop", requests_per_minute=500)
        workspace = control.create_workspace("blog")
        key = control.create_key(workspace, scopes=(Scope.INGEST,), name="app")
    return path, key


def test_workspaces_and_keys_arrive_as_they_were(
    source: tuple[Path, str], postgres: PostgresServer
) -> None:
    """With their ids, limits and fingerprints, so that a key opens the same workspace."""
    path, key = source
    url = postgres.make_database()
    assert move(path, url) == (2, 1)
    with (
        closing(ControlData.open(f"sqlite:///{path}")) as old,
        closing(ControlData.open(url)) as new,
    ):
        assert new.list_workspaces() == old.list_workspaces()
        assert new.list_keys() == old.list_keys()
        assert fingerprint(key) in new.snapshot().keys
        assert new.revision() > 0


def test_a_database_in_use_is_left_alone(
    source: tuple[Path, str], postgres: PostgresServer
) -> None:
    """Whoever runs it twice, or after `headrace migrate`, is told; nothing is mixed."""
    url = postgres.make_database()
    with closing(ControlData.open(url)) as control:
        control.create_workspace("default")
    with pytest.raises(NotEmpty, match="give an empty database"):
        move(source[0], url)
    with closing(ControlData.open(url)) as control:
        assert [each.name for each in control.list_workspaces()] == ["default"]


def test_what_cannot_be_done_is_said_without_the_password(
    source: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is not there, a server that does not answer."""
    assert main(["/nowhere/control.sqlite", "postgresql://a:secret@127.0.0.1:9/b"]) == 2
    assert main([str(source[0]), "postgresql://a:secret@127.0.0.1:9/b"]) == 1
    said = capsys.readouterr().err
    assert "usage" in said
    assert "127.0.0.1" in said
    assert "secret" not in said
