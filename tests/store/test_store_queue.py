"""The queue index: what is due, whose it is, and when to look again."""

from __future__ import annotations

import asyncio

from store_world import QUEUE, SqliteEngine, accept, complete, ids, settled

from upesi.spool.records import Completion, shard_of
from upesi.spool.sqlite import SqliteStore


async def test_heads_come_most_overdue_first(engine: SqliteEngine, store: SqliteStore) -> None:
    """Queues with something due are returned in the order of their first due time, bounded by the limit."""
    for n, due in enumerate((30.0, 10.0, 20.0, 99.0)):
        await accept(
            store,
            engine.message(engine.delivery(f"host:h{n}:25", due=due), engine.delivery(f"host:h{n}:25", due=due + 1)),
        )
    found = await store.heads(engine.clock.now + 50, 10)
    assert [(head.queue, head.ready, head.next_due - engine.clock.now) for head in found] == [
        ("host:h1:25", 2, 10.0), ("host:h2:25", 2, 20.0), ("host:h0:25", 2, 30.0),
    ]  # fmt: skip
    assert [head.queue for head in await store.heads(engine.clock.now + 50, 1)] == ["host:h1:25"]


async def test_next_due_follows_every_change(engine: SqliteEngine, store: SqliteStore) -> None:
    """The next due time is exact after acceptance, claim, completion and release."""
    now = engine.clock.now
    assert await store.next_due() is None
    first = engine.message(engine.delivery(due=5))
    second = engine.message(engine.delivery("host:other:25", due=9))
    await accept(store, first)
    await accept(store, second)
    assert await store.next_due() == now + 5
    (claimed,) = await store.claim(QUEUE, now + 5, 10)
    assert await store.next_due() == now + 9
    store.release([claimed.id])
    await settled(store)
    assert await store.next_due() == now + 5
    (claimed,) = await store.claim(QUEUE, now + 5, 10)
    await complete(store, Completion(claimed.id, first.id, (engine.delivery(due=7),)))
    assert await store.next_due() == now + 7


async def test_a_claim_takes_the_earliest_due_and_no_more_than_its_limit(
    engine: SqliteEngine, store: SqliteStore
) -> None:
    """Claims are in the order of due times and bounded; what is not due stays."""
    for due in (4.0, 2.0, 3.0, 1.0, 50.0):
        await accept(store, engine.message(engine.delivery(due=due)))
    first = await store.claim(QUEUE, engine.clock.now + 10, 2)
    rest = await store.claim(QUEUE, engine.clock.now + 10, 10)
    assert [delivery.due - engine.clock.now for delivery in first + rest] == [1.0, 2.0, 3.0, 4.0]


async def test_only_our_shards_are_seen(engine: SqliteEngine) -> None:
    """A worker sees the queues of its own shards and no others; together they see all."""
    queues = [f"host:h{n}:25" for n in range(40)]
    even = frozenset(range(0, 256, 2))
    one, two = await engine.worker(even), await engine.worker(frozenset(range(256)) - even)
    for queue in queues:
        await accept(one, engine.message(engine.delivery(queue)))
    seen = [{head.queue for head in await store.heads(engine.clock.now, 100)} for store in (one, two)]
    assert seen[0] == {queue for queue in queues if shard_of(queue) % 2 == 0}
    assert seen[0] | seen[1] == set(queues)
    assert not seen[0] & seen[1]


async def test_two_claims_at_once_share_nothing(engine: SqliteEngine, store: SqliteStore) -> None:
    """Claims that race for one queue never both get a delivery (Q2)."""
    for _ in range(30):
        await accept(store, engine.message(engine.delivery()))
    parts = await asyncio.gather(*(store.claim(QUEUE, engine.clock.now, 12) for _ in range(4)))
    claimed = [delivery.id for part in parts for delivery in part]
    assert len(claimed) == len(set(claimed))
    rest = await store.claim(QUEUE, engine.clock.now, 100)
    assert len(claimed) + len(rest) == 30


async def test_the_index_agrees_with_the_deliveries_after_everything(engine: SqliteEngine, store: SqliteStore) -> None:
    """Counts by state and first due times are those that a recount gives, whatever was done."""
    messages = [
        engine.message(engine.delivery(f"host:h{n % 3}:25", due=float(n % 5), claim=n % 2 == 0)) for n in range(30)
    ]
    born = [delivery for each in await asyncio.gather(*(accept(store, m) for m in messages)) for delivery in each]
    from upesi.spool.admin import Selector

    for delivery in born[:5]:
        await complete(store, Completion(delivery.id, delivery.message))
    for delivery in born[5:8]:
        await complete(store, Completion(delivery.id, delivery.message, (engine.delivery("host:h9:25", due=100),)))
    store.release([delivery.id for delivery in born[8:10]])
    await store.claim("host:h1:25", engine.clock.now + 3, 4)
    engine.admin.hold(Selector(queue="host:h2:25"))
    engine.admin.retry_now(Selector(queue="host:h9:25"))
    counted: dict[str, dict[str, int]] = {}
    due: dict[str, float] = {}
    for each in engine.admin.list(Selector(), 1000):
        states = counted.setdefault(each.queue, dict.fromkeys(("routing", "ready", "active", "held"), 0))
        states[each.state] += 1
        if each.state in ("routing", "ready"):
            due[each.queue] = min(due.get(each.queue, each.due), each.due)
    found = engine.admin.summary()
    assert {
        q.queue: {"routing": q.routing, "ready": q.ready, "active": q.active, "held": q.held} for q in found
    } == counted
    assert {q.queue: q.next_due for q in found if q.next_due is not None} == due


async def test_a_dead_workers_mail_has_a_new_owner_at_once(engine: SqliteEngine) -> None:
    """After `expel` and `assign` the next worker finds what the dead one held (Q5)."""
    dead = await engine.worker()
    message = engine.message()
    await accept(dead, message)
    assert engine.admin.expel(dead.epoch).waiting == 1
    heir = await engine.worker()
    assert heir.epoch > dead.epoch
    assert ids(await heir.claim(QUEUE, engine.clock.now, 10)) == [message.id]
