"""What becomes of a delivery: done, tried again, expired, reported; recorded once, whatever the store does."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from scheduler_world import DEFERRED, DELIVERED, DOWN, FAILED, World

from upesi.config.settings import DeliverySettings
from upesi.mail.envelope import Recipient
from upesi.mail.outcome import Outcome, OutcomeKind
from upesi.scheduler.retry import RetrySchedule
from upesi.scheduler.settlement import TRIES
from upesi.spool.records import DeliveryState


def by_local_part(recipient: Recipient) -> Outcome:
    return {"good": DELIVERED, "bad": FAILED, "later": DEFERRED}[recipient.address.local]


def test_each_recipient_has_its_own_outcome(world: World) -> None:
    """Delivered ones are done, deferred ones wait, failed ones are reported: in one transaction."""
    world.site("x.example").outcome = by_local_part
    world.accept("good@x.example", "bad@x.example", "later@x.example")
    world.pass_time(0.05)
    (completion,) = [each for each in world.store.completions if each.remaining]
    assert [str(each.address) for each in completion.remaining[0].recipients] == ["later@x.example"]
    assert completion.remaining[0].last == DEFERRED
    assert completion.remaining[0].attempts == 1
    assert len(completion.spawn) == 1
    assert sorted(event.kind for event in completion.events) == [
        "delivery.deferred", "delivery.delivered", "delivery.failed", "message.bounced",
    ]  # fmt: skip
    ((_, failed),) = world.reporter.reports
    assert [str(recipient.address) for recipient, _ in failed] == ["bad@x.example"]


def test_retries_follow_the_schedule(world: World) -> None:
    """Waits are those of the settings, the last one repeating (RFC 5321 section 4.5.4.1, C24)."""
    site = world.site("x.example")
    site.outcome = lambda recipient: DEFERRED
    world.accept("a@x.example", expires=50_000.0)
    world.pass_time(50_010)
    times = [fields["next"] for kind, fields in world.emitted if kind == "delivery.deferred"]
    assert len(times) == len(site.attempts) - 1
    gaps = [round((b - a) / 60) for a, b in itertools.pairwise(times)]  # type: ignore[operator]
    assert gaps[:6] == [15, 30, 60, 120, 240, 240]
    assert [attempt.number for attempt in site.attempts] == list(range(1, len(site.attempts) + 1))


def test_mail_is_tried_until_it_expires(world: World) -> None:
    """RFC 5321 section 4.5.4.1: nothing is returned before `delivery.expire`, be the next wait ever so long; the last try may succeed."""
    site = world.site("x.example")
    site.outcome = lambda recipient: DEFERRED
    lost = world.accept("lost@x.example", expires=5000.0)
    world.accept("late@x.example", expires=5000.0)
    world.pass_time(4990)
    assert [round(row.due - row.received) for row in world.rows()] == [5000, 5000]
    site.outcome = lambda recipient: DELIVERED if recipient.address.local == "late" else DEFERRED
    world.pass_time(15)
    assert [message.id for message, _ in world.reporter.reports] == [lost.id]
    assert [address for _, address in site.delivered] == ["late@x.example"]
    tries = len(site.attempts)
    world.pass_time(20_000)
    assert len(site.attempts) == tries
    assert world.rows() == []


def ask_now(world: World) -> None:
    """Do what `upesi queue retry` and ETRN do."""
    for row in world.rows(DeliveryState.READY):
        world.store.rows[row.id] = msgspec.structs.replace(row, due=world.wall())
    queues = [row.queue for row in world.rows()]
    world.scheduler.wake(queues)
    world.scheduler.hint(queues)


@pytest.mark.parametrize("down", [False, True])
def test_a_try_that_was_asked_for_uses_up_no_step_of_the_schedule(world: World, down: bool) -> None:
    """RFC 1985, `upesi queue retry`: asking often puts nothing off; tries are where they would have been, and those asked for besides."""
    site = world.site("x.example")
    site.down = DOWN if down else None
    site.outcome = lambda recipient: DEFERRED
    world.accept("a@x.example")
    for _ in range(10):
        world.pass_time(0.2)
        ask_now(world)
    world.pass_time(0.2)
    (row,) = world.rows()
    assert (row.attempts, round(row.due - row.received)) == (11, 300)
    world.pass_time(300)
    (row,) = world.rows()
    assert (row.attempts, round(row.due - row.received)) == (12, 300 + 900)
    world.pass_time(800)
    ask_now(world)
    world.pass_time(1)
    (row,) = world.rows()
    assert (row.attempts, round(row.due - row.received)) == (13, 300 + 900)


def test_tries_asked_for_move_no_later_step() -> None:
    """Beyond the waits that are written the last one repeats, for those asked for as for the others; a clock set back delays nothing."""
    schedule = RetrySchedule((300.0, 900.0), 0.5, lambda: 1.0)
    assert [schedule.due(age, 50, 0.0) for age in (0.0, 299.5, 300.0, 1199.5, 1250.0, 2100.0, 9300.0)] == [
        300.0, 1200.0, 1200.0, 2100.0, 2100.0, 3000.0, 10200.0,
    ]  # fmt: skip
    assert schedule.due(300.0, 2, 0.0) == 300.0 + 1350.0
    assert schedule.due(100.0, 50, 90_000.0) == 100.0 + 1350.0


def test_defaults_keep_to_the_standard() -> None:
    """After the early tries at least 30 minutes apart, given up after four to five days at least (C24)."""
    settings = DeliverySettings()
    assert all(wait >= 1800 for wait in settings.retry[2:])
    assert settings.expire >= 4 * 86400


def test_what_expires_is_reported_and_gone(world: World) -> None:
    """Tried when its time is over, and not again: then it has failed, 4.4.7, with the last answer (RFC 3463 section 3.5)."""
    site = world.site("x.example")
    site.outcome = lambda recipient: DEFERRED
    world.accept("a@x.example", expires=200.0)
    world.pass_time(199)
    assert (world.reporter.reports, len(site.attempts)) == ([], 1)
    world.pass_time(3)
    assert len(site.attempts) == 2
    ((_, ((_, outcome),)),) = world.reporter.reports
    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.status == "4.4.7"
    assert outcome.code == 451
    assert "later" in outcome.text
    assert world.rows() == []


def test_the_report_is_sent_from_memory_like_accepted_mail(world: World) -> None:
    """A spawned notice is born ACTIVE and goes at once."""
    world.site("x.example").outcome = lambda recipient: FAILED
    world.accept("a@x.example")
    world.pass_time(0.2)
    assert [address for _, address in world.site("bounce").delivered] == ["sender@s.example"]
    assert world.store.loads == []
    assert world.rows() == []


def test_a_report_for_another_owners_queue_is_hinted(world: World) -> None:
    """Its owner is told; without the hint it would wait for a poll."""
    world.site("x.example").outcome = lambda recipient: FAILED
    message = world.accept("a@x.example")
    world.pass_time(0.005)
    from upesi.spool.records import shard_of

    world.store.set_shards(world.store.shards - {shard_of("host:bounce:25")})
    world.pass_time(0.2)
    assert world.hinted == {"host:bounce:25"}
    assert [row.queue for row in world.rows(DeliveryState.READY)] == ["host:bounce:25"]
    assert message.id not in world.store.messages


def test_no_report_for_the_null_reverse_path(world: World) -> None:
    """A notice that fails causes no notice (DSN-02, RFC 5321 section 6.1)."""
    world.site("x.example").outcome = lambda recipient: FAILED
    world.accept("a@x.example", sender=None)
    world.pass_time(0.2)
    assert world.kinds("message.") == []
    assert world.rows() == []


def test_a_421_puts_off_all_undone_recipients(world: World) -> None:
    """The recipients that were not done when 421 came are tried again, the others are not (C29, RFC 5321 section 3.8)."""
    shutdown = Outcome(OutcomeKind.DEFERRED, 421, "4.3.2", "going down", "mx")
    done = {"a@x.example"}
    world.site("x.example").outcome = lambda recipient: DELIVERED if str(recipient.address) in done else shutdown
    world.accept("a@x.example", "b@x.example", "c@x.example")
    world.pass_time(1)
    (row,) = world.rows()
    assert [str(recipient.address) for recipient in row.recipients] == ["b@x.example", "c@x.example"]
    world.site("x.example").outcome = lambda recipient: DELIVERED
    world.pass_time(302)
    assert sorted(address for _, address in world.site("x.example").delivered) == [
        "a@x.example",
        "b@x.example",
        "c@x.example",
    ]


def test_events_say_what_happened(world: World) -> None:
    """One event per group of recipients with one answer (QUEUE.md: the accounting record)."""
    world.accept("a@x.example", "b@x.example")
    world.pass_time(0.2)
    (event,) = world.store.events
    assert event.fields["recipients"] == 2
    assert event.fields["to"] == "a@x.example b@x.example"
    assert (event.fields["code"], event.fields["status"], event.fields["remote"]) == (250, "2.0.0", "mx")
    assert (event.fields["queue"], event.fields["attempt"]) == ("host:x.example:25", 1)
    assert 0 < event.fields["seconds"] < 0.2


def test_different_texts_of_one_answer_stay_one_delivery(world: World) -> None:
    """Receivers repeat the address in the text: that makes no hundred rows of one (C28)."""
    world.site("x.example").outcome = lambda recipient: Outcome(
        OutcomeKind.DEFERRED, 450, "4.2.0", f"<{recipient.address}> busy", "mx"
    )
    world.accept(*(f"a{n}@x.example" for n in range(50)))
    world.pass_time(0.2)
    assert [len(row.recipients) for row in world.rows()] == [50]


def test_an_outcome_the_store_could_not_write_is_offered_again(world: World) -> None:
    """A full disk after the receiver's 250 sends nothing twice (Q2)."""
    world.accept("a@x.example")
    world.pass_time(0.015)
    world.store.broken = 3
    world.pass_time(30)
    assert len(world.site("x.example").delivered) == 1
    assert world.rows() == []
    assert world.kinds() == ["delivery.unrecorded"] * 3 + ["delivery.delivered"]


