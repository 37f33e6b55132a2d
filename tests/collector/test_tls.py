"""TLS in the collector itself. `localhost.pem` is a key that everybody knows, for these tests."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import httpx2
import pytest

from headrace.collector.listening import CannotListen
from headrace.collector.server import ServerOptions, serve
from tests.collector.trial import GOOD, ONE, Trial, served

PEM = Path(__file__).with_name("localhost.pem")


async def test_events_go_in_over_tls(trial: Trial) -> None:
    """A client that checks the certificate is served; one that speaks plain HTTP is not."""
    async with served(trial.app, tls_certificate=PEM, tls_key=PEM) as port:
        verify = ssl.create_default_context(cafile=str(PEM))
        headers = {"Authorization": f"Bearer {trial.key}"}
        async with httpx2.AsyncClient(verify=verify, headers=headers) as client:
            answer = await client.post(f"https://127.0.0.1:{port}{ONE}", json=GOOD)
            assert answer.status_code == 200
            with pytest.raises(httpx2.TransportError):
                await client.post(f"http://127.0.0.1:{port}{ONE}", json=GOOD)
    assert len(trial.log.records()) == 1


async def test_refusals_can_be_read_over_tls(trial: Trial) -> None:
    """There is no half-closing here, and a piece may hold a body's end and the next headers."""
    async with served(trial.app, tls_certificate=PEM, tls_key=PEM) as port:
        verify = ssl.create_default_context(cafile=str(PEM))
        headers = {"Authorization": f"Bearer {trial.key}"}
        async with httpx2.AsyncClient(verify=verify, headers=headers) as client:
            url = f"https://127.0.0.1:{port}"
            answer = await client.post(url + ONE, content=b"x" * (11 * 1024 * 1024))
            assert answer.status_code == 413
            answer = await client.get(url, headers={"X-Long": "x" * 100_000})
            assert answer.status_code == 431


@pytest.mark.parametrize("name", ["nothing.pem", "test_tls.py"])
async def test_a_certificate_that_cannot_be_used_is_a_sentence(trial: Trial, name: str) -> None:
    """It names both files."""
    options = ServerOptions(
        host="127.0.0.1", port=0, tls_certificate=PEM.with_name(name), tls_key=PEM
    )
    with pytest.raises(CannotListen, match=f"{name}.*both must be readable PEM files"):
        await serve(trial.app, options, asyncio.Event())
