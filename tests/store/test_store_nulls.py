"""One flipped octet in the head of a row makes a column NULL that may not be: it is set aside, and nothing waits behind it (STO-06)."""

from __future__ import annotations

from contextlib import closing

import pytest
from store_world import QUEUE, SqliteEngine, accept, ids

from upesi.database.sqlite import Database, Sync
from upesi.mail.ids import MessageId
from upesi.spool.selector import Selector
from upesi.spool.sqlite import SqliteStore
from upesi.spool.store import SpoolDamaged
from upesi.spool.sweep import Sweep

DELIVERY = [
    "message", "mrow", "queue", "state", "waits", "epoch", "due", "expires", "received", "attempts", "size", "file", "sender",
    "data", "sum",
]  # fmt: skip
# what a delivery cannot do without: the others are for people and selectors, or are written anew by a claim
NEEDED = {"message", "mrow", "queue", "state", "due", "expires", "received", "attempts", "size", "data", "sum"}


def make_null(engine: SqliteEngine, table: str, column: str, id: MessageId) -> None:
    """Do what bit rot does: the schema does not allow it, so it is put off for the moment."""
    key = "id" if table == "message" else "message"
    name = engine.folder / "spool.db"
    with closing(Database.open(name)) as database:
        (sql,) = database.rows("SELECT sql FROM sqlite_schema WHERE name = ?", table)[0]
    for text, change in ((str(sql).replace(" NOT NULL", ""), True), (str(sql), False)):
        with closing(Database.open(name)) as database:
            database.run("PRAGMA writable_schema=ON")
            database.run("UPDATE sqlite_schema SET sql = ? WHERE name = ?", text, table)
            database.run("PRAGMA writable_schema=RESET")
        if change:
            with closing(Database.open(name)) as database:
                database.run(f"UPDATE {table} SET {column} = NULL WHERE {key} = ?", id)


def sweep(engine: SqliteEngine, store: SqliteStore) -> None:
    """Let the slow sweep walk over all of it once."""
    with closing(Database.open(engine.folder / "spool.db", sync=Sync.CALLER)) as database:
        Sweep(store.epoch, store.bodies, engine.clock, lambda event, text: engine.notices.append((event, text))).step(
            database
        )


@pytest.mark.parametrize("column", DELIVERY)
async def test_a_delivery_with_a_column_that_is_null_stops_nobody(
    engine: SqliteEngine, store: SqliteStore, column: str
) -> None:
    """Whichever column it is: mail behind it is claimed and read; the row is set aside by its claim or the sweep, and is seen."""
    bad, good = engine.message(engine.delivery()), engine.message(engine.delivery(due=1))
    await accept(store, bad)
    await accept(store, good)
    make_null(engine, "delivery", column, bad.id)
    engine.clock.now += 2
    claimed: list[MessageId] = []
    for _ in range(2):
        claimed += ids(await store.claim(QUEUE, engine.clock.now, 1))
    sweep(engine, store)
    assert good.id in claimed
    assert await store.load(good.id) is not None
    found = [each.message for each in engine.admin.quarantine.list()]
    if column in NEEDED - {"mrow"}:
        assert bad.id not in claimed
        assert found == [bad.id.hex()]
    assert engine.admin.count(Selector()) == 2 - len(found)
    # and nobody's death or restart stumbles over it
    again = await engine.restart()
    assert good.id in ids(await again.claim(QUEUE, engine.clock.now, 10))


@pytest.mark.parametrize("column", ["id", "meta", "prefix", "sum"])
async def test_a_message_with_a_column_that_is_null_stops_nobody(
    engine: SqliteEngine, store: SqliteStore, column: str
) -> None:
    """It is set aside with its delivery when it is read, and can be looked at."""
    bad, good = engine.message(), engine.message()
    await accept(store, bad)
    await accept(store, good)
    make_null(engine, "message", column, bad.id)
    with pytest.raises(SpoolDamaged):
        await store.load(bad.id)
    assert await store.load(good.id) is not None
    assert [each.message for each in engine.admin.quarantine.list()] == [bad.id.hex()]
    assert engine.admin.count(Selector()) == 1
    assert engine.admin.quarantine.delete(bad.id.hex()) >= 1
    assert list(engine.admin.quarantine.list()) == []


async def test_quarantine_of_an_older_program_takes_such_rows_too(engine: SqliteEngine) -> None:
    """Its tables allowed no NULL: they are made anew at the start, with what they held."""
    with closing(Database.open(engine.folder / "spool.db")) as database:
        for table in ("damaged_message", "damaged_delivery"):
            (sql,) = database.rows("SELECT sql FROM sqlite_schema WHERE name = ?", table)[0]
            strict = str(sql).replace(" BLOB", " BLOB NOT NULL").replace(" INTEGER", " INTEGER NOT NULL")
            database.run(f"DROP TABLE {table}")
            database.run(strict.replace("body BLOB NOT NULL", "body BLOB"))
        database.run("INSERT INTO damaged_message VALUES (1.0, 'x', 7, ?, X'', X'', NULL, 0)", b"m" * 16)
    store = await engine.restart()
    assert [each.message for each in engine.admin.quarantine.list()] == [(b"m" * 16).hex()]
    bad = engine.message(engine.delivery())
    await accept(store, bad)
    make_null(engine, "delivery", "data", bad.id)
    assert await store.claim(QUEUE, engine.clock.now, 10) == []
    assert {each.message for each in engine.admin.quarantine.list()} == {(b"m" * 16).hex(), bad.id.hex()}
