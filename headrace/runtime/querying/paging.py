"""Long answers a screen at a time: through a pager, once they are longer than the terminal.

Owns the pager's process and its end. What fits on the screen, and everything that does not go to
a terminal, is written as it is.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Final

from rich.cells import cell_len

LESS: Final = ("less", "-FRSX")
"""Ends by itself on little text, keeps colours, cuts long lines, leaves the text on the screen."""
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")


def pager_command(wanted: str | None) -> tuple[str, ...]:
    """The program for `$PAGER`: `less` where it is not set, none where it is empty."""
    return LESS if wanted is None else tuple(shlex.split(wanted))


class Pages:
    """A context manager to write bytes to; `pager` is the program, or nothing to use none.

    A reader who leaves the pager ends the block, quietly.
    """

    def __init__(self, pager: Sequence[str]) -> None:
        self._pager = pager if sys.stdout.isatty() else ()
        self._size = _terminal_size() if self._pager else os.terminal_size((0, 0))
        self._held: list[bytes] = []
        self._height = 0
        self._process: subprocess.Popen[bytes] | None = None

    def write(self, chunk: bytes) -> None:
        """Raises `BrokenPipeError` when nobody reads any more."""
        if self._process is not None:
            self._write_on(chunk)
        elif self._pager:
            self._held.append(chunk)
            self._height += _height(chunk, self._size.columns)
            if self._height >= self._size.lines:
                self._start()
        else:
            sys.stdout.buffer.write(chunk)

    def __enter__(self) -> Pages:
        sys.stdout.flush()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if self._process is not None:
            self._wait(self._process)
            return isinstance(error, BrokenPipeError)
        self._release()
        sys.stdout.buffer.flush()
        return False

    def _start(self) -> None:
        try:
            self._process = subprocess.Popen(self._pager, stdin=subprocess.PIPE)
        except OSError:  # there is no such program
            self._pager = ()
            self._release()
            return
        for chunk in self._held:
            self._write_on(chunk)
        self._held = []

    def _write_on(self, chunk: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(chunk)
        self._process.stdin.flush()

    def _release(self) -> None:
        for chunk in self._held:
            sys.stdout.buffer.write(chunk)
        self._held = []

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        with _ctrl_c_is_the_pagers():
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            process.wait()


@contextlib.contextmanager
def _ctrl_c_is_the_pagers() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _height(chunk: bytes, columns: int) -> int:
    """Lines of the screen that it takes."""
    text = _COLOURS.sub("", chunk.decode(errors="replace"))
    wrapped = sum(max(cell_len(line) - 1, 0) // max(columns, 1) for line in text.split("\n"))
    return text.count("\n") + wrapped


def _terminal_size() -> os.terminal_size:
    try:
        return os.get_terminal_size(sys.stdout.fileno())
    except OSError:
        return os.terminal_size((80, 24))
