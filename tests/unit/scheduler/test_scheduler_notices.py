"""When senders are told: of success if they asked, of delay once, and each notice with the outcome that it is about."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from scheduler_world import DEFERRED, DOWN, EPOCH, FAILED, World

from upesi.mail.envelope import TOLD, Notify, Recipient, Transmission
from upesi.mail.outcome import Action, Outcome, OutcomeKind
from upesi.mail.timing import ByMode, DeliverBy
from upesi.spool.records import DeliveryState, NewMessage

HOUR = 3600.0
START = EPOCH + 1000.0
RELAYED = Outcome(OutcomeKind.DELIVERED, 250, "2.0.0", "ok", "mx", Action.RELAYED)
ONWARD = Outcome(OutcomeKind.DELIVERED, 250, "2.0.0", "ok", "mx")


def take_in(
    world: World,
    *recipients: str,
    notify: int | None = None,
    transmission: Transmission | None = None,
    role: str = "",
    expires: float = 120 * HOUR,
    tell: float | None = None,
    attempts: int = 0,
    waiting: bool = False,
    queue: str | None = None,
) -> NewMessage:
    """Accept a message whose recipients have NOTIFY and the time of a notice; `waiting`: it lies in the spool, and nobody was told."""
    plain = world.message(*recipients, expires=expires, attempts=attempts, queue=queue)
    deliveries = tuple(
        msgspec.structs.replace(
            each,
            recipients=tuple(Recipient(r.address, None, notify, tell) for r in each.recipients),
            claim=each.claim and not waiting,
        )
        for each in plain.deliveries
    )
    origin = {"role": role} if role else {}
    message = msgspec.structs.replace(
        plain, deliveries=deliveries, transmission=transmission or Transmission(), origin=origin
    )

    def done(error: object, born: Any) -> None:
        assert error is None
        world.scheduler.accepted(message, born)

    world.store.accept(message, done)
    return message


def told(world: World, kind: str) -> list[tuple[float, list[str]]]:
    """Return when senders were told, in hours, and of whom."""
    return [
        (round((at - START) / HOUR, 2), [str(recipient.address) for recipient, _ in recipients])
        for what, at, recipients in world.reporter.notices
        if what == kind
    ]


@pytest.mark.parametrize(
    ("notify", "outcome", "is_told"),
    [
        (Notify.SUCCESS, RELAYED, True), (Notify.SUCCESS | Notify.FAILURE, RELAYED, True), (None, RELAYED, False),
        (Notify.NEVER, RELAYED, False), (Notify.FAILURE | Notify.DELAY, RELAYED, False), (Notify.SUCCESS, ONWARD, False),
    ],
)  # fmt: skip
def test_success_is_told_to_who_asked_where_nobody_else_will(
    world: World, notify: int | None, outcome: Outcome, is_told: bool
) -> None:
    """C56: a "relayed" notice for NOTIFY=SUCCESS where the next hop does not offer DSN, and no other (RFC 3461 section 5.2.2)."""
    world.site("x.example").outcome = lambda recipient: outcome
    take_in(world, "a@x.example", notify=notify)
    world.pass_time(1)
    assert [who for _, who in told(world, "succeeded")] == ([["a@x.example"]] if is_told else [])
    assert world.kinds("message.") == (["message.confirmed"] if is_told else [])
    assert world.rows() == []


def test_success_and_failure_of_one_attempt_are_two_notices_in_its_transaction(world: World) -> None:
    """Each kind has its notice, and both are born in the completion that ends the delivery."""
    world.site("x.example").outcome = lambda recipient: RELAYED if recipient.address.local == "good" else FAILED
    take_in(world, "good@x.example", "bad@x.example", notify=Notify.SUCCESS | Notify.FAILURE)
    world.pass_time(1)
    (completion,) = [each for each in world.store.completions if each.spawn]
    assert len(completion.spawn) == 2
    assert len({message.id for message in completion.spawn}) == 2
    assert {"message.bounced", "message.confirmed"} <= {event.kind for event in completion.events}


def test_success_of_one_transaction_is_one_notice(world: World) -> None:
    """RFC 3461 section 6: deliveries of a message that went to one site together are told of together, what failed in its own notice."""
    outcomes = {"bad": FAILED, "onward": ONWARD}
    world.site("x.example").outcome = lambda recipient: outcomes.get(recipient.address.local, RELAYED)
    asked = Notify.SUCCESS | Notify.FAILURE
    who = ("bad@x.example", "onward@v.example", "a@w.example", "b@y.example")
    message = take_in(world, *who, notify=asked, queue="host:x.example:25")
    world.pass_time(1)
    assert len(world.site("x.example").attempts) == 1
    assert len([each for each in world.store.completions if each.message == message.id]) == 4
    assert [sorted(who) for _, who in told(world, "succeeded")] == [["a@w.example", "b@y.example"]]
    assert [[str(who.address) for who, _ in failed] for _, failed in world.reporter.reports] == [["bad@x.example"]]
    assert world.kinds("message.").count("message.confirmed") == 1
    assert [row.queue for row in world.rows()] == []


def test_success_at_another_attempt_is_told_at_once(world: World) -> None:
    """RFC 3461 section 6: nothing is kept back for those who were put off; they are told of when their own time has come."""
    world.site("x.example").outcome = lambda who: DEFERRED if who.address.local == "b" else RELAYED
    # where it waits for its second attempt: its route's own site
    world.site("y.example").outcome = lambda who: RELAYED
    take_in(world, "a@x.example", "b@y.example", notify=Notify.SUCCESS, queue="host:x.example:25")
    world.pass_time(HOUR)
    assert [who for _, who in told(world, "succeeded")] == [["a@x.example"], ["b@y.example"]]


def test_delay_is_told_once_at_the_attempt_nearest_to_the_time_set(world: World) -> None:
    """C57: with NOTIFY=DELAY after four hours: tries are after 3:50 and 7:50, so after 3:50; never again (RFC 3461 section 5.2.5)."""
    world.site("x.example").outcome = lambda recipient: DEFERRED
    take_in(world, "a@x.example", notify=Notify.DELAY)
    world.pass_time(9 * HOUR)
    assert told(world, "delayed") == [(3.83, ["a@x.example"])]
    (row,) = world.rows()
    assert [recipient.tell_delay for recipient in row.recipients] == [TOLD]
    assert world.kinds("message.") == ["message.delayed"]


@pytest.mark.parametrize(
    ("notify", "role", "is_told"),
    [
        (None, "", False), (None, "submission", True), (None, "lmtp", False), (Notify.NEVER, "submission", False),
        (Notify.FAILURE, "submission", False), (Notify.SUCCESS | Notify.FAILURE, "", False), (Notify.DELAY, "", True),
    ],
)  # fmt: skip
def test_delay_is_told_to_who_asked_or_is_known(world: World, notify: int | None, role: str, is_told: bool) -> None:
    """C57, DSN-01: without NOTIFY only senders who submitted hear of delay: a stranger's address may be forged."""
    world.site("x.example").outcome = lambda recipient: DEFERRED
    take_in(world, "a@x.example", notify=notify, role=role)
    world.pass_time(5 * HOUR)
    assert len(told(world, "delayed")) == is_told


