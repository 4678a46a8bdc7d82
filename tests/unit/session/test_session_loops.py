"""Loops of commands that bring no mail nearer: on every role of a listener they become slow, and end."""

from __future__ import annotations

import pytest
from sessionkit import Dialogue

from upesi.config.networks import Networks
from upesi.config.settings import Role, SmtpSettings
from upesi.protocol.smtp.limits import ServerLimits
from upesi.session.forwarding import Trusted

LOOPS = {
    "RSET": ("RSET",),
    "NOOP": ("NOOP",),
    "greetings": ("HELLO x.example",),
    "VRFY": ("VRFY b@example.net",),
    "HELP": ("HELP MAIL",),
    "EXPN": ("EXPN staff",),
    "transactions that come to nothing": ("MAIL FROM:<a@example.org>", "RSET"),
    "transactions that come to nothing by greeting": (
        "MAIL FROM:<a@example.org>",
        "RCPT TO:<b@example.net>",
        "HELLO x.example",
    ),
    "XCLIENT": ("XCLIENT NAME=x.example",),
    "XFORWARD from one who may not": ("XFORWARD NAME=x.example",),
    "ETRN where there is none": ("ETRN example.org",),
    "unknown verbs": ("FROBNICATE",),
    "malformed lines": ("MAIL FROM:",),
}


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("lines", LOOPS.values(), ids=LOOPS)
def test_a_loop_is_slowed_and_ended(lines: tuple[str, ...], role: Role) -> None:
    """FLD-08: whatever is said over and over: 421 within the bounds on idle commands and errors, and it costs its client time."""
    settings = SmtpSettings(max_idle_commands=40, hard_errors=20, soft_errors=10)
    talk = Dialogue(role=role, lmtp=role is Role.LMTP, settings=settings, limits=ServerLimits(max_message_size=1000))
    talk.context.trusted = Trusted(Networks(["192.0.2.0/24"]), Networks([]))
    talk.hello()
    talk.engine.session.identity = "anna"
    verb = "LHLO" if role is Role.LMTP else "EHLO"
    rounds = late = 0
    while not talk.transport.ended:
        rounds += 1
        assert rounds <= 41
        for line in lines:
            late += not talk.say(line.replace("HELLO", verb))
            talk.loop.advance(1)
            talk.heard()
    assert b"\r\n421 4.7.0 " in talk.transport.written
    # a host that is trusted with XCLIENT is not slowed
    assert late >= 5 or lines == LOOPS["XCLIENT"]
