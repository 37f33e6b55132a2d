"""Options that several commands share, spelled and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter, validators

NOT_NEGATIVE: Final = validators.Number(gte=0)

HomeOption = Annotated[
    Path | None, Parameter(name="--home", help="The node's folder.  [HEADRACE_HOME, ./.headrace]")
]
ListenOption = Annotated[
    str | None,
    Parameter(
        name="--listen", help="Where the collector listens.  [HEADRACE_LISTEN, 127.0.0.1:8080]"
    ),
]
StoreListenOption = Annotated[
    str | None,
    Parameter(
        name="--store-listen",
        help="Where the embedded ClickHouse server listens.  "
        "[HEADRACE_STORE_LISTEN, 127.0.0.1:8123]",
    ),
]
SupervisedOption = Annotated[
    bool,
    Parameter(name="--supervised", show=False, negative="", help="End when standard input ends."),
]
