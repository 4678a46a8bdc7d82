"""The end of an attempt: conditional, whole, and all in one transaction."""

from __future__ import annotations

import asyncio

from store_world import QUEUE, SqliteEngine, accept, complete, ids, settled

from upesi.mail.outcome import Outcome, OutcomeKind
from upesi.spool.records import Completion, DeliveryState, SpoolEvent
from upesi.spool.sqlite import SqliteStore


async def test_a_message_goes_with_its_last_delivery(engine: SqliteEngine, store: SqliteStore) -> None:
    """The message stays for as long as one of its deliveries is open, and not longer."""
    message = engine.message(engine.delivery(claim=True), engine.delivery("host:other:25", claim=True))
    first, second = await accept(store, message)
    assert await complete(store, Completion(first.id, message.id)) == (True, [])
    assert await store.load(message.id) is not None
    assert await complete(store, Completion(second.id, message.id)) == (True, [])
    assert await store.load(message.id) is None
    assert engine.admin.summary() == []


async def test_both_last_deliveries_in_one_batch_remove_the_message(engine: SqliteEngine, store: SqliteStore) -> None:
    """Two completions of one message in the same transaction leave nothing behind."""
    message = engine.message(engine.delivery(claim=True), engine.delivery("host:other:25", claim=True))
    first, second = await accept(store, message)
    await asyncio.gather(
        complete(store, Completion(first.id, message.id)), complete(store, Completion(second.id, message.id))
    )
    assert await store.load(message.id) is None


async def test_a_completion_counts_once(engine: SqliteEngine, store: SqliteStore) -> None:
    """A second completion, in the same batch or later, changes nothing and writes no event."""
    message = engine.message()
    (born,) = await accept(store, message)
    end = Completion(born.id, message.id, events=(SpoolEvent(1.0, "delivery.delivered", message.id, {}),))
    results = await asyncio.gather(*(complete(store, end) for _ in range(3)))
    assert [applied for applied, _ in results] == [True, False, False]
    assert (await complete(store, end))[0] is False
    assert [event.kind for event in engine.admin.trace(message.id.hex())] == ["message.accepted", "delivery.delivered"]


async def test_a_stale_owner_changes_nothing(engine: SqliteEngine, store: SqliteStore) -> None:
    """After its expulsion a worker's completion applies nothing: no outcome, no follow-up mail, no event."""
    message = engine.message()
    (born,) = await accept(store, message)
    notice = engine.message(sender=None)
    assert engine.admin.expel(store.epoch).waiting == 1
    event = SpoolEvent(1.0, "delivery.failed", message.id, {})
    applied, news = await complete(store, Completion(born.id, message.id, (engine.delivery(),), (notice,), (event,)))
    assert (applied, list(news)) == (False, [])
    assert await store.load(notice.id) is None
    assert await store.load(message.id) is not None
    assert engine.admin.count(engine_selector(message.id.hex())) == 1
    assert [each.kind for each in engine.admin.trace(message.id.hex())] == ["message.accepted"]


def engine_selector(message: str) -> object:
    from upesi.spool.admin import Selector

    return Selector(message=message)


async def test_recipients_that_differ_become_separate_deliveries(engine: SqliteEngine, store: SqliteStore) -> None:
    """What remains of a delivery may be several, each with its own queue, due time, attempts and last outcome."""
    message = engine.message(engine.delivery(to=("a@example.org", "b@example.org", "c@example.org"), claim=True))
    (born,) = await accept(store, message)
    said = Outcome(OutcomeKind.DEFERRED, 450, "4.2.0", "later", "mx [192.0.2.9]")
    remaining = (
        engine.delivery(to=("a@example.org",), due=60, attempts=1, last=said),
        engine.delivery("host:other:25", to=("b@example.org",), due=0, attempts=1, claim=True),
    )
    applied, now_ours = await complete(store, Completion(born.id, message.id, remaining))
    assert applied
    assert [(delivery.queue, delivery.state, delivery.attempts) for delivery in now_ours] == [
        ("host:other:25", DeliveryState.ACTIVE, 1)
    ]
    assert now_ours[0].size == born.size
    assert now_ours[0].received == born.received
    assert await store.claim(QUEUE, engine.clock.now + 59, 10) == []
    (later,) = await store.claim(QUEUE, engine.clock.now + 61, 10)
    assert (later.message, later.attempts, later.last, [str(each.address) for each in later.recipients]) == (
        message.id, 1, said, ["a@example.org"],
    )  # fmt: skip


async def test_a_follow_up_message_is_stored_with_the_outcome(engine: SqliteEngine, store: SqliteStore) -> None:
    """A notice appears in the same transaction in which its cause goes, and is handed over if it is ours."""
    message = engine.message()
    (born,) = await accept(store, message)
    notice = engine.message(sender=None, body=b"Subject: failure\r\n\r\n")
    applied, news = await complete(store, Completion(born.id, message.id, spawn=(notice,)))
    assert applied
    assert ids(news) == [notice.id]
    assert await store.load(message.id) is None
    loaded = await store.load(notice.id)
    assert loaded is not None
    assert b"".join(loaded.body.chunks()) == b"Subject: failure\r\n\r\n"


async def test_released_deliveries_wait_again_uncounted(engine: SqliteEngine, store: SqliteStore) -> None:
    """What is given back is READY with its attempts and due time unchanged."""
    message = engine.message(engine.delivery(attempts=2, claim=True))
    (born,) = await accept(store, message)
    store.release([born.id, 12345])
    await settled(store)
    (again,) = await store.claim(QUEUE, engine.clock.now, 10)
    assert (again.id, again.attempts, again.due) == (born.id, 2, born.due)


async def test_a_routing_delivery_comes_back_as_routing(engine: SqliteEngine, store: SqliteStore) -> None:
    """A claimed delivery that had no route yet is not taken for a routed one after a crash."""
    message = engine.message(engine.delivery("domain:example.org", state=DeliveryState.ROUTING, claim=True))
    await accept(store, message)
    engine.admin.expel(store.epoch)
    (queue,) = engine.admin.summary()
    assert (queue.routing, queue.ready, queue.active) == (1, 0, 0)
