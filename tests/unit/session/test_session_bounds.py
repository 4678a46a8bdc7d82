"""Bounds on header sections (MSG-01) and on messages of a session (RFC 9422), and what VRFY and HELP say."""

from __future__ import annotations

import time

import pytest
from sessionkit import Dialogue

from upesi.config.settings import Role, SmtpSettings
from upesi.config.units import Size
from upesi.hooks.session import Transaction
from upesi.mail.body import MemoryBody
from upesi.protocol.smtp.limits import ServerLimits
from upesi.session.content import header_fault

SETTINGS = SmtpSettings(max_header_size=Size(20_000), max_header_fields=50)
FIELD = b"X: " + b"y" * 60 + b"\r\n"
TO_LIMIT = b"X: " + b"y" * (20_000 - 5) + b"\r\n"

# (message, code of the reply, 0 for none)
SECTIONS = {
    "none": (b"\r\n" + b"X: y\r\n" * 9999, 0),
    "empty message": (b"", 0),
    "no empty line": (b"Subject: x\r\n", 0),
    "all that may be": (FIELD * 50 + b"\r\nbody\r\n", 0),
    "one field more": (FIELD * 51 + b"\r\nbody\r\n", 554),
    "fields without an end": (b"a:\r\n" * 51, 554),
    "100,000 fields": (b"a:\r\n" * 100_000 + b"\r\n", 552),
    "continuations are no fields": (FIELD + b" more\r\n" * 500 + b"\r\nbody\r\n", 0),
    "100,000 continuations": (FIELD + b"\tmore\r\n" * 100_000 + b"\r\nbody\r\n", 552),
    "exactly so large": (TO_LIMIT + b"\r\nbody\r\n", 0),
    "an octet more": (b"y" + TO_LIMIT + b"\r\nbody\r\n", 552),
    "exactly so large, no body": (TO_LIMIT, 0),
    "one field of 5 MB": (b"X: " + b"y" * 5_000_000 + b"\r\n\r\n", 552),
    "one field of 5 MB that never ends": (b"X: " + b"y" * 5_000_000, 552),
    "10 MB of fields": (FIELD * 160_000, 552),
    "a large body": (FIELD + b"\r\n" + b"X: y\r\n" * 100_000, 0),
    "a text without any header": (b"hello world\r\n" * 100_000, 0),
    "one long line without any header": (b"y" * 400_000, 0),
    "a text behind fields, without an empty line": (FIELD * 3 + b"hello world\r\n" * 100_000, 0),
    "a blank line with a blank is a continuation": (FIELD + b" \r\n" + FIELD * 60 + b"\r\n", 554),
}


@pytest.mark.parametrize(("content", "code"), SECTIONS.values(), ids=SECTIONS)
def test_header_sections_have_bounds(content: bytes, code: int) -> None:
    """MSG-01: 552 5.3.4 beyond so many octets, 554 5.6.0 beyond so many fields; bodies are not looked at."""
    reply = header_fault(MemoryBody(content), SETTINGS)
    assert (0 if reply is None else reply.code) == code


@pytest.mark.parametrize(
    "content",
    [
        b"a:\r\n" * 65_000,
        b"a" * 260_000,
        b"a" * 260_000 + b":",
        b" " * 260_000,
        b"a \t" * 80_000 + b":",
        b": " * 130_000,
    ],
)
def test_no_header_takes_long(content: bytes) -> None:
    """MSG-01: time grows with the size and with nothing else: 250 kB of anything in well under a second."""
    began = time.thread_time()
    for _ in range(5):
        header_fault(MemoryBody(content), SmtpSettings())
    assert time.thread_time() - began < 2.5