def test_an_outcome_that_the_store_alone_refuses_is_given_up(world: World) -> None:
    """What can never be encoded holds no memory for ever: told as final, the row stays ACTIVE, and others go on."""
    poison = world.accept("a@x.example")
    world.store.refused.add(poison.id)
    world.pass_time(3600)
    told = [fields for kind, fields in world.emitted if kind == "delivery.unrecorded"]
    assert len(told) == TRIES + 1
    assert [fields.get("final", False) for fields in told] == [False] * TRIES + [True]
    assert told[-1]["events"] == ["delivery.delivered a@x.example"]
    assert world.scheduler.status().deliveries == world.scheduler.status().bodies == 0
    assert [row.state for row in world.rows()] == [DeliveryState.ACTIVE]
    world.accept("b@x.example")
    world.pass_time(1)
    assert len(world.site("x.example").delivered) == 2


def test_an_outcome_is_not_given_up_while_the_store_is_down(world: World) -> None:
    """A disk that is full for a day sends nothing twice: only what is refused while others are taken is given up (Q2)."""
    world.accept("a@x.example")
    world.pass_time(0.015)
    world.store.broken = 10**6
    world.pass_time(86400)
    assert world.scheduler.status().deliveries == 1
    world.store.broken = 0
    world.pass_time(61)
    assert world.rows() == []
    assert len(world.site("x.example").delivered) == 1


