"""What expired while it waited is found by its expiry, not by its turn."""

from __future__ import annotations

import pytest
from store_world import ALL_SHARDS, QUEUE, SqliteEngine, accept, ids

from upesi.database.sqlite import Database
from upesi.spool.admin import Selector
from upesi.spool.records import DeliveryState, shard_of
from upesi.spool.schema import DATABASE_NAME
from upesi.spool.sqlite import SqliteStore

OTHER = "host:other:25"


async def test_what_expired_is_claimed_by_its_expiry(engine: SqliteEngine, store: SqliteStore) -> None:
    """The first to expire comes first, within the limit; what has time left stays, whenever it is due."""
    now = engine.clock.now
    late = [engine.message(engine.delivery(due=-9.0, expires=now - n)) for n in (1.0, 3.0, 2.0)]
    for message in (*late, engine.message(engine.delivery(due=-9.0, expires=now + 1.0))):
        await accept(store, message)
    first = await store.claim_expired([QUEUE], now, 2)
    assert ids(first) == [late[1].id, late[2].id]
    assert {each.state for each in first} == {DeliveryState.ACTIVE}
    assert ids(await store.claim_expired([QUEUE], now, 10)) == [late[0].id]
    assert await store.claim_expired([QUEUE], now, 10) == []
    (summary,) = engine.admin.summary()
    assert (summary.ready, summary.active, summary.next_due) == (1, 3, now - 9.0)


async def test_only_the_queues_that_are_named_are_looked_at(engine: SqliteEngine, store: SqliteStore) -> None:
    """Expired mail of a site that can be reached is tried once more; it is not taken here."""
    gone = {"expires": engine.clock.now - 1.0}
    here, there = engine.message(engine.delivery(**gone)), engine.message(engine.delivery(OTHER, **gone))
    for message in (there, here):
        await accept(store, message)
    assert ids(await store.claim_expired([QUEUE, "host:empty:25"], engine.clock.now, 10)) == [here.id]
    assert await store.claim_expired([], engine.clock.now, 10) == []


async def test_held_and_active_deliveries_do_not_expire_behind_their_owners(
    engine: SqliteEngine, store: SqliteStore
) -> None:
    """An operator's hold stands, and what a worker has is that worker's."""
    gone = {"expires": engine.clock.now - 1.0}
    held = engine.message(engine.delivery(**gone))
    await accept(store, held)
    engine.admin.hold(Selector(message=held.id.hex()))
    await accept(store, engine.message(engine.delivery(claim=True, **gone)))
    assert await store.claim_expired([QUEUE], engine.clock.now, 10) == []


async def test_a_stranger_to_the_shard_claims_nothing(engine: SqliteEngine) -> None:
    """Only the owner of the shard ends its deliveries."""
    shard = shard_of(QUEUE)
    owner, stranger = await engine.worker(frozenset({shard})), await engine.worker(ALL_SHARDS - {shard})
    await accept(owner, engine.message(engine.delivery(expires=engine.clock.now - 1.0)))
    assert await stranger.claim_expired([QUEUE], engine.clock.now, 10) == []
    stranger.set_shards(ALL_SHARDS)  # told wrongly, or long ago: the table decides
    assert await stranger.claim_expired([QUEUE], engine.clock.now, 10) == []
    assert len(await owner.claim_expired([QUEUE], engine.clock.now, 10)) == 1


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_what_is_born_active_is_not_in_the_index_of_expiries(engine: SqliteEngine, store: SqliteStore) -> None:
    """A message that is sent at once costs that index nothing."""
    await accept(store, engine.message())
    await accept(store, engine.message(engine.delivery()))
    database = Database.open(engine.folder / DATABASE_NAME)
    try:
        indexed = "SELECT count(*) FROM delivery INDEXED BY delivery_expiry WHERE state < 2 AND expires > 0"
        assert (database.number(indexed), database.number("SELECT count(*) FROM delivery")) == (1, 2)
    finally:
        database.close()


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_a_spool_of_the_first_layout_is_completed_at_its_next_start(engine: SqliteEngine) -> None:
    """What was added to the layout since is made where it is missing; its mail is found."""
    store = await engine.worker()
    message = engine.message(engine.delivery(expires=engine.clock.now - 1.0))
    await accept(store, message)
    await engine.close()
    database = Database.open(engine.folder / DATABASE_NAME)
    database.run("DROP INDEX delivery_expiry")
    database.run("DROP TABLE suspect")
    database.close()
    store = await engine.restart()
    assert ids(await store.claim_expired([QUEUE], engine.clock.now, 10)) == [message.id]
    assert engine.admin.expel(store.epoch, 1).waiting == 1