def test_delay_of_a_site_that_is_down_is_told_too(world: World) -> None:
    """Where no connection can be made the notice is written all the same, with the message read from the spool."""
    world.site("x.example").down = DOWN
    take_in(world, "a@x.example", notify=Notify.DELAY)
    take_in(world, "b@x.example")
    world.pass_time(9 * HOUR)
    assert [who for _, who in told(world, "delayed")] == [["a@x.example"]]
    assert told(world, "delayed")[0][0] <= 4


def test_without_a_time_set_nobody_is_told() -> None:
    """`delay_notice = 0` turns notices of delay off."""
    world = World(delay_notice=0.0)
    world.site("x.example").outcome = lambda recipient: DEFERRED
    take_in(world, "a@x.example", notify=Notify.DELAY)
    world.pass_time(9 * HOUR)
    assert told(world, "delayed") == []
    world.close()


def test_recipients_that_part_are_told_of_each_once(world: World) -> None:
    """The mark travels with the recipient, whatever deliveries it comes to be in."""
    world.site("x.example").outcome = lambda recipient: (
        DEFERRED if recipient.address.local == "a" else Outcome(OutcomeKind.DEFERRED, 452, "4.2.2", "full", "mx")
    )
    take_in(world, "a@x.example", "b@x.example", notify=Notify.DELAY)
    world.pass_time(9 * HOUR)
    assert sorted(who for _, group in told(world, "delayed") for who in group) == ["a@x.example", "b@x.example"]


