"""What operators and the supervisor ask."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from store_world import QUEUE, SqliteEngine, accept, complete, ids

from upesi.config.settings import SpoolSettings
from upesi.database.sqlite import Database
from upesi.mail.outcome import Outcome, OutcomeKind
from upesi.spool.admin import Selector, SpoolAdmin
from upesi.spool.records import RETURNED, Completion, SpoolEvent
from upesi.spool.sqlite import SqliteStore
from upesi.spool.store import SpoolError, SpoolLocked


async def test_a_second_instance_is_refused_with_the_pid(engine: SqliteEngine) -> None:
    """Two instances on one spool: the second refuses and names the first (STO-09)."""
    with pytest.raises(SpoolLocked, match=str(os.getpid())):
        SpoolAdmin.open_or_create(engine.settings)


async def test_recovery_waits_for_workers_of_an_earlier_instance(engine: SqliteEngine, store: SqliteStore) -> None:
    """A supervisor that died leaves workers; nobody takes their mail while they live (Q2)."""
    engine.admin.close()
    with pytest.raises(SpoolLocked):
        await asyncio.to_thread(SpoolAdmin.open_or_create, engine.settings)
    await store.close()
    engine.stores.clear()
    engine.admin = SpoolAdmin.open_or_create(engine.settings, now=engine.clock)


async def test_epochs_rise_for_ever(engine: SqliteEngine) -> None:
    """An epoch is never given twice, not even after all members have gone."""
    first = engine.admin.register_member(1)
    engine.admin.expel(first)
    second = engine.admin.register_member(1)
    await engine.close()
    engine.admin = SpoolAdmin.open_or_create(engine.settings, now=engine.clock)
    assert first < second < engine.admin.register_member(1)


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (Selector(), 4),
        (Selector(sender="carol@example.com"), 1),
        (Selector(sender="<>"), 1),
        (Selector(recipient="Bob@example.org"), 3),
        (Selector(domain="example.net"), 1),
        (Selector(domain=".example.net"), 1),
        (Selector(domain=".net"), 1),
        (Selector(domain=".xample.net"), 0),
        (Selector(queue="host:other:25"), 1),
        (Selector(state="held"), 0),
        (Selector(state="ready", domain="example.org", sender="alice@example.com"), 1),
        (Selector(older_than=50.0), 1),
        (Selector(younger_than=50.0), 3),
    ],
)
async def test_selectors_mean_what_they_say(
    engine: SqliteEngine, store: SqliteStore, selector: Selector, expected: int
) -> None:
    """All conditions of a selector hold together."""
    await accept(store, engine.message(engine.delivery(due=100)))
    engine.clock.now += 60
    await accept(store, engine.message(engine.delivery(due=100), sender="carol@example.com"))
    await accept(store, engine.message(engine.delivery(due=100), sender=None))
    await accept(store, engine.message(engine.delivery("host:other:25", to=("x@example.net",), due=100)))
    assert engine.admin.count(selector) == expected
    assert len(engine.admin.list(selector)) == expected


async def test_a_selector_that_means_nothing_is_refused(engine: SqliteEngine) -> None:
    """A misspelt state or id selects nothing by being an error, not everything."""
    for selector in (Selector(state="redy"), Selector(message="zz"), Selector(recipient="nobody")):
        with pytest.raises(ValueError):
            engine.admin.hold(selector)


async def test_hold_keeps_and_release_returns(engine: SqliteEngine, store: SqliteStore) -> None:
    """Held mail is not claimed and says so; released mail is (STO-16)."""
    message = engine.message(engine.delivery())
    await accept(store, message)
    assert engine.admin.hold(Selector(message=message.id.hex())).changed == 1
    assert await store.claim(QUEUE, engine.clock.now, 10) == []
    assert await store.next_due() is None
    (why,) = engine.admin.why(message.id.hex())
    assert (why.state, why.next_try) == ("held", None)
    assert engine.admin.release(Selector()).changed == 1
    assert [event.kind for event in engine.admin.trace(message.id.hex())] == [
        "message.accepted", "delivery.held", "delivery.released",
    ]  # fmt: skip
    assert ids(await store.claim(QUEUE, engine.clock.now, 10)) == [message.id]


async def test_retry_now_makes_due(engine: SqliteEngine, store: SqliteStore) -> None:
    """A delivery that would wait an hour is found at once."""
    await accept(store, engine.message(engine.delivery(due=3600)))
    assert await store.heads(engine.clock.now, 10) == []
    assert engine.admin.retry_now(Selector()).changed == 1
    assert [head.queue for head in await store.heads(engine.clock.now, 10)] == [QUEUE]


async def test_what_a_worker_holds_is_counted_and_left_alone(engine: SqliteEngine, store: SqliteStore) -> None:
    """Operators never change a delivery that is in a worker's memory (STO-16)."""
    message = engine.message()
    (born,) = await accept(store, message)
    for act in (engine.admin.hold, engine.admin.release, engine.admin.retry_now):
        assert (act(Selector()).changed, act(Selector()).active) == (0, 1)
    changed, cancelled = engine.admin.cancel(Selector())
    assert (changed.changed, changed.active, list(cancelled)) == (0, 1, [])
    assert (await complete(store, Completion(born.id, message.id)))[0]


