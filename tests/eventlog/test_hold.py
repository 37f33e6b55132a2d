"""A log that is being copied forgets nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from headrace.eventlog.sqlite.hold import held, is_held


def test_it_is_held_as_long_as_anybody_holds_it(tmp_path: Path) -> None:
    """Two copies may be made at once."""
    log = tmp_path / "log.sqlite"
    assert not is_held(log)
    with held(log):
        assert is_held(log)
        with held(log):
            assert is_held(log)
    assert not is_held(log)
    assert list(tmp_path.iterdir()) == []


def test_who_is_killed_holds_nothing(tmp_path: Path) -> None:
    """The file that is left says nothing."""
    log = tmp_path / "log.sqlite"
    code = (
        "import sys, time; from pathlib import Path; "
        "from headrace.eventlog.sqlite.hold import held\n"
        "with held(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(log)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    assert is_held(log)
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    assert not is_held(log)
