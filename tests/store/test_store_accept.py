"""Acceptance: what `done` promises."""

from __future__ import annotations

import asyncio
import os

import msgspec
import pytest
from store_world import QUEUE, SqliteEngine, accept, complete, ids

from upesi.database.errors import DatabaseIoError
from upesi.database.wal import WalSync
from upesi.mail.address import Address
from upesi.mail.body import MemoryBody
from upesi.mail.envelope import Transmission
from upesi.spool.admin import Selector
from upesi.spool.records import Completion, DeliveryState, SpoolEvent
from upesi.spool.sqlite import SqliteStore
from upesi.spool.store import SpoolError


async def test_an_accepted_message_is_read_back_octet_for_octet(engine: SqliteEngine, store: SqliteStore) -> None:
    """Every field of the message and every octet of its body come back as they went in (Q1)."""
    body = bytes(range(256)) * 16
    message = engine.message(body=body)
    await accept(store, message)
    loaded = await store.load(message.id)
    assert loaded is not None
    assert (loaded.id, loaded.received, loaded.reverse_path, loaded.transmission, loaded.prefix, loaded.origin, loaded.notes) == (
        message.id, message.received, Address("alice", "example.com"), Transmission(smtputf8=True, envid="e1"), message.prefix,
        {"client": "192.0.2.1"}, {"plugin": b"\0note"},
    )  # fmt: skip
    assert b"".join(loaded.body.chunks()) == body


@pytest.mark.parametrize("text", [True, False])
async def test_what_is_known_of_the_octets_is_kept(engine: SqliteEngine, store: SqliteStore, text: bool) -> None:
    """FRM-23: a body found to be text comes back as such, and no other: what is not known is looked at before it leaves."""
    message = msgspec.structs.replace(engine.message(), body=MemoryBody(b"a\r\n", text=text))
    await accept(store, message)
    loaded = await store.load(message.id)
    assert loaded is not None
    assert isinstance(loaded.body, MemoryBody)
    assert loaded.body.text is text


async def test_the_null_reverse_path_stays_null(engine: SqliteEngine, store: SqliteStore) -> None:
    """RFC 5321 section 4.5.5: a null reverse-path is kept as such."""
    message = engine.message(sender=None)
    await accept(store, message)
    loaded = await store.load(message.id)
    assert loaded is not None
    assert loaded.reverse_path is None


async def test_a_claimed_delivery_of_our_shard_is_born_active(engine: SqliteEngine, store: SqliteStore) -> None:
    """A delivery that is to be claimed comes back ACTIVE with all its fields, and nobody can claim it again."""
    new = engine.delivery(to=("bob@example.org", "eve@example.org"), claim=True)
    message = engine.message(new)
    (born,) = await accept(store, message)
    assert born.state is DeliveryState.ACTIVE
    assert (born.message, born.queue, born.route, born.recipients, born.due, born.expires, born.attempts) == (
        message.id, new.queue, new.route, new.recipients, new.due, new.expires, 0,
    )  # fmt: skip
    assert born.size == len(message.prefix) + message.body.size
    assert await store.claim(QUEUE, engine.clock.now + 1, 10) == []


async def test_a_delivery_of_a_foreign_shard_waits_for_its_owner(engine: SqliteEngine) -> None:
    """A claim for a shard that is another worker's is not granted; the owner finds the delivery (Q3)."""
    owner = await engine.worker()
    other = await engine.worker(frozenset())
    message = engine.message()
    assert await accept(other, message) == []
    assert ids(await owner.claim(QUEUE, engine.clock.now, 10)) == [message.id]


async def test_a_worker_with_old_news_of_its_shards_claims_nothing(engine: SqliteEngine) -> None:
    """The table of shards decides, not what the worker was last told: two owners would break a limit (Q3)."""
    old = await engine.worker()
    new = await engine.worker()
    message = engine.message()
    assert await accept(old, message) == []
    assert await old.claim(QUEUE, engine.clock.now, 10) == []
    assert ids(await new.claim(QUEUE, engine.clock.now, 10)) == [message.id]


