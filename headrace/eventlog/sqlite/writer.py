"""The writer's thread: group commits, and between them retention, checkpoints and mending.

Owns the state of the log file: open or not, refusing or not. One loop: take what waits, commit
it in one transaction, tell the event loop once, then do one small chore if one is due.
"""

from __future__ import annotations

import contextlib
import copy
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from headrace.eventlog.sqlite.chunk import join_small
from headrace.eventlog.sqlite.errors import RETRY_SECONDS, primary_code, translate
from headrace.eventlog.sqlite.file import CHECKPOINT_BYTES, LogFile
from headrace.eventlog.sqlite.forgetting import Forgetter
from headrace.eventlog.sqlite.hold import is_held
from headrace.eventlog.sqlite.inbox import GROUP_BYTES, Inbox, Pending
from headrace.eventlog.sqlite.layout import Meta, WrongLayout
from headrace.eventlog.sqlite.positions import read_committed
from headrace.eventlog.sqlite.reserve import Reserve
from headrace.runtime.clock import Clock
from headrace.runtime.metrics import APPEND_FAILURES, APPEND_RECORDS, APPEND_SECONDS, LOG_BYTES
from headrace.schemas.errors import HeadraceError, Overloaded, Unavailable

CHORE_SECONDS: Final = 0.25
_LOG: Final = structlog.get_logger(__name__)