def test_mail_that_was_held_waits_from_its_release_on(world: World) -> None:
    """The time until a notice counts from when the mail may go, not from when it came (RFC 4865)."""
    world.site("x.example").outcome = lambda recipient: DEFERRED
    plain = world.message("a@x.example")
    (delivery,) = plain.deliveries
    later = START + 2 * HOUR
    held = msgspec.structs.replace(
        delivery,
        recipients=(Recipient(delivery.recipients[0].address, None, int(Notify.DELAY)),),
        due=later,
        expires=later + 120 * HOUR,
        claim=False,
    )
    world.store._insert(msgspec.structs.replace(plain, deliveries=(held,)))
    world.pass_time(1 * HOUR)
    assert world.site("x.example").attempts == []
    world.pass_time(6 * HOUR)
    ((at, _),) = told(world, "delayed")
    assert 5.5 < at < 6.5


def test_mode_return_of_deliverby_is_tried_once_more_when_its_time_is_over(world: World) -> None:
    """C111: not returned before its time, nor tried after it (RFC 2852 section 4)."""
    site = world.site("x.example")
    site.outcome = lambda recipient: DEFERRED
    by = Transmission(by=DeliverBy(START + 600, ByMode.RETURN))
    take_in(world, "a@x.example", transmission=by, expires=600.0)
    world.pass_time(599)
    assert world.reporter.reports == []
    world.pass_time(60)
    ((_, ((_, outcome),)),) = world.reporter.reports
    assert outcome.status == "4.4.7"
    assert [attempt.number for attempt in site.attempts] == [1, 2, 3]
    assert world.rows() == []


def test_mode_notify_of_deliverby_is_told_at_its_time_and_tried_on(world: World) -> None:
    """C111: a notice of delay when the time has passed, also to who has not said NOTIFY; the mail is tried on (RFC 2852 section 4)."""
    world.site("x.example").outcome = lambda recipient: DEFERRED
    at = START + 600
    take_in(world, "a@x.example", transmission=Transmission(by=DeliverBy(at, ByMode.NOTIFY)), tell=at)
    world.pass_time(9 * HOUR)
    assert told(world, "delayed") == [(0.17, ["a@x.example"])]
    assert [row.state for row in world.rows()] == [DeliveryState.READY]


def test_urgent_mail_overtakes_what_waits_for_the_same_site() -> None:
    """C110: a priority orders the queue of a site: before what came less than its head start earlier, behind its equals (RFC 6710)."""
    world = World(site_connections=1)
    site = world.site("x.example")
    site.reply = 1.0
    for name, head_start in (
        ("first", 0),
        ("bulk", 0),
        ("urgent", 540),
        ("later", 0),
        ("urgent2", 540),
        ("pressing", 60),
    ):
        plain = world.message(f"{name}@x.example")
        deliveries = tuple(msgspec.structs.replace(each, due=each.due - head_start) for each in plain.deliveries)
        message = msgspec.structs.replace(plain, deliveries=deliveries)
        world.store.accept(message, lambda error, born, message=message: world.scheduler.accepted(message, born))
        world.pass_time(0.1)
    world.pass_time(20)
    assert [address.partition("@")[0] for _, address in site.delivered] == [
        "first", "urgent", "urgent2", "pressing", "bulk", "later",
    ]  # fmt: skip
    world.close()
