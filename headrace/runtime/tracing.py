"""Traces, if `HEADRACE_TRACES` says where to send them; nothing of them is loaded otherwise.

Owns the way from the setting to the two tracers, of requests (`collector/observing.py`) and of
ranges (`processor/tracing.py`). OpenTelemetry is an extra and lives in `spans.py` alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.runtime.clock import Clock
from headrace.schemas.errors import HeadraceError

if TYPE_CHECKING:
    from headrace.runtime.spans import Traces


def start_traces(endpoint: str, process: str, clock: Clock) -> Traces | None:
    """Traces of this process, sent over OTLP; None without an endpoint.

    Raises `HeadraceError` if the extra is not installed. `Traces.stop` sends what is left.
    """
    if not endpoint:
        return None
    try:
        from headrace.runtime.spans import send_to
    except ModuleNotFoundError as error:
        raise HeadraceError(
            f"HEADRACE_TRACES is set, but {error.name} is not installed: "
            "pip install 'headrace[traces]', or leave HEADRACE_TRACES empty"
        ) from error
    return send_to(endpoint, process, clock)
