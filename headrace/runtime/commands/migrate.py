"""`headrace migrate`: control data, the topic and the tables, made or brought up to date."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from headrace.runtime.clock import SystemClock
from headrace.runtime.home import open_home
from headrace.runtime.logging import configure_logging
from headrace.runtime.options import HomeOption, StoreListenOption
from headrace.runtime.preparing import Preparation
from headrace.runtime.settings import read_settings
from headrace.runtime.version import headrace_version


def migrate(
    *,
    home: HomeOption = None,
    store_listen: StoreListenOption = None,
    wait: Annotated[
        float, Parameter(help="Seconds to wait for each part that does not answer yet.")
    ] = 30.0,
) -> None:
    """Prepare everything a node needs; may be repeated, and run twice at once.

    `headrace up` does this by itself. The tables of an embedded store that does not run are left
    to it.
    """
    settings = read_settings(home=home, store_listen=store_listen)
    configure_logging("migrate", level=settings.log_level, form=settings.log_format, file=None)
    place = open_home(settings.home, version=headrace_version())
    clock = SystemClock(settings.clock_offset_seconds)
    for done in Preparation(settings, place, clock).run(wait):
        print(f"{done.part}: {done.what}", flush=True)
