"""The image's health check: asks the process that this container runs whether it is alive.

Owns which address that is: the collector's, or the processor's own. A container that runs anything
else (`headrace migrate`, a query) counts as healthy, since it ends by itself. Uses nothing but the
standard library, so that it starts fast.
"""

from __future__ import annotations

import os
import ssl
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

TIMEOUT_SECONDS = 2.0


def address_to_ask(command: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """The URL of `/livez` for the process with this command line; None if it serves nothing."""
    words = set(command)
    if words & {"collector", "up"}:
        scheme = "https" if environment.get("HEADRACE_TLS_CERTIFICATE") else "http"
        return _livez(scheme, environment.get("HEADRACE_LISTEN", ""), "8080")
    if "processor" in words and environment.get("HEADRACE_PROCESSOR_LISTEN"):
        return _livez("http", environment["HEADRACE_PROCESSOR_LISTEN"], "9090")
    return None


def is_alive(url: str) -> bool:
    """Whether it answers with a success in time."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS, context=_any_certificate()):  # noqa: S310 - made above
            return True
    except OSError:  # urllib's own errors among them
        return False


def main() -> int:
    """0 if the container's first process is alive, 1 if it is not."""
    command = Path("/proc/1/cmdline").read_text().split("\0")
    url = address_to_ask(command, os.environ)
    return 0 if url is None or is_alive(url) else 1


def _any_certificate() -> ssl.SSLContext:
    """It is for another name than 127.0.0.1, and this never leaves the container."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _livez(scheme: str, listen: str, default_port: str) -> str:
    port = listen.rpartition(":")[2] or default_port
    return f"{scheme}://127.0.0.1:{port}/livez"


if __name__ == "__main__":
    sys.exit(main())
