"""Priority, lifetime and labels that plugins give to mail, up to the record that is stored."""

from __future__ import annotations

from typing import Any

import pytest
from sessionkit import NOW, Dialogue

from upesi.hooks.session import Transaction, TransactionRecipient
from upesi.mail.handling import NO_LABELS, Handling, Labels
from upesi.mail.route import DiscardRoute, MxRoute, QuarantineRoute, Route
from upesi.mail.timing import HEAD_START
from upesi.protocol.smtp.limits import ServerLimits


def test_each_way_to_handle_mail_is_a_delivery_of_its_own() -> None:
    """PLUGINS.md, `route`: priority, expiry and labels per recipient; who has none of them is as ever."""

    def route(tx: Transaction, recipient: TransactionRecipient) -> Route | None:
        if recipient.address.local == "urgent":
            recipient.handling = Handling(priority=9, lifetime=600, tenant="acme")
        return MxRoute("one.example") if recipient.address.local == "sent" else None

    talk = Dialogue(route=route)
    talk.begin("a@one.example", "urgent@one.example", "sent@two.example")
    talk.send()
    (message,) = talk.intake.accepted
    plain, urgent = message.deliveries
    assert [who.address.local for who in plain.recipients] == ["a", "sent"]
    assert (plain.due, plain.expires) == (NOW, NOW + talk.intake.lifetime)
    assert all(who.labels is NO_LABELS for who in plain.recipients)
    assert [(who.address.local, who.labels) for who in urgent.recipients] == [("urgent", Labels(tenant="acme"))]
    assert (urgent.due, urgent.expires) == (NOW - 9 * HEAD_START, NOW + 600)
    assert (plain.route, plain.queue) == (urgent.route, urgent.queue)


def test_message_hooks_speak_for_the_whole_message() -> None:
    """PLUGINS.md, `route`: may be changed at `message`; a recipient's own word goes before it."""

    def message(tx: Transaction) -> None:
        tx.handling = Handling(campaign="spring", pool="bulk", priority=-2)
        tx.recipients[1].handling = Handling(pool="vip")

    talk = Dialogue(message=message)
    talk.begin("a@one.example", "b@one.example", "c@one.example")
    talk.send()
    (stored,) = talk.intake.accepted
    labels = [{who.address.local: who.labels.given for who in delivery.recipients} for delivery in stored.deliveries]
    bulk, vip = {"campaign": "spring", "pool": "bulk"}, {"campaign": "spring", "pool": "vip"}
    assert [{**each} for each in labels] == [{"a": bulk, "c": bulk}, {"b": vip}]
    assert all(delivery.due == NOW + 2 * HEAD_START for delivery in stored.deliveries)
    (event,) = stored.events
    assert {name: event.fields[name] for name in ("campaign", "pool")} == bulk
    assert "tenant" not in event.fields


def test_a_lifetime_is_bounded_by_the_configured_one() -> None:
    """A longer one than `delivery.expire` is that: retries and notices are reckoned from it."""
    talk = Dialogue(message=lambda tx: setattr(tx, "handling", Handling(lifetime=1e9)))
    talk.begin()
    talk.send()
    assert talk.intake.accepted[0].deliveries[0].expires == NOW + talk.intake.lifetime


def test_what_the_sender_was_granted_stands() -> None:
    """RFC 2852: a plugin may give more time to others, but the deadline of DELIVERBY is the sender's; a priority it may change."""

    def connect(session: Any) -> None:
        session.relaying = True

    def message(tx: Transaction) -> None:
        tx.handling = Handling(lifetime=7200, priority=1)

    talk = Dialogue(
        limits=ServerLimits(max_message_size=100_000, priorities=True, deliver_by=60), connect=connect, message=message
    )
    talk.hello()
    talk.say("MAIL FROM:<a@b.example> BY=3600;R MT-PRIORITY=5", "RCPT TO:<b@example.net>")
    talk.send()
    (stored,) = talk.intake.accepted
    assert stored.deliveries[0].expires == NOW + 3600
    assert stored.deliveries[0].due == NOW - HEAD_START
    # what goes on to the next hop is what the sender said
    assert stored.transmission.priority == 5


def test_what_is_discarded_needs_no_handling() -> None:
    """A discarded copy is in no delivery, labelled or not."""
    talk = Dialogue(
        route=lambda tx, recipient: DiscardRoute(), message=lambda tx: setattr(tx, "handling", Handling(tenant="x"))
    )
    talk.begin()
    assert talk.send()[0].startswith("250")
    assert talk.intake.accepted == []


def test_a_quarantined_copy_waits_for_an_operator_and_others_go() -> None:
    """PLUGINS.md, `route`: quarantine; acknowledged, held with its reason, and its route is kept for its release."""

    def route(tx: Transaction, recipient: TransactionRecipient) -> Route | QuarantineRoute | None:
        return {
            "odd": QuarantineRoute("odd\x1b links"),
            "elsewhere": QuarantineRoute("odd\x1b links", MxRoute("other.example")),
        }.get(recipient.address.local)

    talk = Dialogue(route=route)
    talk.begin("a@one.example", "odd@one.example", "elsewhere@one.example")
    assert talk.send()[0].startswith("250")
    (stored,) = talk.intake.accepted
    assert [(str(each.recipients[0].address), each.held, each.route) for each in stored.deliveries] == [
        ("a@one.example", False, MxRoute("one.example")),
        ("odd@one.example", True, MxRoute("one.example")),
        ("elsewhere@one.example", True, MxRoute("other.example")),
    ]
    (event,) = [event for event in stored.events if event.kind == "delivery.held"]
    assert event.fields["to"] == "odd@one.example elsewhere@one.example"
    assert (event.fields["recipients"], event.fields["reason"]) == (2, "odd? links")


def test_a_quarantine_at_message_counts_as_one_of_its_route() -> None:
    """A hook at `message` may change a route to a quarantine; what is discarded then is discarded."""

    def message(tx: Transaction) -> None:
        tx.recipients[0].route = QuarantineRoute("why", DiscardRoute())

    talk = Dialogue(message=message)
    talk.begin()
    assert talk.send()[0].startswith("250")
    assert talk.intake.accepted == []


@pytest.mark.parametrize(
    "route",
    [QuarantineRoute(""), QuarantineRoute(7), QuarantineRoute("x", "mx")],  # type: ignore[arg-type]
    ids=["empty", "number", "text"],
)
def test_a_quarantine_that_cannot_be_is_never_acknowledged(route: QuarantineRoute) -> None:
    """PLG-06: without a reason nobody could judge it, and without a route it could not be released."""

    def message(tx: Transaction) -> None:
        tx.recipients[0].route = route

    talk = Dialogue(message=message)
    talk.begin()
    assert talk.send()[0].startswith("451 4.3.0")
    assert talk.intake.accepted == []


@pytest.mark.parametrize("whole", [True, False], ids=["message", "recipient"])
def test_a_handling_that_is_none_is_never_acknowledged(whole: bool) -> None:
    """PLG-06: what a plugin left there by hand is found before the 250."""

    def message(tx: Transaction) -> None:
        (tx if whole else tx.recipients[0]).handling = {"tenant": "acme"}  # type: ignore[assignment]

    talk = Dialogue(message=message)
    talk.begin()
    assert talk.send()[0].startswith("451 4.3.0")
    assert talk.intake.accepted == []
