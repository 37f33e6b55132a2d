"""Identity after the store was stopped and started."""

from __future__ import annotations

import asyncio
from pathlib import Path

from headrace.store.clickhouse import ClickHouseStore
from headrace.store.migrate import migrate
from tests.store.harness import event_row, link_row
from tests.store.server_fixture import OPERATOR, PASSWORD, PROCESSOR, StoreServer


def test_a_store_started_again_knows_everybody_without_a_refresh(tmp_path: Path) -> None:
    """Both loads happen by themselves at the first question, missed refresh or not."""

    async def write(server: StoreServer) -> None:
        store = ClickHouseStore.connect(server.url, PROCESSOR, PASSWORD, "headrace")
        await store.insert_links([link_row("known", "u")])
        await store.refresh_identities()
        await store.insert_links([link_row("device", "v")])
        await store.insert_events([event_row(1), event_row(2, anonymous_id="known")], token="")
        await store.stop()

    with StoreServer(tmp_path / "store") as server:
        migrate(server.url, PROCESSOR, PASSWORD)
        asyncio.run(write(server))
    with StoreServer(tmp_path / "store") as server:
        client = server.client(OPERATOR)
        people = client.query("SELECT person_id FROM events ORDER BY log_position").result_rows
        client.close()
    assert people == [("v",), ("u",)]
