"""The socket the collector listens on, and why there may be none.

Owns the sentences a person reads when an address cannot be used.
"""

from __future__ import annotations

import errno
import socket
from typing import Final

from headrace.schemas.errors import HeadraceError

BACKLOG: Final = 2_048


class CannotListen(HeadraceError):
    """The address or the certificate cannot be used; the message says what to do."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections; port 0 lets the system choose. Raises `CannotListen`."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(BACKLOG)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        reason = (
            "another program uses it; stop that or choose another port"
            if error.errno == errno.EADDRINUSE
            else f"{error.strerror or error}; choose an address of this machine"
        )
        raise CannotListen(f"cannot listen on {host} port {port}: {reason}") from error
    return listening