async def test_one_bad_message_fails_alone(engine: SqliteEngine, store: SqliteStore) -> None:
    """A message that cannot be encoded, and one that the database refuses, are answered with an error; their neighbours are stored."""
    good = [engine.message() for _ in range(5)]
    unbindable = engine.message(engine.delivery(attempts=2**70))
    unencodable = msgspec.structs.replace(engine.message(), origin={"client": object()})  # type: ignore[dict-item]
    batch = [*good[:2], unbindable, *good[2:4], unencodable, good[4]]
    results = await asyncio.gather(*(accept(store, message) for message in batch), return_exceptions=True)
    assert [isinstance(result, SpoolError) for result in results] == [False, False, True, False, False, True, False]
    assert [await store.load(message.id) is not None for message in batch] == [
        True,
        True,
        False,
        True,
        True,
        False,
        True,
    ]


async def test_a_message_without_deliveries_is_refused(engine: SqliteEngine, store: SqliteStore) -> None:
    """A message for nobody could never leave the spool."""
    message = msgspec.structs.replace(engine.message(), deliveries=())
    with pytest.raises(SpoolError):
        await accept(store, message)


async def test_done_is_never_called_from_inside_accept(engine: SqliteEngine, store: SqliteStore) -> None:
    """Callers set up what `done` needs after `accept` has returned, also where it fails at once."""
    called: list[object] = []
    store.accept(engine.message(engine.delivery(attempts=2**70)), lambda error, born: called.append(error))
    store.accept(msgspec.structs.replace(engine.message(), deliveries=()), lambda error, born: called.append(error))
    assert called == []
    await accept(store, engine.message())
    await asyncio.sleep(0)
    assert len(called) == 2


async def test_a_callback_that_raises_does_not_keep_the_news_from_others(
    engine: SqliteEngine, store: SqliteStore
) -> None:
    """One failing session must not take its batch with it."""
    loop = asyncio.get_running_loop()
    caught: list[object] = []
    loop.set_exception_handler(lambda _, context: caught.append(context.get("exception")))

    def bad(error: object, born: object) -> None:
        raise RuntimeError("session")

    store.accept(engine.message(), bad)
    await accept(store, engine.message())
    assert [type(error) for error in caught] == [RuntimeError]


async def test_a_large_body_is_written_once_and_read_back(engine: SqliteEngine, store: SqliteStore) -> None:
    """A body beyond the inline limit becomes the spool's file, and goes with its last delivery."""
    octets = os.urandom(700_000)
    writer = store.bodies.writer()
    for start in range(0, len(octets), 10_000):
        writer.write(octets[start : start + 10_000])
    message = engine.message(body=writer.finish())
    (born,) = await accept(store, message)
    writer.discard()
    loaded = await store.load(message.id)
    assert loaded is not None
    assert b"".join(loaded.body.chunks()) == octets
    assert loaded.body.read(100, 7) == octets[100:107]
    assert await complete(store, Completion(born.id, message.id)) == (True, [])
    assert await store.load(message.id) is None
    await engine.restart()
    assert list(engine.folder.glob("bodies/*/*")) == []


async def test_a_large_body_in_memory_becomes_a_file_too(engine: SqliteEngine, store: SqliteStore) -> None:
    """A notice that we write ourselves may be larger than the inline limit."""
    octets = os.urandom(300_000)
    message = engine.message(body=octets)
    await accept(store, message)
    store = await engine.restart()
    loaded = await store.load(message.id)
    assert loaded is not None
    assert b"".join(loaded.body.chunks()) == octets


async def test_what_was_accepted_survives_a_restart(engine: SqliteEngine, store: SqliteStore) -> None:
    """After a restart what was ACTIVE waits again, due as before (Q1)."""
    messages = [engine.message() for _ in range(20)]
    await asyncio.gather(*(accept(store, message) for message in messages))
    store = await engine.restart()
    claimed = await store.claim(QUEUE, engine.clock.now, 100)
    assert sorted(ids(claimed)) == [message.id for message in messages]
    assert all(delivery.state is DeliveryState.ACTIVE for delivery in claimed)


