"""Servers that tests start: any ASGI app on a free port, and a collector that obeys a script."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """The app's URL while the block runs."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


class ScriptedCollector:
    """Takes batches as the real one does, once per key, after the answers it was told to give."""

    def __init__(self, *script: Response, check: Callable[[Any], str | None] | None = None) -> None:
        self.script = list(script)
        self.check = check or (lambda _: None)
        self.taken: dict[str, list[dict[str, Any]]] = {}
        self.answers: dict[str, dict[str, Any]] = {}
        self.requests: list[Request] = []
        self.app = Starlette(
            routes=[
                Route(path, self.take, methods=["POST"])
                for path in ("/v1/batch/events", "/v1/rejected/replay")
            ],
        )

    @property
    def events(self) -> list[dict[str, Any]]:
        """Every event that was stored, once for each time it was."""
        return [event for events in self.taken.values() for event in events]

    async def take(self, request: Request) -> Response:
        self.requests.append(request)
        body = await request.body()
        if self.script:
            return self.script.pop(0)
        key = request.headers["Idempotency-Key"]
        if key in self.answers:
            return JSONResponse(self.answers[key], headers={"Idempotent-Replayed": "true"})
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.answers[key] = self._judge(key, json.loads(body)["events"])
        return JSONResponse(self.answers[key])

    def _judge(self, key: str, events: list[dict[str, Any]]) -> dict[str, Any]:
        errors = [
            {"index": index, "code": code, "reason": f"{code} it is", "field": ""}
            for index, event in enumerate(events)
            if (code := self.check(event))
        ]
        bad = {error["index"] for error in errors}
        self.taken[key] = [event for index, event in enumerate(events) if index not in bad]
        return {
            "status": "ok",
            "accepted": len(self.taken[key]),
            "rejected": len(errors),
            "event_ids": [f"evt_{key}_{index}" for index in range(len(self.taken[key]))],
            "errors": errors,
        }


def trouble(status: int, error: str = "trouble", **headers: str) -> Response:
    """An answer for a script: a whole-request failure."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return JSONResponse({"error": error, "message": f"{error}!"}, status, headers=given)