def test_a_taken_over_delivery_is_left_to_its_owner(world: World) -> None:
    """A stale owner changes nothing, and spawns nothing."""
    world.accept("a@x.example")
    world.pass_time(0.015)
    world.store.rows.clear()
    world.pass_time(0.1)
    assert world.kinds() == ["delivery.stale"]
    assert world.scheduler.status().deliveries == 0


def test_a_message_that_is_gone_is_dropped(world: World) -> None:
    """What quarantine took leaves memory without a record, and holds up nobody."""
    lost = world.put("a@x.example")
    world.put("b@x.example")
    del world.store.messages[lost.id]
    world.pass_time(3)
    assert [address for _, address in world.site("x.example").delivered] == ["b@x.example"]
    assert world.scheduler.status().deliveries == 0


@pytest.mark.parametrize("count", [0, 2])
def test_a_wrong_number_of_outcomes_is_refused(world: World, count: int) -> None:
    """An agent's mistake loses nothing: the attempt stays open, and goes back with the connection."""
    from upesi.mail.errors import InvariantError
    from upesi.scheduler.work import Ending

    world.site("x.example").connect = 1e6
    world.accept("a@x.example")
    world.pass_time(0.1)
    work = world.agents.running[0].work
    attempt = work.take()
    assert attempt is not None
    with pytest.raises(InvariantError):
        work.finish(attempt, (DELIVERED,) * count)
    world.site("x.example").connect = 0.01
    work.ended(Ending.CLOSED)
    with pytest.raises(InvariantError):
        work.finish(attempt, (DELIVERED,))
    world.agents.running[0].task.cancel()
    world.pass_time(0.2)
    assert len(world.site("x.example").delivered) == 1