async def test_cancel_removes_with_an_event_and_says_whom_it_concerns(engine: SqliteEngine, store: SqliteStore) -> None:
    """A cancelled delivery goes with its message and body; its sender can be told."""
    message = engine.message(engine.delivery(to=("bob@example.org", "eve@example.org")), body=os.urandom(200_000))
    await accept(store, message)
    changed, cancelled = engine.admin.cancel(Selector())
    assert changed.changed == 1
    assert [(each.message, each.sender, each.recipients) for each in cancelled] == [
        (message.id.hex(), "alice@example.com", ("bob@example.org", "eve@example.org"))
    ]
    assert await store.load(message.id) is None
    assert not store.bodies.path(message.id).exists()
    assert [event.kind for event in engine.admin.trace(message.id.hex())] == ["message.accepted", "delivery.cancelled"]


async def test_many_deliveries_are_changed_in_steps(engine: SqliteEngine, store: SqliteStore) -> None:
    """A selection larger than one step is changed whole, and a limit on cancelling is kept."""
    await asyncio.gather(*(accept(store, engine.message(engine.delivery(due=5))) for _ in range(1234)))
    assert engine.admin.hold(Selector()).changed == 1234
    changed, cancelled = engine.admin.cancel(Selector(), limit=700)
    assert (changed.changed, len(cancelled)) == (700, 700)
    assert [queue.held for queue in engine.admin.summary()] == [534]


async def test_why_tells_the_last_outcome_and_the_next_try(engine: SqliteEngine, store: SqliteStore) -> None:
    """Every queued message can say why it is waiting, since when, and when it will next be tried (Q8)."""
    message = engine.message()
    (born,) = await accept(store, message)
    said = Outcome(OutcomeKind.DEFERRED, 451, "4.7.1", "greylisted", "mx [192.0.2.1]")
    event = SpoolEvent(engine.clock.now + 3, "delivery.deferred", message.id, {})
    await complete(
        store, Completion(born.id, message.id, (engine.delivery(due=300, attempts=1, last=said),), events=(event,))
    )
    (why,) = engine.admin.why(message.id.hex())
    assert (why.state, why.since, why.last, why.next_try, why.attempts) == (
        "ready", message.received, said, engine.clock.now + 300, 1,
    )  # fmt: skip


