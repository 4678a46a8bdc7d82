"""RFC 6710: priorities of messages (MT-PRIORITY). Each docstring names the clause."""

from __future__ import annotations

from typing import Any

import pytest
from tests.scenarios.acceptor import LIMITS, Acceptor, codes
from tests.unit.session.sessionkit import NOW, Dialogue

from upesi.mail.address import Address
from upesi.mail.envelope import Transmission
from upesi.mail.timing import HEAD_START
from upesi.protocol.smtp.client import ClientConnection
from upesi.protocol.smtp.limits import ServerLimits

OFFERING = ServerLimits(max_message_size=100_000, priorities=True)


def talk_to(*, known: bool) -> Dialogue:
    def connect(session: Any) -> None:
        session.relaying = known

    talk = Dialogue(limits=OFFERING, connect=connect)
    talk.hello()
    return talk


def test_the_extension_is_announced() -> None:
    """C110, section 3: "MT-PRIORITY" with the profile that says how the levels are meant."""
    assert "MT-PRIORITY MIXER" in OFFERING.ehlo_keywords()


@pytest.mark.parametrize("value", range(-9, 10))
def test_every_level_is_kept(value: int) -> None:
    """C110, section 4: from -9 to 9, kept with the message; a higher one is due earlier by as many steps."""
    talk = talk_to(known=True)
    assert talk.say(f"MAIL FROM:<a@b.example> MT-PRIORITY={value}") == ["250 2.1.0 Ok"]
    talk.say("RCPT TO:<b@example.net>")
    talk.send()
    (message,) = talk.intake.accepted
    assert message.transmission.priority == value
    assert message.deliveries[0].due == NOW - value * HEAD_START
    assert message.deliveries[0].expires == NOW + talk.intake.lifetime
    assert (
        f"\tfor <b@example.net> priority {value};" if value else "\tfor <b@example.net>;"
    ).encode() in message.prefix


@pytest.mark.parametrize("value", ["", "10", "-10", "+1", "1.0", "high", "--1", "-", "\u0661"])
def test_other_values_are_refused(value: str) -> None:
    """C110, section 3: ["-"] DIGIT."""
    acceptor = Acceptor(OFFERING)
    acceptor.feed(b"EHLO c\r\n")
    assert codes(acceptor.feed(f"MAIL FROM:<a@b> MT-PRIORITY={value}\r\n".encode()))[0] in (500, 501)


def test_where_it_is_not_offered_it_is_unknown() -> None:
    """C110: what is not announced is no parameter (555)."""
    assert codes(Acceptor(LIMITS).feed(b"EHLO c\r\nMAIL FROM:<a@b> MT-PRIORITY=1\r\n")) == [250, 555]


@pytest.mark.parametrize(("asked", "got", "reply"), [(9, 0, "250 2.3.6"), (1, 0, "250 2.3.6"), (-4, -4, "250 2.1.0")])
def test_strangers_overtake_nobody(asked: int, got: int, reply: str) -> None:
    """C110, section 4: only trusted clients are given a priority; others are told that it was changed (2.3.6). All may step back."""
    talk = talk_to(known=False)
    (line,) = talk.say(f"MAIL FROM:<a@b.example> MT-PRIORITY={asked}")
    assert line.startswith(reply)
    talk.say("RCPT TO:<b@example.net>")
    talk.send()
    (message,) = talk.intake.accepted
    assert message.transmission.priority == got
    assert message.deliveries[0].due == NOW - got * HEAD_START


def test_the_priority_goes_on() -> None:
    """C110, section 4: to a server that offers MT-PRIORITY, and to no other; level 0 is that of all mail and not said."""

    def mail(offered: str, priority: int) -> bytes:
        client = ClientConnection()
        client.receive(b"220 x\r\n")
        client.next_reply()
        client.ehlo("us")
        client.receive(f"250-x\r\n250 {offered}\r\n".encode())
        client.next_reply()
        return client.mail(Address("a", "b.example"), Transmission(priority=priority))

    assert mail("MT-PRIORITY", -7) == b"MAIL FROM:<a@b.example> MT-PRIORITY=-7\r\n"
    assert mail("MT-PRIORITY MIXER", 3) == b"MAIL FROM:<a@b.example> MT-PRIORITY=3\r\n"
    assert mail("MT-PRIORITY", 0) == b"MAIL FROM:<a@b.example>\r\n"
    assert mail("SIZE", 3) == b"MAIL FROM:<a@b.example>\r\n"
