"""TLS in the collector itself. `localhost.pem` is a key that everybody knows, for these tests."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx2
import pytest

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
