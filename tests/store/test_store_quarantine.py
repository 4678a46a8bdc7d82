"""What was set aside can be looked at, goes on only where nothing of it is guessed, and is deleted only when somebody says so (STO-06)."""

from __future__ import annotations

import os

import pytest
from store_world import QUEUE, SqliteEngine, accept, ids

from upesi.database.sqlite import Database
from upesi.mail.ids import MessageId
from upesi.spool.selector import Selector
from upesi.spool.sqlite import SqliteStore
from upesi.spool.store import SpoolDamaged, SpoolError

BODY = b"Subject: x\r\n\r\nhello\r\n"
FLIP = "CAST(replace({0}, X'65', X'66') AS BLOB)"


def spoil(engine: SqliteEngine, table: str, column: str, id: MessageId) -> None:
    key = "id" if table.endswith("message") else "message"
    database = Database.open(engine.folder / "spool.db")
    database.run(f"UPDATE {table} SET {column} = {FLIP.format(column)} WHERE {key} = ?", id)
    database.close()


async def quarantined(engine: SqliteEngine, store: SqliteStore, column: str = "body") -> MessageId:
    """Accept a message, damage it, and have the store find out."""
    message = engine.message(engine.delivery(to=("bob@example.org", "eve@example.org")), body=BODY)
    await accept(store, message)
    spoil(engine, "message", column, message.id)
    with pytest.raises(SpoolDamaged):
        await store.load(message.id)
    return message.id


async def test_quarantine_says_what_why_and_since_when(engine: SqliteEngine, store: SqliteStore) -> None:
    """The oldest first, with sender, recipients and reason; nothing where nothing is."""
    quarantine = engine.admin.quarantine
    assert list(quarantine.list()) == []
    id = await quarantined(engine, store)
    engine.clock.now += 60
    second = await quarantined(engine, store, "meta")
    found = quarantine.list()
    assert [each.message for each in found] == [id.hex(), second.hex()]
    assert [each.message for each in quarantine.list(1)] == [id.hex()]
    first = found[0]
    assert (first.sender, first.reason, first.problem) == (
        "alice@example.com",
        *["message body failed its checksum"] * 2,
    )
    assert first.at == engine.clock.now - 60
    (delivery,) = first.deliveries
    assert (delivery.queue, delivery.recipients, delivery.problem) == (
        QUEUE,
        ("bob@example.org", "eve@example.org"),
        "",
    )
    assert quarantine.show("00" * 16) is None
    with pytest.raises(ValueError, match="message id"):
        quarantine.show("nonsense")


async def test_a_message_that_is_sound_again_goes_on(engine: SqliteEngine, store: SqliteStore) -> None:
    """What was put back octet for octet is released as it was: claimed, read, counted, due now, with an event."""
    body = os.urandom(300_000)
    message = engine.message(engine.delivery(), body=body)
    await accept(store, message)
    path = store.bodies.path(message.id)
    path.write_bytes(body[:-1] + bytes([body[-1] ^ 1]))
    with pytest.raises(SpoolError):
        await store.load(message.id)
    with pytest.raises(SpoolDamaged, match="cannot be released: body file failed its checksum"):
        engine.admin.quarantine.release(message.id.hex())
    path.write_bytes(body)
    engine.clock.now += 3600
    assert engine.admin.quarantine.release(message.id.hex()) == 1
    assert list(engine.admin.quarantine.list()) == []
    assert [(queue.ready, queue.next_due) for queue in engine.admin.summary()] == [(1, engine.clock.now)]
    assert ids(await store.claim(QUEUE, engine.clock.now, 10)) == [message.id]
    loaded = await store.load(message.id)
    assert loaded is not None
    assert b"".join(loaded.body.chunks()) == body
    assert engine.admin.trace(message.id.hex())[-1].kind == "message.released"


@pytest.mark.parametrize("large", [False, True])
async def test_a_damaged_body_goes_only_where_somebody_accepts_it(
    engine: SqliteEngine, store: SqliteStore, large: bool
) -> None:
    """Refused without `damaged_body`, and nothing changed; with it sent as it was found, envelope and recipients untouched."""
    body = b"e" * 300_000 if large else BODY
    message = engine.message(engine.delivery(), body=body)
    await accept(store, message)
    if large:
        store.bodies.path(message.id).write_bytes(b"f" * 299_000)
    else:
        spoil(engine, "message", "body", message.id)
    with pytest.raises(SpoolDamaged):
        await store.load(message.id)
    quarantine = engine.admin.quarantine
    with pytest.raises(SpoolDamaged):
        quarantine.release(message.id.hex())
    assert len(quarantine.list()) == 1
    assert quarantine.release(message.id.hex(), damaged_body=True) == 1
    (delivery,) = await store.claim(QUEUE, engine.clock.now, 10)
    assert [str(recipient.address) for recipient in delivery.recipients] == ["bob@example.org"]
    loaded = await store.load(message.id)
    assert loaded is not None
    assert str(loaded.reverse_path) == "alice@example.com"
    assert loaded.prefix == b"Received: here\r\n"
    assert b"".join(loaded.body.chunks()) == (b"f" * 299_000 if large else BODY.replace(b"e", b"f"))


@pytest.mark.parametrize("column", ["meta", "prefix"])
async def test_a_damaged_envelope_is_never_released(engine: SqliteEngine, store: SqliteStore, column: str) -> None:
    """A sender or a header that is not what it was is not guessed at, whatever somebody accepts."""
    id = await quarantined(engine, store, column)
    with pytest.raises(SpoolDamaged, match="message row failed its checksum"):
        engine.admin.quarantine.release(id.hex(), damaged_body=True)
    assert len(engine.admin.quarantine.list()) == 1
    assert engine.admin.summary() == []


