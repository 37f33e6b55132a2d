"""The description holds: what a generator makes of it is answered as it says."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from headrace.collector.app import application
from headrace.workspaces.port import Scope
from tests.collector.trial import BATCH, ONE, REPLAY, Trial

TRIAL = Trial(requests_per_minute=1_000_000)
NUMBERS = count()
LOOKED_AT = ["/livez", "/readyz", "/metrics", "/openapi.json", "/docs"]

described = schemathesis.openapi.from_asgi("/openapi.json", application(TRIAL.app.handler))


@pytest.mark.parametrize("path", [ONE, BATCH, REPLAY])
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_answers_are_those_described(path: str, mode: GenerationMode) -> None:
    """Status, type, headers and shape of every answer stand in the document, and what breaks
    the described request is refused."""

    @given(described[path]["POST"].as_strategy(generation_mode=mode))
    @settings(
        max_examples=20,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def send(case: Case[Any]) -> None:
        # A workspace for each: generated idempotency keys repeat, with other bodies.
        workspace = TRIAL.directory.create_workspace(f"generated-{next(NUMBERS)}")
        scope = Scope.ADMIN if path == REPLAY else Scope.INGEST
        key = TRIAL.directory.create_key(workspace, scopes=(scope,))
        # Its probes without a key are slowed, as they should be. And a schema cannot say which
        # years are taken.
        left_out = [ignored_auth, *([positive_data_acceptance] if path == ONE else [])]
        headers = {"Authorization": f"Bearer {key}"}
        case.call_and_validate(headers=headers, excluded_checks=left_out)

    send()


@pytest.mark.parametrize("path", LOOKED_AT)
def test_what_can_be_looked_at_is_as_described(path: str) -> None:
    """Without a key, too."""
    described[path]["GET"].Case().call_and_validate()


def test_nothing_is_described_twice_or_not_at_all() -> None:
    """Every operation of the document was tested above."""
    assert set(described) == {ONE, BATCH, REPLAY, *LOOKED_AT}
