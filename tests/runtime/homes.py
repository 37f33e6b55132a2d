"""A HOME without a node: control data and credentials, as a first start leaves them."""

from __future__ import annotations

from pathlib import Path

from headrace.runtime.first_start import complete_home
from headrace.runtime.home import open_home
from headrace.workspaces.database import ControlData


def make_home(root: Path, store_url: str = "http://127.0.0.1:1") -> Path:
    """The folder, ready for commands."""
    home = open_home(root, version="0.1.0")
    control = ControlData.open(home.control_url)
    complete_home(home, control, store_url)
    control.close()
    return root
