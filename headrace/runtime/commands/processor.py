"""`headrace processor`: one process of a node, alone or under `headrace up`."""

from __future__ import annotations

from headrace.runtime.options import (
    HomeOption,
    ListenOption,
    StoreListenOption,
    SupervisedOption,
)
from headrace.runtime.process import run_process
from headrace.runtime.settings import read_settings
from headrace.runtime.wiring import run_processor


def processor(
    *,
    home: HomeOption = None,
    listen: ListenOption = None,
    store_listen: StoreListenOption = None,
    supervised: SupervisedOption = False,
) -> int:
    """Run the processor: from the log into the tables."""
    settings = read_settings(home=home, listen=listen, store_listen=store_listen)
    return run_process(
        "processor",
        settings,
        run_processor,
        supervised=supervised,
        is_alone=settings.has_local_log or supervised,
    )
