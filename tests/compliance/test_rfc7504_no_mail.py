"""RFC 7504: 521 and 556, hosts and domains that take no mail; RFC 7505: domains that say so in DNS."""

from __future__ import annotations

import pytest
from tests.scenarios.acceptor import LIMITS, Acceptor, codes

from upesi.delivery.outcomes import from_reply
from upesi.mail.outcome import OutcomeKind
from upesi.mail.reply import Reply
from upesi.outcome.classify import classify
from upesi.protocol.smtp.answers import ReceivedReply, Request
from upesi.protocol.smtp.server import ServerConnection
from upesi.protocol.smtp.states import State


@pytest.mark.parametrize("code", [521, 554])
def test_a_server_that_takes_no_mail_serves_quit_and_nothing_else(code: int) -> None:
    """C31, C01, RFC 7504 section 3: behind a 521 greeting as behind 554 (RFC 5321 section 3.1) all but QUIT is refused."""
    acceptor = Acceptor()
    acceptor.connection = ServerConnection(LIMITS)
    acceptor.connection.send(Reply.make(code, "", "host takes no mail"))
    said = b"EHLO c\r\nHELO c\r\nMAIL FROM:<>\r\nRCPT TO:<postmaster>\r\nDATA\r\nBDAT 3 LAST\r\nabcVRFY x\r\nXYZZY\r\n"
    assert codes(acceptor.feed(said)) == [503] * 8
    assert acceptor.messages == []
    assert codes(acceptor.feed(b"QUIT\r\n")) == [221]
    assert acceptor.connection.state is State.CLOSED


@pytest.mark.parametrize(("code", "text"), [(521, "host takes no mail"), (556, "domain takes no mail")])
def test_521_and_556_mean_never(code: int, text: str) -> None:
    """C31, RFC 7504 sections 3 and 5: both are permanent: a client that hears one must not try again."""
    outcome = from_reply(ReceivedReply(code, "", (text,), Request.GREETING), "mx.example")
    assert outcome.kind is OutcomeKind.FAILED
    assert classify(outcome) == (OutcomeKind.FAILED, "no-mail")
