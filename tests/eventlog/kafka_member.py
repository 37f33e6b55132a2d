"""A processor's side of the log as a process of its own: one line for whatever happens to it.

`python -m tests.eventlog.kafka_member BROKER TOPIC GROUP`. Every worker commits its position ten
times a second; lines are `assigned 3`, `committed 3 17`, `fenced 3`, `released 3`.
"""

from __future__ import annotations

import asyncio
import sys

from headrace.eventlog.kafka.membership import KafkaAssignment, KafkaMembership
from headrace.eventlog.kafka.options import KafkaOptions
from headrace.eventlog.port import Committed
from headrace.runtime.clock import SystemClock
from headrace.schemas.errors import Fenced, Unavailable


async def main(broker: str, topic: str, group: str) -> None:
    options = KafkaOptions(brokers=(broker,), topic=topic, group=group)
    membership = KafkaMembership(options, SystemClock())
    workers = set()
    async for assignment in membership.assignments():
        say("assigned", assignment.partition)
        workers.add(asyncio.create_task(work(assignment)))


async def work(assignment: KafkaAssignment) -> None:
    while not assignment.revoked.is_set():
        try:
            _, end = await assignment.ends()
            await assignment.commit(Committed(end))
            say("committed", assignment.partition, end)
        except Fenced:
            say("fenced", assignment.partition)
            break
        except Unavailable as error:
            say("unavailable", assignment.partition, error)
        await asyncio.sleep(0.1)
    assert assignment.revoked.is_set()
    say("released", assignment.partition)
    await assignment.release()


def say(*words: object) -> None:
    print(*words, flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
