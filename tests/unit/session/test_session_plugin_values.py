"""What plugins put into a transaction by hand: never a 250 for what cannot be stored, sent, or told as it was meant."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sessionkit import Dialogue

from upesi.hooks.session import Transaction
from upesi.hooks.verdict import Verdict, VerdictKind
from upesi.mail.address import Address
from upesi.mail.reply import Reply


def _spoil_note(tx: Transaction) -> None:
    tx.queued_notes["spam"] = "5.1"  # type: ignore[assignment]


def _spoil_sender(tx: Transaction) -> None:
    tx.reverse_path = "srs0=x@example.org"  # type: ignore[assignment]


def _inject_sender(tx: Transaction) -> None:
    tx.reverse_path = Address("a\r\nX-Evil: 1", "example.org")


def _spoil_id(tx: Transaction) -> None:
    tx.id = b"short"  # type: ignore[assignment]


def _drop_everybody(tx: Transaction) -> None:
    tx.recipients.clear()


@pytest.mark.parametrize("spoil", [_spoil_note, _spoil_sender, _inject_sender, _spoil_id, _drop_everybody])
def test_what_a_plugin_spoiled_is_never_acknowledged(spoil: Callable[[Transaction], None]) -> None:
    """PLG-06, Q1: a value that could only be quarantined later is found before the 250."""

    def message(tx: Transaction) -> None:
        spoil(tx)

    talk = Dialogue(message=message)
    talk.begin()
    (reply,) = talk.send()
    assert reply.startswith("421 4.3.0")
    assert talk.intake.accepted == []


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict(VerdictKind.REJECT, Reply.make(250, "2.0.0", "fine")),
        Verdict(VerdictKind.DEFER, Reply.make(550, "5.0.0", "never")),
        Verdict(VerdictKind.REJECT, "550 no"),  # type: ignore[arg-type]
    ],
)
def test_a_refusal_is_never_told_as_anything_else(verdict: Verdict) -> None:
    """PLG-02: a verdict put together by hand whose reply contradicts it is a failure of its plugin: 451, and nothing stored."""
    talk = Dialogue(message=lambda tx: verdict)
    talk.begin()
    assert talk.send()[0].startswith("451 4.3.0")
    assert talk.intake.accepted == []


def test_a_verdict_for_one_recipient_is_a_refusal_too() -> None:
    """A recipient's own REJECT with a 250 in it does not become a success for all."""

    def message(tx: Transaction) -> None:
        tx.recipients[0].verdict = Verdict(VerdictKind.REJECT, Reply.make(250, "2.0.0", "fine"))

    talk = Dialogue(message=message)
    talk.begin()
    assert talk.send()[0].startswith("4")
    assert talk.intake.accepted == []


def test_an_address_cannot_carry_a_parameter() -> None:
    """ADR-08, PLG-06: a domain that was not parsed may not end the path and go on."""
    talk = Dialogue()
    talk.begin()
    recipient = talk.engine.session.transaction.recipients[0]
    for domain in ("x> NOTIFY=NEVER ORCPT=rfc822;<x", "x y", "a\r\nb", "[1.2.3.4"):
        with pytest.raises(ValueError):
            recipient.address = Address("a", domain)
