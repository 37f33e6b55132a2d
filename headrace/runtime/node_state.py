"""`HOME/run/node.json`: what the supervisor says about the node, for whoever asks.

Owns the file's shape and whether it is still true: a node runs as long as its lock is held.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from headrace.runtime.files import read_json, write_atomically
from headrace.runtime.home import Home, is_held
from headrace.runtime.setting_text import Address
from headrace.runtime.settings import Settings


class ProcessState(msgspec.Struct, frozen=True, kw_only=True):
    """One of the node's processes. `pid` is None between a death and the restart; `died` says how
    the last one ended, if one did."""

    name: str
    pid: int | None
    started_at: datetime
    ready: bool
    restarts: int
    died: str = ""


class NodeState(msgspec.Struct, frozen=True, kw_only=True):
    """The node as its supervisor sees it."""

    pid: int
    version: str
    started_at: datetime
    listen: Address
    store_listen: Address
    tls: bool
    processes: tuple[ProcessState, ...]

    @property
    def collector_url(self) -> str:
        return self.listen.url.replace("http://", "https://") if self.tls else self.listen.url


def write_node_state(home: Home, state: NodeState) -> None:
    write_atomically(home.node_state, msgspec.json.encode(state), durable=False)


def read_node_state(home: Home) -> NodeState | None:
    """The running node of this HOME, or None if none runs."""
    if not is_held(home.lock):
        return None
    return read_json(home.node_state, NodeState)


def collector_url(settings: Settings) -> str:
    """Where HOME's collector is: the running node knows best, else the settings say."""
    state = read_node_state(Home(settings.home))
    if state is not None:
        return state.collector_url
    scheme = "https" if settings.tls_certificate else "http"
    return settings.listen.url.replace("http://", f"{scheme}://")
