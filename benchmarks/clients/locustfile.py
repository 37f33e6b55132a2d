"""A load of single events and batches for a deployment of yours, with Locust.

    pip install locust
    KEY=hrk_... locust -f benchmarks/clients/locustfile.py --host https://events.example.com \\
        --headless --users 50 --spawn-rate 10 --run-time 60s

Without `--headless` it is steered from a page at http://localhost:8089; `--processes -1` uses every
core. In the environment: KEY, and if wanted URL (instead of `--host`), BATCH (events in a batch,
default 1000, at most 1000) and P99_MS (default 1000).

The key needs the scope `ingest`, and its workspace a limit above the rate, or most answers are
429: headrace workspaces create load --requests-per-minute 1000000. Use a workspace of its own:
the events stay. A user sends the next request when the last one is answered: 20 in a second at
most, or one batch.

Ends with 1 if more than one request in a thousand failed, none was sent, or P99_MS was passed.
The file stands alone, so that it can be copied to where Locust runs.
"""

# mypy: disable-error-code="import-not-found", allow-subclassing-any, allow-untyped-decorators
# Locust is not among our dependencies: who wants it installs it.

from __future__ import annotations

import logging
import os
import random
from datetime import UTC, datetime
from typing import Any, Final

from locust import FastHttpUser, constant_throughput, events, task

EVENTS: Final = ("paywall_viewed", "app_opened", "screen_viewed", "feature_used", "level_up")
DEVICES: Final = 10_000
BATCH: Final = int(os.environ.get("BATCH", "1000"))
P99_MS: Final = float(os.environ.get("P99_MS", "1000"))
FAILED_SHARE: Final = 0.001
HEADERS: Final = {"Authorization": f"Bearer {os.environ.get('KEY', '')}"}


def make_event() -> dict[str, object]:
    """One event of about 350 bytes. Two of three come after the login; level_up has no schema."""
    number, device = random.randrange(10**9), random.randrange(DEVICES)
    return {
        "event": EVENTS[number % len(EVENTS)],
        "user_id": f"usr_{device // 2:08d}" if number % 3 else None,
        "anonymous_id": f"device-{device:012d}",
        "timestamp": datetime.now(UTC).isoformat(),
        "properties": {
            "paywall_id": "pw_annual_v3",
            "offer_id": f"offer_intro_{number % 50}pct",
            "context": f"onboarding_step_{number % 7}",
            "app_version": "7.7.3",
            "platform": "ios",
            "locale": "en_IN",
            "experiment_arm": f"arm_{number % 4}",
            "session_id": f"{random.getrandbits(64):016x}",
            "n": number,
        },
    }


class Sender(FastHttpUser):
    """What both kinds of user share."""

    abstract = True
    host = os.environ.get("URL", "http://127.0.0.1:8080")

    def send(self, path: str, body: dict[str, object], accepted: int | None) -> None:
        """Post and judge the answer: a 200 that says how many of the events were taken."""
        with self.client.post(path, json=body, headers=HEADERS, catch_response=True) as answer:
            if answer.status_code != 200:
                answer.failure(f"{answer.status_code}: {answer.text}")
            elif answer.json().get("accepted") != accepted:
                answer.failure(f"not all were taken: {answer.text[:300]}")


class Device(Sender):
    """An app that sends each event by itself."""

    weight = 9
    wait_time = constant_throughput(20)

    @task
    def single(self) -> None:
        self.send("/v1/events", make_event(), None)


class Backend(Sender):
    """A server that sends what it has collected."""

    weight = 1
    wait_time = constant_throughput(1)

    @task
    def batch(self) -> None:
        self.send("/v1/batch/events", {"events": [make_event() for _ in range(BATCH)]}, BATCH)


@events.quitting.add_listener
def judge(environment: Any, **_: Any) -> None:
    """Make the exit code say whether the thresholds held."""
    total = environment.stats.total
    p99_ms = total.get_response_time_percentile(0.99) or 0.0
    if not total.num_requests or total.fail_ratio > FAILED_SHARE or p99_ms > P99_MS:
        logging.error(
            "%d requests, %.2f %% failed, p99 %.0f ms: not as wanted",
            total.num_requests,
            total.fail_ratio * 100,
            p99_ms,
        )
        environment.process_exit_code = 1
