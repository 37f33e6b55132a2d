"""What `headrace up` prepares beside its work."""

from __future__ import annotations

from unittest import mock

from structlog.testing import capture_logs

from headrace.runtime.preparing import Preparation, prepare_topic_beside
from headrace.schemas.errors import Unavailable
from headrace.workspaces.errors import OtherPartitions


async def test_a_topic_that_cannot_be_used_is_told() -> None:
    """Brokers that are away are waited for; a topic that needs a person is said to need one."""
    preparation = mock.Mock(spec=Preparation)
    preparation.topic.side_effect = [Unavailable("away"), OtherPartitions("3 partitions, not 2")]
    with capture_logs() as lines:
        await prepare_topic_beside(preparation)
    assert [(line["log_level"], line["why"]) for line in lines] == [
        ("warning", "away"),
        ("error", "3 partitions, not 2"),
    ]
