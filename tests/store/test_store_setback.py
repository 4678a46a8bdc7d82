"""A clock that was ahead and is set back: mail that it dated does not wait until its day has come. SQLite only: one step at a time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from store_world import QUEUE, SqliteEngine, accept, complete

from upesi.database.sqlite import Database, Sync
from upesi.mail.ids import MessageId
from upesi.spool.records import RETURNED, Completion, SpoolEvent
from upesi.spool.setback import Setback
from upesi.spool.sqlite import SqliteStore

_DAY = 86_400.0
_YEARS = 10 * 365 * _DAY
# how far ahead the clock was, from 2027
_AHEAD = {
    "an hour": 3600.0,
    "a day": _DAY,
    "ten years": _YEARS,
    "from 1970 to today": 1_800_000_000.0,
    "behind 2038-01-19": 347_483_648.0,
}
_LIFE = 432_000.0


@pytest.fixture
def database(engine: SqliteEngine) -> Iterator[Database]:
    """A connection as a keeper has it."""
    database = Database.open(engine.folder / "spool.db", sync=Sync.CALLER)
    yield database
    database.close()


def setback_of(engine: SqliteEngine, store: SqliteStore) -> Setback:
    return Setback(store.epoch, engine.clock, lambda: 0.0, lambda event, text: engine.notices.append((event, text)))


def times(database: Database, id: MessageId) -> list[tuple[float, float, float]]:
    """Return when each delivery of a message is due, expires and was received."""
    found = database.rows("SELECT due, expires, received FROM delivery WHERE message = ? ORDER BY id", id)
    return [(float(due), float(expires), float(received)) for due, expires, received in found]  # type: ignore[arg-type]


@pytest.mark.parametrize("ahead", _AHEAD)
async def test_mail_accepted_while_the_clock_was_ahead_is_tried_by_the_schedule(
    engine: SqliteEngine, store: SqliteStore, database: Database, ahead: str
) -> None:
    """CLK-01: what was received and put off in the future keeps its wait, its age and its life, and is found when its time comes."""
    true, step = engine.clock.now, _AHEAD[ahead]
    engine.clock.now += step
    message = engine.message(engine.delivery(due=900.0))
    await accept(store, message)
    setback = setback_of(engine, store)
    engine.clock.now = true
    for _ in range(3):
        setback.step(database)
    assert times(database, message.id) == [pytest.approx((true + 900, true + _LIFE, true), abs=0.01)]
    engine.clock.now = true + 901
    assert [each.message for each in await store.claim(QUEUE, engine.clock.now, 10)] == [message.id]
    assert [event for event, _ in engine.notices] == ["spool.redated"]


async def test_mail_put_off_while_the_clock_was_ahead_keeps_its_expiry(
    engine: SqliteEngine, store: SqliteStore, database: Database
) -> None:
    """CLK-01: a message from before is due as if the clock had been right, and expires when it always would have; moved once only."""
    true = engine.clock.now
    message = engine.message()
    (born,) = await accept(store, message)
    engine.clock.now = true + 2 * _DAY
    later = engine.delivery(due=7200.0, expires=true + _LIFE)
    await complete(
        store,
        Completion(
            born.id, message.id, (later,), (), (SpoolEvent(engine.clock.now, "delivery.deferred", message.id, {}),)
        ),
    )
    engine.clock.now = true + 60
    for _ in range(3):
        setback_of(engine, store).step(database)
    assert times(database, message.id) == [pytest.approx((true + 60 + 7200, true + _LIFE, true), abs=0.01)]
    kinds = [event.kind for event in engine.admin.trace(message.id.hex())]
    assert kinds == ["message.accepted", "delivery.deferred", "delivery.redated"]


async def test_a_clock_that_is_set_twice_takes_no_life_of_mail(
    engine: SqliteEngine, store: SqliteStore, database: Database
) -> None:
    """CLK-01: put off ten years ahead, and then an hour before its own reception: it has its whole life, and is due."""
    true = engine.clock.now
    message = engine.message()
    (born,) = await accept(store, message)
    engine.clock.now = true + _YEARS
    later = engine.delivery(due=7200.0, expires=true + _LIFE)
    event = SpoolEvent(engine.clock.now, "delivery.deferred", message.id, {})
    await complete(store, Completion(born.id, message.id, (later,), (), (event,)))
    engine.clock.now = now = true - 3600
    setback_of(engine, store).step(database)
    assert times(database, message.id) == [pytest.approx((now + 7200, now + _LIFE, now), abs=0.01)]


async def test_what_is_meant_to_wait_waits(engine: SqliteEngine, store: SqliteStore, database: Database) -> None:
    """CLK-01: mail held for later by its sender (RFC 4865) and mail that a plugin put off for days are left as they are."""
    release = 30 * _DAY
    held = engine.message(engine.delivery(due=release, expires=engine.clock.now + release + _LIFE))
    await accept(store, held)
    slow = engine.message()
    (born,) = await accept(store, slow)
    event = SpoolEvent(engine.clock.now, "delivery.deferred", slow.id, {})
    await complete(store, Completion(born.id, slow.id, (engine.delivery(due=3 * _DAY),), (), (event,)))
    before = times(database, held.id), times(database, slow.id)
    for _ in range(3):
        setback_of(engine, store).step(database)
    assert (times(database, held.id), times(database, slow.id)) == before
    assert engine.notices == []


async def test_a_hold_asked_for_while_the_clock_was_ahead_keeps_its_length(
    engine: SqliteEngine, store: SqliteStore, database: Database
) -> None:
    """CLK-01: what was to be held for a day is held for a day (RFC 4865 HOLDFOR), on either clock."""
    true = engine.clock.now
    engine.clock.now += _YEARS
    message = engine.message(engine.delivery(due=_DAY, expires=engine.clock.now + _DAY + _LIFE))
    await accept(store, message)
    engine.clock.now = true
    setback_of(engine, store).step(database)
    assert times(database, message.id) == [pytest.approx((true + _DAY, true + _DAY + _LIFE, true), abs=0.01)]


async def test_what_is_due_behind_its_expiry_is_due(
    engine: SqliteEngine, store: SqliteStore, database: Database
) -> None:
    """CLK-01: a row that no event tells of, moved between queues while the clock was ahead, is tried at once; a return stays one."""
    true = engine.clock.now
    moved = engine.message(engine.delivery(due=_YEARS, expires=true + _LIFE))
    returned = engine.message(engine.delivery(due=_YEARS, expires=RETURNED))
    for message in (moved, returned):
        await accept(store, message)
    setback_of(engine, store).step(database)
    assert times(database, moved.id) == [pytest.approx((true, true + _LIFE, true), abs=0.01)]
    assert times(database, returned.id) == [pytest.approx((true, RETURNED, true), abs=0.01)]


async def test_a_walk_begins_when_the_clock_is_set_back(
    engine: SqliteEngine, store: SqliteStore, database: Database
) -> None:
    """CLK-01: not minutes later, when the next walk is due; and not where time only passes."""
    true = engine.clock.now
    setback = setback_of(engine, store)
    for _ in range(2):
        setback.step(database)
    engine.clock.now += _YEARS
    message = engine.message(engine.delivery(due=900.0))
    await accept(store, message)
    setback.step(database)
    setback.step(database)
    assert times(database, message.id)[0][0] > true + _YEARS
    engine.clock.now = true
    setback.step(database)
    assert times(database, message.id)[0][0] == pytest.approx(true + 900, abs=0.01)


async def test_one_worker_walks_for_all(engine: SqliteEngine, store: SqliteStore, database: Database) -> None:
    """CLK-01: the others leave it to the oldest, and begin when they have become the oldest."""
    other = await engine.worker()
    true = engine.clock.now
    engine.clock.now += _YEARS
    message = engine.message(engine.delivery(due=900.0))
    await accept(other, message)
    second = setback_of(engine, other)
    engine.clock.now = true
    second.step(database)
    assert times(database, message.id)[0][0] > true + _YEARS
    database.run("DELETE FROM member WHERE epoch = ?", store.epoch)
    second.step(database)
    assert times(database, message.id)[0][0] < true + _YEARS


async def test_rows_that_rotted_away_end_no_walk(engine: SqliteEngine, store: SqliteStore, database: Database) -> None:
    """STO-06: a time that is none is for the sweep to find; the walk goes on behind it."""
    true = engine.clock.now
    engine.clock.now += _YEARS
    spoilt, good = (engine.message(engine.delivery(due=900.0)) for _ in range(2))
    for each in (spoilt, good):
        await accept(store, each)
    database.run("UPDATE delivery SET due = 'never' WHERE message = ?", spoilt.id)
    engine.clock.now = true
    setback_of(engine, store).step(database)
    assert times(database, good.id)[0][0] == pytest.approx(true + 900, abs=0.01)


async def test_a_clock_that_cannot_be_right_moves_nothing(
    engine: SqliteEngine, store: SqliteStore, database: Database
) -> None:
    """CLK-01: a machine that boots in 1970 leaves its queue as it is, to be tried when its clock has been set."""
    message = engine.message(engine.delivery(due=900.0))
    await accept(store, message)
    before = times(database, message.id)
    engine.clock.now = 30.0
    setback_of(engine, store).step(database)
    assert times(database, message.id) == before
