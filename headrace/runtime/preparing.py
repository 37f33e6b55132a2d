"""What must be there before a node can work: control data, the topic, the tables.

Owns the steps of `headrace migrate`, each idempotent and safe when several run at once, and what
`headrace up` does of them by itself. Each adapter knows how its own part is made.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Final

import msgspec
import structlog

from headrace.runtime.clock import Clock
from headrace.runtime.credentials import NoCredentials
from headrace.runtime.home import Home
from headrace.runtime.reach import NoNode, control_url, writer_login
from headrace.runtime.settings import Settings
from headrace.runtime.tables import update_tables
from headrace.schemas.errors import HeadraceError, Overloaded, Unavailable

RETRY_SECONDS: Final = 0.5

log = structlog.get_logger(__name__)


class Prepared(msgspec.Struct, frozen=True):
    """One part as it is now, in words."""

    part: str
    what: str


class Preparation:
    """The steps for one node's settings. Steps raise `Unavailable` while a part does not answer."""

    def __init__(self, settings: Settings, home: Home, clock: Clock) -> None:
        self._settings = settings
        self._home = home
        self._clock = clock

    def run(self, wait_seconds: float) -> Iterator[Prepared]:
        """Do every step in order; each waits at most so long for its part to answer."""
        yield self._insist("control data", self.control, wait_seconds)
        if not self._settings.has_local_log:
            yield self._insist("log", self.topic, wait_seconds)
        yield self._insist(
            "tables", self.tables, wait_seconds if self._settings.clickhouse else 0.0
        )

    def control(self) -> str:
        """Control data at its newest version, with what a first start needs."""
        from headrace.runtime.first_start import complete_home, ensure_workspace
        from headrace.workspaces.database import ControlData

        with closing(ControlData.open(control_url(self._settings), self._clock)) as control:
            if self._settings.has_local_control or self._settings.has_embedded_store:
                complete_home(self._home, control, self._settings)
                return f"ready; credentials are in {self._home.credentials}"
            ensure_workspace(control)
            return "ready; `headrace keys create --workspace default` makes a key"

    def topic(self) -> str:
        """The topic with its settings, and its number of partitions written down."""
        return asyncio.run(self._topic())

    def tables(self) -> str:
        """The store's tables, and analysts' views of them."""
        try:
            login = writer_login(self._settings)
            applied = update_tables(self._settings, login)
        except (NoCredentials, NoNode, Unavailable):
            if self._settings.has_embedded_store:
                return "the embedded store does not run; `headrace up` makes its tables"
            raise
        return f"applied {', '.join(applied)}" if applied else "up to date"

    async def _topic(self) -> str:
        from headrace.eventlog.kafka.topic import prepare_topic
        from headrace.runtime.kafka import kafka_options, topic_plan
        from headrace.workspaces.database import ControlData

        options = kafka_options(self._settings)
        topic = await prepare_topic(options, topic_plan(self._settings))
        with closing(ControlData.open(control_url(self._settings), self._clock)) as control:
            control.note_log(topic.log_id, options.topic, topic.partitions)
        wanted = self._settings.kafka_partitions
        kept = "" if topic.partitions == wanted else f" (not {wanted}: a topic keeps its number)"
        return f"topic {options.topic}: {topic.what}, {topic.partitions} partitions{kept}"

    def _insist(self, part: str, step: Callable[[], str], wait_seconds: float) -> Prepared:
        deadline = time.monotonic() + wait_seconds
        waiting = False
        while True:
            try:
                return Prepared(part, step())
            except (Unavailable, Overloaded) as error:
                if time.monotonic() > deadline:
                    raise
                if not waiting:
                    log.warning(f"waiting for {part}", seconds=wait_seconds, why=str(error))
                waiting = True
                time.sleep(RETRY_SECONDS)


async def prepare_topic_beside(preparation: Preparation) -> None:
    """Make the topic as soon as the brokers answer: what `headrace up` does beside its work."""
    waiting = False
    while True:
        try:
            what = await asyncio.to_thread(preparation.topic)
        except (Unavailable, Overloaded) as error:
            if not waiting:
                log.warning("the topic cannot be prepared yet", why=str(error))
            waiting = True
            await asyncio.sleep(RETRY_SECONDS)
        except HeadraceError as error:
            log.error("the topic cannot be used", why=str(error))
            return
        else:
            log.info("the log is ready", what=what)
            return
