"""A process group of its own for the node, and the terminal's foreground for that group.

So Ctrl-C reaches the node whoever started it (`make run` included), and `kill -9 -- -PGID`
ends exactly the node.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def own_process_group() -> Iterator[None]:
    """Lead a process group; if we had the terminal's foreground, keep it, and give it back."""
    before = os.getpgrp()
    if before == os.getpid():
        yield
        return
    with contextlib.suppress(PermissionError):  # a session's leader leads its group already
        os.setpgid(0, 0)
    terminal = _open_terminal()
    had_foreground = terminal is not None and _foreground(terminal) == before
    try:
        if terminal is not None and had_foreground:
            _set_foreground(terminal, os.getpgrp())
            # Ctrl-Z would stop the node but not `make`, and no shell would be there to wake it.
            signal.signal(signal.SIGTSTP, signal.SIG_IGN)
        yield
    finally:
        if terminal is not None:
            if had_foreground and _foreground(terminal) == os.getpgrp():
                _set_foreground(terminal, before)
            os.close(terminal)


def _open_terminal() -> int | None:
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return None


def _foreground(terminal: int) -> int | None:
    try:
        return os.tcgetpgrp(terminal)
    except OSError:
        return None


def _set_foreground(terminal: int, group: int) -> None:
    # A background process that asks for the foreground would be stopped by SIGTTOU.
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    try:
        with contextlib.suppress(OSError):  # the group or the terminal is gone
            os.tcsetpgrp(terminal, group)
    finally:
        signal.signal(signal.SIGTTOU, before)
