"""The slow sweep finds damage before the mail is due, and what an index has lost. SQLite only: the rows are damaged by hand."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from store_world import QUEUE, SqliteEngine, accept, ids
from test_store_damage import spoil

from upesi.database.errors import DatabaseCorrupt
from upesi.database.sqlite import Database, Sync
from upesi.mail.ids import MessageId
from upesi.spool.admin import Selector
from upesi.spool.records import NewMessage
from upesi.spool.sqlite import SqliteStore
from upesi.spool.store import SpoolError
from upesi.spool.sweep import Sweep


@pytest.fixture
def database(engine: SqliteEngine) -> Iterator[Database]:
    """A connection as a keeper has it."""
    database = Database.open(engine.folder / "spool.db", sync=Sync.CALLER)
    yield database
    database.close()


def sweep_of(engine: SqliteEngine, store: SqliteStore) -> Sweep:
    return Sweep(store.epoch, store.bodies, engine.clock, lambda event, text: engine.notices.append((event, text)))


def later(engine: SqliteEngine, **rest: object) -> NewMessage:
    """Make a message that is due in four days."""
    return engine.message(engine.delivery(due=345_600.0), **rest)  # type: ignore[arg-type]


def kinds(engine: SqliteEngine, id: MessageId) -> list[str]:
    return [event.kind for event in engine.admin.trace(id.hex())]


async def test_damage_is_found_long_before_the_mail_is_due(
    engine: SqliteEngine, store: SqliteStore, database: Database
) -> None:
    """STO-06: a row, a message and a body file that fail their checksum are set aside with the reason; the rest is left as it is."""
    row, message, lost, good = (later(engine) for _ in range(4))
    file = later(engine, body=os.urandom(300_000))
    for each in (row, message, lost, good, file):
        await accept(store, each)
    spoil(engine, "UPDATE delivery SET data = CAST(replace(data, X'65', X'66') AS BLOB) WHERE message = ?", row.id)
    spoil(engine, "UPDATE message SET prefix = X'00' WHERE id = ?", message.id)
    spoil(engine, "DELETE FROM message WHERE id = ?", lost.id)
    store.bodies.path(file.id).write_bytes(b"x")
    sweep_of(engine, store).step(database)
    assert [kinds(engine, each.id)[-1] for each in (row, lost)] == ["delivery.quarantined"] * 2
    assert [kinds(engine, each.id)[-1] for each in (message, file)] == ["message.quarantined"] * 2
    assert kinds(engine, good.id) == ["message.accepted"]
    assert [event for event, _ in engine.notices] == ["spool.damaged"] * 4
    (summary,) = engine.admin.summary()
    assert (summary.ready, summary.next_due) == (1, engine.clock.now + 345_600.0)


async def test_what_an_index_has_lost_is_found_again(
    engine: SqliteEngine, store: SqliteStore, database: Database
) -> None:
    """QUEUE.md, damage: a delivery that neither level of the index knows would wait for ever."""
    message = engine.message(engine.delivery())
    await accept(store, message)
    spoil(engine, "UPDATE queue SET next_due = NULL")
    assert await store.heads(engine.clock.now, 10) == []
    sweep_of(engine, store).step(database)
    assert [head.queue for head in await store.heads(engine.clock.now, 10)] == [QUEUE]
    # an index page that went back in time: the schema is told that there is no such index while the row is written
    database.run("PRAGMA writable_schema = ON")
    kept = database.value("SELECT sql FROM sqlite_schema WHERE name = 'delivery_waiting'")
    root = database.value("SELECT rootpage FROM sqlite_schema WHERE name = 'delivery_waiting'")
    database.run("DELETE FROM sqlite_schema WHERE name = 'delivery_waiting'")
    database.run("PRAGMA writable_schema = RESET")
    database.run("UPDATE delivery SET due = due - 1")
    database.run("PRAGMA writable_schema = ON")
    database.run("INSERT INTO sqlite_schema VALUES ('index', 'delivery_waiting', 'delivery', ?, ?)", root, kept)
    database.run("PRAGMA writable_schema = RESET")
    assert await store.claim(QUEUE, engine.clock.now - 0.5, 10) == []
    sweep_of(engine, store).step(database)
    assert ids(await store.claim(QUEUE, engine.clock.now - 0.5, 10)) == [message.id]
    assert [event for event, _ in engine.notices] == ["spool.index_mended"] * 2


async def test_a_walk_is_made_of_small_steps_and_then_rests(
    engine: SqliteEngine, store: SqliteStore, database: Database
) -> None:
    """Twenty deliveries, or four megabytes, at a time; damage behind them is found in a later step; then there is an hour of rest."""
    many = [later(engine) for _ in range(45)]
    for each in many:
        await accept(store, each)
    spoil(engine, "UPDATE message SET prefix = X'00' WHERE id = ?", many[44].id)
    sweep = sweep_of(engine, store)
    found = []
    for _ in range(4):
        sweep.step(database)
        found.append(len(engine.notices))
    assert found == [0, 0, 1, 1]
    spoil(engine, "UPDATE message SET prefix = X'00' WHERE id = ?", many[0].id)
    for _ in range(3600 - 1):
        sweep.step(database)
    assert len(engine.notices) == 1
    sweep.step(database)
    assert len(engine.notices) == 2


async def test_only_the_oldest_worker_walks_and_leaves_what_others_hold(
    engine: SqliteEngine, store: SqliteStore, database: Database
) -> None:
    """One walk for the machine; a row in a worker's memory is that worker's, and is checked when it is read."""
    second = await engine.worker()
    active, waiting = engine.message(), later(engine)
    await accept(second, active)
    await accept(second, waiting)
    for each in (active, waiting):
        spoil(engine, "UPDATE message SET prefix = X'00' WHERE id = ?", each.id)
    sweep_of(engine, second).step(database)
    assert engine.notices == []
    sweep_of(engine, store).step(database)
    assert [text.split()[4].rstrip(":") for _, text in engine.notices] == [waiting.id.hex()]


async def test_a_body_that_cannot_be_read_now_is_no_damage(
    engine: SqliteEngine, store: SqliteStore, database: Database
) -> None:
    """STO-07: while the folder of bodies is away nothing is set aside, and the walk goes on from there when it is back."""
    message = later(engine, body=os.urandom(300_000))
    await accept(store, message)
    folder = store.bodies.path(message.id).parent
    away = folder.rename(folder.with_name("away"))
    sweep = sweep_of(engine, store)
    with pytest.raises(SpoolError):
        sweep.step(database)
    away.rename(folder)
    store.bodies.path(message.id).write_bytes(b"x")
    sweep.step(database)
    assert kinds(engine, message.id)[-1] == "message.quarantined"
    assert engine.admin.count(Selector()) == 0


async def test_a_page_that_cannot_be_read_is_spoken_of_once_an_hour(
    engine: SqliteEngine, store: SqliteStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """STO-06: SQLite cannot go around a damaged page; the walk says so, rests, and keeps nobody else from work."""
    await accept(store, later(engine))

    def fails(self: Database, sql: str, *values: object) -> list[tuple[object, ...]]:
        raise DatabaseCorrupt("database disk image is malformed")

    sweep = sweep_of(engine, store)
    monkeypatch.setattr(Database, "rows", fails)
    for _ in range(3600):
        sweep.step(database)
    assert engine.notices == [("spool.damaged", "behind delivery 0: database disk image is malformed")]
