"""Damage is found, put aside with its reason, and nothing else suffers (STO-06, STO-18). SQLite only: the rows are damaged by hand."""

from __future__ import annotations

import os

import pytest
from store_world import QUEUE, SqliteEngine, accept, ids

from upesi.database.sqlite import Database
from upesi.spool.sqlite import SqliteStore
from upesi.spool.store import SpoolDamaged, SpoolError


def spoil(engine: SqliteEngine, sql: str, *values: str | bytes | int) -> None:
    database = Database.open(engine.folder / "spool.db")
    database.run(sql, *values)
    database.close()


@pytest.mark.parametrize("column", ["meta", "prefix", "body", "sum"])
async def test_a_damaged_message_is_quarantined(engine: SqliteEngine, store: SqliteStore, column: str) -> None:
    """A message that fails its checksum is never sent: SpoolDamaged, an event with the reason, and the rest goes on."""
    bad, good = engine.message(), engine.message()
    await accept(store, bad)
    await accept(store, good)
    change = f"{column} + 1" if column == "sum" else f"CAST(replace({column}, X'65', X'66') AS BLOB)"
    spoil(engine, f"UPDATE message SET {column} = {change} WHERE id = ?", bad.id)
    with pytest.raises(SpoolDamaged):
        await store.load(bad.id)
    assert await store.load(bad.id) is None
    assert await store.load(good.id) is not None
    assert [event.kind for event in engine.admin.trace(bad.id.hex())] == ["message.accepted", "message.quarantined"]
    assert [event for event, _ in engine.notices] == ["spool.damaged"]
    assert [(queue.active, queue.ready) for queue in engine.admin.summary()] == [(1, 0)]


async def test_a_damaged_delivery_is_quarantined_at_its_claim(engine: SqliteEngine, store: SqliteStore) -> None:
    """A delivery row that fails its checksum is put aside; the others of its queue are claimed."""
    bad, good = engine.message(engine.delivery()), engine.message(engine.delivery())
    await accept(store, bad)
    await accept(store, good)
    spoil(engine, "UPDATE delivery SET data = CAST(replace(data, X'65', X'66') AS BLOB) WHERE message = ?", bad.id)
    assert ids(await store.claim(QUEUE, engine.clock.now, 10)) == [good.id]
    assert [event.kind for event in engine.admin.trace(bad.id.hex())] == ["message.accepted", "delivery.quarantined"]


@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "gone", "longer"])
async def test_a_damaged_body_file_is_quarantined(engine: SqliteEngine, store: SqliteStore, harm: str) -> None:
    """A body file that was flipped, cut, emptied, lengthened or removed is never sent."""
    message = engine.message(body=os.urandom(300_000))
    await accept(store, message)
    path = store.bodies.path(message.id)
    octets = bytearray(path.read_bytes())
    if harm == "flip":
        octets[150_000] ^= 1
    new = {"flip": bytes(octets), "cut": bytes(octets[:-1]), "empty": b"", "longer": bytes(octets) + b"x"}
    path.unlink() if harm == "gone" else path.write_bytes(new[harm])
    with pytest.raises(SpoolDamaged):
        await store.load(message.id)
    assert await store.load(message.id) is None
    assert "message.quarantined" in [event.kind for event in engine.admin.trace(message.id.hex())]


async def test_a_spool_whose_body_folder_has_gone_quarantines_nothing(engine: SqliteEngine, store: SqliteStore) -> None:
    """STO-07: a folder that is away is an error of the moment, and the message is there when it comes back."""
    message = engine.message(body=os.urandom(300_000))
    await accept(store, message)
    folder = store.bodies.path(message.id).parent
    away = folder.rename(folder.with_name("away"))
    with pytest.raises(SpoolError) as caught:
        await store.load(message.id)
    assert not isinstance(caught.value, SpoolDamaged)
    away.rename(folder)
    assert await store.load(message.id) is not None


async def test_a_route_of_a_newer_program_waits_loudly(engine: SqliteEngine, store: SqliteStore) -> None:
    """A format that we do not know is not lost, not claimed, not in the way, and is spoken of (STO-13)."""
    from zlib import crc32

    import msgspec

    strange, known = engine.message(engine.delivery()), engine.message(engine.delivery(due=1))
    await accept(store, strange)
    await accept(store, known)
    data = msgspec.msgpack.encode((1, (), msgspec.msgpack.encode((99, {"type": "teleport"})), None))
    database = Database.open(engine.folder / "spool.db")
    number = database.number("SELECT id FROM delivery WHERE message = ?", strange.id)
    database.run(
        "UPDATE delivery SET data = ?, sum = ? WHERE id = ?",
        data,
        crc32(data, crc32(strange.id, number & 0xFFFFFFFF)),
        number,
    )
    database.close()
    assert ids(await store.claim(QUEUE, engine.clock.now + 2, 1)) == []
    assert ids(await store.claim(QUEUE, engine.clock.now + 2, 1)) == [known.id]
    assert [event for event, _ in engine.notices] == ["spool.unknown_format"]
    assert [queue.ready for queue in engine.admin.summary()] == [1]