async def test_since_is_when_a_delivery_came_into_its_state(engine: SqliteEngine, store: SqliteStore) -> None:
    """Q8: a hold counts from when it was made, a wait from reception on, whatever was done; who was not asked for does not count."""
    start = engine.clock.now
    message = engine.message(
        engine.delivery(to=("bob@example.org", '"a b"@example.org')),
        engine.delivery("host:other:25", to=("eve@example.net",)),
    )
    await accept(store, message)

    def since() -> list[tuple[str, float, float | None]]:
        found = engine.admin.why(message.id.hex())
        return [(why.state, why.since - start, why.retried and why.retried - start) for why in found]

    engine.clock.now += 60
    assert engine.admin.hold(Selector(domain="example.net")).queues == ("host:other:25",)
    engine.clock.now += 60
    assert since() == [("ready", 0.0, None), ("held", 60.0, None)]
    assert engine.admin.retry_now(Selector()).queues == (QUEUE,)
    engine.admin.release(Selector())
    engine.clock.now += 60
    assert since() == [("ready", 0.0, 120.0), ("ready", 0.0, None)]
    (claimed,) = await store.claim(QUEUE, engine.clock.now, 10)
    event = SpoolEvent(engine.clock.now, "delivery.deferred", message.id, {"to": '"a b"@example.org'})
    again = engine.delivery(to=('"a b"@example.org',), due=300, attempts=1)
    await complete(store, Completion(claimed.id, message.id, (again,), events=(event,)))
    assert since() == [("ready", 0.0, None), ("ready", 0.0, 120.0)]


async def test_an_answer_names_a_bounded_number_of_queues(engine: SqliteEngine, store: SqliteStore) -> None:
    """More than a thousand are not named: whoever acts on the answer takes all."""
    many = [engine.delivery(f"host:h{n}:25", due=5) for n in range(1001)]
    await accept(store, engine.message(*many))
    changed = engine.admin.retry_now(Selector())
    assert (changed.changed, changed.queues) == (1001, ())
    assert len(engine.admin.retry_now(Selector(queue="host:h7:25")).queues) == 1


async def test_events_are_exported_by_position(engine: SqliteEngine, store: SqliteStore) -> None:
    """Positions rise and nothing is left out between two reads."""
    for _ in range(5):
        await accept(store, engine.message())
    first = engine.admin.events(0, 2)
    rest = engine.admin.events(first[-1][0])
    positions = [position for position, _ in [*first, *rest]]
    assert len(positions) == 5
    assert positions == sorted(set(positions))


async def test_orphan_bodies_are_removed_at_start(engine: SqliteEngine, store: SqliteStore) -> None:
    """A body without a row, and what a session left, go at the next start; bodies with rows stay."""
    kept = engine.message(body=os.urandom(200_000))
    await accept(store, kept)
    orphan = engine.folder / "bodies" / "ab" / ("00" * 15 + "ab")
    orphan.write_bytes(b"x")
    (engine.folder / "tmp" / "1-2").write_bytes(b"x")
    store = await engine.restart()
    assert not orphan.exists()
    assert list((engine.folder / "tmp").iterdir()) == []
    assert await store.load(kept.id) is not None


@pytest.mark.parametrize("harm", ["database", "everything", "folder", "empty database", "other spool", "newer version"])
async def test_a_spool_that_is_not_what_it_was_refuses_to_start(tmp_path: Path, harm: str) -> None:
    """Never a silent new, empty queue in place of one that was there (STO-07); never a format that we do not know (STO-13)."""
    settings = SpoolSettings(path=str(tmp_path / "spool"))
    SpoolAdmin.open_or_create(settings).close()
    spool = tmp_path / "spool"
    if harm == "database":
        (spool / "spool.db").unlink()
    elif harm == "everything":
        shutil.rmtree(spool)
        spool.mkdir()
    elif harm == "folder":
        shutil.rmtree(spool)
    elif harm == "empty database":
        (spool / "spool.db").write_bytes(b"")
    elif harm == "other spool":
        other = SpoolSettings(path=str(tmp_path / "other"))
        SpoolAdmin.open_or_create(other).close()
        shutil.rmtree(spool)
        (tmp_path / "other").rename(spool)
    else:
        database = Database.open(spool / "spool.db")
        database.run("PRAGMA user_version=99")
        database.close()
    with pytest.raises(SpoolError):
        SpoolAdmin.open_or_create(settings)
    with pytest.raises(SpoolError):
        SpoolAdmin.open_or_create(settings)