class Writer:
    """One thread that writes one log file. `start` it, `close` it, `join` it."""

    def __init__(
        self, path: Path, *, positions: Path, clock: Clock, meta: Meta, reserve: Reserve
    ) -> None:
        self.inbox = Inbox(reserve.share(GROUP_BYTES))
        self.meta = meta
        self.used_bytes = 0
        self.refusal: Overloaded | None = None
        """Why nothing is taken in just now; None while the disk does what it should."""
        self._path = path
        self._positions = positions
        self._clock = clock
        self._reserve = reserve
        self._forgetter = Forgetter(path)
        self._file: LogFile | None = None
        self._is_suspect = False
        self._is_reported = False
        self._next_chore = 0.0
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)

    def start(self, file: LogFile | None) -> None:
        """Go. It begins by mending, so that what cannot be mended at once is tried later."""
        self._file = file
        self.refusal = Overloaded(
            f"{self._path} cannot be written now: the disk is full or read-only",
            retry_after=RETRY_SECONDS,
        )
        self._do_chores()
        self._thread.start()

    def close(self) -> None:
        """Write what waits, then end."""
        self.inbox.close()

    def join(self, seconds: float) -> bool:
        """Wait for the end; False if it did not come in time."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self.inbox.is_drained:
            group = self.inbox.take(max(0.0, self._next_chore - time.monotonic()))
            if group:
                _tell(group, self.refusal or self._commit(group))
            self._do_chores()
        self._close_file()

    def _commit(self, group: Sequence[Pending]) -> HeadraceError | None:
        failure = self._try_commit(group)
        if failure is not None:
            APPEND_FAILURES.labels(kind=type(failure).__name__.lower()).inc()
        else:
            self._report_success()
            APPEND_SECONDS.observe(time.perf_counter() - group[0].handed_over)
            APPEND_RECORDS.observe(sum(p.chunk.count for p in group if p.chunk is not None))
        return failure

    def _try_commit(self, group: Sequence[Pending]) -> HeadraceError | None:
        assert self._file is not None  # else there is a refusal
        try:
            self.used_bytes += self._file.append(
                join_small(p.chunk for p in group if p.chunk is not None),
                [p.key_record for p in group if p.key_record is not None],
                self._clock.now(),
            )
        except Exception as error:  # noqa: BLE001 - the loop must live, and callers hear of it
            return self._break(error, committing=self._file.committing)
        return None if self._file.is_in_place() else self._leave_removed_file()

    def _leave_removed_file(self) -> HeadraceError:
        gone = Unavailable(f"{self._path} was removed or replaced while it was written")
        return self._break(gone, committing=True)

    # What nobody waits for

    def _do_chores(self) -> None:
        """A few ms of whatever is due; soon again if there is more of it."""
        is_due = time.monotonic() >= self._next_chore
        more = False
        try:
            if self.refusal is None:
                more = self._tidy(is_due=is_due)
            elif is_due:
                more = self._mend()
        except Exception as error:  # noqa: BLE001 - the loop must live; it mends what broke
            self._break(error, committing=False)
        if is_due:
            self._next_chore = time.monotonic() + (0 if more else CHORE_SECONDS)

    def _tidy(self, *, is_due: bool) -> bool:
        file = self._file
        assert file is not None  # else there is a refusal
        more = False
        if is_due and not file.is_in_place():
            self._leave_removed_file()
            return True
        if is_due:
            more = self._delete(file) or file.give_pages_back()
            more = self._forgetter.work(file) or more
        file.checkpoint_if_due()
        if is_due:  # in between it is estimated: to ask takes as long as a tenth of a commit
            self._note_used(file)
        return more

    def _delete(self, file: LogFile) -> bool:
        more_keys = file.delete_expired_keys(self._clock.now())
        may_forget = file.holds_records() and not (self.refusal is None and is_held(self._path))
        settled = self._settled_position() if may_forget else None
        more_records = settled is not None and file.delete_settled(settled)
        return more_keys or more_records

    def _settled_position(self) -> int | None:
        try:
            committed = read_committed(self._positions, self.meta.log_id, 0)
        except (sqlite3.Error, WrongLayout) as error:
            # No reason to refuse appends: there is room until the bound says otherwise.
            _LOG.warning("positions cannot be read", path=str(self._positions), reason=str(error))
            return None
        return committed.position if committed is not None else None

    def _mend(self) -> bool:
        """Open again what broke, make room, and take appends again once there is some."""
        if self._file is None:
            self._file = open_file(self._path, self._clock, self._reserve)
            self.meta = self._file.meta
        more = self._delete(self._file)
        is_sound = self._empty_wal(self._file)
        self._note_used(self._file)
        if not (is_sound and self._reserve.take()):
            self._report(str(self.refusal))
            return self._file.give_pages_back(keep_bytes=0) or more
        self._is_suspect = False
        self.refusal = None
        return more

    def _empty_wal(self, file: LogFile) -> bool:
        """Carry the WAL over; False if it must be empty before the next append and is not.

        After a failed write or fsync nobody knows which frames of the WAL are on the disk (the
        kernel forgets the error), and later frames are worth nothing without them.
        """
        try:
            return file.checkpoint(truncate=True) or not self._is_suspect
        except sqlite3.Error as error:
            if not _is_full(error):
                raise
            return False

    # State

    def _break(self, error: Exception, *, committing: bool) -> HeadraceError:
        """Take nothing in until `_mend` succeeds; leave room for it to do so.

        Returns what to tell those whose batches were in the transaction.
        """
        failure = _judge(error, self._path, committing=committing)
        self._report(str(failure))
        self._reserve.give_up()
        if self._file is not None and not (_is_full(error) and self._rolled_back(self._file)):
            self._is_suspect = True
            self._close_file()
        self.refusal = Overloaded(str(failure), retry_after=RETRY_SECONDS)
        return failure

    def _report(self, reason: str) -> None:
        if not self._is_reported:
            self._is_reported = True
            _LOG.warning("the log takes no records", path=str(self._path), reason=reason)

    def _report_success(self) -> None:
        # Not when it was mended: on a full disk that may last until the next append and no
        # longer, and a pair of lines each time would fill what is left.
        if self._is_reported:
            self._is_reported = False
            _LOG.info("the log takes records again", path=str(self._path))

    def _rolled_back(self, file: LogFile) -> bool:
        try:
            file.roll_back()
        except sqlite3.Error:
            return False
        return True

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(sqlite3.Error):
                file.close()

    def _note_used(self, file: LogFile) -> None:
        self.used_bytes = file.used_bytes()
        LOG_BYTES.set(self.used_bytes)


def open_file(path: Path, clock: Clock, reserve: Reserve) -> LogFile:
    """The log file, opened or made. Raises `sqlite3.Error` or `WrongLayout`."""
    return LogFile.open(path, now=clock.now(), checkpoint_bytes=reserve.share(CHECKPOINT_BYTES))


def _judge(error: Exception, path: Path, *, committing: bool) -> HeadraceError:
    if isinstance(error, sqlite3.Error):
        return translate(error, file=str(path), committing=committing)
    if isinstance(error, HeadraceError):
        return error
    _LOG.error("log_writer_failed", path=str(path), exc_info=error)
    return Unavailable(f"{path}: {type(error).__name__}: {error}")


def _is_full(error: Exception) -> bool:
    return isinstance(error, sqlite3.Error) and primary_code(error) == sqlite3.SQLITE_FULL


def _tell(group: Sequence[Pending], failure: HeadraceError | None) -> None:
    loop = group[0].future.get_loop()
    with contextlib.suppress(RuntimeError):  # the loop ended meanwhile: nobody to tell
        loop.call_soon_threadsafe(_resolve, group, failure)


def _resolve(group: Sequence[Pending], failure: HeadraceError | None) -> None:
    for pending in group:
        if pending.future.done():  # its caller was cancelled
            continue
        if failure is None:
            pending.future.set_result(None)
        else:
            # One failure, many callers, a trace for each.
            error = copy.copy(failure)
            error.__cause__ = failure
            pending.future.set_exception(error)
