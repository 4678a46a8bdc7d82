"""A long queue: opening it, and asking it, do not depend on its length (STO-08, Q7, Q8)."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "store"))
from store_world import SqliteEngine, accept

from upesi.database.sqlite import Database


@pytest.mark.slow
async def test_a_queue_of_fifty_thousand_opens_and_answers_at_once(tmp_path: Path) -> None:
    """Start-up, heads, claim and `why` stay within a fraction of a second at 50,000 waiting deliveries."""
    engine = SqliteEngine(tmp_path)
    store = await engine.worker()
    template = engine.message(engine.delivery("host:one:25"))
    await accept(store, template)
    await engine.close()
    await asyncio.to_thread(multiply, engine.folder / "spool.db", 50_000)
    begun = time.perf_counter()
    store = await engine.restart()
    opened = time.perf_counter() - begun
    begun = time.perf_counter()
    heads = await store.heads(engine.clock.now + 1, 100)
    claimed = await store.claim(heads[0].queue, engine.clock.now + 1, 100)
    assert len(claimed) == 100
    assert engine.admin.why(claimed[0].message.hex())[0].state == "active"
    assert sum(queue.ready + queue.active for queue in engine.admin.summary()) == 50_001
    asked = time.perf_counter() - begun
    await engine.close()
    assert opened < 2.0
    assert asked < 1.0


def multiply(path: Path, count: int) -> None:
    """Copy the one message of a spool `count` times, with correct checksums."""
    from zlib import crc32

    database = Database.open(path)
    ((_, id, meta, prefix, body, _sum),) = database.rows("SELECT * FROM message")
    ((*delivery,),) = database.rows("SELECT * FROM delivery")
    data = delivery[14]
    assert isinstance(id, bytes)
    assert isinstance(meta, bytes)
    assert isinstance(prefix, bytes)
    assert isinstance(data, bytes)
    messages, deliveries = [], []
    for n in range(count):
        number = (1 << 50) + n
        new = id[:8] + n.to_bytes(8, "big")
        messages.append((number, new, meta, prefix, body, crc32(prefix, crc32(meta, crc32(new)))))
        sum = crc32(data, crc32(new, number & 0xFFFFFFFF))
        deliveries.append((number, new, number, *delivery[3:15], sum))
    with database.transaction():
        database.insert("message(row, id, meta, prefix, body, sum)", messages)
        database.insert("delivery", deliveries)
        database.run("UPDATE queue SET ready = ready + ?", count)
    database.close()