async def test_numbers_of_deliveries_never_come_twice(engine: SqliteEngine, store: SqliteStore) -> None:
    """A completion that arrives late must not hit another delivery."""
    seen = {(await accept(store, engine.message()))[0].id for _ in range(3)}
    store = await engine.restart()
    seen |= {(await accept(store, engine.message()))[0].id for _ in range(3)}
    assert len(seen) == 6


@pytest.mark.parametrize("state", [DeliveryState.READY, DeliveryState.ROUTING])
async def test_a_delivery_can_be_born_held(engine: SqliteEngine, store: SqliteStore, state: DeliveryState) -> None:
    """What a plugin sets aside is nobody's to claim until an operator releases it, and then it waits as it would have (STO-16)."""
    new = msgspec.structs.replace(engine.delivery(claim=True), state=state, held=True)
    message = engine.message(new)
    held = SpoolEvent(message.received, "delivery.held", message.id, {"recipients": 1, "reason": "spam: 9 points"})
    message = msgspec.structs.replace(message, events=(held,))
    assert await accept(store, message) == []
    assert [why.set_aside for why in engine.admin.why(message.id.hex())] == ["spam: 9 points"]
    assert await store.claim(QUEUE, engine.clock.now + 1, 10) == []
    assert engine.admin.release(Selector()).changed == 1
    (claimed,) = await store.claim(QUEUE, engine.clock.now + 1, 10)
    assert claimed.message == message.id


async def test_what_was_born_held_says_why_until_an_operator_holds_it(engine: SqliteEngine, store: SqliteStore) -> None:
    """Two deliveries of one message with reasons of their own; a later hold is the operator's, and no plugin's reason is told of it."""
    first, second = engine.delivery(to=("bob@example.org",)), engine.delivery("host:other:25", to=("eve@example.net",))
    new = [msgspec.structs.replace(each, held=True) for each in (first, second)]
    message = engine.message(*new)
    events = [
        SpoolEvent(message.received, "delivery.held", message.id, {"recipients": 1, "to": to, "reason": reason})
        for to, reason in (("bob@example.org", "a virus"), ("eve@example.net", "spam"))
    ]
    await accept(store, msgspec.structs.replace(message, events=tuple(events)))

    def said() -> dict[str, str]:
        return {why.recipients[0]: why.set_aside for why in engine.admin.why(message.id.hex())}

    assert said() == {"bob@example.org": "a virus", "eve@example.net": "spam"}
    engine.admin.release(Selector(domain="example.net"))
    engine.admin.hold(Selector(domain="example.net"))
    assert said() == {"bob@example.org": "a virus", "eve@example.net": ""}


async def test_every_member_knows_what_was_ever_accepted(engine: SqliteEngine) -> None:
    """Q1, Q2: whether another worker wrote a message before it died, while it waits and when it has been delivered."""
    owner, other = await engine.worker(), await engine.worker(frozenset())
    message = engine.message(engine.delivery(claim=True))
    message = msgspec.structs.replace(message, events=(SpoolEvent(1.0, "message.accepted", message.id, {}),))
    assert not await other.kept(message.id)
    (born,) = await accept(owner, message)
    assert await other.kept(message.id)
    await complete(owner, Completion(born.id, message.id))
    assert await other.load(message.id) is None
    assert await other.kept(message.id)


async def test_what_is_found_is_durable_when_that_is_said(
    engine: SqliteEngine, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever wrote it may have died between its commit and its sync: ours is asked for, and its failure is the answer."""
    message = engine.message()
    await accept(store, message)
    syncs = 0

    def sync(log: WalSync) -> None:
        nonlocal syncs
        syncs += 1
        raise DatabaseIoError("the disk")

    monkeypatch.setattr(WalSync, "sync", sync)
    with pytest.raises(SpoolError):
        await store.kept(message.id)
    assert syncs == 1
