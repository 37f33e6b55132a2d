"""A HOME without a node: control data and credentials, as a first start leaves them."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from headrace.runtime.credentials import (
    StoreLogin,
    read_credentials,
    write_credentials,
    write_processor_login,
)
from headrace.runtime.first_start import complete_home
from headrace.runtime.home import Home, Lock, open_home
from headrace.runtime.settings import read_settings
from headrace.workspaces.database import ControlData
from tests.store.server_fixture import OPERATOR, PASSWORD, PROCESSOR, StoreServer


def make_home(root: Path, store_url: str = "http://127.0.0.1:1") -> Path:
    """The folder, ready for commands."""
    home = open_home(root, version="0.1.0")
    control = ControlData.open(home.control_url)
    listen = store_url.partition("://")[2]
    complete_home(home, control, read_settings({"HEADRACE_STORE_LISTEN": listen}))
    control.close()
    return root


def copied(home: Path, root: Path) -> Path:
    """The same folder once more, without a node; its credentials lead to the first one's."""
    shutil.copytree(home, root)
    return root


def point_home_at(home: Path, server: StoreServer) -> Path:
    """Make HOME's operator and processor those of a store that a test runs, as its own."""
    place = Home(home)
    Lock.take(place.process_lock("store"), datetime.now(UTC))  # until this process ends
    found = read_credentials(place)
    operator = StoreLogin(server.url, "headrace", OPERATOR, PASSWORD)
    write_credentials(place, msgspec.structs.replace(found, clickhouse=operator))
    write_processor_login(place, StoreLogin(server.url, "headrace", PROCESSOR, PASSWORD))
    return home
