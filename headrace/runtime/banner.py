"""What `headrace up` prints when the node is ready: where it is and what to paste.

Plain text when nobody looks (a file, a pipe), colours on a terminal; what is to be pasted is
never wrapped or decorated.
"""

from __future__ import annotations

import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from headrace.runtime.credentials import Credentials
from headrace.runtime.home import Home
from headrace.runtime.settings import Settings

EVENT: Final = "paywall_viewed"
_QUERY: Final = "SELECT received_at, event, person_id, properties FROM events ORDER BY received_at"


class Banner(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to say."""

    settings: Settings
    home: Home
    credentials: Credentials
    collector_url: str
    seconds: float
    now: datetime

    def print(self) -> None:
        """In one write: who reads along sees the whole of it or nothing."""
        from rich.console import Console
        from rich.markup import escape

        console = Console(highlight=False, soft_wrap=True)
        with console.capture() as captured:
            console.print(f"\n[bold green]Headrace is ready ({self.seconds:.1f} s)[/]\n")
            for name, value in self.places():
                console.print(f"  [dim]{name:<10}[/] {escape(value)}")
            console.print("\n[bold]Send an event:[/]\n")
            console.out(self.curl())
            console.print("\n[bold]See it in ClickHouse:[/]\n")
            console.out("\n".join(self.queries()) + "\n")
            console.print("[dim]Ctrl-C ends the node; nothing is lost.[/]\n")
        sys.stdout.write(captured.get())
        sys.stdout.flush()

    def places(self) -> list[tuple[str, str]]:
        return [
            ("collector", self.collector_url),
            ("store", f"{self._store_url()}  (ClickHouse over HTTP)"),
            ("home", str(self.home.root)),
            ("keys", str(self.home.credentials)),
        ]

    def curl(self) -> str:
        """One event, stamped now."""
        event = {
            "event": EVENT,
            "user_id": "usr_abc123",
            "timestamp": f"{self.now:%Y-%m-%dT%H:%M:%SZ}",
            "properties": {"paywall_id": "pw_annual_v3", "context": "onboarding_step_3"},
        }
        insecure = "-k " if self.collector_url.startswith("https") else ""
        return (
            f"curl {insecure}{self.collector_url}/v1/events \\\n"
            f"  -H 'Authorization: Bearer {self.credentials.api_key}' \\\n"
            "  -H 'Content-Type: application/json' \\\n"
            f"  -d {shlex.quote(msgspec.json.encode(event).decode())}"
        )

    def queries(self) -> list[str]:
        """Ways to see it; a server's password, which is not of our making, is shown to nobody."""
        if self.settings.has_embedded_store:
            return [self.query(), self.query_by_curl()]
        return [self.query()]

    def query(self) -> str:
        home = "" if self._is_usual_home() else f" --home {shlex.quote(str(self.home.root))}"
        return f"{_headrace()} query{home} {shlex.quote(_QUERY)}"

    def query_by_curl(self) -> str:
        login = self.credentials.clickhouse
        return (
            f"curl -u {login.user}:{login.password} '{login.url}/?database={login.database}' "
            f"--data-binary {shlex.quote(_QUERY + ' FORMAT PrettyCompact')}"
        )

    def _store_url(self) -> str:
        server = self.settings.clickhouse
        return self.settings.store_listen.url if server is None else server.url

    def _is_usual_home(self) -> bool:
        return self.home.root == Path.cwd() / ".headrace"


def _headrace() -> str:
    """How `headrace` was called, as short as it can be pasted here."""
    script = Path(sys.argv[0])
    if script.name != "headrace":
        return "headrace"
    if script.is_absolute() and script.is_relative_to(Path.cwd()):
        return str(script.relative_to(Path.cwd()))
    return shlex.quote(sys.argv[0])