async def test_a_spool_removed_under_a_worker_acknowledges_nothing(engine: SqliteEngine, store: SqliteStore) -> None:
    """Mail written to a folder that has gone would be lost: it is refused (STO-07)."""
    moved = engine.folder.with_name("moved")
    engine.folder.rename(moved)
    for _ in range(2):
        with pytest.raises(SpoolError):
            await accept(store, engine.message())
    moved.rename(engine.folder)
    message = engine.message()
    await accept(store, message)
    assert await store.load(message.id) is not None


async def test_a_crash_while_a_spool_is_made_is_no_spool(tmp_path: Path) -> None:
    """A draft that was left behind is thrown away, not taken for a spool."""
    spool = tmp_path / "spool"
    spool.mkdir()
    (spool / "spool.db.new").write_bytes(b"half")
    SpoolAdmin.open_or_create(SpoolSettings(path=str(spool))).close()
    assert not list(spool.glob("*.new*"))


async def test_files_of_the_spool_are_for_its_owner_only(engine: SqliteEngine, store: SqliteStore) -> None:
    """A database, a log or a marker is read by nobody else, also where the folder's own mode has been widened."""
    await accept(store, engine.message(body=b"x" * 300_000))
    found = [path for path in (*engine.folder.rglob("*"), *engine.folder.parent.glob(".*.instance")) if path.is_file()]
    names = {path.name for path in found}
    assert {"spool.db", "spool.db-wal", "spool.db-shm", "instance", ".spool.instance"} <= names
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in found} == dict.fromkeys(names, "0o600")


async def test_files_that_were_open_to_others_are_closed_at_the_next_start(engine: SqliteEngine) -> None:
    """A spool that was made with wider modes is narrowed when it is opened."""
    await engine.worker()
    for name in ("spool.db", "spool.db-wal", "instance"):
        (engine.folder / name).chmod(0o644)
    await engine.restart()
    assert {path.stat().st_mode & 0o777 for path in engine.folder.iterdir() if path.is_file()} == {0o600}


async def test_a_dead_worker_leaves_no_half_received_bodies(engine: SqliteEngine) -> None:
    """What a killed worker was receiving goes when it is buried, not at the next start of the server."""
    left, other = engine.folder / "tmp" / "77-1-1", engine.folder / "tmp" / "78-1-1"
    left.write_bytes(b"x")
    other.write_bytes(b"x")
    assert engine.admin.clear_temporary_of(77) == 1
    assert not left.exists()
    assert other.exists()


async def test_what_is_given_back_is_due_at_once_and_marked(engine: SqliteEngine, store: SqliteStore) -> None:
    """Waiting and held mail is found at its next claim, or as expired where its site is left alone; what a worker holds is left alone."""
    waiting, held = engine.message(engine.delivery(due=3600)), engine.message(engine.delivery(due=3600))
    for message in (waiting, held, engine.message()):
        await accept(store, message)
    engine.admin.hold(Selector(message=held.id.hex()))
    changed = engine.admin.give_back(Selector())
    assert (changed.changed, changed.active, changed.queues) == (2, 1, (QUEUE,))
    assert ids(await store.claim_expired([QUEUE], engine.clock.now, 1)) == [waiting.id]
    (claimed,) = await store.claim(QUEUE, engine.clock.now, 10)
    assert (claimed.message, claimed.expires) == (held.id, RETURNED)
    assert [event.kind for event in engine.admin.trace(held.id.hex())][-2:] == ["delivery.held", "delivery.returned"]
    (summary,) = engine.admin.summary()
    assert (summary.ready, summary.active, summary.held) == (0, 3, 0)
