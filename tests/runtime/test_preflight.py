"""What keeps a node from starting is found before anything is started, and said."""

from __future__ import annotations

import shutil
import socket
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.runtime.preflight import MIN_FREE_BYTES, NotReady, check_machine
from headrace.runtime.settings import Settings, read_settings
from tests.services.ports import free_port

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def settings(home: Path, listen: str = "", store_listen: str = "") -> Settings:
    return read_settings(
        {},
        home=home,
        listen=listen or f"127.0.0.1:{free_port()}",
        store_listen=store_listen or f"127.0.0.1:{free_port()}",
    )


def test_a_machine_with_room_is_fine(tmp_path: Path) -> None:
    """Nothing is said when nothing is wrong."""
    check_machine(settings(tmp_path))


def test_ports_in_use_are_named_with_their_variables(tmp_path: Path, taken: int) -> None:
    """Both are reported at once."""
    with pytest.raises(NotReady) as caught:
        check_machine(settings(tmp_path, f"127.0.0.1:{taken}", f"127.0.0.1:{taken}"))
    first, second = str(caught.value).splitlines()
    assert f"port {taken} on 127.0.0.1 is in use" in first
    assert "HEADRACE_LISTEN=host:port" in first
    assert "HEADRACE_STORE_LISTEN and HEADRACE_LISTEN both name port" in second


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("127.0.0.1:0", "names no port"),
        ("203.0.113.7:8080", "no address of this machine"),
        ("no-such-host.invalid:8080", "no address of this machine"),
    ],
)
def test_addresses_that_cannot_be_listened_on(tmp_path: Path, address: str, sentence: str) -> None:
    """Each has its sentence."""
    with pytest.raises(NotReady, match=sentence):
        check_machine(settings(tmp_path, address))


def test_a_nearly_full_disk_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says how much is free, how much is needed and what to do."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, MIN_FREE_BYTES - 1))
    with pytest.raises(NotReady, match=r"255 MiB are free, 256 MiB are needed.*HEADRACE_HOME"):
        check_machine(settings(tmp_path))
