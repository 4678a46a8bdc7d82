"""A message that takes one worker after another with it is set aside; everything else goes on."""

from __future__ import annotations

from store_world import QUEUE, SqliteEngine, accept, complete, ids

from upesi.mail.ids import MessageId
from upesi.spool.admin import Selector
from upesi.spool.records import Completion, NewMessage
from upesi.spool.suspects import CRASHED, KILLED, MAX_HELD


async def die(engine: SqliteEngine, weight: int, times: int = 1, number: int = 1) -> list[list[MessageId]]:
    """Let `times` workers claim and die; return what each of them held."""
    held = []
    for _ in range(times):
        worker = await engine.worker()
        held.append(ids(await worker.claim(QUEUE, engine.clock.now, number)))
        engine.admin.expel(worker.epoch, weight)
    return held


async def put(engine: SqliteEngine, number: int = 1) -> list[NewMessage]:
    store = await engine.worker()
    messages = [engine.message(engine.delivery(due=float(n) - number)) for n in range(number)]
    for message in messages:
        await accept(store, message)
    return messages


def state_of(engine: SqliteEngine, message: NewMessage) -> str:
    (row,) = engine.admin.list(Selector(message=message.id.hex()))
    return row.state


async def test_what_three_workers_crashed_with_is_held_with_its_reason(engine: SqliteEngine) -> None:
    """PLG-03: twice it waits again, the third time it is set aside, and history and `why` say so."""
    (message,) = await put(engine)
    await die(engine, CRASHED, 2)
    assert state_of(engine, message) == "ready"
    worker = await engine.worker()
    assert len(await worker.claim(QUEUE, engine.clock.now, 1)) == 1
    expelled = engine.admin.expel(worker.epoch, CRASHED)
    assert (expelled.waiting, [event.message for event in expelled.held]) == (0, [message.id])
    assert await (await engine.worker()).claim(QUEUE, engine.clock.now, 1) == []
    (why,) = engine.admin.why(message.id.hex())
    assert (why.state, why.since) == ("held", engine.clock.now)
    assert "workers" in why.set_aside
    *_, event = engine.admin.trace(message.id.hex())
    assert (event.kind, event.fields["to"], event.fields["reason"]) == (
        "delivery.held", "bob@example.org", why.set_aside,
    )  # fmt: skip
    (summary,) = engine.admin.summary()
    assert (summary.ready, summary.active, summary.held, summary.next_due) == (0, 0, 1, None)


async def test_the_third_death_takes_one_message_and_not_its_company(engine: SqliteEngine) -> None:
    """What was in memory beside the culprit is handed out one at a time after two crashes, so that the third names one."""
    messages = await put(engine, 5)
    assert await die(engine, CRASHED, 2, number=10) == [[message.id for message in messages]] * 2
    newcomer = (await put(engine))[0]
    (last,) = await die(engine, CRASHED, 1, number=10)
    assert len(last) == 2
    assert newcomer.id in last
    assert [state_of(engine, message) for message in messages].count("held") == 1
    assert state_of(engine, newcomer) == "ready"


async def test_those_who_must_be_alone_follow_each_other(engine: SqliteEngine) -> None:
    """A worker gets the next when it is done with the one before; all of them go out."""
    messages = await put(engine, 4)
    await die(engine, CRASHED, 2, number=10)
    worker = await engine.worker()
    sent = []
    while claimed := await worker.claim(QUEUE, engine.clock.now, 10):
        assert await worker.claim(QUEUE, engine.clock.now, 10) == []
        (delivery,) = claimed
        await complete(worker, Completion(delivery.id, delivery.message))
        sent.append(delivery.message)
    assert sorted(sent) == sorted(message.id for message in messages)


async def test_many_who_must_be_alone_do_not_hide_the_rest(engine: SqliteEngine) -> None:
    """However many there are in front, a claim brings as much of the rest as was asked for."""
    await put(engine, 6)
    await die(engine, CRASHED, 2, number=10)
    rest = await put(engine, 4)
    claimed = await (await engine.worker()).claim(QUEUE, engine.clock.now, 4)
    assert len(claimed) == 4
    assert len(set(ids(claimed)) & {message.id for message in rest}) == 3


async def test_kills_from_outside_weigh_half(engine: SqliteEngine) -> None:
    """Somebody's kill -9 is seldom the message's fault, but the kernel's, for want of memory, may be: six of them are enough."""
    (message,) = await put(engine)
    await die(engine, KILLED, 5)
    assert state_of(engine, message) == "ready"
    await die(engine, KILLED)
    assert state_of(engine, message) == "held"


async def test_ends_that_were_expected_weigh_nothing(engine: SqliteEngine) -> None:
    """A reload, a stop, a start after a power cut: whatever was in flight waits again, as often as it happens."""
    (message,) = await put(engine)
    await die(engine, 0, 8)
    for _ in range(4):
        worker = await engine.restart()
        assert ids(await worker.claim(QUEUE, engine.clock.now, 1)) == [message.id]
    assert state_of(engine, message) == "active"


async def test_a_release_forgets(engine: SqliteEngine) -> None:
    """An operator who lets it go on gives it as many tries as it had."""
    (message,) = await put(engine)
    await die(engine, CRASHED, 3)
    assert engine.admin.release(Selector()).changed == 1
    assert await die(engine, CRASHED, 2) == [[message.id]] * 2
    assert state_of(engine, message) == "ready"


async def test_an_attempt_that_ends_clears(engine: SqliteEngine) -> None:
    """What was put off by a receiver did not kill anybody: it counts from the beginning."""
    (message,) = await put(engine)
    await die(engine, CRASHED, 2)
    worker = await engine.worker()
    (delivery,) = await worker.claim(QUEUE, engine.clock.now, 1)
    await complete(worker, Completion(delivery.id, delivery.message, (engine.delivery(),)))
    await die(engine, CRASHED, 2)
    assert state_of(engine, message) == "ready"


async def test_where_many_seem_to_be_at_fault_none_is(engine: SqliteEngine) -> None:
    """A plugin that blocks whatever it is asked would have all mail held, a message every few seconds; it stops at a bound."""
    messages = await put(engine, MAX_HELD + 5)
    await die(engine, CRASHED, 2, number=100)
    await die(engine, CRASHED, MAX_HELD + 5, number=100)
    states = [state_of(engine, message) for message in messages]
    assert (states.count("held"), states.count("ready")) == (MAX_HELD, 5)
    engine.admin.cancel(Selector(state="held"))
    await die(engine, CRASHED, 1, number=100)
    assert [state_of(engine, row) for row in messages if engine.admin.show(row.id.hex())].count("held") == 1