@pytest.mark.parametrize("role", list(Role))
def test_the_bound_holds_on_every_listener(role: Role) -> None:
    """MSG-01: on MX, submission and LMTP alike, by DATA and by BDAT; the session goes on."""
    talk = Dialogue(lmtp=role is Role.LMTP, role=role, settings=SETTINGS)
    talk.hello()
    talk.engine.session.identity = "anna"
    content = FIELD * 51 + b"\r\nbody\r\n"
    mail = ("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>")
    assert talk.codes(*mail, "DATA") == ["250", "250", "354"]
    assert talk.say(content + b".\r\n") == ["554 5.6.0 Header section has too many fields"]
    assert talk.codes(*mail, b"BDAT %d LAST\r\n" % len(content) + content) == ["250", "250", "554"]
    assert talk.intake.accepted == []
    assert talk.intake.writers[-1].discarded


def test_a_session_may_bring_so_many_messages() -> None:
    """RFC 9422 section 4.1: MAILMAX is announced and kept: 421, and the client connects again."""
    settings = SmtpSettings(max_messages=2)
    talk = Dialogue(settings=settings, limits=ServerLimits(max_message_size=1000, rcpt_max=100, mail_max=2))
    talk.heard()
    assert "LIMITS RCPTMAX=100 MAILMAX=2" in {line[4:] for line in talk.say("EHLO x.example")}
    for _ in range(2):
        assert talk.codes("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>", "DATA") == ["250", "250", "354"]
        talk.say(b"x\r\n.\r\n")
    assert talk.say("MAIL FROM:<a@example.org>")[0].startswith("421 4.7.0 ")
    assert talk.transport.ended


@pytest.mark.parametrize(("vrfy", "code"), [(True, "252"), (False, "502")])
def test_vrfy_tells_nothing(vrfy: bool, code: str) -> None:
    """CMD-16: the same answer whoever is asked about, whichever it is; EXPN shows no list."""
    talk = Dialogue(settings=SmtpSettings(vrfy=vrfy))
    talk.hello()
    assert talk.codes("VRFY b@example.net", "VRFY nobody@example.net", "VRFY <>", "EXPN staff") == [
        code,
        code,
        code,
        "502",
    ]


def test_help_teaches_what_there_is() -> None:
    """RFC 5321 section 4.1.1.8: the verbs of this listener and no others, each with its form; section 4.3.2: 504 for what is none."""
    talk = Dialogue(settings=SmtpSettings(vrfy=False), limits=ServerLimits(max_message_size=1000, chunking=False))
    talk.hello()
    verbs, more = talk.say("HELP")
    assert verbs == "214-2.0.0 EHLO HELO MAIL RCPT DATA RSET NOOP HELP QUIT"
    assert more.startswith("214 2.0.0 HELP VERB says ")
    assert talk.say("HELP mail")[0] == "214-2.0.0 MAIL FROM:<you@your.domain> [SIZE=n] [BODY=8BITMIME] ..."
    assert talk.say("HELP VRFY") == ["504 5.5.4 No help about that; HELP alone names the verbs"]
    full = Dialogue(lmtp=True, limits=ServerLimits(max_message_size=1000, starttls=True, auth=("PLAIN",), etrn=True))
    full.hello()
    assert full.say("HELP")[0] == "214-2.0.0 LHLO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY ETRN HELP QUIT"


@pytest.mark.parametrize("content", [b" ; evil.example\r\nFrom: x\r\n\r\nbody\r\n", b"\t(dkim=pass)\r\n"])
def test_a_message_continues_no_field_of_ours(content: bytes) -> None:
    """MSG-02: a message that begins with a blank is all body: what it says ends no field of ours."""
    seen: list[object] = []

    def add(tx: Transaction) -> None:
        seen.append(list(tx.headers.fields()))
        tx.add_header("Authentication-Results", "mx.example.net; none")

    talk = Dialogue(message=add)
    talk.begin()
    assert talk.send(content)[0].startswith("250 ")
    assert talk.intake.accepted[0].prefix.endswith(b"\r\nAuthentication-Results: mx.example.net; none\r\n\r\n")
    assert talk.intake.contents == [content]
    assert seen == [[]]
