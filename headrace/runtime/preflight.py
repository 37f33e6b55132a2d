"""What would keep a node from starting, found before anything is started.

Owns the sentences about ports and disk; HOME's own are `home.py`'s.
"""

from __future__ import annotations

import errno
import shutil
import socket
from pathlib import Path
from typing import Final

from headrace.runtime.setting_table import MEBIBYTE, SETTINGS
from headrace.runtime.setting_text import Address
from headrace.runtime.settings import Settings
from headrace.schemas.errors import HeadraceError

MIN_FREE_BYTES: Final = 256 * MEBIBYTE


class NotReady(HeadraceError):
    """The node cannot start here and now; the message says what to do, per problem a line."""


def check_machine(settings: Settings) -> None:
    """Raise `NotReady` if a port is taken or the disk is nearly full."""
    problems = [*_port_problems(settings), *_disk_problems(settings.home)]
    if problems:
        raise NotReady("\n".join(problems))


def _port_problems(settings: Settings) -> list[str]:
    wanted = {
        "listen": settings.listen,
        "store_listen": settings.store_listen if settings.has_embedded_store else None,
        "processor_listen": settings.processor_listen,
    }
    problems = []
    taken: dict[int, str] = {}
    for field, address in wanted.items():
        if address is None:
            continue
        variable = SETTINGS[field].variable
        if address.port in taken:
            problem = f"{variable} and {taken[address.port]} both name port {address.port}"
        else:
            problem = _bind_problem(address)
        taken[address.port] = variable
        if problem:
            problems.append(f"{problem}. Choose another address with {variable}=host:port.")
    return problems


def _bind_problem(address: Address) -> str:
    if address.port == 0:
        return f"{address} names no port"
    try:
        families = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        for family, kind, protocol, _, where in families[:1]:
            with socket.socket(family, kind, protocol) as probe:
                # As servers do: connections of an earlier start that linger are no obstacle.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(where)
                probe.listen(1)
    except socket.gaierror:
        return f"{address.host} is no address of this machine"
    except OSError as error:
        return _bind_sentence(address, error)
    return ""


def _bind_sentence(address: Address, error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {address.port} on {address.host} is in use by another program"
        case errno.EACCES:
            return f"this user may not listen on port {address.port}"
        case errno.EADDRNOTAVAIL:
            return f"{address.host} is no address of this machine"
        case _:
            return f"cannot listen on {address} ({error.strerror})"


def _disk_problems(home: Path) -> list[str]:
    free = shutil.disk_usage(home).free
    if free >= MIN_FREE_BYTES:
        return []
    return [
        f"the disk of {home} is nearly full: {free // MEBIBYTE} MiB are free, "
        f"{MIN_FREE_BYTES // MEBIBYTE} MiB are needed to start. Make room, or choose a folder on "
        "another disk with HEADRACE_HOME."
    ]
