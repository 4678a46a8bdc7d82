"""RFC 6152: eight-bit content (BODY, 8BITMIME), on both sides. Each docstring names the clause."""

from __future__ import annotations

import pytest
from tests.scenarios.acceptor import LIMITS, Acceptor, codes
from tests.unit.session.sessionkit import Dialogue

from upesi.delivery.agents.preparing import refusal, transmission_for
from upesi.mail.address import Address
from upesi.mail.body import MemoryBody
from upesi.mail.envelope import BodyType, Recipient, Transmission
from upesi.mail.ids import MessageId
from upesi.protocol.smtp.extensions import Extensions
from upesi.scheduler.work import Attempt
from upesi.spool.records import StoredMessage


def test_the_extension_is_announced() -> None:
    """C86, section 2 (2) and (3): "8BITMIME", without a parameter."""
    assert "8BITMIME" in LIMITS.ehlo_keywords()


@pytest.mark.parametrize(("value", "code"), [("7BIT", 250), ("8bitmime", 250), ("8BIT", 501), ("", 501)])
def test_body_says_what_comes(value: str, code: int) -> None:
    """C86, section 3: "body-value ::= "7BIT" / "8BITMIME"", in any case."""
    assert codes(Acceptor().feed(f"EHLO c\r\nMAIL FROM:<a@b> BODY={value}\r\n".encode()))[-1] == code


@pytest.mark.parametrize(
    ("said", "kept"),
    [("", BodyType.SEVEN_BIT), (" BODY=7BIT", BodyType.SEVEN_BIT), (" BODY=8BITMIME", BodyType.EIGHT_BIT)],
)
def test_it_is_kept_and_the_octets_are_not_touched(said: str, kept: BodyType) -> None:
    """C86, section 3: "the server ... MUST NOT ... strip" the eighth bit, whatever was declared."""
    talk = Dialogue()
    talk.hello()
    talk.say(f"MAIL FROM:<a@example.org>{said}", "RCPT TO:<b@example.net>")
    content = b"Subject: x\r\n\r\n\xe9\xff\x80\r\n"
    talk.send(content)
    assert talk.intake.accepted[0].transmission.body is kept
    assert talk.intake.contents == [content]


def attempt(body: BodyType) -> Attempt:
    message = StoredMessage(
        MessageId(bytes(16)),
        0.0,
        Address("a", "x.example"),
        Transmission(body),
        b"",
        MemoryBody(b"\r\n\xe9\r\n"),
        {},
        {},
    )
    return Attempt(message, (Recipient(Address("b", "y.example")),), 1)


def test_it_is_declared_to_who_knows_it_and_sent_as_it_is_to_others() -> None:
    """C86, section 3: BODY=8BITMIME to a server with 8BITMIME. Another one gets the octets undeclared: see docs/conformance.md for why we
    neither convert nor bounce."""
    mail = attempt(BodyType.EIGHT_BIT)
    assert transmission_for(mail, Extensions(eight_bit=True), True).body is BodyType.EIGHT_BIT
    assert transmission_for(mail, Extensions(), True).body is BodyType.SEVEN_BIT
    assert refusal(mail, Extensions(), True) is None
    assert transmission_for(attempt(BodyType.SEVEN_BIT), Extensions(eight_bit=True), True).body is BodyType.SEVEN_BIT