async def test_a_delivery_with_damaged_recipients_is_never_released(engine: SqliteEngine, store: SqliteStore) -> None:
    """Mail must not go to an address that a flipped bit made; the message can still be written out and handed in again."""
    message = engine.message(engine.delivery(), body=BODY)
    await accept(store, message)
    spoil(engine, "delivery", "data", message.id)
    assert await store.claim(QUEUE, engine.clock.now, 10) == []
    quarantine = engine.admin.quarantine
    with pytest.raises(SpoolDamaged, match="delivery row failed its checksum"):
        quarantine.release(message.id.hex(), damaged_body=True)
    (found,) = quarantine.list()
    assert (found.problem, found.deliveries[0].problem) == ("", "delivery row failed its checksum")
    assert quarantine.content(message.id.hex(), 0, 100_000) == b"Received: here\r\n" + BODY


async def test_sound_deliveries_go_on_beside_damaged_ones(engine: SqliteEngine, store: SqliteStore) -> None:
    """One bad row of a message keeps neither the others nor the message."""
    message = engine.message(engine.delivery(), engine.delivery("host:b:25"), body=BODY)
    await accept(store, message)
    spoil(engine, "message", "body", message.id)
    with pytest.raises(SpoolDamaged):
        await store.load(message.id)
    database = Database.open(engine.folder / "spool.db")
    database.run(f"UPDATE damaged_delivery SET data = {FLIP.format('data')} WHERE queue = ?", QUEUE)
    database.run(f"UPDATE damaged_message SET body = {'CAST(? AS BLOB)'} WHERE id = ?", BODY, message.id)
    database.close()
    assert engine.admin.quarantine.release(message.id.hex()) == 1
    assert [(row.queue, row.state) for row in engine.admin.list(Selector(message=message.id.hex()))] == [
        ("host:b:25", "ready")
    ]
    (left,) = engine.admin.quarantine.list()
    assert [delivery.queue for delivery in left.deliveries] == [QUEUE]
    assert await store.load(message.id) is not None


@pytest.mark.parametrize("large", [False, True])
async def test_content_comes_in_pieces_as_it_was_found(engine: SqliteEngine, store: SqliteStore, large: bool) -> None:
    """Prefix and body, damaged or not, whatever the size of the pieces; nothing behind the end."""
    body = os.urandom(700_000) if large else BODY
    message = engine.message(engine.delivery(), body=body)
    await accept(store, message)
    harmed = body[:-1] + bytes([body[-1] ^ 1]) if large else BODY.replace(b"e", b"f")
    if large:
        store.bodies.path(message.id).write_bytes(harmed)
    else:
        spoil(engine, "message", "body", message.id)
    with pytest.raises(SpoolDamaged):
        await store.load(message.id)
    for size in (7, 1_000_000) if not large else (65_536, 1_000_000):
        pieces: list[bytes] = []
        while piece := engine.admin.quarantine.content(message.id.hex(), sum(map(len, pieces)), size):
            assert len(piece) <= size
            pieces.append(piece)
        assert b"".join(pieces) == b"Received: here\r\n" + harmed


async def test_what_is_deleted_is_gone_with_its_file_and_leaves_a_trace(
    engine: SqliteEngine, store: SqliteStore
) -> None:
    """Rows and body go, the history says so, and a second time there is nothing."""
    message = engine.message(engine.delivery(), body=os.urandom(300_000))
    await accept(store, message)
    path = store.bodies.path(message.id)
    path.write_bytes(b"short")
    with pytest.raises(SpoolDamaged):
        await store.load(message.id)
    other = await quarantined(engine, store)
    assert engine.admin.quarantine.delete(message.id.hex()) == 2
    assert not path.exists()
    assert engine.admin.trace(message.id.hex())[-1].kind == "message.deleted"
    assert engine.admin.quarantine.delete(message.id.hex()) == 0
    assert [each.message for each in engine.admin.quarantine.list()] == [other.hex()]


async def test_deleting_a_delivery_leaves_the_rest_of_its_message(engine: SqliteEngine, store: SqliteStore) -> None:
    """The body of a message that still has somewhere to go stays."""
    body = os.urandom(300_000)
    message = engine.message(engine.delivery(), engine.delivery("host:b:25"), body=body)
    await accept(store, message)
    database = Database.open(engine.folder / "spool.db")
    database.run(f"UPDATE delivery SET data = {FLIP.format('data')} WHERE queue = ?", QUEUE)
    database.close()
    assert await store.claim(QUEUE, engine.clock.now, 10) == []
    assert engine.admin.quarantine.delete(message.id.hex()) == 1
    (delivery,) = await store.claim("host:b:25", engine.clock.now, 10)
    loaded = await store.load(delivery.message)
    assert loaded is not None
    assert b"".join(loaded.body.chunks()) == body


async def test_what_is_in_quarantine_survives_a_restart(engine: SqliteEngine, store: SqliteStore) -> None:
    """Also the body file that no delivery names any more."""
    message = engine.message(engine.delivery(), body=os.urandom(300_000))
    await accept(store, message)
    path = store.bodies.path(message.id)
    path.write_bytes(b"short")
    with pytest.raises(SpoolDamaged):
        await store.load(message.id)
    await engine.restart()
    assert path.read_bytes() == b"short"
    assert [each.message for each in engine.admin.quarantine.list()] == [message.id.hex()]
